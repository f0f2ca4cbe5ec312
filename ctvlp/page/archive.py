"""What a store says of its archive: counts, splits, what was refused and why, and which anatomies are in view."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ctvlp.page.content_archive import ArchiveSummary, Refusal, Shares, Simulation
from ctvlp.page.kinds import group_messages

if TYPE_CHECKING:
    from preprocess.store import Store

EXTENTS = ("complete", "truncated", "absent")
MOST_VALUES = 10
"""Phases, kernels and scanners that are named; the rest is counted."""
_SPLITS = ("train", "val", "test")
_CHOICES = {
    "primary": "one volume a study",
    "one_per_phase": "one volume a contrast phase and region",
    "all": "every usable volume",
}


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
    volumes = manifest.drop_duplicates(["study_id", "volume"])
    left_out = series.loc[~series["chosen"].astype(bool), ["study_id", "reason"]].fillna("not stated").astype(str)
    refusals = [
        Refusal(*(str(failure.get(key, "")) for key in ("study", "stage", "reason", "message")))
        for failure in ({"study": entry.get("study_id", entry.get("study", "")), **entry} for entry in store.failures())
    ]
    return ArchiveSummary(
        patients=int(studies["patient_id"].nunique()),
        studies=len(studies),
        series=len(series),
        volumes=len(volumes),
        splits={name: (int(found[name]["patient_id"].nunique()), len(found[name])) for name in names},
        coverage=_coverage(manifest),
        shares=_shares(volumes),
        left_out=group_messages(left_out.itertuples(index=False, name=None)),
        refused=group_messages((refusal.study, f"{refusal.reason}: {refusal.message}") for refusal in refusals),
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
    best = (
        manifest[["anatomy", "study_id"]]
        .assign(order=order)
        .groupby(["anatomy", "study_id"])["order"]
        .min()
        .reset_index()
    )
    counts = best.groupby(["anatomy", "order"]).size()
    return {
        str(anatomy): {extent: int(counts.get((anatomy, number), 0)) for number, extent in enumerate(EXTENTS)}
        for anatomy in sorted(best["anatomy"].unique())
    }


def _shares(volumes: pd.DataFrame) -> list[Shares]:
    """Volumes by phase, kernel and scanner."""
    scanner = volumes["manufacturer"].fillna("").str.cat(volumes["model"].fillna(""), sep=" ").str.strip()
    scanner = scanner.where(scanner != "")
    columns = {"contrast phase": volumes["phase"], "kernel": volumes["kernel"], "scanner": scanner}
    return [_shares_of(name, values, volumes["study_id"]) for name, values in columns.items()]


def _shares_of(name: str, values: "pd.Series[Any]", studies: "pd.Series[Any]") -> Shares:
    groups = studies.groupby(values.fillna("unknown").astype(str))
    table = pd.DataFrame({"volumes": groups.size(), "studies": groups.nunique()})
    table = table.rename_axis("value").reset_index().sort_values(["volumes", "value"], ascending=[False, True])
    rows = tuple(
        (str(value), int(volumes), int(found))
        for value, volumes, found in table.head(MOST_VALUES).itertuples(index=False, name=None)
    )
    rest = table["volumes"].iloc[MOST_VALUES:]
    return Shares(name, rows, (len(rest), int(rest.sum())))


def _store_facts(store: "Store", manifest: pd.DataFrame) -> dict[str, str]:
    """Who segmented, which volumes were kept, and with which versions the store was made."""
    facts = {}
    first = str(manifest["study_id"].iloc[0]) if len(manifest) else None
    if first is not None:
        with store.open_study(first) as study:
            segmenter = study.volume_attributes(study.volumes[0]).get("segmenter") or {}
        named = " ".join(str(segmenter[key]) for key in ("name", "version") if segmenter.get(key))
        facts["masks"] = "from files, as given" if named == "files" else named or "not recorded"
    run = store.path / "run.json"
    told = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    settings = told.get("settings", {})
    if settings.get("series") in _CHOICES:
        facts["volumes"] = _CHOICES[settings["series"]]
    if told.get("versions"):
        facts["versions"] = ", ".join(f"{name} {version}" for name, version in told["versions"].items() if version)
    if settings.get("digest"):
        facts["settings digest"] = str(settings["digest"])
    return facts
