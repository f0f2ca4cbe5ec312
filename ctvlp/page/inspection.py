"""A page of the archive alone: flags, distributions of spacing, coverage and volumes, and outliers with a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctvlp.page.archive import find_simulation, summarize_archive
from ctvlp.page.build import build_page
from ctvlp.page.content import PageContent
from ctvlp.page.content_inspection import Histogram, Inspection, Noticed, Spread
from ctvlp.page.content_studies import Picture
from ctvlp.page.kinds import group_messages
from ctvlp.page.outliers import FAR, describe_outlier, find_outliers
from ctvlp.page.slices import overview_pictures
from preprocess.errors import InputError
from preprocess.store import Store
from preprocess.store_place import StorePath, local_place

Progress = Callable[[int, int], None]

FLAGS_PICTURED = 16
"""Kinds of flags that are shown with a picture."""
_CLASSES = 24
_MIDDLE = (0.5, 99.5)
"""Percentiles that the classes span where all values together span `_FAR_OUT` times as much."""
_FAR_OUT = 2.0


def inspect_store(
    store: StorePath | str, out: Path | str, *, outliers: int = 24, progress: Progress | None = None
) -> Path:
    """Write a page about the archive behind a store: counts, refusals, flags, distributions and outliers.

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
    source, page = Store(store), local_place(out, "out")
    if source.manifest().empty:
        raise InputError(f"store={store}: holds no study to inspect")
    content = PageContent(
        title="A CT archive by anatomy",
        subtitle="What was found, what was not used and why, and what stands out.",
        archive=summarize_archive(source),
        inspection=summarize_inspection(source, outliers=outliers, progress=progress),
        simulation=find_simulation(source),
    )
    return build_page(page, content)


def summarize_inspection(store: Store, *, outliers: int = 24, progress: Progress | None = None) -> Inspection:
    """Flags, distributions and outliers of a store.

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
    is_whole = manifest["primary"].astype(bool) & (manifest["extent"] == "complete")
    whole = manifest.loc[is_whole, ["study_id", "volume", "anatomy", "volume_ml", "source_spacing_z", "flags"]]
    found = find_outliers(whole)
    usual_step_mm = float(volumes["source_spacing_z"].median())
    shown = []
    for number, row in enumerate(found.head(outliers).to_dict("records")):
        shown.append(describe_outlier(store, row, found, usual_step_mm))
        if progress is not None:
            progress(number + 1, min(outliers, len(found)))
    flagged = volumes[volumes["flags"] != ""]
    return Inspection(
        histograms=[entry for entry in histograms if entry is not None],
        spreads=_spreads(whole, found),
        noticed=_noticed(store, flagged),
        flagged=len(flagged),
        outliers=shown,
        found=len(found),
        far=FAR,
    )


def _noticed(store: Store, flagged: pd.DataFrame) -> list[Noticed]:
    """Kinds of flags, the first ones with a picture of the first flagged volume of their first study."""
    said = ((str(row.study_id), flag) for row in flagged.itertuples() for flag in str(row.flags).split("; "))
    volumes = flagged.drop_duplicates("study_id").set_index("study_id")["volume"]
    kinds = group_messages(said)
    pictured = [
        Noticed(kind, _overview(store, kind.examples[0], str(volumes[kind.examples[0]])))
        for kind in kinds[:FLAGS_PICTURED]
    ]
    return [*pictured, *map(Noticed, kinds[FLAGS_PICTURED:])]


def _overview(store: Store, study_id: str, volume: str) -> tuple[Picture, ...]:
    with store.open_study(study_id) as study:
        hu, affine = study.overview(volume)
    z_mm, y_mm, x_mm = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return overview_pictures(hu, (z_mm, y_mm, x_mm))


def _histogram(name: str, values: "pd.Series[float]") -> Histogram | None:
    """Up to `_CLASSES` classes of round width; None where nothing is known."""
    known = np.asarray(values.dropna(), dtype=np.float64)
    if not len(known):
        return None
    extremes = float(known.min()), float(known.max())
    low, high = _span(known)
    width = _round_up((high - low) / _CLASSES) if high > low else 1.0
    edges = (np.arange(np.floor(low / width), np.floor(high / width) + 2) * width).round(9)
    inside = known[(known >= edges[0]) & (known < edges[-1])]
    counts, _ = np.histogram(inside, edges)
    beyond = int((known < edges[0]).sum()), int((known >= edges[-1]).sum())
    unknown = int(values.isna().sum())
    return Histogram(name, tuple(edges.tolist()), tuple(counts.tolist()), unknown, beyond, extremes)


def _span(known: NDArray[np.float64]) -> tuple[float, float]:
    """What the classes span: everything, unless a few values lie so far out that the others would share one class."""
    low, high = float(known.min()), float(known.max())
    middle_low, middle_high = np.percentile(known, _MIDDLE).tolist()
    apart = high - low > _FAR_OUT * (middle_high - middle_low) > 0
    return (middle_low, middle_high) if apart else (low, high)


def _round_up(width: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9)))


def _spreads(whole: pd.DataFrame, outliers: pd.DataFrame) -> list[Spread]:
    found, far = [], outliers["anatomy"].value_counts().to_dict()
    for anatomy, rows in whole.groupby("anatomy", sort=True):
        p5, p25, p50, p75, p95 = np.percentile(rows["volume_ml"].to_numpy(np.float64), (5, 25, 50, 75, 95)).tolist()
        found.append(Spread(str(anatomy), len(rows), (p5, p25, p50, p75, p95), int(far.get(anatomy, 0))))
    return found
