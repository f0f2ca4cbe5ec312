"""What there is to learn from: for each anatomy of each study of a split, its crop and what the report says of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from preprocess.canonical import normal_text, vague_texts
from preprocess.errors import InputError
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

    from preprocess.store import Store

Unmentioned = Literal["leave_out", "normal"]
TextKind = Literal["raw", "canonical", "mixed"]
KINDS = {"raw": ("text",), "canonical": ("canonical",), "mixed": ("text", "canonical")}
"""Columns of the table of anatomies that give a kind's texts."""


@dataclass(frozen=True, slots=True)
class SampleText:
    """One way to put what a report says of an anatomy.

    Attributes:
        text: The words.
        names_something: Whether it says what is found, so that equal texts mean the same: it names a finding of the
            anatomy, or what else is abnormal; not "Liver: stable.", and not merely "The liver is abnormal."
    """

    text: str
    names_something: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One anatomy of one study, with what a report says of it.

    Attributes:
        study_id: The study whose crop it is.
        patient_id: Its patient.
        anatomy: Name of the anatomy.
        volume: Name of the volume whose crop is taken.
        texts: What the report says of the anatomy; of several each batch draws one.
        normal: The report calls it normal.
        abnormal: The report calls it abnormal.
        uncertain: The report leaves it open.
        labels: float32 (K,), one entry a finding of the anatomy: 1, 0, -1 uncertain, NaN not mentioned.
        whole: The volume shows the whole anatomy.
        beyond_view: It does not, and the report states, suspects or denies a finding that only the whole anatomy can
            show: what the text says is not to be seen on the crop.
    """

    study_id: str
    patient_id: str
    anatomy: str
    volume: str
    texts: tuple[SampleText, ...]
    normal: bool
    abnormal: bool
    uncertain: bool
    labels: npt.NDArray[np.float32]
    whole: bool
    beyond_view: bool

    @property
    def alone(self) -> bool:
        """Whether the sample pairs with no other one: its text is in doubt, or beyond what its crop shows."""
        return self.uncertain or self.beyond_view

    @property
    def pairs_abnormal(self) -> bool:
        """Whether the sample is an abnormal one for pairing."""
        return self.abnormal and not self.alone


def read_samples(
    store: "Store",
    vocabulary: Vocabulary,
    *,
    split: str = "train",
    text: TextKind = "raw",
    unmentioned: Unmentioned = "leave_out",
    report_of: Mapping[str, str] | None = None,
) -> list[Sample]:
    """List the samples of a split: anatomies that are in view and that the report mentions.

    Args:
        store: The store.
        vocabulary: Anatomies and findings to train on.
        split: Which studies.
        text: The anatomy's own clauses as dictated (`raw`), one English sentence rendered from what was read
            (`canonical`), or both, of which each batch draws one (`mixed`).
        unmentioned: What an anatomy is that the report does not mention: no sample, or a normal one (fVLM's rule).
        report_of: Study to the study whose report it gets; its own where not named.

    Returns:
        By study and anatomy.

    Raises:
        InputError: No study of the split has both a crop and a report, or the store has no texts of this kind.
    """
    shown = shown_crops(store, split, vocabulary)
    said = _said(store, text)
    labels = store.table("labels").set_index("study_id").to_dict("index")
    samples = []
    for row in shown.itertuples():
        anatomy, source = str(row.anatomy), (report_of or {}).get(str(row.study_id), str(row.study_id))
        if source not in labels:
            continue
        status, *texts = said.get((source, anatomy), ("unmentioned",))
        if status == "unmentioned" and unmentioned == "normal":
            status, texts = "normal", [normal_text(vocabulary.anatomies[anatomy].title)]
        if status in ("normal", "abnormal", "uncertain") and any(texts):
            samples.append(_build_sample(row, status, texts, labels[source], vocabulary))
    if not samples:
        raise InputError(
            f"no study of split {split!r} has both a crop and a report: "
            f"{len(shown)} crops in view, {len(labels)} reports"
        )
    return samples


def _said(store: "Store", text: TextKind) -> dict[tuple[str, str], tuple[str, ...]]:
    """Study and anatomy to status and texts of a kind."""
    if text not in KINDS:
        raise InputError(f"text={text}: expected one of {', '.join(get_args(TextKind))}")
    table = store.table("anatomies")
    if missing := [column for column in KINDS[text] if column not in table.columns]:
        raise InputError(
            f"text={text}: the store's texts have no column {missing[0]!r}; preprocess the store again with its reports"
        )
    keys = zip(table["study_id"], table["anatomy"], strict=True)
    values = zip(table["status"], *(table[column] for column in KINDS[text]), strict=True)
    return dict(zip(keys, values, strict=True))


def shown_crops(store: "Store", split: str, vocabulary: Vocabulary) -> "pd.DataFrame":
    """Return the manifest's rows of a split for the volume to take of each anatomy in view, by study and anatomy."""
    manifest = store.manifest()
    wanted = (manifest["split"] == split) & manifest["primary"].astype(bool) & (manifest["extent"] != "absent")
    known = manifest["anatomy"].isin(list(vocabulary.anatomies))
    return manifest[wanted & known].sort_values(["study_id", "anatomy"])


def shuffled_reports(studies: Iterable[str], seed: int) -> dict[str, str]:
    """Give each study another one's report, at random: a control that must learn nothing of the findings.

    Args:
        studies: Ids.
        seed: Of the permutation, which leaves no study its own report where there are two or more.
    """
    names = sorted(set(studies))
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[i]: names[j] for i, j in zip(order, np.roll(order, 1), strict=True)}


def _build_sample(
    row: Any, status: str, texts: Iterable[str], labels: Mapping[Any, Any], vocabulary: Vocabulary
) -> Sample:
    findings = vocabulary.of(row.anatomy)
    values = [labels.get(finding.id) for finding in findings]
    known = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    mentioned = ~np.isnan(known)
    needs_whole = np.array([finding.needs == "whole" for finding in findings], dtype=bool)
    vague = vague_texts(vocabulary.anatomies[row.anatomy].title)
    whole = row.extent == "complete"
    says_what = status == "abnormal" or bool(mentioned.any())
    return Sample(
        study_id=str(row.study_id),
        patient_id=str(row.patient_id),
        anatomy=str(row.anatomy),
        volume=str(row.volume),
        texts=tuple(SampleText(text, says_what and text not in vague) for text in texts if text),
        normal=status == "normal",
        abnormal=status == "abnormal",
        uncertain=status == "uncertain",
        labels=known,
        whole=whole,
        beyond_view=not whole and bool((mentioned & needs_whole).any()),
    )
