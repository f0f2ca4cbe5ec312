"""What of a report may be said of a study: nothing of an anatomy that lies outside the coverage of its volumes."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import pandas as pd

from preprocess.reading import AnatomyReading, ReportReading
from preprocess.vocabulary import Anatomy, Vocabulary

UNMENTIONED, REMOVED = "unmentioned", "removed"


def covered_anatomies(manifest: pd.DataFrame, anatomies: Mapping[str, Anatomy]) -> dict[str, frozenset[str]]:
    """Study to the anatomies that its volumes cover.

    An anatomy is outside their coverage where no volume shows it and none shows all of an anatomy beside it: else it
    is there, and the segmenter missed it, or it was removed. One of which the manifest does not tell counts as covered.

    Args:
        manifest: The store's.
        anatomies: Those of the vocabulary.
    """
    extents: dict[str, dict[str, set[str]]] = {}
    columns = (manifest[name].astype(str) for name in ("study_id", "anatomy", "extent"))
    for study_id, anatomy, extent in zip(*columns, strict=True):
        extents.setdefault(study_id, {}).setdefault(anatomy, set()).add(extent)
    return {study_id: frozenset(_covered(of_study, anatomies)) for study_id, of_study in extents.items()}


def _covered(extents: Mapping[str, Collection[str]], anatomies: Mapping[str, Anatomy]) -> Iterator[str]:
    for name, anatomy in anatomies.items():
        beside = any("complete" in extents.get(other, ()) for other in anatomy.beside)
        if beside or set(extents.get(name, ())) != {"absent"}:
            yield name


def restrict_reading(
    reading: ReportReading, covered: Collection[str], vocabulary: Vocabulary
) -> tuple[ReportReading, tuple[str, ...]]:
    """Leave out what a report says of anatomies that a study does not cover.

    Sentences stay as they are; so does an anatomy that was removed, which is why it is not to be seen.

    Args:
        reading: Of the study's reports.
        covered: Anatomies that the study's volumes cover.
        vocabulary: Whose anatomies and findings were read.

    Returns:
        The reading, in which the other anatomies are unmentioned and their findings have neither label nor evidence,
        and the names of those of which the report did say something.
    """
    hidden = frozenset(
        name for name, anatomy in reading.anatomies.items() if name not in covered and anatomy.status != REMOVED
    )
    if not hidden:
        return reading, ()
    outside = {finding.id for finding in vocabulary.findings if finding.anatomy in hidden}
    left_out = tuple(name for name in vocabulary.anatomies if name in hidden and _says(reading.anatomies[name]))
    restricted = replace(
        reading,
        anatomies={
            name: AnatomyReading(UNMENTIONED, "") if name in hidden else anatomy
            for name, anatomy in reading.anatomies.items()
        },
        evidence=tuple(one for one in reading.evidence if one.finding not in outside),
        labels={finding: None if finding in outside else label for finding, label in reading.labels.items()},
    )
    return restricted, left_out


def _says(anatomy: AnatomyReading) -> bool:
    return anatomy.status != UNMENTIONED or bool(anatomy.text)
