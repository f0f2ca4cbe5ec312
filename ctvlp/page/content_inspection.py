"""What a page says of an archive's volumes, as plain values: distributions, flags, and what stands out."""

from collections.abc import Sequence
from dataclasses import dataclass

from ctvlp.page.content_archive import Kind
from ctvlp.page.content_studies import Picture


@dataclass(frozen=True)
class Histogram:
    """How one measure of the volumes is distributed.

    Attributes:
        name: Of the measure, with its unit.
        edges: Borders of the classes, ascending, one more than `counts`.
        counts: Volumes in each class.
        unknown: Volumes without the measure.
        beyond: Volumes below the first class, and above the last.
        extremes: Smallest and largest value of all.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    unknown: int = 0
    beyond: tuple[int, int] = (0, 0)
    extremes: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Spread:
    """Volumes of one anatomy over the studies that show all of it.

    Attributes:
        anatomy: Its name.
        studies: Number of studies.
        percentiles_ml: Percentiles 5, 25, 50, 75 and 95 in ml.
        outliers: Studies in which it is far larger or smaller than in the others.
    """

    anatomy: str
    studies: int
    percentiles_ml: tuple[float, float, float, float, float]
    outliers: int = 0


@dataclass(frozen=True)
class Noticed:
    """A kind of flag that volumes carry.

    Attributes:
        kind: What they say.
        pictures: The first of its studies, as an overview; empty where no more are shown.
    """

    kind: Kind
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Outlier:
    """An anatomy of a study that is far larger or smaller than in others: a mask that failed, or disease.

    Attributes:
        study_id: Pseudonym.
        anatomy: Name of the anatomy.
        volume_ml: Its volume.
        score: Modified z-score of the logarithm of the volume.
        reasons: Why it stands out, and what else is known of it, a sentence each.
        pictures: Slices through it.
    """

    study_id: str
    anatomy: str
    volume_ml: float
    score: float
    reasons: tuple[str, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Inspection:
    """What an archive looks like beyond its counts.

    Attributes:
        histograms: Of spacing and coverage.
        spreads: Volumes by anatomy.
        noticed: Flags of volumes, the most frequent first.
        flagged: Number of volumes that carry one.
        outliers: The most remarkable ones, most remarkable first.
        found: Number of outliers in all.
        far: Modified z-score from which a volume is one.
    """

    histograms: Sequence[Histogram] = ()
    spreads: Sequence[Spread] = ()
    noticed: Sequence[Noticed] = ()
    flagged: int = 0
    outliers: Sequence[Outlier] = ()
    found: int = 0
    far: float = 0.0
