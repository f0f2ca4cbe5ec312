"""Scores against labels: every figure with its interval, what was left out and why, and how to recompute it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctvlp import metrics
from ctvlp.evaluation_files import write_evaluation
from ctvlp.metrics import Estimate
from ctvlp.scores import Table, read_labels, read_scores, read_table, score_notes, table_digest
from ctvlp.zeroshot import NotAssessable
from preprocess.errors import InputError
from preprocess.store_place import local_place

Floats = NDArray[np.float64]
Null = Literal["exclude", "negative"]

NO_LABELS, UNCERTAIN, NOT_MENTIONED = "no_labels", "uncertain", "not_mentioned"
EXCLUSIONS = (NO_LABELS, *NotAssessable, UNCERTAIN, NOT_MENTIONED)
"""Why a (study, finding) is not judged; the first that applies is counted."""

_COUNTED_BY = {"auroc": "counted", "ap": "counted", "within": "counted_within", "normality": "counted"}


@dataclass(frozen=True)
class Evaluation:
    """The figures of one set of scores.

    Attributes:
        findings: One row a finding, in the order of the scores: `n`, `positives`, `auroc`, `ap`, `within` (AUROC among
            studies in which that anatomy is abnormal) and `normality` (AUROC of the plain abnormality score), each with
            `_low` and `_high` (empty with fewer than `min_positives` of either class: resamples of a handful deceive);
            `within_n`, `within_positives`, `brier`, `ece`, `below_half`, `counted` and `counted_within` (enough
            positives, and negatives, for the means), and one `excluded_<reason>` a reason.
        means: Mean over the counted findings of `auroc`, `ap`, `within`, `normality`, with its interval.
        resampled: (r,) mean AUROC in each resample: paired comparisons need it.
        counts: Patients, studies, judged pairs, exclusions by reason, counted findings, findings below 0.5.
        provenance: Digests, settings and the command that recomputes all this.
    """

    findings: pd.DataFrame
    means: dict[str, Estimate]
    resampled: Floats
    counts: dict[str, Any]
    provenance: dict[str, Any]


def evaluate(
    scores: Table,
    labels: Table,
    out: Path | str | None = None,
    *,
    split: str | None = "test",
    null: Null = "exclude",
    min_positives: int = 5,
    resamples: int = 1000,
    seed: int = 0,
    run: Path | str | None = None,
    ids: Table | None = None,
) -> Evaluation:
    """Judge scores by labels.

    Args:
        scores: Table of `ctvlp screen`, or its path (parquet or csv).
        labels: `study_id` and one column a finding: 1 positive, 0 negative, -1 uncertain, empty not mentioned.
        out: Folder for `metrics.json` and `metrics.parquet`; nothing is written without it.
        split: Judge only studies of this split; None for all.
        null: What "not mentioned" means: left out, or negative.
        min_positives: Positives a finding needs to count in the means.
        resamples: Bootstrap resamples of patients.
        seed: Seed of the resamples.
        run: Training run whose `split.parquet` names further patients that must not be judged.
        ids: Table that maps the labels' `study_id` (its column `key`) to the scores' (its column `study_id`).

    Raises:
        InputError: A table is missing or wrong, nothing is left to judge, or a training patient is among those judged.
    """
    if null not in ("exclude", "negative"):
        raise InputError(f"null: expected exclude or negative, got {null!r}")
    if out is not None:
        local_place(out, "out")
    scored, known = read_scores(scores), read_labels(labels, ids)
    judged = scored if split is None else scored[scored["split"] == split]
    if judged.empty:
        raise InputError(f"no scores of split {split!r}; splits in the table: {sorted(set(scored['split']))}")
    _refuse_training_patients(scored, judged, run)
    rows = _with_truth(judged, known, null)
    if not (rows["excluded"] == "").any():
        raise InputError("no score can be judged: no study of these scores has a label, or none is assessable")
    findings, resampled = _figures(rows, min_positives, resamples, seed)
    settings = {"split": split, "null": null, "min_positives": min_positives, "resamples": resamples, "seed": seed}
    paths = {"scores": scores, "labels": labels, "ids": ids, "out": out, "run": run}
    digests = {
        "scores_digest": table_digest(scored.sort_values(["study_id", "finding"])),
        "labels_digest": table_digest(known.sort_index().sort_index(axis=1).reset_index()),
        "judged_digest": table_digest(rows.sort_values(["study_id", "finding"])[[*_JUDGED]]),
    }
    result = Evaluation(
        findings=findings,
        means={name: metrics.mean_interval(*_counted_rows(findings, name, resampled[name])) for name in _COUNTED_BY},
        resampled=metrics.defined_mean(_counted_rows(findings, "auroc", resampled["auroc"])[1]),
        counts=_counts(rows, findings),
        provenance={**settings, **digests, **_origin(scores), "command": _command(paths, settings)},
    )
    if out is not None:
        write_evaluation(result, Path(out))
    return result


def difference(first: Evaluation, second: Evaluation) -> Estimate:
    """Mean AUROC of `first` less that of `second`, paired: both judged on the same studies with the same resamples.

    Raises:
        InputError: The two were not judged on the same studies, findings and resamples.
    """
    same = ("judged_digest", "resamples", "seed", "min_positives")
    if any(first.provenance[key] != second.provenance[key] for key in same):
        raise InputError("a paired difference needs both scores judged on the same studies, findings and resamples")
    gap = first.means["auroc"].value - second.means["auroc"].value
    return metrics.interval(gap, first.resampled - second.resampled)


_JUDGED = ("study_id", "patient_id", "finding", "truth", "excluded")


def _refuse_training_patients(scored: pd.DataFrame, judged: pd.DataFrame, run: Path | str | None) -> None:
    trained = set(scored.loc[scored["split"] == "train", "patient_id"])
    if run is not None:
        table = read_table(Path(run) / "split.parquet")
        trained |= set(table.loc[table["split"] == "train", "patient_id"].astype(str))
    among = sorted(trained & set(judged["patient_id"]))
    if among:
        raise InputError(
            f"{len(among)} of the patients judged are training patients, the first {among[0]}; judge a held-out split"
        )


def _with_truth(judged: pd.DataFrame, known: pd.DataFrame, null: Null) -> pd.DataFrame:
    """Add to scores: `truth` (1, 0, -1, NaN), `excluded` (a reason or empty), `abnormal` (the anatomy, by labels)."""
    long = known.rename_axis("study_id").reset_index().melt("study_id", var_name="finding", value_name="truth")
    rows = judged.merge(long, on=["study_id", "finding"], how="left")
    truth = rows["truth"].astype("Float64").to_numpy(float, na_value=np.nan)
    labelled = (rows["study_id"].isin(known.index) & rows["finding"].isin(known.columns)).to_numpy()
    if null == "negative":
        truth = np.where(labelled & np.isnan(truth), 0.0, truth)
    conditions = [~labelled, ~rows["assessable"].to_numpy(bool), truth == -1, np.isnan(truth)]
    reasons = [np.full(len(rows), NO_LABELS), rows["reason"].to_numpy(str), *(np.full(len(rows), r) for r in _BY_LABEL)]
    anatomy_of = dict(zip(rows["finding"], rows["anatomy"], strict=True))
    positive = long[long["truth"].fillna(0) == 1]
    abnormal = set(zip(positive["study_id"], positive["finding"].map(anatomy_of), strict=True))
    return rows.assign(
        truth=truth,
        excluded=np.select(conditions, reasons, default=""),
        abnormal=[pair in abnormal for pair in zip(rows["study_id"], rows["anatomy"], strict=True)],
    )


_BY_LABEL = (UNCERTAIN, NOT_MENTIONED)


def _figures(
    rows: pd.DataFrame, min_positives: int, resamples: int, seed: int
) -> tuple[pd.DataFrame, dict[str, Floats]]:
    """Figures of each finding, and their resamples as (findings, r) by name."""
    kept = rows[rows["excluded"] == ""]
    studies = kept.drop_duplicates("study_id").set_index("study_id")["patient_id"].sort_index()
    weights = metrics.patient_weights(studies.to_numpy(object), resamples=resamples, seed=seed)  # (r, studies)
    records = []
    drawn: dict[str, list[Floats]] = {name: [] for name in _COUNTED_BY}
    for finding, group in rows.groupby("finding", sort=False):
        judged = group[group["excluded"] == ""]
        columns = studies.index.get_indexer(pd.Index(judged["study_id"]))
        record, resampled = _finding_figures(judged, np.take(weights, columns, axis=1), min_positives)
        record["counted"] = bool(record["positives"] >= min_positives and np.isfinite(record["auroc"]))
        enough = min(record["within_positives"], record["within_n"] - record["within_positives"]) >= min_positives
        record["counted_within"] = bool(record["counted"] and enough)
        left_out = group["excluded"].value_counts()
        excluded = {f"excluded_{reason}": int(left_out.get(reason, 0)) for reason in EXCLUSIONS}
        records.append({"finding": finding, "anatomy": group["anatomy"].iloc[0], **record, **excluded})
        for name, values in resampled.items():
            drawn[name].append(values)
    return pd.DataFrame(records), {name: np.stack(values) for name, values in drawn.items()}


def _finding_figures(
    judged: pd.DataFrame, weights: Floats, min_positives: int
) -> tuple[dict[str, Any], dict[str, Floats]]:
    positive = judged["truth"].to_numpy() == 1
    score = judged["probability"].to_numpy(float)
    plain = judged["abnormal_probability"].to_numpy(float)
    inside = judged["abnormal"].to_numpy(bool)
    statistics = {
        "auroc": (metrics.weighted_auroc, positive, score, weights),
        "ap": (metrics.weighted_average_precision, positive, score, weights),
        "within": (metrics.weighted_auroc, positive[inside], score[inside], weights[:, inside]),
        "normality": (metrics.weighted_auroc, positive, plain, weights),
    }
    record: dict[str, Any] = {"n": len(judged), "positives": int(positive.sum())}
    resampled = {}
    for name, (statistic, truth, by, drawn) in statistics.items():
        usable = bool(np.isfinite(by).all())  # a table without plain abnormality scores has none
        both = np.concatenate([np.ones((1, len(by))), drawn])
        values = statistic(truth, by, both) if usable else np.full(len(both), np.nan)
        enough = min(int(truth.sum()), int((~truth).sum())) >= min_positives
        estimate = metrics.interval(float(values[0]), values[1:] if enough else values[:0])
        record |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        resampled[name] = values[1:]
    record |= {"within_n": int(inside.sum()), "within_positives": int(positive[inside].sum())}
    record |= {"brier": metrics.brier_score(positive, score), "ece": metrics.calibration_error(positive, score)}
    record["below_half"] = bool(record["auroc"] < 0.5)
    return record, resampled


def _counted_rows(findings: pd.DataFrame, name: str, resampled: Floats) -> tuple[Floats, Floats]:
    counted = findings[_COUNTED_BY[name]].to_numpy(bool)
    return findings[name].to_numpy(float)[counted], resampled[counted]


def _counts(rows: pd.DataFrame, findings: pd.DataFrame) -> dict[str, Any]:
    kept = rows[rows["excluded"] == ""]
    left_out = rows.loc[rows["excluded"] != "", "excluded"].value_counts()
    return {
        "patients": int(kept["patient_id"].nunique()),
        "studies": int(kept["study_id"].nunique()),
        "judged": len(kept),
        "excluded": {str(reason): int(count) for reason, count in left_out.items()},
        "counted": int(findings["counted"].sum()),
        "counted_within": int(findings["counted_within"].sum()),
        "below_half": findings.loc[findings["below_half"] & findings["counted"], "finding"].tolist(),
    }


def _origin(scores: Table) -> dict[str, Any]:
    notes = score_notes(scores)
    return {key: notes.get(key, "not recorded") for key in ("prompts_digest", "checkpoint_digest", "vocabulary")}


def _command(paths: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    words = [f"{key}={value}" for key, value in paths.items() if isinstance(value, Path | str)]
    words += [f"{key}={'null' if value is None else value}" for key, value in settings.items()]
    return shlex.join(["ctvlp", "evaluate", *words])
