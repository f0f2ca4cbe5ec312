"""SIGTERM as an exception, so that a run that is asked to end leaves nothing behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; everything that Ctrl-C ends, this ends."""


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Within the block, the first SIGTERM raises `Terminated` in the main thread and further ones are ignored.

    Nothing changes where the block runs in another thread, or where the program has its own handler.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
