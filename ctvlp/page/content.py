"""What stands on a page, as plain values: the archive, the results, the studies, and where all of it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ctvlp.evaluate import Evaluation
from ctvlp.metrics import Estimate


@dataclass(frozen=True)
class Simulation:
    """Where simulated data come from.

    Attributes:
        version: Version of the simulator; empty where the data only say that they are simulated.
        digest: Digest of the simulator.
        detail: Further words, such as site and prevalence.
    """

    version: str = ""
    digest: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Refusal:
    """A study that could not be used.

    Attributes:
        study: Pseudonym.
        stage: Stage at which it failed.
        reason: Entry of the closed list.
        message: What was wrong.
    """

    study: str
    stage: str
    reason: str
    message: str


@dataclass(frozen=True)
class ArchiveSummary:
    """What was read, kept and refused.

    Attributes:
        patients: Patients with at least one study in the store.
        studies: Studies in the store.
        series: Series seen.
        volumes: Volumes kept.
        splits: Split to (patients, studies).
        coverage: Anatomy to number of studies by extent: complete, truncated, absent.
        left_out: Why series were not taken, with their number.
        refusals: Studies that failed.
        facts: Further lines, name to value: segmenter, versions.
    """

    patients: int
    studies: int
    series: int
    volumes: int
    splits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    coverage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Scores of something else, judged on the same studies.

    Attributes:
        name: Short name.
        note: What it is, in a sentence.
        evaluation: Its figures.
        gain: Mean AUROC of the page's scores less this one's, paired; None where that was not computed.
    """

    name: str
    note: str
    evaluation: Evaluation
    gain: Estimate | None = None


@dataclass(frozen=True)
class Curve:
    """One curve of training.

    Attributes:
        name: What it shows.
        lines: Name of a line to its (x, y) points.
        x_name: Name of the horizontal axis.
        y_range: Ends of the vertical axis; from the points by default.
    """

    name: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    x_name: str = "epoch"
    y_range: tuple[float, float] | None = None


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
class Histogram:
    """How one measure of the volumes is distributed.

    Attributes:
        name: Of the measure, with its unit.
        edges: Borders of the classes, ascending, one more than `counts`.
        counts: Volumes in each class.
        unknown: Volumes without the measure.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    unknown: int = 0


@dataclass(frozen=True)
class Spread:
    """Volumes of one anatomy over the studies that show all of it.

    Attributes:
        anatomy: Its name.
        studies: Number of studies.
        percentiles_ml: Percentiles 5, 25, 50, 75 and 95 in ml.
    """

    anatomy: str
    studies: int
    percentiles_ml: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Outlier:
    """An anatomy of a study that is far larger or smaller than in others: a mask that failed, or disease.

    Attributes:
        study_id: Pseudonym.
        anatomy: Name of the anatomy.
        volume_ml: Its volume.
        median_ml: Median of all studies that show all of it.
        score: Modified z-score of the logarithm of the volume.
        pictures: Slices through it.
    """

    study_id: str
    anatomy: str
    volume_ml: float
    median_ml: float
    score: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Inspection:
    """What an archive looks like beyond its counts.

    Attributes:
        histograms: Of spacing and coverage.
        spreads: Volumes by anatomy.
        outliers: The most remarkable ones, most remarkable first.
        found: Number of outliers in all.
        far: Modified z-score from which a volume is one.
    """

    histograms: Sequence[Histogram] = ()
    spreads: Sequence[Spread] = ()
    outliers: Sequence[Outlier] = ()
    found: int = 0
    far: float = 0.0


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


@dataclass(frozen=True)
class PageContent:
    """Everything on a page.

    Attributes:
        title: Heading.
        subtitle: What it is about, in a sentence.
        archive: What was read and refused.
        inspection: Distributions and outliers, where the page is about the archive itself.
        simulation: Set when the data are simulated: the page says so prominently.
        evaluation: Figures where truth is known.
        truth_name: What the figures were judged by.
        comparisons: Controls judged on the same studies.
        curves: Training curves.
        reader: Quality of the report reader: name to (precision, recall, F1), where truth is known.
        studies: Study views.
        study_rule: How the studies shown were chosen.
        rank_name: What a score's rank is taken among.
        provenance: Name to value: digests, versions, commands.
    """

    title: str
    subtitle: str
    archive: ArchiveSummary
    inspection: Inspection | None = None
    simulation: Simulation | None = None
    evaluation: Evaluation | None = None
    truth_name: str = "labels"
    comparisons: Sequence[Comparison] = ()
    curves: Sequence[Curve] = ()
    reader: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    studies: Sequence[StudyView] = ()
    study_rule: str = ""
    rank_name: str = "the studies screened"
    provenance: Mapping[str, str] = field(default_factory=dict)
