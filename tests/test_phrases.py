"""The phrase notation of the data files."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.phrase_notation import compile_phrase
from preprocess.phrases import Match, PhraseSet, fold, longest

FOUND = [
    ("cyst", "two cysts", "cysts"),
    ("metastasis", "liver metastases", "metastases"),
    ("diverticulum", "sigmoid diverticula", "diverticula"),
    ("cavity", "cavities", "cavities"),
    ("bronchus", "the bronchi", "bronchi"),
    ("ground glass", "ground-glass opacity", "ground-glass"),
    ("ground glass", "groundglass", "groundglass"),
    ("steato*", "steatotic liver", "steatotic"),
    ("*steatosis", "hepatosteatosis", "hepatosteatosis"),
    ("[simple] cyst", "a simple cyst", "simple cyst"),
    ("[simple] cyst", "a cyst", "cyst"),
    ("(mass|nodule)", "the nodule", "nodule"),
    ("liver ~ enlarged", "the liver is markedly enlarged", "liver is markedly enlarged"),
    ("duct & dilat*", "dilated bile ducts", "dilated bile ducts"),
    ("duct & dilat*", "the duct is dilated", "duct is dilated"),
    ("?", "cyst?", "?"),
]
NOT_FOUND = [
    ("cyst", "cystic"),
    ("lap", "collapse"),
    ("liver ~2 enlarged", "liver one two three enlarged"),
    ("liver ~ enlarged", "liver; enlarged"),
    ("[simple] cyst", "simple"),
]


@pytest.mark.parametrize(("phrase", "text", "place"), FOUND, ids=[f"{p}-{t}" for p, t, _ in FOUND])
def test_phrase_is_found(phrase: str, text: str, place: str) -> None:
    [match] = longest(PhraseSet({"all": {"key": [phrase]}}).find_all(text)["all"])
    assert text[match.start : match.end] == place
    assert match.key == "key"
    assert match.phrase == phrase


@pytest.mark.parametrize(("phrase", "text"), NOT_FOUND, ids=[f"{p}-{t}" for p, t in NOT_FOUND])
def test_phrase_is_not_found(phrase: str, text: str) -> None:
    assert PhraseSet({"all": {"key": [phrase]}}).find_all(text) == {"all": []}


@pytest.mark.parametrize("phrase", ["(a", "a)", "[a", "a]", "(a]"])
def test_unmatched_brackets_are_refused(phrase: str) -> None:
    with pytest.raises(ValueError, match="phrase"):
        compile_phrase(phrase)


def test_the_longer_phrase_wins() -> None:
    phrases = PhraseSet({"all": {"normal": ["normal"], "abnormal": ["larger than normal"]}})
    assert [m.key for m in longest(phrases.find_all("larger than normal")["all"])] == ["abnormal"]


def test_matches_with_one_place_stay_together() -> None:
    matches = [Match(0, 4, "a", "x"), Match(0, 4, "b", "x"), Match(2, 5, "c", "y")]
    assert [m.key for m in longest(matches)] == ["a", "b"]


@given(st.text())
def test_folding_keeps_every_place(text: str) -> None:
    assert len(fold(text)) == len(text)


PHRASES = [
    "cab",
    "a b",
    "[a] cab",
    "(b|cab) ~2 a",
    "bac*",
    "*ab c",
    "ca & b",
    ", b",
    "a ?",
    "(a [b]|c) b",
    "b-a c",
    "?",
]


@given(st.text(alphabet="abcs -?,_", max_size=30))
def test_lookup_by_words_finds_what_plain_search_finds(text: str) -> None:
    found = {(m.start, m.end) for m in PhraseSet({"all": {"key": PHRASES}}).find_all(text)["all"]}
    patterns = [compile_phrase(phrase).pattern for phrase in PHRASES]
    assert found >= {m.span() for pattern in patterns for m in re.finditer(pattern, text) if m.end() > m.start()}
    tried = [re.compile(pattern).match(text, place) for pattern in patterns for place in range(len(text))]
    assert found <= {m.span() for m in tried if m}


@given(st.text(alphabet="abcxz ,_", max_size=12))
def test_no_phrase_is_found_where_none_may_be(text: str) -> None:
    phrases = PhraseSet({"all": {"key": ["cab", "a b", ", b"]}})
    found = phrases.find_all(text)["all"]
    for _ in range(2):  # once with words never seen, once with known ones
        assert phrases.may_find(text) or not found
    assert not phrases.may_find("z xx z zz")


def test_endings_are_the_languages() -> None:
    phrases = PhraseSet({"all": {"key": ["zyste"]}}, endings={"e": "e[nmrs]?", "": "s?"})
    assert [m.end for m in phrases.find_all("zysten")["all"]] == [6]
    assert PhraseSet({"all": {"key": ["zyste"]}}).find_all("zysten")["all"] == []


def test_malformed_endings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ending 'e': 'e\('"):
        PhraseSet({"all": {}}, endings={"e": "e("})
