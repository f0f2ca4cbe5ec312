"""From plain values to one HTML file."""

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ctvlp import __version__
from ctvlp.evaluate import Evaluation
from ctvlp.metrics import Estimate
from ctvlp.page.charts import (
    axis_ticks,
    coverage_rows,
    curve_chart,
    histogram_chart,
    place_estimate,
    share_bars,
    spread_rows,
)
from ctvlp.page.content import Comparison, PageContent
from ctvlp.page.content_inspection import Inspection
from ctvlp.page.content_studies import AnatomyView, Sentence, StudyView
from preprocess.errors import InputError
from preprocess.publish import publish

LABELS_USED = "report labels used in training"
"""Entry of `PageContent.provenance` that is repeated beside the figures."""
REFUSALS_SHOWN = 200
KINDS_SHOWN = 25
"""Kinds of messages in a table; the rest is counted."""
UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class _Study:
    """A study as the template walks through it: its report in sections."""

    study_id: str
    short: str
    facts: Mapping[str, str]
    overview: Sequence[Any]
    report: list[tuple[str, list[Sentence]]]
    anatomies: tuple[AnatomyView, ...]


def build_page(out: Path | str, content: PageContent) -> Path:
    """Write a page under a temporary name, then rename it.

    Args:
        out: The HTML file; its folder is made if missing.
        content: What stands on it.

    Returns:
        `out`.

    Raises:
        InputError: The file cannot be written.
    """
    path = Path(out)
    html = render_page(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, html.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot write the page: {error.strerror or error}") from error
    return path


def render_page(content: PageContent) -> str:
    """Return the page as HTML; all text is escaped, and a content security policy forbids every request."""
    folder = files("ctvlp.page")
    inspection = content.inspection or Inspection()
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ctvlp.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        page=content,
        studies=[_study(study) for study in content.studies],
        coverage=coverage_rows(content.archive.coverage),
        shares=[share_bars(entry) for entry in content.archive.shares],
        refused=Counter(refusal.reason for refusal in content.archive.refusals).most_common(),
        refusals_shown=REFUSALS_SHOWN,
        kinds_shown=KINDS_SHOWN,
        histograms=[histogram_chart(entry) for entry in inspection.histograms],
        spreads=spread_rows(inspection.spreads),
        results=_results(content),
        has_truth=any(s.truth is not None for view in content.studies for a in view.anatomies for s in a.scores),
        has_ranks=any(s.rank is not None for view in content.studies for a in view.anatomies for s in a.scores),
        origin={**content.provenance, **_digests(content), "made with": f"ctvlp version {__version__}"},
        style=Markup(folder.joinpath("style.css").read_text(encoding="utf-8")),  # noqa: S704 (own file)
        script=Markup(script),  # noqa: S704 (own file)
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _study(view: StudyView) -> _Study:
    groups = itertools.groupby(view.sentences, key=lambda sentence: sentence.section)
    report = [(section, list(sentences)) for section, sentences in groups]
    return _Study(view.study_id, view.study_id[-6:], view.facts, view.overview, report, view.anatomies)


def _results(content: PageContent) -> dict[str, Any]:
    """What the results section shows; empty where there is nothing to show."""
    curves = [curve_chart(curve) for curve in content.curves if any(len(points) for points in curve.lines.values())]
    evaluation = content.evaluation
    if evaluation is None:
        return {"headline": None, "curves": curves, "reader": list(content.reader.items())} if curves else {}
    entries = (Comparison("this model, zero-shot", "", evaluation), *content.comparisons)
    counted = evaluation.findings[evaluation.findings["counted"]]
    axis = _auroc_axis(counted["auroc_low"].tolist(), lowest=0.2)
    mean_axis = _auroc_axis([entry.evaluation.means["auroc"].low for entry in entries], lowest=0.0)
    control_name, control = _best_control(content.comparisons)
    return {
        "headline": evaluation.means["auroc"],
        "training": content.provenance.get(LABELS_USED, ""),
        "counts": evaluation.counts,
        "min_positives": evaluation.provenance["min_positives"],
        "resamples": evaluation.provenance["resamples"],
        "excluded": [(reason.replace("_", " "), n) for reason, n in evaluation.counts["excluded"].items()],
        "below_half": [finding.replace(".", " ").replace("_", " ") for finding in evaluation.counts["below_half"]],
        "ticks": axis_ticks(axis, 5),
        "mean_ticks": axis_ticks(mean_axis, 5),
        "comparisons": [_comparison_row(entry, mean_axis) for entry in entries],
        "control_name": control_name,
        "findings": _finding_rows(evaluation, control, axis),
        "curves": curves,
        "reader": list(content.reader.items()),
    }


def _best_control(comparisons: Sequence[Comparison]) -> tuple[str, Evaluation | None]:
    """The control with the highest mean AUROC: it stands beside each finding."""
    best = max(comparisons, key=lambda entry: entry.evaluation.means["auroc"].value, default=None)
    return ("", None) if best is None else (best.name, best.evaluation)


def _comparison_row(entry: Comparison, axis: tuple[float, float]) -> dict[str, Any]:
    mean = entry.evaluation.means["auroc"]
    within = entry.evaluation.means.get("within", UNDEFINED)
    place = place_estimate(mean, axis)
    return {"name": entry.name, "note": entry.note, "mean": mean, "within": within, "gain": entry.gain, "place": place}


def _finding_rows(
    evaluation: Evaluation, control: Evaluation | None, axis: tuple[float, float]
) -> list[dict[Any, Any]]:
    beside = {} if control is None else dict(control.findings[["finding", "auroc"]].to_numpy())
    rows = []
    for row in evaluation.findings.to_dict("records"):
        estimate = Estimate(row["auroc"], row["auroc_low"], row["auroc_high"])
        mark = float(beside.get(row["finding"], np.nan))
        anatomy, name = _words(row["finding"], row["anatomy"])
        rows.append(
            {
                **row,
                "name": name,
                "anatomy": anatomy,
                "title": f"{anatomy} {name}",
                "estimate": estimate,
                "place": place_estimate(estimate, axis, marks=[mark]) if np.isfinite(estimate.value) else None,
                "control": mark,
                "left_out": sum(value for key, value in row.items() if str(key).startswith("excluded_")),
            }
        )
    return rows


def _auroc_axis(lows: Iterable[float], *, lowest: float) -> tuple[float, float]:
    """From the round tenth below all lower ends, between `lowest` and 0.4, to 1."""
    low = min((value for value in lows if np.isfinite(value)), default=0.4)
    return float(np.clip(np.floor(10 * low) / 10, lowest, 0.4)), 1.0


def _digests(content: PageContent) -> dict[str, str]:
    if content.evaluation is None:
        return {}
    origin = content.evaluation.provenance
    named = {"scores digest": "scores_digest", "labels digest": "labels_digest", "prompts digest": "prompts_digest"}
    return {**{name: str(origin[key]) for name, key in named.items()}, "figures recomputed by": str(origin["command"])}


def _words(finding: str, anatomy: str) -> tuple[str, str]:
    name = finding.removeprefix(f"{anatomy}.")
    return anatomy.replace("_", " "), name.replace("_", " ")
