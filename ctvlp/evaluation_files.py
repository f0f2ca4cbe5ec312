"""An evaluation on disk and as text: `metrics.json`, `metrics.parquet` and the printed table."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctvlp.metrics import Estimate
from preprocess.errors import InputError
from preprocess.publish import publish

if TYPE_CHECKING:
    from ctvlp.evaluate import Evaluation


def write_evaluation(evaluation: "Evaluation", out: Path) -> None:
    """Write `metrics.parquet` (a row a finding) and `metrics.json` (everything) under temporary names, then rename.

    Raises:
        InputError: The folder cannot be written.
    """
    record = {
        "means": {name: vars(estimate) for name, estimate in evaluation.means.items()},
        "counts": evaluation.counts,
        "provenance": evaluation.provenance,
        "findings": evaluation.findings.to_dict("records"),
    }
    text = json.dumps(_plain(record), indent=1, ensure_ascii=False)
    parquet = io.BytesIO()
    evaluation.findings.to_parquet(parquet, index=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        publish(out / "metrics.parquet", parquet.getvalue())
        publish(out / "metrics.json", text.encode())
    except OSError as error:
        raise InputError(f"{out}: cannot write the metrics: {error.strerror or error}") from error


def format_evaluation(evaluation: "Evaluation") -> str:
    """Return the figures as a plain text table, with means, exclusions, digests and the command behind them."""
    lines = [f"{'finding':<36}{'n':>5}{'pos':>5}  {'AUROC':<22}{'AP':>6}  {'within abnormal':<22}{'normality':>9}"]
    for row in evaluation.findings.to_dict("records"):
        flag = " below 0.5" if row["below_half"] else ""
        lines.append(
            f"{row['finding']:<36}{row['n']:>5}{row['positives']:>5}  {_bounded(row, 'auroc'):<22}"
            f"{_number(row['ap']):>6}  {_bounded(row, 'within'):<22}{_number(row['normality']):>9}{flag}"
        )
    return "\n".join([*lines, "", *_summary(evaluation)])


def format_estimate(estimate: Estimate) -> str:
    """Return a figure with its interval if it has one; a dash where it is not defined."""
    value, low, high = estimate.value, estimate.low, estimate.high
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite(low) else _number(value)


def _summary(evaluation: "Evaluation") -> list[str]:
    counts, origin = evaluation.counts, evaluation.provenance
    mean = {name: format_estimate(estimate) for name, estimate in evaluation.means.items()}
    excluded = ", ".join(f"{reason} {count}" for reason, count in counts["excluded"].items()) or "none"
    return [
        f"mean over {counts['counted']} findings with at least {origin['min_positives']} positives:",
        f"  AUROC {mean['auroc']}; average precision {mean['ap']}; plain abnormality score {mean['normality']}",
        f"  within abnormal studies {mean['within']} over {counts['counted_within']} findings",
        f"patients {counts['patients']}, studies {counts['studies']}, judged pairs {counts['judged']}",
        f"left out: {excluded}",
        f"digests: scores {origin['scores_digest']}, labels {origin['labels_digest']}, "
        f"prompts {origin['prompts_digest']}",
        f"recompute: {origin['command']}",
    ]


def _plain(value: Any) -> Any:
    """Replace what JSON cannot say: NaN becomes null, numpy scalars become Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def _bounded(row: Mapping[Any, Any], name: str) -> str:
    return format_estimate(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]))
