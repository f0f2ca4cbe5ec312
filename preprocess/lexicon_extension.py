"""A folder that adds words to a shipped language: only what differs stands in it, so that updates still arrive.

`language.yaml` says `extends: en`; every other file has the name and the keys of the shipped one, all of them optional.
Phrases are added; one that begins with `!` takes the shipped phrase away. Lists of cues and collective names grow.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from preprocess.errors import InputError

LANGUAGE = "language"
REMOVED = "!"
MARKS = "summary_bullets"
"""A key whose text is a row of marks, not phrases."""


def base_of(folder: Path) -> str | None:
    """Return the name of the language that a folder extends, None for a folder that stands alone.

    Raises:
        InputError: Its `language.yaml` is wrong.
    """
    path = folder / f"{LANGUAGE}.yaml"
    if not path.is_file():
        return None
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict) or set(entries) != {"extends"} or not isinstance(entries["extends"], str):
        raise InputError(f"{path}: expected one line such as `extends: en`, got {entries!r}")
    return str(entries["extends"])


def check_files(folder: Path, known: set[str]) -> None:
    """Refuse a file of words that nobody would read.

    Raises:
        InputError: The folder holds a YAML file of another name.
    """
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        if path.suffix != ".yaml" or path.stem not in known | {LANGUAGE}:
            names = ", ".join(f"{name}.yaml" for name in sorted(known))
            raise InputError(f"{path}: no file of a language has this name; they are {names}")


def merge_words(base: Any, added: Any, where: str) -> Any:
    """Return a file's content with a user's additions.

    Args:
        base: Content of the shipped file, or a part of it; None where there is none.
        added: What the user's file has in its place; None adds nothing.
        where: File and keys, for messages.

    Raises:
        InputError: A phrase to be taken away is not there, or the two do not fit.
    """
    if added is None:
        return base
    if isinstance(added, Mapping) and (base is None or isinstance(base, Mapping)):
        merged = dict(base or {})
        for key, value in added.items():
            merged[key] = merge_words(merged.get(key), value, f"{where}: {key}")
        return merged
    if _is_entries(added) and (base is None or _is_entries(base)):
        return [*(base or []), *added]
    if where.endswith(f": {MARKS}") and isinstance(added, str):
        return f"{base or ''}{added}"
    if isinstance(added, int | float) and not isinstance(base, str | list | Mapping):
        return added
    if _is_phrases(added) and (base is None or _is_phrases(base)):
        return _merge_phrases(base, added, where)
    raise InputError(f"{where}: {added!r} does not fit what the language has there")


def _merge_phrases(base: Any, added: Any, where: str) -> list[str]:
    phrases = dict.fromkeys(_split(base))
    for phrase in _split(added):
        if not phrase.startswith(REMOVED):
            phrases[phrase] = None
            continue
        wanted = phrase.removeprefix(REMOVED).strip()
        if wanted not in phrases:
            raise InputError(f"{where}: {phrase!r} takes away a phrase that is not there")
        del phrases[wanted]
    return list(phrases)


def _split(entry: Any) -> list[str]:
    if entry is None:
        return []
    phrases = entry.split(";") if isinstance(entry, str) else [str(phrase) for phrase in entry]
    return [" ".join(phrase.split()) for phrase in phrases if phrase.strip()]


def _is_entries(value: Any) -> bool:
    """Whether it is a list of groups, such as cues."""
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _is_phrases(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and not any(isinstance(v, Mapping) for v in value))


def check_names(added: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse words for an anatomy or finding that neither the language nor the vocabulary has.

    Raises:
        InputError: There is one; `where` and its name are told.
    """
    unknown = sorted(set(added) - known)
    if unknown:
        raise InputError(f"{where}: {unknown[0]}: neither the language nor the vocabulary has this name")
