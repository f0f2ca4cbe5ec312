"""Side and size of a mention."""

import pytest

from preprocess.phrases import PhraseSet
from preprocess.qualifiers import side, size_mm

SIZES = [
    ("a 12 mm cyst", 12.0),
    ("a 3.5 x 2.1 cm cyst", 35.0),
    ("a 3,5 cm cyst", 35.0),
    ("a cyst of 10x12x8 mm", 12.0),
    ("a 15mm cyst", 15.0),
    ("a cyst in segment 4", None),
    ("a cyst dated 10.02.2022", None),
    ("a 5 mm stone and a cyst of 20 mm", 20.0),
]
SIDE_WORDS = {"left": ["left"], "right": ["right"], "both": ["bilateral", "both"]}
SIDES = [
    ("cyst in the left kidney", "left"),
    ("right renal cyst", "right"),
    ("bilateral renal cyst", "both"),
    ("cyst in the right and left kidney", "both"),
    ("cyst in the pancreas", None),
    ("cyst of the right kidney, next to which the left ureter runs", "right"),
]


@pytest.mark.parametrize(("text", "expected"), SIZES, ids=[text for text, _ in SIZES])
def test_size(text: str, expected: float | None) -> None:
    start = text.index("cyst")
    assert size_mm(text, (0, len(text)), (start, start + 4)) == expected


@pytest.mark.parametrize(("text", "expected"), SIDES, ids=[text for text, _ in SIDES])
def test_side(text: str, expected: str | None) -> None:
    start = text.index("cyst")
    found = PhraseSet({"sides": SIDE_WORDS}).find_all(text)["sides"]
    assert side((0, len(text)), (start, start + 4), found) == expected


def test_only_the_own_clause_counts() -> None:
    text = "left cyst, 5 mm stone"
    assert size_mm(text, (0, 9), (5, 9)) is None
