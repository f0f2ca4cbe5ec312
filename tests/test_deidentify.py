"""What gives somebody away is replaced, and nothing else is."""

import re
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.deidentify import LANGUAGES, STAND_INS, Deidentifier
from preprocess.errors import InputError
from preprocess.identifier_words import KEYS, load_identifier_words
from preprocess.known_identifiers import KnownIdentifiers, identifiers_of_row
from preprocess.lexicon import load_lexicon
from preprocess.report_reader import read_report
from preprocess.sentences import split_sentences
from preprocess.vocabulary_files import load_vocabulary

DEIDENTIFIER = Deidentifier()
VOCABULARY = load_vocabulary("ct54")
RULES = load_lexicon(VOCABULARY).sentences

FOUND = [
    # days
    ("Comparison to CT of 05.03.2024.", "Comparison to CT of [date]."),
    ("CT dated 2024-03-05 14:33 is stable.", "CT dated [date] is stable."),
    ("Done 2024-03-05T14:33:10 here.", "Done [date] here."),
    ("CT from March 5, 2024 at 2:30 pm shows", "CT from [date] shows"),
    ("vom 5. März 2024, 14:30 Uhr.", "vom [date]."),
    ("vom 05. 03. 2024 um 14 Uhr.", "vom [date]."),
    ("zum 5.3.24 und am 7.3. gesehen", "zum [date] und am [date]. gesehen"),
    ("Prior 03/05/24 and 3/5/2024.", "Prior [date] and [date]."),
    ("Prior 05-MAR-2024 and 5-Mar-24 and 05MAR2024.", "Prior [date] and [date] and [date]."),
    ("In Mar 2024, again 03/2024, since June 2019.", "In [date], again [date], since [date]."),
    ("On May 5 and 5th of May, 2019 and 2024 March 5.", "On [date] and [date] and [date]."),
    ("Operated in 2017, 2018 and 2019.", "Operated in [date], [date] and [date]."),
    ("seit 2018 bekannt", "seit [date] bekannt"),
    ("examinations dated 30 April 2015 and 6 December 2016.", "examinations dated [date] and [date]."),
    ("Exam date 17.10.19\ncc", "Exam date [date]\ncc"),
    # names
    ("Discussed with Dr. med. Anna Müller.", "Discussed with [name]."),
    ("Prof. X agreed, Mrs. Smith as well.", "[name] agreed, [name] as well."),
    ("Hr. Weber und Fr. Dr. Klein und Frau Weber-Schmitt", "[name] und [name] und [name]"),
    ("Patient: Jane Doe\nLungs clear.", "Patient: [name]\nLungs clear."),
    ("Name: Doe, Jane A., PATIENT: DOE^JANE^^", "Name: [name]., PATIENT: [name]"),
    ("Electronically signed by: Jane Doe, MD on 03/05/2024 14:33", "Electronically signed by: [name] on [date]"),
    ("gez. A. Müller, Oberarzt", "gez. [name], Oberarzt"),
    ("Oberarzt Müller und OA Dr. Lang", "Oberarzt [name] und [name]"),
    ("Jane Doe, MD\nAddendum", "[name], MD\nAddendum"),
    ("Jane Doe\nConsultant Radiologist", "[name]\nConsultant Radiologist"),
    ("Reporter: K. van der Berg", "Reporter: [name]"),
    ("Thomas Schmidt came. Schmidt, Thomas.", "[name] came. [name]."),
    ("dr. smith called, DR. SMITH too", "[name] called, [name] too"),
    ("Dr. Smith's opinion (Dr. Brown).", "[name]'s opinion ([name])."),
    ("Grüßen\nDr. med. habil. Karl-Heinz von der Heide", "Grüßen\n[name]"),
    ("Mr O'Neill and Ms. D'Angelo", "[name] and [name]"),
    # numbers, contact
    ("MRN: 123456, Accession No. A-00123/24", "MRN: [id], Accession No. [id]"),
    ("Pat.-Nr.: 17, Fallnummer 4711, Aufn.-Nr. A96184", "Pat.-Nr.: [id], Fallnummer [id], Aufn.-Nr. [id]"),
    ("UID 1.2.840.113619.2.55.3.604688119", "UID [id]"),
    ("SSN: 125-96-6138", "SSN: [id]"),
    ("Phone +49 228 287-15555 or ext. 4711.", "Phone [contact] or ext. [contact]."),
    ("Tel.: 0228/287 15555, Fax (0228) 28715556", "Tel.: [contact], Fax [contact]"),
    ("call 555-123-4567 or a.b@ukb.de, www.ukb.de/x.", "call [contact] or [contact], [contact]."),
    # places
    ("Hauptstraße 12, 53127 Bonn.", "[address]."),
    ("lives at 12 Elm Street, Springfield, IL 62704.", "lives at [address]."),
    ("4 Privet Drive, London SW1A 1AA.", "[address]."),
    ("A-1090 Wien und CH-8091 Zürich", "[address] und [address]"),
    ("Transferred from St. Mary's Hospital.", "Transferred from [institution]."),
    ("University Hospital of Springfield.", "[institution]."),
    ("Städtisches Krankenhaus Kiel.", "[institution]."),
    ("Marienhospital Köln, Klinikum Lindenhof", "[institution], [institution]"),
    # less beside them
    (
        "Results to the daughter, Carla Espinoza. Husband (Heath, husband).",
        "Results to the daughter, [name]. Husband ([name], husband).",
    ),
    ("We told Imogen that. Imogen was glad.", "We told [name] that. [name] was glad."),
    ("TREMBLAY Sylvie, room C-318", "[name], [address]"),
    ("smith, james\nct kub", "[name]\nct kub"),
    ("Dictated sf typed mmk.", "Dictated [name] typed [name]."),
    ("No bleed.\nJTB/slw", "No bleed.\n[name]"),
    ("No bleed. O. Kowalewska-Ray was there, A. Brennan.", "No bleed. [name] was there, [name]."),
    ("FINAL 5/5/20 0815 Wasserman\nNo bleed.", "FINAL [date] 0815 [name]\nNo bleed."),
    ("PATIENT   BRENNAN MARCEL\nORT   4054 BASEL", "PATIENT   [name]\nORT   [address]"),
    ('Dr. Max "Bob" Berger came, Drs Patel and Rao.', "[name] came, [name] and [name]."),
    ("Countersigned by Lin Chen. D/w Hargreaves, geb. Schulze.", "Countersigned by [name]. D/w [name], geb. [name]."),
    ("Address: Langwies 7\nLiver normal.", "Address: [address]\nLiver normal."),
    ("Transferred from Letterkenny, lives in Zwickau.", "Transferred from [address], lives in [address]."),
    ("Kirchgasse 4, 6130 Schwaz und 8008 Z\u00fcrich", "[address] und [address]"),
    ("Am Markt 3, oder Postfach 11 20; NSW 2000; K1A 0B1", "[address], oder [address]; [address]; [address]"),
    ("Seen at St Vincent's, at Guy's.", "Seen at [institution], at [institution]."),
    ("Fax -211, x4411, 504/555-0110, termine.ring.example.de", "Fax [contact], [contact], [contact], [contact]"),
    ("ACC RMH20CT0016142, #4411", "ACC [id], [id]"),
    ("am 30.VI.2018, II/2017 und 29 02 1980, zuletzt 25.06.", "am [date], [date] und [date], zuletzt [date]"),
    ("Mar '19, Q3 2019, spring 2018, (24/6)", "[date], [date], spring [date], ([date])"),
    ("Ays\u0327e wurde entlassen, Dr. C\u0327elik.", "[name] wurde entlassen, [name]."),
    ("He was informed. Neither stone nor cyst.", "He was informed. Neither stone nor cyst."),
    # ages
    ("Age 94, alter: 95 ", "Age 90, alter: 90 "),
    ("A 93-year-old man, 95 years old, 97-jährige", "A 90-year-old man, 90 years old, 90-jährige"),
]

UNTOUCHED = [
    "3.5 cm, 12.5x13.4 mm, 3 x 4 x 5 cm, 12-15 mm, 0.5 %, -1000 HU, 2000 HU, 15000 ml.",
    "L5/S1, T1, Th12/L1, C3-4, segment 4a, segments 2/3/4, segments 5-6, S1 2.",
    "Ribs 8/9/10 and 8-9-10. ribs; 8.9.10. ribs.",
    "1. Cyst. 2. Stone. 3. Normal. Ratio 3/4, (3/4), grade 2/3, 5/10 pain.",
    "Series 4 image 72 (IMA: 42, Section No: 71/192), images 12/13/14.",
    "Nodule in segment 5. May represent metastasis. It may be 5 mm. Mar. 3 mm.",
    "Crohn disease, Hodgkin lymphoma, Riedel lobe, Morgagni hernia, Bochdalek hernia, Mirizzi syndrome.",
    "Klatskin tumor, Bosniak IIF, Ormond disease, Zenker diverticulum, Pancoast tumor, Swan-Ganz catheter.",
    "Morbus Crohn, M. Hodgkin, Morbus Ormond. Sister Mary Joseph nodule. Ivor Lewis resection.",
    "Patient: Crohn disease. Discussed with surgery. Informed consent. Performed by CT.",
    "MR Angiography, DR Thorax, MS, 14 Fr Catheter, 8 Fr. Drainage, 24 hr. Control, 5 ms Delay.",
    "Gallenweg 3 mm, Ausflussweg 12 mm. Measuring 12 mm. Klinik und Labor. The hospital course.",
    "78-year-old woman, 92 mm, stage 3A, T2N1M0, 4th rib, 2nd day, 30 minutes, 120 kV, 5 mSv.",
    "Mason III, Regan-Morrey II, Fisher 3, Denis I fracture. Evans' index 0.3, Ivor Lewis oesophagectomy.",
    "A. Cholecystitis. B. Hydronephrosis. Vitamin D. Osteopenia. Hepatitis C. Cirrhosis. V. Cava, A. Femoralis.",
    "Neither mass nor effusion. The mother is well. Typed. Dictated but not read. Nothing else. NAD",
    "Room air, bed of the gallbladder, level 3, station 7, clinic visit, SUV 4.7. Ratio 3/4, bowel wall 3 mm.",
    "Location: right lower lobe, 12 mm.\nSite: Segment 4a.\nLocation: T12\nOrt: Leber, 3 cm.",
    "Supplied by the SMA, caused by infection, in the colon, from the liver, at T12, to the hilum.",
    "White matter, Stone in the gallbladder, long segment, small bowel, Brown fat.",
    "i.v. Kontrastmittel, Stadium Ia, AZ gut, 3. Rippe, 5. Wirbel, z. B. links, ca. 3,5 cm, Nr. 4.",
    "",
]


@pytest.mark.parametrize(("text", "expected"), FOUND, ids=[text[:30] for text, _ in FOUND])
def test_identifiers_are_replaced(text: str, expected: str) -> None:
    assert DEIDENTIFIER.apply(text).text == expected


@pytest.mark.parametrize("text", UNTOUCHED, ids=[text[:30] for text in UNTOUCHED])
def test_findings_sizes_levels_and_eponyms_stay(text: str) -> None:
    cleaned = DEIDENTIFIER.apply(text)
    assert (cleaned.text, dict(cleaned.replaced)) == (text, {})


def test_replacements_are_counted_by_kind() -> None:
    cleaned = DEIDENTIFIER.apply("CT of 05.03.2024 and 06.03.2024, Dr. Smith, MRN 123456")
    assert dict(cleaned.replaced) == {"date": 2, "name": 1, "id": 1}
    assert "Smith" not in repr(cleaned)


KNOWN = KnownIdentifiers(
    names=("Müller-Lüdenscheidt^Änne^Maria^Dr.", "Stone^Rose", "van der Berg^Jan", "Li^Wei"),
    numbers=("AB123456", "0098765", "1.2.840.99.4711.1", "17"),
    dates=(date(1965, 3, 14),),
    institutions=("Haus Sonnenschein", "Radiology"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Änne Müller-Lüdenscheidt came.", "[name] came."),
        ("MUELLER-LUEDENSCHEIDT, AENNE came.", "[name] came."),
        ("frau mueller luedenscheidt", "frau [name]"),
        ("The scan of muller was good.", "The scan of [name] was good."),
        ("A. Müller and Maria", "[name] and [name]"),
        ("Rose Stone came, STONE, ROSE left.", "[name] came, [name] left."),
        ("Stone was examined. The daughter of Stone came.", "[name] was examined. The daughter of [name] came."),
        ("R. Stone", "[name]"),
        ("Stone in the gallbladder, a stone.", "Stone in the gallbladder, a stone."),
        ("Stones. A Stone (12 mm).", "Stones. A Stone (12 mm)."),
        ("Jan van der Berg", "[name]"),
        ("Wei Li had Li.", "[name] had [name]."),
        ("Case ab-123 456 and 98765, 0098765.", "Case [id] and [id], [id]."),
        ("1.2.840.99.4711.1", "[id]"),
        ("17 mm, image 17", "17 mm, image 17"),
        ("b. 14.03.65 / 140365 / 1965", "b. [date] / [date] / [date]"),
        ("Seen at haus sonnenschein in Radiology.", "Seen at [institution] in Radiology."),
    ],
    ids=lambda value: value[:24],
)
def test_known_identifiers_are_found_in_any_form(text: str, expected: str) -> None:
    assert DEIDENTIFIER.apply(text, KNOWN).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "Discussed with Dr. Müller. The spleen is normal.",
        "Signed by Jane Doe. 12 mm cyst in the left kidney. Compared to 05.03.2024. Stable.",
        "COMPARISON: CT of March 5, 2024.\nFINDINGS: Liver: cyst. Prior of 5.3.24: no change.\nIMPRESSION:\n1. Cyst.",
        "Patient: Jane Doe\nMRN: 123456\nFINDINGS:\nThe liver is normal. Gallstone since 2019 (Mrs. Smith). No ascites.",
    ],
    ids=["name", "mixed", "sections", "header"],
)
def test_sentences_sections_and_findings_stay_as_they_were(text: str) -> None:
    cleaned = DEIDENTIFIER.apply(text).text
    assert cleaned != text
    before, after = split_sentences(text, RULES), split_sentences(cleaned, RULES)
    assert [(s.section, s.listed) for s in after] == [(s.section, s.listed) for s in before]
    first, second = read_report(text, VOCABULARY), read_report(cleaned, VOCABULARY)
    assert first.labels == second.labels
    assert {k: v.status for k, v in first.anatomies.items()} == {k: v.status for k, v in second.anatomies.items()}


FRAGMENTS = st.sampled_from(
    [*(text for text, _ in FOUND), *UNTOUCHED, "\n", " ", "FINDINGS:\n", "Dr.", "Müller", "5.", "2024"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAGMENTS, max_size=6).map(" ".join))
def test_a_second_pass_finds_nothing_and_all_else_is_verbatim(text: str) -> None:
    cleaned = DEIDENTIFIER.apply(text).text
    assert DEIDENTIFIER.apply(cleaned).text == cleaned
    place = 0
    for piece in re.split("|".join(re.escape(s) for s in STAND_INS.values() if s.startswith("[")), cleaned):
        for part in piece.split("90"):
            place = text.index(part, place) + len(part)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_passes(text: str) -> None:
    spans = DEIDENTIFIER.find(text, KNOWN)
    assert all(0 <= start < end <= len(text) and kind in STAND_INS for start, end, kind in spans)


def test_columns_of_a_table_are_known_by_their_names() -> None:
    row = {
        "report_id": "ACC-4711-22",
        "patient_id": "P0012345",
        "Patient Name": "Doe, Jane",
        "birth_date": "14.03.1965",
        "RequestingPhysician": "Roe^Richard",
        "institution": "Haus Sonnenschein",
        "text": "John Smith",
        "report_text": "John Smith",
        "exam_name": "CT Thorax",
        "findings_id": "12345678",
        "age": "58",
        "empty_name": None,
    }
    found = identifiers_of_row(row)
    assert found == KnownIdentifiers(
        names=("Doe, Jane", "Roe^Richard"),
        numbers=("ACC-4711-22", "P0012345"),
        dates=(date(1965, 3, 14),),
        institutions=("Haus Sonnenschein",),
    )


def write_words(folder: Path, **changes: object) -> Path:
    source = Path(str(files("preprocess"))) / "data" / "en" / "identifiers.yaml"
    data = yaml.safe_load(source.read_text(encoding="utf-8")) | changes
    folder.mkdir(exist_ok=True)
    (folder / "identifiers.yaml").write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titles": None}, r"identifiers\.yaml: expected the keys .*titles"),
        ({"extra": "x"}, r"identifiers\.yaml: expected the keys"),
        ({"months": ["january"]}, r"identifiers\.yaml: months: needs a list of 12"),
        ({"months": [3] * 12}, r"identifiers\.yaml: months\.1: needs a text"),
        ({"titles": 7}, r"identifiers\.yaml: titles: needs a text"),
        ({"titles": "dr; 12"}, r"identifiers\.yaml: titles: '12' holds no word"),
        ({"given_names": "anna maria"}, r"identifiers\.yaml: given_names: 'anna maria' is not a single word"),
    ],
    ids=["missing", "unknown", "months", "month", "type", "no word", "two words"],
)
def test_wrong_words_are_named_with_file_and_key(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_identifier_words((write_words(tmp_path / "xx", **changes),))


def test_own_words_add_to_the_shipped_ones(tmp_path: Path) -> None:
    folder = write_words(tmp_path / "tr", titles="doçent", signatures="imza")
    deidentifier = Deidentifier((*LANGUAGES, folder))
    assert deidentifier.apply("Doçent Demir; Dr. Smith; imza Aksoy").text == "[name]; [name]; imza [name]"
    with pytest.raises(InputError, match="at least one language"):
        load_identifier_words(())
    with pytest.raises(InputError, match=r"nowhere.identifiers\.yaml: cannot be read"):
        load_identifier_words(("nowhere",))


def test_no_rule_reads_what_the_simulator_plants() -> None:
    root = Path(str(files("preprocess")))
    readers = [path.name for path in root.rglob("*.py") if re.search(r"names_\{|names_[ab]", path.read_text("utf-8"))]
    assert readers == ["persona.py"]
    assert KEYS


@pytest.mark.real
def test_real_reports_lose_days_and_hardly_anything_else(shared_data: Path) -> None:
    import pandas as pd

    texts = pd.read_csv(shared_data / "reports" / "ct_rate_labelled.csv")["report_text"].tolist()[:200]
    words = sum(len(text.split()) for text in texts)
    spans = [(text[start:end], kind) for text in texts for start, end, kind in DEIDENTIFIER.find(text)]
    assert sum(len(found.split()) for found, kind in spans if kind != "date") / words < 0.0005
    changed = [text for text in texts if DEIDENTIFIER.apply(text).text != text][:12]
    for text in changed:
        assert read_report(text, VOCABULARY).labels == read_report(DEIDENTIFIER.apply(text).text, VOCABULARY).labels
