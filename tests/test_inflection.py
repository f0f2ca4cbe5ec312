"""How a language's words change."""

import pytest

from preprocess.errors import InputError
from preprocess.inflection import build_inflection, respelled
from preprocess.phrases import Match, PhraseSet, longest

GERMAN = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}


@pytest.mark.parametrize(
    ("phrase", "spellings"),
    [
        ("milz", ["milz"]),
        ("ödem", ["ödem", "oedem"]),
        ("vergrößert", ["vergrößert", "vergroeßert", "vergrössert", "vergroessert"]),
    ],
    ids=["none", "one", "two"],
)
def test_spellings(phrase: str, spellings: list[str]) -> None:
    assert respelled([phrase], GERMAN) == spellings


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"endings": ["e"], "letters": {}}, r"own.yaml: endings: expected one text for each, got \['e'\]"),
        (
            {"endings": {"e": "en?"}, "letters": {}},
            "own.yaml: endings: the empty ending, which fits every word, is missing",
        ),
    ],
    ids=["list", "no-empty-ending"],
)
def test_wrong_files_are_refused(entries: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_inflection(entries, "own.yaml")


def test_what_is_spelled_out_goes_before_a_beginning() -> None:
    phrases = PhraseSet({"places": {"liver": ["leber*"], "vessel": ["lebervene"]}}, {"e": "en?", "": ""})
    kept = longest(phrases.find_all("lebervenen")["places"])
    assert kept == [Match(0, 10, "vessel", "lebervene")]
