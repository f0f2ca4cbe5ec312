"""Whether a mention is stated, denied, doubted, remembered or imagined."""

import pytest

from preprocess.assertion import assert_mention
from preprocess.lexicon import Lexicon, load_lexicon
from preprocess.phrases import fold, longest
from preprocess.vocabulary_files import load_vocabulary

CASES = [
    ("There is a [cyst].", "positive"),
    ("No [cyst].", "negative"),
    ("No stone, mass or [cyst] was seen.", "negative"),
    ("Without evidence of a [cyst].", "negative"),
    ("A [cyst] was not detected.", "negative"),
    ("[Effusion] is absent.", "negative"),
    ("The [effusion] has resolved.", "negative"),
    ("Negative for [thrombus].", "negative"),
    ("Neither stone nor [cyst].", "negative"),
    ("Lesion ([cyst]?).", "uncertain"),
    ("Possible [cyst].", "uncertain"),
    ("A [metastasis] cannot be excluded.", "uncertain"),
    ("[Metastasis] is suspected.", "uncertain"),
    ("Suspicious for [metastasis].", "uncertain"),
    ("Compatible with a [cyst].", "positive"),
    ("Evaluated in favor of [pneumonia].", "positive"),
    ("May be compatible with [pneumonia].", "uncertain"),
    ("No change in the [cyst].", "positive"),
    ("No significant difference in the size of the [nodule].", "positive"),
    ("A [nodule] that was not seen in the previous examination.", "positive"),
    ("No mass except for a [cyst].", "positive"),
    ("A [cyst] without septa.", "positive"),
    ("Non-contrast CT shows a [stone].", "positive"),
    ("History of [pancreatitis].", "historical"),
    ("Evaluate for [appendicitis].", "hypothetical"),
    ("Rule out [appendicitis].", "hypothetical"),
    ("Follow-up is recommended in terms of [metastasis].", "hypothetical"),
    ("Not enlarged, a [cyst].", "positive"),
    ("Spleen not enlarged, [calcification].", "positive"),
    ("Distended, [cholecystitis] is suspected.", "uncertain"),
    ("[Atelectasis], infection is possible.", "positive"),
    ("[Cyst], abscess or metastasis is possible.", "uncertain"),
    ("[Atelectasis] versus pneumonia.", "uncertain"),
    ("Likely hypertrophy, with a few [diverticula].", "positive"),
    ("[Stone] free.", "negative"),
    ("Prior [pancreatitis].", "historical"),
    ("Nodule (no [calcification]).", "negative"),
    ("[Nodule] (no calcification).", "positive"),
]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load_lexicon(load_vocabulary("ct54"))


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_assertion(text: str, expected: str, lexicon: Lexicon) -> None:
    start, end = text.index("["), text.index("]") - 1
    folded = fold(text.replace("[", "").replace("]", ""))
    cues = longest(lexicon.phrases.find_all(folded)["cues"])
    assertion, cue = assert_mention(folded, (0, len(folded)), (start, end), cues, lexicon.cue_groups)
    assert assertion == expected
    assert bool(cue) == (expected != "positive")
