"""Messages in kinds: those that differ in their numbers alone are one kind, counted, with a few of their studies."""

import re
from collections.abc import Iterable, Sequence

from ctvlp.page.content_archive import Kind

EXAMPLES = 3
"""Studies named for each kind."""
_NUMBER = re.compile(r"(?<![A-Za-z0-9])[-+]?\d+(?:[.,]\d+)*")
_CODE = re.compile(r"([A-Z]{2,}(?:_[A-Z]+)*): (.*)", re.DOTALL)


def group_messages(messages: Iterable[tuple[str, str]]) -> list[Kind]:
    """Kinds of messages, the most frequent first.

    Args:
        messages: Study and what is said of it; `CODE: text` carries an entry of the closed list of reasons.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for study, message in messages:
        found.setdefault(_NUMBER.sub("…", message), []).append((study, message))
    return sorted(
        (_kind(said, of_kind) for said, of_kind in found.items()), key=lambda kind: (-kind.count, kind.code, kind.text)
    )


def _kind(said: str, messages: Sequence[tuple[str, str]]) -> Kind:
    first = messages[0][1]
    text = first if all(message == first for _, message in messages) else said
    match = _CODE.fullmatch(text)
    code, text = match.groups() if match else ("", text)
    studies = list(dict.fromkeys(study for study, _ in messages))
    return Kind(text, len(messages), len(studies), tuple(studies[:EXAMPLES]), code)
