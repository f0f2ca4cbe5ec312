"""A page of the archive alone: distributions of spacing, coverage and volumes, and outliers with a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctvlp.page.archive import find_simulation, summarize_archive
from ctvlp.page.build import build_page
from ctvlp.page.content import Histogram, Inspection, Outlier, PageContent, Spread
from ctvlp.page.slices import crop_pictures
from preprocess.errors import InputError
from preprocess.store import Store

Progress = Callable[[int, int], None]

FAR = 3.5
"""Modified z-score from which a volume is an outlier (Iglewicz and Hoaglin, 1993)."""
FEWEST = 10
"""Studies below which nothing is called an outlier."""
_NORMAL_MAD = 0.6745  # median absolute deviation of the standard normal distribution
_CLASSES = 24


def inspect_store(store: Path | str, out: Path | str, *, outliers: int = 24, progress: Progress | None = None) -> Path:
    """Write a page about the archive behind a store: counts, refusals, distributions and outliers.

    Args:
        store: The store.
        out: The HTML file.
        outliers: Outliers shown with pictures.
        progress: Called with pictures done and all pictures.

    Returns:
        `out`.

    Raises:
        InputError: The store is none or empty, or the page cannot be written.
    """
    source = Store(store)
    if source.manifest().empty:
        raise InputError(f"store={store}: holds no study to inspect")
    content = PageContent(
        title="A CT archive by anatomy",
        subtitle="What was found, what was refused and why, and what stands out.",
        archive=summarize_archive(source),
        inspection=summarize_inspection(source, outliers=outliers, progress=progress),
        simulation=find_simulation(source),
    )
    return build_page(out, content)


def summarize_inspection(store: Store, *, outliers: int = 24, progress: Progress | None = None) -> Inspection:
    """Distributions and outliers of a store.

    Args:
        store: The store.
        outliers: How many to show with pictures.
        progress: Called with pictures done and all pictures.
    """
    manifest, series = store.manifest(), store.series()
    volumes = manifest.drop_duplicates(["study_id", "volume"])
    taken = series[series["chosen"].astype(bool)]
    histograms = [
        _histogram("distance between slices, mm", volumes["source_spacing_z"]),
        _histogram("coverage along the body, mm", taken["coverage_mm"]),
        _histogram("slices", taken["slices"]),
    ]
    whole = manifest[manifest["primary"].astype(bool) & (manifest["extent"] == "complete")]
    found = find_outliers(whole)
    shown = []
    for number, row in enumerate(found.head(outliers).itertuples()):
        shown.append(_outlier(store, row))
        if progress is not None:
            progress(number + 1, min(outliers, len(found)))
    return Inspection([entry for entry in histograms if entry is not None], _spreads(whole), shown, len(found), FAR)


def find_outliers(whole: pd.DataFrame) -> pd.DataFrame:
    """Find anatomies whose volume lies far from that of other studies, farthest first.

    The modified z-score of the logarithm of the volume, 0.6745 (x - median) / MAD, beyond `FAR` in size. Where more
    than half of the studies have one and the same volume the score is not defined, and nothing is found.

    Args:
        whole: Rows of the manifest, complete anatomies alone.

    Returns:
        The rows with columns `median_ml` and `score`.
    """
    parts = []
    for _, rows in whole[whole["volume_ml"] > 0].groupby("anatomy", sort=True):
        size = np.log(rows["volume_ml"].to_numpy(np.float64))
        middle = float(np.median(size))
        deviation = float(np.median(np.abs(size - middle)))
        if len(rows) >= FEWEST and deviation > 0:
            parts.append(rows.assign(median_ml=np.exp(middle), score=_NORMAL_MAD * (size - middle) / deviation))
    if not parts:
        return whole.head(0).assign(median_ml=0.0, score=0.0)
    every = pd.concat(parts)
    far = every[every["score"].abs() > FAR]
    return far.assign(size=far["score"].abs()).sort_values(
        ["size", "study_id", "anatomy"], ascending=[False, True, True]
    )


def _outlier(store: Store, row: Any) -> Outlier:
    with store.open_study(str(row.study_id)) as study:
        crop = study.crop(str(row.volume), str(row.anatomy))
    return Outlier(
        study_id=str(row.study_id),
        anatomy=str(row.anatomy),
        volume_ml=float(row.volume_ml),
        median_ml=float(row.median_ml),
        score=float(row.score),
        pictures=crop_pictures(crop)[-2:],  # the highest axial slice and the coronal one
    )


def _histogram(name: str, values: "pd.Series[float]") -> Histogram | None:
    """Up to `_CLASSES` classes of round width; None where nothing is known."""
    known = np.asarray(values.dropna(), dtype=np.float64)
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    width = _round_up((high - low) / _CLASSES) if high > low else 1.0
    edges = np.arange(np.floor(low / width), np.floor(high / width) + 2) * width
    counts, _ = np.histogram(known, edges)
    unknown = int(values.isna().sum())
    return Histogram(name, tuple(edges.round(9).tolist()), tuple(counts.tolist()), unknown)


def _round_up(width: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9)))


def _spreads(whole: pd.DataFrame) -> list[Spread]:
    found = []
    for anatomy, rows in whole.groupby("anatomy", sort=True):
        p5, p25, p50, p75, p95 = np.percentile(rows["volume_ml"].to_numpy(np.float64), (5, 25, 50, 75, 95)).tolist()
        found.append(Spread(str(anatomy), len(rows), (p5, p25, p50, p75, p95)))
    return found
