"""The manifest: one row a study, volume and anatomy, rebuilt from the studies' files."""

import io
import json
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from preprocess.errors import StoreError
from preprocess.publish import publish
from preprocess.series_rules import is_sharp, load_series_rules, phase_rank
from preprocess.store import Store
from preprocess.store_place import StorePath, in_turn
from preprocess.tables import build_table
from preprocess.vocabulary import Anatomy
from preprocess.vocabulary_files import load_anatomies

logger = logging.getLogger(__name__)

EXTENTS = ("complete", "truncated", "absent")

_STUDY = ("patient_id", "split", "study_day", "age_years", "sex", "manufacturer", "model")
_VOLUME = ("series", "phase", "kernel", "hu_source")
_TYPES = {
    "study_id": "string", "volume": "string", "anatomy": "string", "patient_id": "string", "split": "string",
    "study_day": "Int64", "age_years": "Float64", "sex": "string", "manufacturer": "string", "model": "string",
    "series": "string", "phase": "string", "kernel": "string", "hu_source": "string", "extent": "string",
    "cut_fraction": "float64", "volume_ml": "float64", "spacing_z": "float64", "spacing_y": "float64",
    "spacing_x": "float64", "source_spacing_z": "float64", "primary": "bool",
    "flags": "string",
}  # fmt: skip


class Preference(NamedTuple):
    """Which volume an anatomy is taken from where several show it.

    Attributes:
        phases: Contrast phases, the preferred one first.
        kernel: `soft` or `sharp`.
    """

    phases: tuple[str, ...]
    kernel: str


Preferences = Mapping[str, Preference]


def preferences_of(anatomies: Mapping[str, Anatomy]) -> dict[str, Preference]:
    """What a vocabulary's anatomies prefer."""
    return {name: Preference(anatomy.phases, anatomy.kernel) for name, anatomy in anatomies.items()}


def stored_preferences(store: StorePath) -> dict[str, Preference]:
    """What the last run's vocabulary preferred, from `run.json`; what the shipped one does where that says nothing."""
    try:
        run = json.loads((store / "run.json").read_bytes())
        found = run["settings"]["preferences"]
        return {name: Preference(tuple(phases), kernel) for name, (phases, kernel) in found.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return preferences_of(load_anatomies())


def write_manifest(
    store: StorePath, preferences: Preferences | None = None, *, leave_damaged: bool = False
) -> pd.DataFrame:
    """Rebuild `manifest.parquet`, and return it.

    Args:
        store: Folder of the store.
        preferences: See `build_manifest`.
        leave_damaged: See `build_manifest`.

    Raises:
        StoreError: A study's file is damaged.
        OSError: The file system refuses.
    """
    table = build_manifest(store, preferences, leave_damaged=leave_damaged)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    publish(store / "manifest.parquet", buffer.getvalue())
    return table


def build_manifest(
    store: StorePath, preferences: Preferences | None = None, *, leave_damaged: bool = False
) -> pd.DataFrame:
    """The manifest, sorted by study, volume and anatomy.

    Spacings are the crop's; `source_spacing_z` and `flags` (joined by `; `, empty for most) are the volume's.
    `primary` marks the volume to take for an anatomy of a study: complete before truncated, then the phase and the
    kernel that the anatomy prefers, thin slices, and the first volume. An absent anatomy has no primary volume.

    Args:
        store: Folder of the store.
        preferences: Of each anatomy; by default those of the store's last run.
        leave_damaged: Leave out a study whose file is damaged.

    Raises:
        StoreError: A study's file is damaged.
    """
    reader = Store(store)
    chosen = stored_preferences(store) if preferences is None else preferences

    def rows_of(study_id: str) -> list[dict[str, Any]]:
        try:
            return _study_rows(reader, study_id, chosen)
        except StoreError as error:
            if not leave_damaged:
                raise
            logger.warning("%s: it is not in the manifest", error)
            return []

    by_study = in_turn(store, rows_of, reader.study_ids())
    table = build_table((row for rows in by_study for row in rows), _TYPES)
    return table.sort_values(["study_id", "volume", "anatomy"], kind="stable").reset_index(drop=True)


def _study_rows(store: Store, study_id: str, preferences: Preferences) -> list[dict[str, Any]]:
    """The manifest's rows of one study, from its file's attributes alone."""
    rows: list[dict[str, Any]] = []
    with store.open_study(study_id) as study:
        study.fetch_attributes()
        attributes = study.attributes
        for volume in study.volumes:
            volume_attributes = study.volume_attributes(volume)
            common = {
                "study_id": study_id,
                "volume": volume,
                "primary": False,
                **{key: attributes.get(key) for key in _STUDY},
                **{key: volume_attributes.get(key) for key in _VOLUME},
                "flags": "; ".join(volume_attributes.get("flags") or ()),
            }
            for anatomy in study.anatomies(volume):
                rows.append({**common, "anatomy": anatomy, **_crop_columns(study.anatomy_attributes(volume, anatomy))})
    for anatomy in {row["anatomy"] for row in rows}:
        candidates = [row for row in rows if row["anatomy"] == anatomy and row["extent"] != "absent"]
        if candidates:
            preference = preferences.get(anatomy, Preference(load_series_rules().phase_order, "soft"))
            min(candidates, key=lambda row: _rank(row, preference))["primary"] = True
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


def _rank(row: Mapping[str, Any], preference: Preference) -> tuple[int, int, bool, float, int, str]:
    phase = phase_rank(row["phase"], preference.phases) if preference.phases else 0
    other_kernel = is_sharp(row["kernel"]) != (preference.kernel == "sharp")
    name = row["volume"]
    thickness = round(row["source_spacing_z"], 2)
    return (EXTENTS.index(row["extent"]), phase, other_kernel, thickness, len(name), name)
