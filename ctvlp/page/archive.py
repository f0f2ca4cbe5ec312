"""What a store says of its archive: counts, splits, what was refused and why, and which anatomies are in view."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ctvlp.page.content import ArchiveSummary, Refusal, Simulation

if TYPE_CHECKING:
    from preprocess.store import Store

EXTENTS = ("complete", "truncated", "absent")
_SPLITS = ("train", "val", "test")


def summarize_archive(store: "Store", facts: Mapping[str, str] | None = None) -> ArchiveSummary:
    """Count what a store holds and what was left out of it.

    Args:
        store: The store.
        facts: Further lines, name to value.

    Raises:
        StoreError: A table is missing or damaged.
    """
    manifest, series = store.manifest(), store.series()
    studies = manifest.drop_duplicates("study_id")
    found = {str(name): rows for name, rows in studies.groupby("split")}
    names = [*(name for name in _SPLITS if name in found), *sorted(set(found) - set(_SPLITS))]
    left_out = series.loc[~series["chosen"].astype(bool), "reason"].fillna("not stated").astype(str).value_counts()
    refusals = [
        Refusal(*(str(failure.get(key, "")) for key in ("study", "stage", "reason", "message")))
        for failure in ({"study": entry.get("study_id", entry.get("study", "")), **entry} for entry in store.failures())
    ]
    return ArchiveSummary(
        patients=int(studies["patient_id"].nunique()),
        studies=len(studies),
        series=len(series),
        volumes=len(manifest.drop_duplicates(["study_id", "volume"])),
        splits={name: (int(found[name]["patient_id"].nunique()), len(found[name])) for name in names},
        coverage=_coverage(manifest),
        left_out={str(reason): int(count) for reason, count in left_out.items()},
        refusals=refusals,
        facts={**_store_facts(store, manifest), **(facts or {})},
    )


def find_simulation(store: "Store") -> Simulation | None:
    """Tell whether a store was made from simulated images: their scanners say so in their manufacturer's name."""
    makers = store.manifest()["manufacturer"].fillna("").astype(str)
    return Simulation() if makers.str.upper().str.startswith("SIMULATED").any() else None


def _coverage(manifest: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Studies by the best extent of each anatomy over their volumes."""
    order = manifest["extent"].map({extent: number for number, extent in enumerate(EXTENTS)})
    best = manifest.assign(order=order).groupby(["anatomy", "study_id"])["order"].min().reset_index()
    counts = best.groupby(["anatomy", "order"]).size()
    return {
        str(anatomy): {extent: int(counts.get((anatomy, number), 0)) for number, extent in enumerate(EXTENTS)}
        for anatomy in sorted(best["anatomy"].unique())
    }


def _store_facts(store: "Store", manifest: pd.DataFrame) -> dict[str, str]:
    """Who segmented, which phases there are, and with which versions the store was made."""
    facts = {}
    first = str(manifest["study_id"].iloc[0]) if len(manifest) else None
    if first is not None:
        with store.open_study(first) as study:
            segmenter = study.volume_attributes(study.volumes[0]).get("segmenter") or {}
        named = " ".join(str(segmenter[key]) for key in ("name", "version") if segmenter.get(key))
        facts["masks"] = "from files, as given" if named == "files" else named or "not recorded"
    phases = manifest.drop_duplicates(["study_id", "volume"])["phase"].fillna("unknown").value_counts()
    facts["contrast phases"] = ", ".join(f"{phase} {count}" for phase, count in phases.items())
    run = store.path / "run.json"
    versions = json.loads(run.read_text(encoding="utf-8")).get("versions", {}) if run.is_file() else {}
    if versions:
        facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return facts
