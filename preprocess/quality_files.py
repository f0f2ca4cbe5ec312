"""The quality of a reading as files that a person opens: counts as JSON, lists as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Sequence

from preprocess.errors import InputError
from preprocess.publish import publish
from preprocess.reading_quality import ReadingQuality
from preprocess.store_place import StorePath, store_place

UNMATCHED_ROWS = 5_000


def write_quality(folder: StorePath | str, quality: ReadingQuality) -> None:
    """Write `quality.json`, `unmatched.csv` (the most frequent first) and `contradictions.csv` into a folder.

    Args:
        folder: Folder or URL that is there.
        quality: What was counted.

    Raises:
        InputError: The folder cannot be written.
    """
    place = store_place(folder)
    counts = {
        "studies": quality.studies,
        "studies_without_a_match": quality.silent,
        "sentences": quality.sentences,
        "matched": quality.matched,
        "sections": {
            name: {"sentences": count, "matched": matched} for name, (count, matched) in quality.sections.items()
        },
        "anatomies": quality.anatomies,
        "findings": quality.findings,
    }
    unmatched = ((u.count, u.sentence, u.study_id) for u in quality.unmatched[:UNMATCHED_ROWS])
    contradictions = ((c.study_id, c.kind, c.what, c.detail) for c in quality.contradictions)
    contents = {
        "quality.json": json.dumps(counts, indent=1, ensure_ascii=False) + "\n",
        "unmatched.csv": _csv(("count", "sentence", "study_id"), unmatched),
        "contradictions.csv": _csv(("study_id", "kind", "what", "detail"), contradictions),
    }
    try:
        for name, text in contents.items():
            publish(place / name, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {' '.join(str(error).split())}") from error


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
