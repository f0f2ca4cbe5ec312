"""An orderly stop: SIGINT and SIGTERM wait until what is being done is whole."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


@contextmanager
def hold_signals() -> Iterator[Sequence[int]]:
    """Within the block, the first SIGINT and the first SIGTERM are noted; they act when the block ends.

    A second one acts at once. Signals that are ignored stay so, and nothing is held where the block runs in another
    thread than the main one.

    Yields:
        The signals so far, growing.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])
