"""Where images come from: crops cut into tokens, or windows of whole volumes, read from the store a study at a time."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctvlp.augmentation import AugmentationSettings, augment
from ctvlp.samples import Sample
from ctvlp.transforms import Shift, Tokens
from ctvlp.windows import Window, WindowGrid, draw_study_windows

if TYPE_CHECKING:  # a loader's processes do without the model and what it imports
    from ctvlp.model import AnatomyCLIP
    from preprocess.store import Store

logger = logging.getLogger(__name__)


class TokenSource:
    """Cuts crops into tokens with one of a few shifted grids, and keeps the result in memory while there is room.

    It holds no open file and not the model, so that it can be handed to other processes.

    Args:
        store: Where crops are read.
        model: Gives patches and caps.
        shifts: Number of grids: the first is not shifted, the others are shifted by fixed random voxels.
        seed: Of these shifts.
        memory_gb: GB of tokens to keep at most, on all grids of the crops that are read first; 0 keeps none, and so
            does a copy in another process. What is drawn does not depend on it.
    """

    def __init__(self, store: "Store", model: "AnatomyCLIP", *, shifts: int, seed: int, memory_gb: float) -> None:
        self.store, self.tokenizer, self.shifts = store, model.tokenizer, shifts
        self._fractions = np.random.default_rng(seed).random((shifts, 3))
        self._fractions[0] = 0.0
        self._kept: dict[tuple[str, str, int], Tokens] = {}
        self._free = round(memory_gb * 1e9)  # bytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}, "_free": 0}

    def tokens(self, sample: Sample, grid: int) -> Tokens:
        """Return the tokens of a sample's crop on grid number `grid`."""
        return self.study_tokens([sample], [grid])[0]

    def study_tokens(self, samples: Sequence[Sample], grids: Sequence[int]) -> list[Tokens]:
        """Return the tokens of samples of one study, each on its grid; the study's file is opened at most once."""
        keys = [(sample.study_id, sample.anatomy, grid) for sample, grid in zip(samples, grids, strict=True)]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [(sample, grid) for sample, grid, key in zip(samples, grids, keys, strict=True) if key not in found]
        if missing:
            with self.store.open_study(samples[0].study_id) as study:
                for sample, grid in missing:
                    crop = study.crop(sample.volume, sample.anatomy)
                    for number in range(self.shifts) if self._free else (grid,):
                        key, shift = (sample.study_id, sample.anatomy, number), self._shift(sample.anatomy, number)
                        found[key] = self.tokenizer.tokenize(crop, sample.anatomy, shift=shift)
                        self._keep(key, found[key])
        return [found[key] for key in keys]

    def _keep(self, key: tuple[str, str, int], tokens: Tokens) -> None:
        """Keep tokens while there is room; the first that do not fit end it."""
        size = sum(value.nbytes for value in vars(tokens).values() if isinstance(value, np.ndarray))
        if size <= self._free:
            self._kept[key] = tokens
            self._free -= size
        elif self._free:
            self._free = 0
            crops = len({kept[:2] for kept in self._kept})
            logger.info("memory_gb is full with tokens of %d crops; others are read from the store each time", crops)

    def draw(
        self, samples: Sequence[Sample], augmentation: AugmentationSettings, rng: np.random.Generator
    ) -> dict[str, Tokens]:
        """Return the tokens of one study's samples by anatomy, each on a random grid and changed at random."""
        grids = rng.integers(self.shifts, size=len(samples)).tolist()
        cut = self.study_tokens(samples, grids)
        return {sample.anatomy: augment(tokens, augmentation, rng) for sample, tokens in zip(samples, cut, strict=True)}

    def _shift(self, anatomy: str, grid: int) -> Shift:
        edge = self.tokenizer.patch_voxels[anatomy]
        z, y, x = (int(fraction * edge) for fraction in self._fractions[grid])
        return (z, y, x)


class WindowSource:
    """Cuts a random window out of each volume of a study; holds no open file.

    Args:
        store: Where volumes are read; it must keep them whole.
        grid: Size and patches of a window.
    """

    def __init__(self, store: "Store", grid: WindowGrid) -> None:
        self.store, self.grid = store, grid

    def draw(
        self, samples: Sequence[Sample], augmentation: AugmentationSettings, rng: np.random.Generator
    ) -> tuple[list[Window], dict[str, int]]:
        """Return the windows of one study's samples, and anatomy to the number of its window.

        Anatomies that their window cuts are left out.
        """
        volumes = {sample.anatomy: sample.volume for sample in samples}
        with self.store.open_study(samples[0].study_id) as study:
            return draw_study_windows(study, volumes, self.grid, augmentation, rng)


def build_source(
    store: "Store", model: "AnatomyCLIP", *, shifts: int, seed: int, memory_gb: float
) -> TokenSource | WindowSource:
    """Build what a model's encoder reads from; see `TokenSource` for the arguments, of which windows need none."""
    if model.window is not None:
        return WindowSource(store, model.window)
    return TokenSource(store, model, shifts=shifts, seed=seed, memory_gb=memory_gb)
