"""Progress of long work on the terminal: a bar with rate and time left, on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Report = Callable[..., None]


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Report]:
    """Show a bar while work reports `(done, total)`, and what else it says behind it.

    Args:
        title: What is being done.
        unit: What is counted.

    Yields:
        A callable for `progress=`: takes done, total and one optional further value (a count of failures, or words).
    """
    with tqdm(desc=title, unit=unit, file=sys.stderr, mininterval=1.0, delay=1.0, dynamic_ncols=True) as bar:

        def report(done: int, total: int, further: int | str = "") -> None:
            if bar.total is None:  # what an earlier call has done counts for no rate
                bar.initial = bar.n = bar.last_print_n = max(0, done - 1)
            bar.total = total
            bar.update(done - bar.n)
            if isinstance(further, int):
                bar.set_postfix_str(f"{further} failed" if further else "", refresh=False)
            elif further:
                bar.set_postfix_str(further, refresh=False)

        yield report
