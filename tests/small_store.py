"""A store in memory with two small organs, whose findings are drawn so plainly that a tiny model learns them."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from preprocess.crops import Crop, SourceGrid
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

FINDINGS = ("liver.fatty_liver", "liver.cyst", "kidney.calculus")
SPACING_MM = 5.0


def small_vocabulary() -> Vocabulary:
    """Two anatomies of `ct54` with three findings, and prompts in words that the tiny text encoder tells apart."""
    full = load_vocabulary("ct54")
    anatomies = {
        name: full.anatomies[name].model_copy(update={"index": i}) for i, name in enumerate(("liver", "kidney"))
    }
    findings = []
    for anatomy in anatomies:
        mine = [full.finding(name) for name in FINDINGS if name.startswith(anatomy)]
        for i, finding in enumerate(mine):
            positive = (finding.name, f"the {anatomy} is abnormal because of {finding.name}")
            negative = (f"normal {anatomy}", f"the {anatomy} is healthy, free of {finding.name}")
            findings.append(finding.model_copy(update={"index": i, "positive": positive, "negative": negative}))
    return Vocabulary(name="small", anatomies=anatomies, findings=tuple(findings))


def ball_crop(rng: np.random.Generator, stated: set[str], *, anatomy: str, extent: str = "complete") -> Crop:
    """A ball of an organ with its rim in a box, and the anatomy's findings as `stated`."""
    size = 18
    z, y, x = np.indices((size, size, size)) - (size - 1) / 2
    distance = np.sqrt(z**2 + y**2 + x**2)
    organ = distance < 5.5 + rng.uniform(-0.5, 0.5)
    image = rng.normal(-90, 12, organ.shape)
    image[organ] = rng.normal(60, 12, int(organ.sum()))
    if "liver.fatty_liver" in stated:
        image[organ] -= 60
    if "liver.cyst" in stated:
        image[np.sqrt((z - 2) ** 2 + y**2 + x**2) < 2.2] = 0
    if "kidney.calculus" in stated:
        image[9, 9, int(rng.integers(7, 11))] = 900
    mask = np.where(organ, 1, np.where(distance < 7.5, 255, 0)).astype(np.uint8)
    affine = np.array(
        [[0, 0, SPACING_MM, -40], [0, SPACING_MM, 0, 10], [SPACING_MM, 0, 0, 100], [0, 0, 0, 1]], dtype=np.float64
    )
    return Crop(
        image=image.round().astype(np.int16),
        mask=mask,
        affine=affine,
        spacing_mm=(SPACING_MM,) * 3,
        extent=extent,  # type: ignore[arg-type]
        cut_fraction=0.0,
        volume_ml=float(organ.sum()) * SPACING_MM**3 / 1000,
        parts=(anatomy,),
        source_grid=SourceGrid(shape=image.shape, affine=affine),
    )


@dataclass
class SmallStudy:
    """Stands in for `preprocess.store.StudyFile`."""

    crops: dict[str, Crop]
    reads: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def crop(self, volume: str, anatomy: str) -> Crop:
        self.reads.append(anatomy)
        return self.crops[anatomy]


@dataclass
class SmallStore:
    """Stands in for `preprocess.store.Store`: the methods that training uses."""

    studies: dict[str, SmallStudy]
    rows: list[dict[str, Any]]
    texts: list[dict[str, Any]]
    labels: list[dict[str, Any]]

    def manifest(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def table(self, name: str) -> pd.DataFrame:
        return pd.DataFrame({"anatomies": self.texts, "labels": self.labels}[name])

    def open_study(self, study_id: str) -> SmallStudy:
        return self.studies[study_id]


def small_store(studies: int, seed: int = 0, rate: float = 0.3, test: int = 0) -> SmallStore:
    """Build a store: `studies` to train on and `test` held out, every other patient with two studies."""
    rng = np.random.default_rng(seed)
    store = SmallStore({}, [], [], [])
    vocabulary = small_vocabulary()
    for number in range(studies + test):
        study, patient = f"s{number:03d}", f"p{number - number % 3 // 2:03d}"
        split = "train" if number < studies else "test"
        stated = {name for name in FINDINGS if rng.random() < rate}
        crops = {name: ball_crop(rng, stated, anatomy=name) for name in vocabulary.anatomies}
        store.studies[study] = SmallStudy(crops)
        store.labels.append({"study_id": study, "patient_id": patient, **{f: int(f in stated) for f in FINDINGS}})
        for name in vocabulary.anatomies:
            said = [vocabulary.finding(f).name for f in sorted(stated) if f.startswith(name)]
            text = f"There is {' and '.join(said)}." if said else f"The {name} is unremarkable."
            status = "abnormal" if said else "normal"
            canonical = f"The {name} is abnormal: {', '.join(said)}." if said else f"The {name} is unremarkable."
            row = {"study_id": study, "anatomy": name, "status": status, "text": text, "canonical": canonical}
            store.texts.append(row)
            store.rows.append(
                {"study_id": study, "patient_id": patient, "split": split, "volume": "v0", "anatomy": name}
                | {"extent": "complete", "primary": True}
            )
    return store
