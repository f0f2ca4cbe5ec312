"""The held-back wording of a simulated site, read from its data file: what its radiologists say, and how."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from preprocess.errors import InputError
from preprocess.simulate.grammar import normalise
from preprocess.simulate.wording_schema import Wording

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML has it."""


@cache
def load_wording(site: str) -> Wording:
    """Return the wording of a simulated site.

    Args:
        site: "A" or "B".

    Raises:
        InputError: Unknown site.
    """
    if site not in ("A", "B"):
        raise InputError(f"unknown site '{site}': choose A or B")
    path = files("preprocess.simulate") / f"wording_{site.lower()}.yaml"
    return read_wording(Path(str(path)))


def read_wording(path: Path) -> Wording:
    """Return the wording in a file.

    Raises:
        InputError: Not readable, not YAML, or an entry is wrong; names the file and the key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path.name}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        return Wording.model_validate(_qualify(raw))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        where = f"{path.name}: {key}: " if key else f"{path.name}: "
        raise InputError(where + first["msg"].removeprefix("Value error, ")) from error


def templates(site: str) -> list[str]:
    """Return every sentence form and frame of a site, as `grammar.normalise` writes them, sorted and distinct."""
    wording = load_wording(site)
    frames = wording.denial_frames
    phrases = [*frames.many, *frames.one, *frames.attached, *wording.joint_normal, *wording.not_covered]
    phrases += [*wording.impression_hedges, *wording.impression_pairs]
    claims = [*wording.collective_normal, *wording.remaining_normal, *wording.distractors]
    for anatomy in wording.anatomies.values():
        claims += [*anatomy.normal, *anatomy.denied]
    for finding in wording.findings.values():
        phrases += [*finding.positive, *finding.both, *finding.hedged, *finding.impression]
    phrases += [claim.say for claim in claims]
    plain = (*wording.impression_none, *wording.impression_rest)
    return sorted({normalise(form) for phrase in phrases for form in phrase.expansions()} | {*map(normalise, plain)})


def _qualify(raw: Any) -> Any:
    """Write `liver.` before the bare finding names that the liver's entries deny."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("anatomies"), Mapping):
        return raw
    return {**raw, "anatomies": {name: _qualify_anatomy(name, entry) for name, entry in raw["anatomies"].items()}}


def _qualify_anatomy(name: str, entry: Any) -> Any:
    def full(finding: Any) -> Any:
        return finding if not isinstance(finding, str) or "." in finding else f"{name}.{finding}"

    def claim(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = {key: [full(f) for f in value[key]] for key in ("denies", "unless") if isinstance(value.get(key), list)}
        return {**value, **named}

    if not isinstance(entry, Mapping):
        return entry
    lists = {
        key: [claim(value) for value in entry[key]]
        for key in ("normal", "denied", "denials")
        if isinstance(entry.get(key), list)
    }
    return {**entry, **lists}
