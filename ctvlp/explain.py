"""The command `ctvlp reports explain=...`: one report marked up in the terminal, and as a page where asked for."""

import os
import sys
from pathlib import Path
from typing import TextIO

from ctvlp.explanation_text import format_explanation
from ctvlp.page.explanation import write_explanation
from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.explanation import explain_report
from preprocess.known_identifiers import identifiers_of_row
from preprocess.language import AUTO
from preprocess.report_reader import AbnormalRule
from preprocess.vocabulary_files import load_vocabulary

PAGE = "explain.html"


def explain(
    text: str,
    out: str | Path | None = None,
    *,
    vocabulary: str | Path = "ct54",
    language: str | Path = AUTO,
    abnormal_rule: AbnormalRule = "any",
    deidentify: bool = False,
    stream: TextIO | None = None,
) -> Path | None:
    """Print a report sentence by sentence with what was recognised and what it led to, and write a page.

    Args:
        text: The report; `-` reads it from standard input, so that it enters no history of commands.
        out: Folder for `explain.html`; None writes none.
        vocabulary: Name of a shipped vocabulary, or path of one.
        language: See `preprocess.explanation.explain_report`.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        deidentify: Remove identifiers first.
        stream: Where to print; standard output by default.

    Returns:
        The page, if one was written.

    Raises:
        InputError: Standard input is no text, the vocabulary or the language cannot be read, or the page cannot be
            written.
    """
    stream = sys.stdout if stream is None else stream
    loaded = load_vocabulary(vocabulary)
    report = _read_standard_input() if text == "-" else text
    if deidentify:
        report = Deidentifier().apply(report, identifiers_of_row({})).text
    explanation = explain_report(report, loaded, language=language, abnormal_rule=abnormal_rule)
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    encoding = stream.encoding or "utf-8"
    shown = format_explanation(explanation, colour=colour)
    stream.write(shown.encode(encoding, errors="replace").decode(encoding) + "\n")
    if out is None:
        return None
    page = write_explanation(Path(out) / PAGE, explanation)
    stream.write(f"{page}\n")
    return page


def _read_standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"explain=-: standard input is no text: {error}") from error
