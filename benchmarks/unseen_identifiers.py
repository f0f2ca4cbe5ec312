"""Measure the removal of identifiers on reports whose wording the rules were written without.

    python -m benchmarks.unseen_identifiers [--file FILE] [--half all|read|unread] [--show 0]

FILE holds one report a line as JSON: `text`, `language`, `spans` (each with `text` and `kind`) and `known` (`names`,
`numbers`, `dates`: what headers and report table say). A span counts as removed when none of its telling pieces is left
more often than outside all spans. A hash of the text divides the reports into two halves: gaps may be looked at in the
half that is `read`, and are judged on the other. Further figures: the share of words outside all spans (ranks and times
of day aside) that are removed, and the report reader's labels that differ from those of the same text with exactly its
spans replaced.
"""

import argparse
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.deidentify import STAND_INS, Deidentifier
from preprocess.identifier_words import IdentifierWords, load_identifier_words
from preprocess.known_identifiers import KnownIdentifiers, name_key, read_day
from preprocess.phrases import fold
from preprocess.report_reader import build_reader
from preprocess.vocabulary_files import load_vocabulary

FILE = Path(__file__).with_suffix(".jsonl")
STAND_IN = {"number": "[id]", "phone": "[contact]", "mail": "[contact]", "url": "[contact]", "place": "[institution]"}
CLOCK = re.compile(r"\d\d?:\d\d")
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


@dataclass(frozen=True)
class UnseenReport:
    """A report, and what of it must go.

    Attributes:
        text: The report.
        language: "en" or "de".
        spans: Text and kind of each identifier.
        known: What headers and table say.
    """

    text: str
    language: str
    spans: tuple[tuple[str, str], ...]
    known: KnownIdentifiers

    @property
    def is_read(self) -> bool:
        """Whether it belongs to the half that may be looked at."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 0


def read_reports(path: Path) -> list[UnseenReport]:
    """Read the reports of a file."""
    found = []
    for line in unicodedata.normalize("NFC", path.read_text(encoding="utf-8")).split("\n")[:-1]:
        row = json.loads(line)
        known = row["known"]
        days = tuple(day for text in known["dates"] if (day := read_day(text)) is not None)
        identifiers = KnownIdentifiers(tuple(known["names"]), tuple(known["numbers"]), days)
        spans = tuple((span["text"], span["kind"]) for span in row["spans"])
        found.append(UnseenReport(row["text"], row["language"], spans, identifiers))
    return found


def places_of(report: UnseenReport) -> list[tuple[int, int, str]]:
    """Start, end and kind of every place where a span's text stands alone, without those inside longer ones."""
    found: list[tuple[int, int, str]] = []
    for written, kind in sorted(set(report.spans), key=lambda span: -len(span[0])):
        for match in re.finditer(rf"(?<!\w){re.escape(written)}(?!\w)", report.text):
            if not any(start < match.end() and match.start() < end for start, end, _ in found):
                found.append((*match.span(), kind))
    return sorted(found)


def telling_pieces(written: str, kind: str, words: IdentifierWords) -> tuple[str, ...]:
    """Pieces of an identifier that must not be left: words that are no rank or common word, long digits, a year."""
    digits = re.findall(r"\d{3,}", written)
    if kind == "age":
        return (written,)
    if kind == "date":
        return (written, *YEAR.findall(written), *re.findall(r"\d\d?:\d\d", written))
    if kind in ("number", "phone"):
        return (written, *digits)
    if kind in ("mail", "url"):
        return (written, *re.findall(r"[\w.-]{4,}", written))
    common = words.titles | words.title_parts | words.salutations | words.particles | words.ordinary
    if kind != "name":
        phrases = words.institutions_after | words.institutions_before | words.institution_links | words.street_words
        common = common | {word for phrase in phrases for word in phrase.split()}
    own = [word for word in re.findall(r"[^\W\d_]{2,}", written) if fold(word) not in common]
    return tuple(own + digits) or (written,)


def replaced(text: str, places: Sequence[tuple[int, int, str]]) -> str:
    """A text with stand-ins in place of its spans."""
    pieces, last = [], 0
    for start, end, kind in places:
        pieces += [text[last:start], STAND_IN.get(kind) or STAND_INS[kind]]
        last = end
    return "".join([*pieces, text[last:]])


def left_pieces(
    report: UnseenReport, cleaned: str, words: IdentifierWords
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each span with its kind and those of its telling pieces that are left."""
    outside = replaced(report.text, places_of(report))
    for written, kind in report.spans:
        pieces = telling_pieces(written, kind, words)
        yield written, kind, tuple(piece for piece in pieces if _count(piece, cleaned) > _count(piece, outside))


def _count(piece: str, text: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(piece)}(?!\w)", text, re.IGNORECASE))


def needless_words(
    report: UnseenReport, deidentifier: Deidentifier, ranks: frozenset[str]
) -> Iterator[tuple[int, bool]]:
    """Yield where each word outside all spans begins, and whether it is removed; no ranks and times of day."""
    places = places_of(report)
    found = [span[:2] for span in deidentifier.find(report.text, report.known)]
    for word in re.finditer(r"\S+", report.text):
        if CLOCK.search(word[0]) or set(re.findall(r"[^\W\d_]+", fold(word[0]))) <= ranks:
            continue
        if not any(start < word.end() and word.start() < end for start, end, _ in places):
            yield word.start(), any(start < word.end() and word.start() < end for start, end in found)


def is_known(written: str, kind: str, report: UnseenReport, words: IdentifierWords) -> bool:
    """Whether headers or table know an identifier: all of a name's pieces, or a number."""
    if kind == "number":
        return written in report.known.numbers
    parts = {name_key(word) for name in report.known.names for word in re.findall(r"[^\W\d_]+", name)}
    return kind == "name" and {name_key(piece) for piece in telling_pieces(written, kind, words)} <= parts


def measure(reports: Sequence[UnseenReport], deidentifier: Deidentifier, show: int) -> None:
    """Print recall by kind, and what is removed without need."""
    words, reader = load_identifier_words(), build_reader(load_vocabulary("ct54"))
    ranks = frozenset(words.titles | words.title_parts | words.salutations | {fold(part) for part in words.credentials})
    counts: Counter[tuple[str, str, bool]] = Counter()
    misses: list[str] = []
    outside = removed = labels = differing = 0
    for report in reports:
        cleaned = deidentifier.apply(report.text, report.known).text
        for written, kind, left in left_pieces(report, cleaned, words):
            counts["kind", kind, not left] += 1
            counts["language", report.language, not left] += 1
            if is_known(written, kind, report, words):
                counts["known", kind, not left] += 1
            if left:
                misses.append(f"{kind} {written!r} left {left}: {_around(report.text, report.text.find(written))!r}")
        for start, touched in needless_words(report, deidentifier, ranks):
            outside += 1
            removed += touched
            if touched:
                misses.append(f"without need: {_around(report.text, start)!r}")
        exact, ours = (reader.read(text).labels for text in (replaced(report.text, places_of(report)), cleaned))
        labels += len(exact)
        differing += sum(exact[name] != ours[name] for name in exact)
    for table, key in sorted({(table, key) for table, key, _ in counts}):
        found, missed = counts[table, key, True], counts[table, key, False]
        print(f"{table} {key:10s} {found / (found + missed):8.4f}  of {found + missed}")
    found, missed = (
        sum(n for (table, _, ok), n in counts.items() if table == "kind" and ok is good) for good in (True, False)
    )
    print(f"removed {found / (found + missed):.4f} of {found + missed} identifiers in {len(reports)} reports")
    print(f"words removed without need: {removed} of {outside} ({removed / outside:.5f})")
    print(f"labels that differ from those of the exact removal: {differing} of {labels}")
    for miss in misses[:show]:
        print(miss)


def _around(text: str, place: int) -> str:
    return text[max(0, place - 60) : place + 80]


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--half", choices=["all", "read", "unread"], default="all")
    parser.add_argument("--show", type=int, default=0)
    arguments = parser.parse_args()
    reports = read_reports(arguments.file)
    wanted = {"all": (True, False), "read": (True,), "unread": (False,)}[arguments.half]
    measure([report for report in reports if report.is_read in wanted], Deidentifier(), arguments.show)


if __name__ == "__main__":
    main()
