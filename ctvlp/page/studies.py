"""Study views: pictures, the report's words, scores with their prompts, and where the model looked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ctvlp.evidence import evidence_map, token_evidence
from ctvlp.page.content_studies import AnatomyView, FindingScore, Sentence, StudyView
from ctvlp.page.slices import coronal_box, crop_pictures, overview_pictures
from ctvlp.prompts import PromptFeatures, finding_prompts
from preprocess.vocabulary import Anatomy, Finding, Vocabulary

if TYPE_CHECKING:
    from ctvlp.model import AnatomyCLIP
    from preprocess.store import Crop, Store, StudyFile

MIN_RANKED = 20
"""Studies that must have a score of a finding before a rank among them is given."""

Labels = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Sources:
    """What study views are made from.

    Attributes:
        store: The store.
        vocabulary: Anatomies and findings.
        scores: Table of `ctvlp.scores`.
        model: Shows where it looked; None, or one that reads whole volumes, leaves that out.
        prompts: Features of the findings' prompts; needed with a model.
        truth: Labels known to be true, indexed by study, or None.
        device: Where the model lies.
    """

    store: "Store"
    vocabulary: Vocabulary
    scores: pd.DataFrame
    model: "AnatomyCLIP | None" = None
    prompts: Mapping[str, PromptFeatures] = field(default_factory=dict)
    truth: pd.DataFrame | None = None
    device: str = "cpu"


def choose_studies(scores: pd.DataFrame, count: int, *, split: str | None = None) -> list[str]:
    """The first studies by identifier, of one split if named and present: what they show plays no part."""
    rows = scores if split is None or split not in set(scores["split"]) else scores[scores["split"] == split]
    return sorted(set(rows["study_id"].astype(str)))[:count]


def view_studies(sources: Sources, studies: Sequence[str]) -> tuple[StudyView, ...]:
    """View studies of a store, in the given order.

    Raises:
        StoreError: A study is missing or damaged.
    """
    ranks = score_ranks(sources.scores)
    statuses, sentences, labels = _report_tables(sources.store, studies)
    truth = _label_cells(sources.truth, studies)
    return tuple(_view_study(sources, study, ranks, statuses, sentences, labels, truth) for study in studies)


def score_ranks(scores: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Share of studies with a lower score of the same finding, ties counted half, by (study, finding).

    NaN where a finding was scored in fewer than `MIN_RANKED` studies.
    """
    grouped = scores.groupby("finding")["probability"]
    rank = (grouped.rank(method="average") - 0.5) / grouped.transform("count")
    rank = rank.where(grouped.transform("count") >= MIN_RANKED)
    keys = zip(scores["study_id"].astype(str), scores["finding"].astype(str), strict=True)
    return dict(zip(keys, rank.astype(float), strict=True))


def _view_study(
    sources: Sources,
    study: str,
    ranks: Mapping[tuple[str, str], float],
    statuses: Mapping[tuple[str, str], tuple[str, str]],
    sentences: Mapping[str, tuple[Sentence, ...]],
    labels: Labels,
    truth: Labels,
) -> StudyView:
    rows = sources.scores[sources.scores["study_id"] == study].set_index("finding")
    manifest = sources.store.manifest()
    taken = manifest[(manifest["study_id"] == study) & manifest["primary"].astype(bool)].set_index("anatomy")["volume"]
    with sources.store.open_study(study) as file:
        shown = str(taken.mode().iloc[0]) if len(taken) else file.volumes[0]
        hu, affine = file.overview(shown)
        spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
        views = []
        for anatomy in sources.vocabulary.anatomies.values():
            scores = _finding_scores(sources.vocabulary.of(anatomy.name), rows, study, ranks, labels, truth)
            volume = str(taken.get(anatomy.name, shown))
            crop = file.crop(volume, anatomy.name) if anatomy.name in file.anatomies(volume) else None
            if crop is None or not scores:
                continue
            said = statuses.get((study, anatomy.name), ("no report", ""))
            box = coronal_box(crop, affine, hu.shape) if volume == shown else None
            views.append(_view_anatomy(sources, anatomy, crop, scores, said, rows, box))
        facts = study_facts(file, shown)
    return StudyView(
        study_id=study,
        facts=facts,
        overview=overview_pictures(hu, (spacing[0], spacing[1], spacing[2])),
        sentences=sentences.get(study, ()),
        anatomies=tuple(sorted(views, key=_remarkable)),
    )


def _view_anatomy(
    sources: Sources,
    anatomy: Anatomy,
    crop: "Crop",
    scores: tuple[FindingScore, ...],
    said: tuple[str, str],
    rows: pd.DataFrame,
    box: tuple[float, float, float, float] | None,
) -> AnatomyView:
    heat, looked_for = None, ""
    model = sources.model
    # the volume encoder shows nothing: its tokens have seen the whole volume, and leaving one out tells little
    if model is not None and model.window is None and crop.mask is not None and scores[0].probability is not None:
        tokens = model.tokenize(crop, anatomy.name)
        prompts = [sources.prompts[scores[0].finding]]
        values = token_evidence(model, anatomy.name, tokens, prompts, device=sources.device)[0]
        heat = evidence_map(tokens, values, crop.mask > 0)
        looked_for = scores[0].name if heat.max() > 0 else ""
    plain = float(rows["abnormal_probability"].to_dict()[scores[0].finding])
    return AnatomyView(
        name=anatomy.name,
        title=anatomy.title,
        extent=crop.extent,
        cut_fraction=crop.cut_fraction,
        volume_ml=crop.volume_ml if crop.image is not None else None,
        status=said[0],
        sentences=(said[1],) if said[1] else (),
        scores=scores,
        pictures=crop_pictures(crop, heat),
        looked_for=looked_for,
        abnormal=plain if np.isfinite(plain) else None,
        box=box,
    )


def _finding_scores(
    findings: Sequence[Finding],
    rows: pd.DataFrame,
    study: str,
    ranks: Mapping[tuple[str, str], float],
    labels: Labels,
    truth: Labels,
) -> tuple[FindingScore, ...]:
    """Scores of one anatomy's findings: by rank, or by score where there is none; not assessable ones last."""
    found, scores = rows.to_dict("index"), []
    for finding in findings:
        if finding.id not in found:
            continue
        row, prompts = found[finding.id], finding_prompts(finding)
        rank = ranks.get((study, finding.id), float("nan"))
        scores.append(
            FindingScore(
                finding=finding.id,
                name=finding.name,
                positive=prompts.positive,
                negative=prompts.negative,
                probability=float(row["probability"]) if row["assessable"] else None,
                rank=rank if np.isfinite(rank) else None,
                partial=bool(row["partial"]),
                reason=str(row["reason"]),
                report=labels.get((study, finding.id)),
                truth=truth.get((study, finding.id)),
            )
        )
    return tuple(
        sorted(scores, key=lambda score: (score.probability is None, -(score.rank or 0), -(score.probability or 0)))
    )


def study_facts(file: "StudyFile", volume: str) -> dict[str, str]:
    """What is known of a study and its volume, name to value; what is unknown is left out."""
    study, of_volume = file.attributes, file.volume_attributes(volume)
    age, scanner = study.get("age_years"), [study.get("manufacturer"), study.get("model")]
    coverage = of_volume.get("coverage_mm")
    facts = {
        "age": None if age is None else f"{age:.0f} years",
        "sex": study.get("sex"),
        "scanner": ", ".join(str(part) for part in scanner if part),
        "phase": of_volume.get("phase"),
        "kernel": of_volume.get("kernel"),
        "in view": None if coverage is None else f"{coverage[0] / 10:.0f} cm from foot to head",
        "volumes": None if len(file.volumes) < 2 else str(len(file.volumes)),
        "split": study.get("split"),
        "noticed": "; ".join(of_volume.get("flags") or ()),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _report_tables(
    store: "Store", studies: Sequence[str]
) -> tuple[dict[tuple[str, str], tuple[str, str]], dict[str, tuple[Sentence, ...]], Labels]:
    """(study, anatomy) to status and text, study to sentences, (study, finding) to label; all empty without reports."""
    if not (store.path / "text" / "anatomies.parquet").is_file():
        return {}, {}, {}
    anatomies = store.table("anatomies")
    anatomies = anatomies[anatomies["study_id"].isin(list(studies))]
    statuses = {
        (str(row.study_id), str(row.anatomy)): (str(row.status), str(row.text or "")) for row in anatomies.itertuples()
    }
    table = store.table("sentences")
    table = table[table["study_id"].isin(list(studies))].sort_values(["study_id", "index"])
    sentences: dict[str, list[Sentence]] = {}
    for row in table.to_dict("records"):
        titles = tuple(str(name).replace("_", " ") for name in _listed(row["anatomies"]))
        sentence = Sentence(str(row["section"] or ""), str(row["text"]), titles)
        sentences.setdefault(str(row["study_id"]), []).append(sentence)
    labels = _label_cells(store.table("labels").set_index("study_id"), studies)
    return statuses, {study: tuple(found) for study, found in sentences.items()}, labels


def _label_cells(table: pd.DataFrame | None, studies: Sequence[str]) -> dict[tuple[str, str], int]:
    """(study, finding) to label, where one is given."""
    if table is None:
        return {}
    rows = table[table.index.isin(list(studies))].drop(columns="patient_id", errors="ignore")
    return {
        (str(study), str(finding)): int(value)
        for finding, column in rows.items()
        for study, value in column.items()
        if pd.notna(value)
    }


def _listed(value: Any) -> Sequence[str]:
    return () if value is None else list(value)


def _remarkable(view: AnatomyView) -> tuple[int, float, str]:
    """Anatomies whose first finding ranks highest come first, those that are not in view last."""
    first = view.scores[0]
    strength = first.rank if first.rank is not None else first.probability
    return (int(not view.pictures), -(strength if strength is not None else -1.0), view.name)
