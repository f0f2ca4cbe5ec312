"""Anatomies that are far larger or smaller than in other studies, and why each of them stands out."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctvlp.crop_kernels import REGION_VALUE
from ctvlp.page.content_inspection import Outlier
from ctvlp.page.slices import crop_pictures

if TYPE_CHECKING:
    from preprocess.store import Crop, Store

FAR = 3.5
"""Modified z-score from which a volume is an outlier (Iglewicz and Hoaglin, 1993)."""
FEWEST = 10
"""Studies below which nothing is called an outlier."""
THICK = 1.5
"""Slices count as far apart from this multiple of the usual distance on."""
_NORMAL_MAD = 0.6745  # median absolute deviation of the standard normal distribution
_NAMED = 6


def find_outliers(whole: pd.DataFrame) -> pd.DataFrame:
    """Find anatomies whose volume lies far from that of other studies: the farthest of each anatomy, then the next.

    The modified z-score of the logarithm of the volume, 0.6745 (x - median) / MAD, beyond `FAR` in size. Where more
    than half of the studies have one and the same volume the score is not defined, and nothing is found.

    Args:
        whole: Rows of the manifest, complete anatomies alone.

    Returns:
        The rows with columns `median_ml`, `low_ml` and `high_ml` (percentiles 5 and 95), `compared` (studies) and
        `score`.
    """
    parts = []
    for _, rows in whole[whole["volume_ml"] > 0].groupby("anatomy", sort=True):
        size = np.log(rows["volume_ml"].to_numpy(np.float64))
        middle = float(np.median(size))
        deviation = float(np.median(np.abs(size - middle)))
        if len(rows) >= FEWEST and deviation > 0:
            low, high = np.exp(np.percentile(size, (5, 95)))
            known = {"median_ml": np.exp(middle), "low_ml": low, "high_ml": high, "compared": len(rows)}
            parts.append(rows.assign(**known, score=_NORMAL_MAD * (size - middle) / deviation))
    if not parts:
        return whole.head(0).assign(median_ml=0.0, low_ml=0.0, high_ml=0.0, compared=0, score=0.0)
    every = pd.concat(parts)
    far = every[every["score"].abs() > FAR]
    far = far.assign(size=far["score"].abs()).sort_values(["size", "study_id"], ascending=[False, True])
    far = far.assign(turn=far.groupby("anatomy").cumcount())
    return far.sort_values(["turn", "size", "anatomy"], ascending=[True, False, True])


def describe_outlier(store: "Store", row: Mapping[Hashable, Any], found: pd.DataFrame, usual_step_mm: float) -> Outlier:
    """An outlier with its pictures and with what is known of it.

    Args:
        store: The store.
        row: Its row of `found`.
        found: What `find_outliers` gave.
        usual_step_mm: Median distance between slices in the store.
    """
    with store.open_study(str(row["study_id"])) as study:
        crop = study.crop(str(row["volume"]), str(row["anatomy"]))
    same_study = found[(found["study_id"] == row["study_id"]) & (found["anatomy"] != row["anatomy"])]
    return Outlier(
        study_id=str(row["study_id"]),
        anatomy=str(row["anatomy"]),
        volume_ml=float(row["volume_ml"]),
        score=float(row["score"]),
        reasons=tuple(_reasons(row, crop, sorted(same_study["anatomy"].astype(str)), usual_step_mm)),
        pictures=crop_pictures(crop)[-2:],  # the highest axial slice and the coronal one
    )


def _reasons(row: Mapping[Hashable, Any], crop: "Crop", others: list[str], usual_step_mm: float) -> list[str]:
    times = row["volume_ml"] / row["median_ml"]
    size = f"{times:.1f} times" if times >= 1 else f"{100 * times:.0f} % of"
    said = [
        f"{size} the median of {row['compared']} studies, {_ml(row['median_ml'])} ml; "
        f"nine tenths lie between {_ml(row['low_ml'])} and {_ml(row['high_ml'])} ml."
    ]
    missing = missing_parts(crop)
    if missing:
        said.append(f"Nothing is marked as {' or '.join(missing)}.")
    if row["source_spacing_z"] >= THICK * usual_step_mm:
        said.append(f"Slices lie {row['source_spacing_z']:.1f} mm apart; usual are {usual_step_mm:.1f} mm.")
    if row["flags"]:
        said.append(f"The volume is flagged: {row['flags']}.")
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        named = ", ".join(name.replace("_", " ") for name in others[:_NAMED])
        said.append(f"In this study {named}{more} stand out too.")
    return said


def missing_parts(crop: "Crop") -> list[str]:
    """Parts of an organ that its mask has no voxel of, in words; none where it has one part only."""
    if crop.mask is None or len(crop.parts) < 2:
        return []
    marked = set(np.unique(crop.mask[crop.mask < REGION_VALUE]).tolist())
    return [name.replace("_", " ") for number, name in enumerate(crop.parts, 1) if number not in marked]


def _ml(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
