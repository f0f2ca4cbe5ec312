"""One attempt at a study: how it is made, which stage it is in, and who hears of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Tell = Callable[..., None]


@dataclass(frozen=True)
class Attempt:
    """How a study is done; its bytes do not depend on it.

    Attributes:
        lighter: Spend time to save memory.
        memory_bytes: What it may hold; None sets no limit.
    """

    lighter: bool = False
    memory_bytes: int | None = None


ANY_WAY = Attempt()


def keep_silent(**_facts: object) -> None:
    """Stands where nobody listens."""


@dataclass
class Clock:
    """Which stage a study is in, and how long each took; `tell` hears of each stage as it begins."""

    tell: Tell = keep_silent
    stage: str = "find"
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Time spent inside counts for `stage`; an error leaves `self.stage` there."""
        self.stage = stage
        self.tell(stage=stage)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 3)
