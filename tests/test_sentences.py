"""Cutting reports into sections and sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.lexicon import load_lexicon
from preprocess.sentences import SentenceRules, split_sentences
from preprocess.vocabulary_files import load_vocabulary

CUT = [
    ("plain", "No mass. Liver is normal.", ["No mass.", "Liver is normal."]),
    ("decimals", "A 3.5 x 2.1 cm cyst. Stable.", ["A 3.5 x 2.1 cm cyst.", "Stable."]),
    ("unit with stop", "Measures 5 mm. in diameter.", ["Measures 5 mm. in diameter."]),
    ("abbreviation", "Seen by Dr. Who, e.g. Monday. Normal.", ["Seen by Dr. Who, e.g. Monday.", "Normal."]),
    ("numbered", "1. Liver cyst. 2. Renal cyst.", ["Liver cyst.", "Renal cyst."]),
    ("numbered lines", "1) Liver cyst\n2) Renal cyst", ["Liver cyst", "Renal cyst"]),
    (
        "number ends sentence",
        "Cyst in segment 4. The spleen is normal.",
        ["Cyst in segment 4.", "The spleen is normal."],
    ),
    ("bullets", "• Hepatosteatosis. • Renal cyst", ["Hepatosteatosis.", "Renal cyst"]),
    ("dashes", "- liver cyst\n- renal cyst", ["liver cyst", "renal cyst"]),
    ("quotes as bullets", 'Heart normal. " Cyst" Stone', ["Heart normal.", "Cyst", "Stone"]),
    ("quoted words", 'The "halo sign" is seen. Stable.', ['The "halo sign" is seen.', "Stable."]),
    ("question in brackets", "Lesion (cyst? haemangioma?) in the liver. Normal.", None),
    ("question", "Cyst? Follow-up.", ["Cyst?", "Follow-up."]),
    ("no blank", "No lesion was detected.The spleen is normal.", ["No lesion was detected.", "The spleen is normal."]),
    ("wrapped by hand", "There is a small cyst in the\nleft kidney.", ["There is a small cyst in the\nleft kidney."]),
    ("wrapped at a capital", "The size of the\nRight kidney is normal.", ["The size of the\nRight kidney is normal."]),
    ("lines", "Liver: normal\nSpleen: normal", ["Liver: normal", "Spleen: normal"]),
    ("date", "Compared with 10.02.2022. Stable.", ["Compared with 10.02.2022.", "Stable."]),
    ("lower case start", "No mass. no stone.", ["No mass.", "no stone."]),
    ("dots only", "Normal. . Cyst.", ["Normal. .", "Cyst."]),
    ("blank", " \n ", []),
]


@pytest.fixture(scope="module")
def rules() -> SentenceRules:
    return load_lexicon(load_vocabulary("ct54")).sentences


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in CUT], ids=[c[0] for c in CUT])
def test_sentences(text: str, expected: list[str] | None, rules: SentenceRules) -> None:
    found = [sentence.text for sentence in split_sentences(text, rules)]
    if expected is None:
        assert len(found) == 2
    else:
        assert [piece.rstrip(". ") for piece in found] == [piece.rstrip(". ") for piece in expected]


PIECES = st.sampled_from([*'aB3 .,:;?!()\n"•-1', "Impression:", "FINDINGS", "Liver", "1. ", "mm. "])


@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=80))
def test_no_character_is_lost(text: str) -> None:
    sentences = split_sentences(text, RULES)
    if any(char.isalnum() for char in text) and sentences:
        assert "".join(text[s.start : s.end] for s in sentences) == text
    for sentence in sentences:
        assert sentence.text in text[sentence.start : sentence.end]


RULES = load_lexicon(load_vocabulary("ct54")).sentences

SECTIONS = [
    (
        "full",
        "CLINICAL HISTORY: Pain.\nTECHNIQUE: CT.\nFINDINGS: Liver cyst.\nIMPRESSION: Cyst.",
        [("history", "Pain."), ("technique", "CT."), ("findings", "Liver cyst."), ("impression", "Cyst.")],
    ),
    (
        "in a line",
        "Findings: Liver cyst. Impression: Cyst.",
        [("findings", "Liver cyst."), ("impression", "Cyst.")],
    ),
    ("alone on a line", "FINDINGS\nCyst.\nIMPRESSION\nStable.", [("findings", "Cyst."), ("impression", "Stable.")]),
    ("none", "Liver cyst.", [("findings", "Liver cyst.")]),
    ("title", "CT ABDOMEN.\nFindings: Cyst.", [("other", "CT ABDOMEN."), ("findings", "Cyst.")]),
    (
        "summary behind bullets",
        'Liver normal. Spleen normal. Heart normal. " Stone.',
        [
            ("findings", "Liver normal."),
            ("findings", "Spleen normal."),
            ("findings", "Heart normal."),
            ("impression", "Stone."),
        ],
    ),
    (
        "comparison before unheaded findings",
        "Comparison: CT of May 2020. The liver is normal.",
        [("comparison", "CT of May 2020."), ("findings", "The liver is normal.")],
    ),
    (
        "history of several sentences on its line",
        "Indication: flank pain. Known cysts.\nThe liver is normal.\nThe spleen is normal.",
        [
            ("history", "flank pain."),
            ("history", "Known cysts."),
            ("findings", "The liver is normal."),
            ("findings", "The spleen is normal."),
        ],
    ),
    (
        "history up to the next such header",
        "Indication: flank pain. Known cysts.\n\nComparison: none.\n\nThe liver is normal.",
        [
            ("history", "flank pain."),
            ("history", "Known cysts."),
            ("comparison", "none."),
            ("findings", "The liver is normal."),
        ],
    ),
    ("a word is no header", "The findings are stable.", [("findings", "The findings are stable.")]),
]


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in SECTIONS], ids=[c[0] for c in SECTIONS])
def test_sections(text: str, expected: list[tuple[str, str]], rules: SentenceRules) -> None:
    found = [(s.section, s.text.rstrip(".")) for s in split_sentences(text, rules)]
    assert found == [(section, sentence.rstrip(".")) for section, sentence in expected]
