"""What the volume encoder reads: windows of several volumes, and which of their tokens belong to which sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ctvlp.windows import Window


@dataclass(frozen=True)
class VolumeBatch:
    """S windows of one size, and the samples in them.

    Attributes:
        volumes: (S, 1, z, y, x) int16 HU.
        rows: Anatomy to the window of each of its N samples, (N,) int64, ascending, none twice.
        tokens: Anatomy to the tokens of each sample, (N, T) bool, at least one each.
    """

    volumes: Tensor
    rows: dict[str, Tensor]
    tokens: dict[str, Tensor]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.volumes)

    def split(self, most: int) -> list["VolumeBatch"]:
        """Return the batch in pieces of at most `most` windows, in order, so that samples keep theirs; views.

        A piece names only the anatomies that have a sample in it.
        """
        if most < 1:
            raise ValueError(f"a piece holds at least one window, asked for is {most}")
        pieces = []
        for first in range(0, len(self), most):
            rows, tokens = {}, {}
            for name, mine in self.rows.items():
                low, high = (int((mine < end).sum()) for end in (first, first + most))
                if low < high:
                    rows[name], tokens[name] = mine[low:high] - first, self.tokens[name][low:high]
            pieces.append(VolumeBatch(self.volumes[first : first + most], rows, tokens))
        return pieces

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "VolumeBatch":
        """Return the batch on another device."""
        rows, tokens = (
            {name: value.to(device, non_blocking=non_blocking) for name, value in part.items()}
            for part in (self.rows, self.tokens)
        )
        return VolumeBatch(self.volumes.to(device, non_blocking=non_blocking), rows, tokens)


def build_volume_batch(windows: Sequence[Window], samples: Mapping[str, Sequence[int]]) -> VolumeBatch:
    """Gather windows, and the samples in them.

    Args:
        windows: At least one; all of one size.
        samples: Anatomy to the window of each of its samples, ascending; only windows that hold it whole.

    Raises:
        ValueError: There is no window, or the windows of an anatomy are not in ascending order.
    """
    if not windows:
        raise ValueError("a batch of volumes needs at least one window")
    for name, rows in samples.items():
        if any(a >= b for a, b in pairwise(rows)):
            raise ValueError(f"{name}: windows of samples must ascend, got {list(rows)}")
    return VolumeBatch(
        volumes=torch.from_numpy(np.stack([window.hu for window in windows])[:, None]),
        rows={name: torch.tensor(rows, dtype=torch.int64) for name, rows in samples.items() if len(rows)},
        tokens={
            name: torch.from_numpy(np.stack([windows[row].tokens[name] for row in rows]))
            for name, rows in samples.items()
            if len(rows)
        },
    )
