"""Cutting sentences into clauses."""

import pytest

from preprocess.clauses import split_clauses
from preprocess.lexicon import Lexicon, load_lexicon
from preprocess.phrases import fold
from preprocess.vocabulary_files import load_vocabulary

CASES = [
    "The liver is normal|, the spleen is enlarged.",
    "The liver is normal |and no stone is seen in the gallbladder.",
    "Liver, spleen and pancreas are normal.",
    "The liver is normal |but the spleen is enlarged.",
    "No mass, effusion or nodule was detected in the lungs.",
    "No pathological size and appearance of lymph nodes were detected.",
    "No pleural effusion|, the heart is normal.",
    "No pleural effusion|, no pneumothorax.",
    "Lungs are clear |except for a nodule in the right upper lobe.",
    "The nodule is 5 mm, is stable.",
    "The liver is normal|, spleen and kidneys are enlarged.",
    "No mass is detected in the right lung|, and scars and bands are observed on the left.",
    "Cysts are seen in the liver, spleen and kidneys.",
    "Ascending aorta measures 4,2 cm in diameter.",
    "The gallbladder is contracted (no stone, no polyp is seen).",
    "As far as can be seen;| the spleen is normal.",
]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load_lexicon(load_vocabulary("ct54"))


@pytest.mark.parametrize("case", CASES, ids=[case[:40] for case in CASES])
def test_clauses(case: str, lexicon: Lexicon) -> None:
    text = case.replace("|", "")
    spans = split_clauses(fold(text), lexicon.phrases.find_all(fold(text)))
    assert "|".join(text[start:end] for start, end in spans) == case
