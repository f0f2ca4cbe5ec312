"""The manifest: one row a study, volume and anatomy, rebuilt from the studies' files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.publish import publish
from preprocess.series import is_sharp
from preprocess.store import Store

PHASES = ("portal", "contrast", "delayed", "arterial", "native")
"""Preferred contrast phase first; an unknown phase comes last."""
EXTENTS = ("complete", "truncated", "absent")

_STUDY = ("patient_id", "split", "study_day", "age_years", "sex", "manufacturer", "model")
_VOLUME = ("series", "phase", "kernel", "hu_source")
_TYPES = {
    "study_id": "string", "volume": "string", "anatomy": "string", "patient_id": "string", "split": "string",
    "study_day": "Int64", "age_years": "Float64", "sex": "string", "manufacturer": "string", "model": "string",
    "series": "string", "phase": "string", "kernel": "string", "hu_source": "string", "extent": "string",
    "cut_fraction": "float64", "volume_ml": "float64", "spacing_z": "float64", "spacing_y": "float64",
    "spacing_x": "float64", "source_spacing_z": "float64", "primary": "bool",
}  # fmt: skip


def write_manifest(store: Path) -> pd.DataFrame:
    """Rebuild `manifest.parquet`, and return it.

    Raises:
        StoreError: A study's file is damaged.
        OSError: The file system refuses.
    """
    table = build_manifest(store)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    publish(store / "manifest.parquet", buffer.getvalue())
    return table


def build_manifest(store: Path) -> pd.DataFrame:
    """The manifest, sorted by study, volume and anatomy; spacings are the crop's, `source_spacing_z` the volume's.

    `primary` marks the volume to take for an anatomy of a study: complete before truncated, then the preferred phase
    (`PHASES`), a soft kernel, thin slices, and the first volume. An absent anatomy has no primary volume.

    Raises:
        StoreError: A study's file is damaged.
    """
    reader = Store(store)
    rows = [row for study_id in reader.study_ids() for row in _study_rows(reader, study_id)]
    table = pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
    return table.sort_values(["study_id", "volume", "anatomy"], kind="stable").reset_index(drop=True)


def _study_rows(store: Store, study_id: str) -> list[dict[str, Any]]:
    """The manifest's rows of one study, from its file's attributes alone."""
    rows: list[dict[str, Any]] = []
    with store.open_study(study_id) as study:
        attributes = study.attributes
        for volume in study.volumes:
            volume_attributes = study.volume_attributes(volume)
            common = {
                "study_id": study_id,
                "volume": volume,
                "primary": False,
                **{key: attributes.get(key) for key in _STUDY},
                **{key: volume_attributes.get(key) for key in _VOLUME},
            }
            for anatomy in study.anatomies(volume):
                rows.append({**common, "anatomy": anatomy, **_crop_columns(study.anatomy_attributes(volume, anatomy))})
    for anatomy in {row["anatomy"] for row in rows}:
        candidates = [row for row in rows if row["anatomy"] == anatomy and row["extent"] != "absent"]
        if candidates:
            min(candidates, key=_preference)["primary"] = True
    return rows


def _crop_columns(crop: Mapping[str, Any]) -> dict[str, Any]:
    z, y, x = crop["spacing_mm"]
    along_z = [crop["source_grid"]["affine"][row][0] for row in range(3)]
    return {
        **{key: crop[key] for key in ("extent", "cut_fraction", "volume_ml")},
        "spacing_z": z,
        "spacing_y": y,
        "spacing_x": x,
        "source_spacing_z": sum(step**2 for step in along_z) ** 0.5,
    }


def _preference(row: Mapping[str, Any]) -> tuple[int, int, bool, float, int, str]:
    phase = PHASES.index(row["phase"]) if row["phase"] in PHASES else len(PHASES)
    name = row["volume"]
    thickness = round(row["source_spacing_z"], 2)
    return (EXTENTS.index(row["extent"]), phase, is_sharp(row["kernel"]), thickness, len(name), name)
