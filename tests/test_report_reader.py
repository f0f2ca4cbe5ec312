"""Reading whole reports: anatomies, their status and own text, labels and evidence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.errors import InputError
from preprocess.lexicon import load_lexicon
from preprocess.report_reader import read_report
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_anatomies, load_vocabulary

VOCABULARY = load_vocabulary("ct54")
LABELS18 = load_vocabulary("ct_rate18")

REPORT = """CLINICAL HISTORY: History of pancreatitis. Evaluate for appendicitis.
TECHNIQUE: Contrast-enhanced CT of liver and kidneys.
FINDINGS:
Liver: 2 cm simple cyst in segment 4. It is stable.
Gallbladder is not seen (cholecystectomy).
The spleen and pancreas are normal, the kidneys have no hydronephrosis but there is a 4 mm stone on the left.
Aorta is calcified. No enlarged lymph nodes adjacent to the stomach.
In the lung parenchyma window; emphysema in both lungs. No mass was detected.
Possible thickening of the gastric wall.
IMPRESSION:
1. Liver cyst.
2. Left nephrolithiasis.
"""

STATUSES = {
    "liver": "abnormal",
    "gallbladder": "removed",
    "spleen": "normal",
    "pancreas": "normal",
    "kidney": "abnormal",
    "lung": "abnormal",
    "stomach": "uncertain",
    "heart": "unmentioned",
    "colon": "unmentioned",
}


@pytest.mark.parametrize(("anatomy", "status"), STATUSES.items(), ids=list(STATUSES))
def test_status(anatomy: str, status: str) -> None:
    assert read_report(REPORT, VOCABULARY).anatomies[anatomy].status == status


ITEMS = {
    "each states its own": (
        "Liver normal in attenuation, gallbladder without stones, no adrenal nodule.",
        {"liver": "Liver normal in attenuation", "gallbladder": "gallbladder without stones"},
    ),
    "one denial for all": (
        "No liver cyst, splenic cyst or renal cyst.",
        dict.fromkeys(("liver", "spleen", "kidney"), "No liver cyst, splenic cyst or renal cyst."),
    ),
    "one denial, one verb": (
        "No liver cyst or renal cyst was detected.",
        dict.fromkeys(("liver", "kidney"), "No liver cyst or renal cyst was detected."),
    ),
    "names before their sign": (
        "Liver fatty, spleen and pancreas normal.",
        {"liver": "Liver fatty", "spleen": "spleen and pancreas normal.", "pancreas": "spleen and pancreas normal."},
    ),
    "names behind their sign": (
        "Cysts of liver and spleen, stone in the left kidney.",
        {"liver": "Cysts of liver and spleen", "spleen": "Cysts of liver and spleen"},
    ),
    "one sign of two adjectives": (
        "Splenic and renal infarcts.",
        dict.fromkeys(("spleen", "kidney"), "Splenic and renal infarcts."),
    ),
}


@pytest.mark.parametrize(("text", "expected"), ITEMS.values(), ids=list(ITEMS))
def test_items_of_a_list(text: str, expected: dict[str, str]) -> None:
    anatomies = read_report(text, VOCABULARY).anatomies
    assert {name: anatomies[name].text for name in expected} == expected


def test_a_phrase_across_a_denial_gives_way_to_one_beside_it() -> None:
    labels = read_report("Hepatic steatosis, no liver metastasis.", VOCABULARY).labels
    assert (labels["liver.fatty_liver"], labels["liver.metastasis"]) == (1, 0)


def test_labels_have_four_states() -> None:
    labels = read_report(REPORT, VOCABULARY).labels
    assert set(labels) == {finding.id for finding in VOCABULARY.findings}
    expected = {
        "liver.cyst": 1,
        "kidney.calculus": 1,
        "kidney.hydronephrosis": 0,
        "stomach.wall_thickening": -1,
        "pancreas.pancreatitis": None,
        "colon.appendicitis": None,
        "lung.emphysema": 1,
        "heart.cardiomegaly": None,
    }
    assert {name: labels[name] for name in expected} == expected


def test_history_is_evidence_but_no_label() -> None:
    reading = read_report(REPORT, VOCABULARY)
    assertions = {e.finding: e.assertion for e in reading.evidence if e.index in (0, 1)}
    assert assertions == {"pancreas.pancreatitis": "historical", "colon.appendicitis": "hypothetical"}


def test_evidence_names_sentence_side_size_and_rule() -> None:
    reading = read_report(REPORT, VOCABULARY)
    stone = next(e for e in reading.evidence if e.finding == "kidney.calculus")
    assert (stone.anatomy, stone.assertion, stone.side, stone.size_mm) == ("kidney", "positive", "left", 4.0)
    assert "stone on the left" in reading.sentences[stone.index].text
    assert "stone" in stone.rule
    denied = next(e for e in reading.evidence if e.finding == "kidney.hydronephrosis")
    assert denied.rule.endswith("<- no")


@pytest.mark.parametrize("text", ["Left kidney: a cyst.", "Left kidney: normal size, a cyst of 2 cm."])
def test_a_heading_gives_its_side(text: str) -> None:
    [cyst] = [e for e in read_report(text, VOCABULARY).evidence if e.finding == "kidney.cyst"]
    assert cyst.side == "left"


def test_text_of_an_anatomy_is_its_own_clauses() -> None:
    texts = {name: anatomy.text for name, anatomy in read_report(REPORT, VOCABULARY).anatomies.items()}
    assert texts["liver"] == "Liver: 2 cm simple cyst in segment 4. It is stable. Liver cyst."
    assert texts["spleen"] == "The spleen and pancreas are normal"
    assert texts["kidney"].startswith("the kidneys have no hydronephrosis but there is a 4 mm stone on the left.")
    assert texts["stomach"] == "Possible thickening of the gastric wall."
    assert texts["heart"] == ""


CARRIED = [
    ("anaphora", "The spleen is normal. It measures 11 cm.", "spleen", "The spleen is normal. It measures 11 cm."),
    (
        "lesion sentence",
        "The pancreas is normal. No mass lesion was detected.",
        "pancreas",
        "The pancreas is normal. No mass lesion was detected.",
    ),
    ("stops at another place", "Liver is normal. Aorta is calcified. It is wide.", "liver", "Liver is normal."),
    ("not into a list item", "Liver is normal.\n- A fracture is seen.", "liver", "Liver is normal."),
    ("line heading", "Kidneys:\n- 5 mm stone\n- cyst", "kidney", "Kidneys 5 mm stone cyst"),
    ("adjacent only", "Cyst in the pancreas adjacent to the spleen.", "spleen", ""),
    ("lymph nodes", "Lymph nodes at the level of the pancreas.", "pancreas", ""),
    ("thyroid lobe", "Nodule in the left lobe of the thyroid.", "liver", ""),
]


@pytest.mark.parametrize(("text", "anatomy", "expected"), [c[1:] for c in CARRIED], ids=[c[0] for c in CARRIED])
def test_what_carries_over(text: str, anatomy: str, expected: str) -> None:
    found = read_report(text, VOCABULARY).anatomies[anatomy].text
    assert found.replace(":", "") == expected


STATEMENTS = [
    ("collective normal", "Upper abdominal organs are normal.", "liver", "normal"),
    ("collective does not reach the bladder", "Upper abdominal organs are normal.", "bladder", "unmentioned"),
    ("bowel", "No wall thickening in the bowel loops.", "colon", "normal"),
    ("collective and own", "Upper abdominal organs are normal. There is a cyst in the liver.", "liver", "abnormal"),
    ("collective place of a finding", "In the upper abdominal sections, a cyst in the liver.", "spleen", "unmentioned"),
    ("collective limited", "Upper abdominal organs could not be evaluated.", "liver", "unmentioned"),
    ("list with normal", "Intra and extrahepatic bile ducts, gallbladder are normal.", "gallbladder", "normal"),
    ("unknown word for something there", "A blob is observed in the spleen.", "spleen", "abnormal"),
    ("unknown word denied", "No blobs were observed in the spleen.", "spleen", "normal"),
    ("larger than normal", "The spleen is larger than normal.", "spleen", "abnormal"),
    ("not normal", "The pancreas is not normal.", "pancreas", "abnormal"),
    ("splenectomised", "Status post splenectomy.", "spleen", "removed"),
    ("one kidney", "The left kidney was not observed (operated).", "kidney", "abnormal"),
    ("hedge about a cause", "A lesion in the liver (cyst?).", "liver", "abnormal"),
    ("hedge about presence", "Possible stone in the gallbladder.", "gallbladder", "uncertain"),
    ("recommendation", "Correlation with liver function tests is recommended.", "liver", "unmentioned"),
]


@pytest.mark.parametrize(("text", "anatomy", "status"), [c[1:] for c in STATEMENTS], ids=[c[0] for c in STATEMENTS])
def test_status_of_a_statement(text: str, anatomy: str, status: str) -> None:
    assert read_report(text, VOCABULARY).anatomies[anatomy].status == status


def test_abnormal_rule_impression() -> None:
    text = "FINDINGS: Small liver cyst. Enlarged spleen.\nIMPRESSION: Splenomegaly."
    any_rule = read_report(text, VOCABULARY)
    impression = read_report(text, VOCABULARY, abnormal_rule="impression")
    assert any_rule.anatomies["liver"].status == "abnormal"
    assert impression.anatomies["liver"].status == "normal"
    assert impression.anatomies["spleen"].status == "abnormal"
    assert impression.labels == any_rule.labels


def test_abnormal_rule_impression_without_impression() -> None:
    text = "Small liver cyst."
    assert read_report(text, VOCABULARY, abnormal_rule="impression").anatomies["liver"].status == "abnormal"


def test_every_anatomy_is_there_for_any_text() -> None:
    reading = read_report("", VOCABULARY)
    assert list(reading.anatomies) == list(VOCABULARY.anatomies)
    assert {anatomy.status for anatomy in reading.anatomies.values()} == {"unmentioned"}
    assert set(reading.labels.values()) == {None}
    assert reading.sentences == ()


LABELLED = [
    ("Port catheter in the right jugular vein.", "Medical material", 1),
    ("Calcified atheroma plaques in the aortic arch.", "Arterial wall calcification", 1),
    ("Calcified plaques in the coronary arteries.", "Coronary artery wall calcification", 1),
    ("Calcified plaques in the coronary arteries.", "Arterial wall calcification", None),
    ("Mediastinal lymphadenopathy.", "Lymphadenopathy", 1),
    ("No pathologically enlarged lymph nodes.", "Lymphadenopathy", 0),
    ("Ground-glass opacities in both lungs.", "Lung opacity", 1),
    ("Millimetric nodules in the right lung.", "Lung nodule", 1),
    ("Hypodense nodule in the thyroid gland.", "Lung nodule", None),
    ("Mosaic attenuation in both lungs.", "Mosaic attenuation pattern", 1),
]


@pytest.mark.parametrize(("text", "label", "value"), LABELLED, ids=[f"{c[1]}-{c[0][:20]}" for c in LABELLED])
def test_labels_outside_anatomies(text: str, label: str, value: int | None) -> None:
    assert read_report(text, LABELS18).labels[label] == value


def _own_vocabulary(folder: Path) -> Vocabulary:
    """Anatomies and findings that a user adds."""
    anatomies = folder / "anatomies.yaml"
    anatomies.write_text(
        "schema: 1\nname: mine\nextends: ct15\nanatomies:\n"
        "  aorta: {parts: {aorta: [aorta]}, spacing_mm: [3, 3, 3], words: [aorta, aortic]}\n"
    )
    findings = folder / "findings.yaml"
    findings.write_text(
        "schema: 1\nname: mine\nextends: ct54\nanatomies: anatomies.yaml\nfindings:\n"
        "  aorta.aneurysm: {name: aortic aneurysm, needs: part, synonyms: [aneurysm, aneurysmal dilatation]}\n"
    )
    return load_vocabulary(findings, load_anatomies(anatomies))


def test_a_users_anatomy_and_finding_are_read_without_code(tmp_path: Path) -> None:
    reading = read_report(
        "Aneurysmal dilatation of the abdominal aorta. No cyst in the liver.", _own_vocabulary(tmp_path)
    )
    assert reading.labels["aorta.aneurysm"] == 1
    assert reading.anatomies["aorta"].status == "abnormal"
    assert reading.labels["liver.cyst"] == 0


def test_an_anatomy_outside_the_vocabulary_is_known_but_no_anatomy() -> None:
    reading = read_report("Aneurysm of the aorta.", VOCABULARY)
    assert reading.sentences[0].matched
    assert reading.sentences[0].anatomies == ()
    assert not read_report("Thank you for the referral.", VOCABULARY).sentences[0].matched


def test_a_language_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: neither a folder nor a shipped language"):
        load_lexicon(VOCABULARY, "nowhere")
    (tmp_path / "sections.yaml").write_text("headers: {}\n")
    with pytest.raises(InputError, match=r"sections\.yaml: expected the keys"):
        load_lexicon(VOCABULARY, tmp_path)


WORDS = [
    "liver",
    "cyst",
    "no",
    "not seen",
    "?",
    ".",
    "\n",
    "Findings:",
    "(",
    ")",
    "İ",
    "3.5 cm",
    ";",
    "and",
    "left",
    '"',
]


@settings(max_examples=150, deadline=None)
@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_no_text_makes_it_fail(text: str) -> None:
    reading = read_report(text, VOCABULARY)
    assert reading == read_report(text, VOCABULARY)
    for anatomy in reading.anatomies.values():
        assert all(piece in text for piece in anatomy.text.split(" "))
    assert all(0 <= evidence.index < len(reading.sentences) for evidence in reading.evidence)
