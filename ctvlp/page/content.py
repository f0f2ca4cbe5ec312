"""What stands on a page, as plain values: the archive, the results, the studies, and where all of it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ctvlp.evaluate import Evaluation
from ctvlp.metrics import Estimate
from ctvlp.page.content_archive import ArchiveSummary, Simulation
from ctvlp.page.content_inspection import Inspection
from ctvlp.page.content_studies import StudyView


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
