"""What a page says of single studies, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """One slice of a crop.

    Attributes:
        name: Plane and place, such as "axial, 41 mm above the lowest slice".
        width: Width in mm.
        height: Height in mm.
        image: Data URI.
        organ: SVG path of the organ's outline in mm.
        region: SVG path of the region's outline in mm.
        heat: Data URI of the overlay that shows where the model looked, or None.
    """

    name: str
    width: float
    height: float
    image: str
    organ: str = ""
    region: str = ""
    heat: str | None = None


@dataclass(frozen=True)
class FindingScore:
    """The score of one finding in one study.

    Attributes:
        finding: Id.
        name: Words for it.
        positive: Prompts that state it.
        negative: Prompts that deny it.
        probability: Score in [0, 1]; None where not assessable.
        rank: Share of the screened studies with a lower score, in [0, 1]; None where too few were screened.
        partial: Only part of the anatomy is in view.
        reason: Why it is not assessable; empty if it is.
        report: What the report says of it: 1, 0, -1, or None where it says nothing.
        truth: What is known to be true: 1, 0, or None where nothing is known.
    """

    finding: str
    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    probability: float | None
    rank: float | None = None
    partial: bool = False
    reason: str = ""
    report: int | None = None
    truth: int | None = None


@dataclass(frozen=True)
class AnatomyView:
    """One anatomy of one study.

    Attributes:
        name: Identifier.
        title: Words for it.
        extent: complete, truncated or absent.
        cut_fraction: How much of it is cut.
        volume_ml: Volume of the organ; None where absent.
        status: Status in the report; "no report" without one.
        sentences: What the report says of it.
        scores: Its findings, highest first, those without a score last.
        pictures: Slices; empty where absent.
        looked_for: Finding whose evidence the heat shows, in words; empty without heat.
        abnormal: Plain abnormality score; None where absent.
        box: Its place on the overview's coronal picture, (left, top, width, height) in mm; None where absent.
    """

    name: str
    title: str
    extent: str
    cut_fraction: float
    volume_ml: float | None
    status: str
    sentences: tuple[str, ...]
    scores: tuple[FindingScore, ...]
    pictures: tuple[Picture, ...] = ()
    looked_for: str = ""
    abnormal: float | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report, the section it stands in, and the anatomies it speaks of, in words."""

    section: str
    text: str
    anatomies: tuple[str, ...]


@dataclass(frozen=True)
class StudyView:
    """One study.

    Attributes:
        study_id: Pseudonym.
        facts: Name to value: age, sex, scanner, phase.
        overview: Coronal and sagittal pictures of the whole volume.
        sentences: The report.
        anatomies: The anatomies, those with the most remarkable score first.
    """

    study_id: str
    facts: Mapping[str, str]
    overview: tuple[Picture, ...]
    sentences: tuple[Sentence, ...]
    anatomies: tuple[AnatomyView, ...]
