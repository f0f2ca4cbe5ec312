"""What a page says of an archive, as plain values: what was read, kept and refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


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
class Kind:
    """Messages that say the same but for their numbers.

    Attributes:
        text: What they say; numbers that differ between them are left out.
        count: How many there are.
        studies: Studies that they are about.
        examples: A few of these studies.
        code: Entry of the closed list of reasons that they carry, or empty.
    """

    text: str
    count: int
    studies: int
    examples: tuple[str, ...]
    code: str = ""


@dataclass(frozen=True)
class Shares:
    """How volumes divide by something that their headers say.

    Attributes:
        name: What divides them.
        rows: Value, volumes and studies; the most frequent values first.
        others: Further values, and the volumes that have them.
    """

    name: str
    rows: tuple[tuple[str, int, int], ...]
    others: tuple[int, int] = (0, 0)


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
        shares: Volumes by phase, kernel and scanner.
        left_out: Why series were not taken.
        refused: Why studies failed.
        refusals: Studies that failed.
        facts: Further lines, name to value: segmenter, versions.
    """

    patients: int
    studies: int
    series: int
    volumes: int
    splits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    coverage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shares: Sequence[Shares] = ()
    left_out: Sequence[Kind] = ()
    refused: Sequence[Kind] = ()
    refusals: Sequence[Refusal] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
