"""Look for everything that names somebody in every byte that a run leaves: store, log, tables beside it, pages.

    python -m benchmarks.leaks [--studies 24] [--seed 1] [--site A|B] [--language en|de] [--folder FOLDER]

Simulates an archive with identifiers in its headers and reports, makes a store and the page of `ctvlp inspect`, and
prints which planted pieces are found. The key, the map of identifiers and the index, which are private, lie apart and
are not looked at. Short pieces and digits stand in other bytes by chance: see `find_leaks`.
"""

import argparse
import base64
import html
import io
import json
import logging
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ctvlp.page.inspection import inspect_store
from preprocess.identifier_words import load_identifier_words
from preprocess.phrases import fold
from preprocess.pipeline import preprocess_archive
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest

LEAST_LETTERS = 6
"""Characters of a piece that is looked for in any byte; a shorter one is looked for as a word in text."""

LEAST_DIGITS = 8
"""The same for digits alone; fewer are looked for in the reports' tables only, as years stand in many a number."""

IMAGE = re.compile(r"data:[\w/+.-]+;base64,([A-Za-z0-9+/=\s]+)")
TEXTS = (".json", ".jsonl", ".html", ".csv", ".txt", ".log", ".yaml", ".toml")


@dataclass
class Kept:
    """What a run left, to be searched.

    Attributes:
        data: Bytes of every file, of members of zips, and of images in pages, in lower case.
        text: All text: names, text files, cells of tables, in lower case.
        reports: Cells of the tables under `text/`, in lower case.
    """

    data: list[bytes]
    text: str
    reports: str


def read_kept(folders: Iterable[Path], log: str = "") -> Kept:
    """Read all that lies in folders, and a log."""
    data, text, reports = [log.lower().encode()], [log], []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            text.append(path.name)
            if not path.is_file():
                continue
            for name, content in _members(path):
                data.append(content.lower())
                words = _text_of(name, content)
                text.append(words)
                if path.parent.name == "text":
                    reports.append(words)
                data += [base64.b64decode(image).lower() for image in IMAGE.findall(words)]
    return Kept(data, IMAGE.sub("", "\n".join(text)).lower(), "\n".join(reports).lower())


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The content of a file, and of what it holds where it is a zip."""
    yield path.name, path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as members:
            yield from ((name, members.read(name)) for name in members.namelist())


def _text_of(name: str, content: bytes) -> str:
    """Content as text where it is one: tables as their cells, pages without entities."""
    if name.endswith(".parquet"):
        table = pd.read_parquet(io.BytesIO(content))
        return "\n".join(map(str, [*table.columns, *table.to_numpy().ravel()]))
    if not name.endswith(TEXTS):
        return ""
    words = content.decode("utf-8", errors="replace")
    return html.unescape(words) if name.endswith(".html") else words


def telling_pieces(planted: pd.DataFrame) -> list[str]:
    """Pieces of `truth/planted.parquet` that name somebody wherever they stand: none that is a word of reports too."""
    words = load_identifier_words()
    common = words.ordinary | words.surnames | words.terms
    pieces = {str(piece) for pieces in planted["telling"] for piece in pieces}
    return sorted(piece for piece in pieces if fold(piece) not in common)


def find_leaks(pieces: Sequence[str], kept: Kept) -> list[str]:
    """Those pieces that are found: in any byte, shorter ones as words in text, short digits in the reports alone."""
    found = []
    for piece in pieces:
        low = piece.lower()
        if low.isdigit() and len(low) < LEAST_DIGITS:
            hit = _stands(low, kept.reports)
        elif len(low) < LEAST_LETTERS:
            hit = _stands(low, kept.text)
        else:
            forms = {low.encode(), low.encode("utf-16-le"), json.dumps(piece)[1:-1].lower().encode()}
            forms |= {low.encode("latin-1")} if low.isascii() or _fits_latin(low) else set()
            hit = low in kept.text or any(form in data for form in forms for data in kept.data)
        if hit:
            found.append(piece)
    return found


def _fits_latin(text: str) -> bool:
    return all(ord(char) < 256 for char in text)


def _stands(piece: str, text: str) -> bool:
    """Whether a piece stands in a text as a word or number of its own."""
    return piece in text and re.search(rf"(?<![\w.,]){re.escape(piece)}(?![\w]|[.,]\d)", text) is not None


def run(folder: Path, studies: int, seed: int, site: str, language: str) -> tuple[list[str], list[str]]:
    """Simulate, preprocess, make the page; return what was looked for and what was found.

    Args:
        folder: Empty; receives `simulated`, `private` and `kept`.
        studies: Number of studies.
        seed: Of the simulation.
        site: "A" or "B".
        language: Of what is planted.
    """
    simulated, kept = folder / "simulated", folder / "kept"
    simulate_archive(simulated, studies=studies, seed=seed, site=site, identifiers=language)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        preprocess_archive(
            simulated / "archive",
            kept / "store",
            masks=simulated / "masks",
            reports=simulated / "archive" / "reports.csv",
            key_file=folder / "private" / "key",
        )
        inspect_store(kept / "store", kept / "page.html")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    pieces = telling_pieces(pd.read_parquet(simulated / "truth" / "planted.parquet"))
    pieces += [path.name for path in simulated.glob("archive/*/*/*") if path.is_dir()]
    return pieces, find_leaks(pieces, read_kept([kept], stream.getvalue()))


def main() -> None:
    """Print how many pieces were looked for, and those that were found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--studies", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--site", choices=["A", "B"], default="A")
    parser.add_argument("--language", choices=["en", "de"], default="en")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        pieces, found = run(Path(folder), arguments.studies, arguments.seed, arguments.site, arguments.language)
    print(f"simulator {SIMULATOR_VERSION}, digest {simulator_digest()}; {arguments.studies} studies")
    print(f"{len(found)} of {len(pieces)} planted pieces found: {', '.join(found) or 'none'}")


if __name__ == "__main__":
    main()
