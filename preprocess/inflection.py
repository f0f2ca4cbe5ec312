"""How a language's words change: the forms of their endings, and letters that are written in two ways."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from preprocess.errors import InputError
from preprocess.phrase_notation import ENDINGS

INFLECTION = {"endings", "letters"}


class Inflection(NamedTuple):
    """How a language's words change.

    Attributes:
        endings: What a word ends in, to the pattern of its forms.
        letters: A letter to its other spelling ("ä" to "ae").
    """

    endings: Mapping[str, str]
    letters: Mapping[str, str]


ENGLISH = Inflection(ENDINGS, {})


def build_inflection(entries: Mapping[str, Any], path: str) -> Inflection:
    """Return the inflection that the data file at `path` describes.

    Raises:
        InputError: An entry is no mapping, or no ending fits every word.
    """
    for key in sorted(INFLECTION):
        if not isinstance(entries[key], dict):
            raise InputError(f"{path}: {key}: expected one text for each, got {entries[key]!r}")
    if "" not in entries["endings"]:
        raise InputError(f"{path}: endings: the empty ending, which fits every word, is missing")
    return Inflection(
        {str(end): str(forms) for end, forms in entries["endings"].items()},
        {str(letter): str(spelling) for letter, spelling in entries["letters"].items()},
    )


def respelled(phrases: Iterable[str], letters: Mapping[str, str]) -> list[str]:
    """Return the phrases with their other spellings behind each: all `letters` changed, or one of them.

    "Gefäß größer" is also found as "Gefaess groesser" (all changed) and "Gefäss grösser" (only ß).
    """
    spelled: dict[str, None] = {}
    for phrase in phrases:
        spelled[phrase] = None
        inside = [letter for letter in letters if letter in phrase]
        for changed in ([letter] for letter in inside):
            spelled[_changed(phrase, changed, letters)] = None
        spelled[_changed(phrase, inside, letters)] = None
    return list(spelled)


def _changed(phrase: str, changed: Iterable[str], letters: Mapping[str, str]) -> str:
    for letter in changed:
        phrase = phrase.replace(letter, letters[letter])
    return phrase
