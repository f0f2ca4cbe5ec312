"""Keeps identifiers out of messages that reach the store or a log."""

import re
from collections.abc import Iterable, Mapping


def scrub(message: str, replacements: Mapping[str, str]) -> str:
    """The message on one line, with every identifier replaced, longer ones first.

    Args:
        message: What an error says; it may name files, keys or the patient.
        replacements: Identifier to what stands for it; identifiers count where no letter, digit or decimal
            point adjoins them.
    """
    line = " ".join(message.split())
    for identifier in sorted(replacements, key=len, reverse=True):
        if identifier and identifier in line:
            pattern = rf"(?<![A-Za-z0-9.]){re.escape(identifier)}(?![A-Za-z0-9]|\.\d)"
            line = re.sub(pattern, replacements[identifier], line)
    return line


def stand_ins(
    *, keys: Iterable[str], patient: str | None, files: Iterable[str], folders: Iterable[str]
) -> dict[str, str]:
    """What stands for a study's identifiers: `<key>`, `<patient>`, `<file 3>`, `<folder>`."""
    named = {name: f"<file {number}>" for number, name in enumerate(files, start=1)}
    named |= dict.fromkeys(folders, "<folder>")
    if patient:
        named[patient] = "<patient>"
    return named | dict.fromkeys(keys, "<key>")
