"""German: its words, inflection and spellings, how its reports are cut, and how exactly invented ones are read."""

import pytest

from preprocess.report_reader import Reader
from preprocess.vocabulary_files import load_vocabulary


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(load_vocabulary("ct54"), "de")


SENTENCES = """
Die Leber ist normal groß und homogen. | liver=normal
Leber- und Nierenzysten. | liver=abnormal kidney=abnormal liver.cyst=1 kidney.cyst=1
Keine Leber- oder Nierenzysten. | liver=normal kidney=normal liver.cyst=0 kidney.cyst=0
Leberzyste, einer einfachen Zyste entsprechend. | liver=abnormal liver.cyst=1
Fettleber. | liver=abnormal liver.fatty_liver=1
Leber deutlich dichtegemindert (35 HE). | liver=abnormal liver.fatty_liver=1
Multiple Leberfiliae. | liver=abnormal liver.metastasis=1
Kein Nachweis von Leberfiliae. | liver=normal liver.metastasis=0
V. a. HCC im Segment VIII. | liver=uncertain liver.cancer=-1
Lebermetastasen können nicht sicher ausgeschlossen werden. | liver=uncertain liver.metastasis=-1
Lebermetastasen ausgeschlossen. | liver=normal liver.metastasis=0
Anhaltspunkte für eine Leberzirrhose bestehen nicht. | liver=normal liver.cirrhosis=0
Bei bekannter Leberzirrhose kein HCC. | liver=abnormal liver.cirrhosis=1 liver.cancer=0
Am ehesten Hämangiom der Leber. | liver=abnormal liver.hemangioma=1
Periportales Ödem. | liver=abnormal liver.glisson_capsule_effusion=1
Intrahepatische Gallenwege nicht erweitert. | liver=normal liver.bile_duct_dilatation=0
Abszess im linken Leberlappen, 4 x 3 cm. | liver=abnormal liver.abscess=1
Cholezystolithiasis ohne Cholezystitis. | gallbladder=abnormal gallbladder.gallstone=1 gallbladder.cholecystitis=0
Cholezystitis: ausgeschlossen. | gallbladder=normal gallbladder.cholecystitis=0
Gallenblase steinfrei, zartwandig. | gallbladder=normal gallbladder.gallstone=0
Z. n. Cholezystektomie. | gallbladder=removed
Gallenblase bei Z. n. Cholezystektomie nicht mehr vorhanden. | gallbladder=removed
Adenomyomatose der Gallenblase. | gallbladder=abnormal gallbladder.adenomyomatosis=1
Splenomegalie. | spleen=abnormal spleen.splenomegaly=1
Milz 13,8 cm. | spleen=abnormal spleen.splenomegaly=1
Milz 11,2 cm, normal groß. | spleen=normal spleen.splenomegaly=0
Milzinfarkt am Unterpol. | spleen=abnormal spleen.infarction=1
Milzhämangiom. | spleen=abnormal spleen.hemangioma=1
Pfortader und Milzvene offen. | portal_vein=normal portal_vein.thrombosis=0 spleen=unmentioned
Pfortaderthrombose. | portal_vein=abnormal portal_vein.thrombosis=1
Umgehungskreisläufe bei portaler Hypertension. | portal_vein=abnormal portal_vein.hypertension=1
Lipomatose des Pankreas. | pancreas=abnormal pancreas.steatosis=1
Das Pankreas ist atroph. | pancreas=abnormal pancreas.atrophy=1
Exsudative Pankreatitis. | pancreas=abnormal pancreas.pancreatitis=1
Pankreaskopfkarzinom. | pancreas=abnormal pancreas.cancer=1
Der Ductus pancreaticus ist auf 6 mm erweitert. | pancreas=abnormal pancreas.duct_dilatation=1
Nebennieren beidseits schlank. | adrenal_gland=normal adrenal_gland.thickening=0
Linke Nebenniere verdickt. | adrenal_gland=abnormal adrenal_gland.thickening=1
Nebennierenadenom rechts, 18 mm. | adrenal_gland=abnormal adrenal_gland.nodule=1
Nebennierenmetastase links. | adrenal_gland=abnormal adrenal_gland.metastasis=1
Nieren ohne Harnstau. | kidney=normal kidney.hydronephrosis=0
Stauungsniere links bei Harnleiterstein. | kidney=abnormal kidney.hydronephrosis=1 kidney.calculus=1
Schrumpfniere links. | kidney=abnormal kidney.atrophy=1
Nieren: keine Stauung, kortikale Zyste rechts 12 mm. | kidney=abnormal kidney.cyst=1 kidney.hydronephrosis=0
Nierenarterien beidseits offen. | kidney=unmentioned
Blasenstein und Blasendivertikel. | bladder=abnormal bladder.stone=1 bladder.diverticulum=1
Z. n. Zystektomie. | bladder=removed
Sigmadivertikulose. | colon=abnormal colon.diverticulum=1
Akute Appendizitis mit Appendikolith. | colon=abnormal colon.appendicitis=1 colon.appendicolith=1
Kolonkarzinom der rechten Flexur. | colon=abnormal colon.colorectal_cancer=1
Rektumkarzinom. | colon=abnormal colon.rectal_cancer=1
Dickdarmileus. | colon=abnormal colon.obstruction=1
Dünndarmileus mit Kalibersprung. | small_intestine=abnormal small_intestine.obstruction=1
Duodenaldivertikel. | small_intestine=abnormal small_intestine.diverticulum=1
Ileokolische Invagination. | small_intestine=abnormal small_intestine.intussusception=1
Ösophagus- und Fundusvarizen. | esophagus=abnormal stomach=abnormal esophagus.varices=1 stomach.varices=1
Kleine axiale Hiatushernie. | esophagus=abnormal esophagus.hiatal_hernia=1
Ösophaguskarzinom. | esophagus=abnormal esophagus.cancer=1
Magenwand diffus verdickt. | stomach=abnormal stomach.wall_thickening=1
Magenkarzinom der kleinen Kurvatur. | stomach=abnormal stomach.cancer=1
Z. n. Gastrektomie. | stomach=removed
Herz normal groß. | heart=normal heart.cardiomegaly=0
Herz grenzwertig groß. | heart=uncertain heart.cardiomegaly=-1
Herzschatten verbreitert. | heart=abnormal heart.cardiomegaly=1
Kein Pleura- oder Perikarderguss. | heart=normal lung=normal heart.pericardial_effusion=0 lung.pleural_effusion=0
Pleuraerguss rechts, kein Perikarderguss. | heart=normal lung=abnormal lung.pleural_effusion=1 heart.pericardial_effusion=0
Der Pleuraerguss ist nicht mehr nachweisbar. | lung=normal lung.pleural_effusion=0
Infiltrat im linken Oberlappen, am ehesten pneumonisch. | lung=abnormal lung.pneumonia=1
Lungenembolie ausgeschlossen. | lung=unmentioned
Kompressionsatelektasen in beiden Unterlappen. | lung=abnormal lung.atelectasis=1
Bullöses Lungenemphysem. | lung=abnormal lung.emphysema=1
Traktionsbronchiektasen. | lung=abnormal lung.bronchiectasis=1
Sakroiliitis beidseits. | sacrum=abnormal sacrum.osteitis=1
Leber ohne Herdbefund, Milz normal groß. | liver=normal spleen=normal spleen.splenomegaly=0
Leber mit 1,2 cm großer Zyste, Milz unauffällig. | liver=abnormal spleen=normal liver.cyst=1
Leber, Milz, Pankreas und Nieren unauffällig. | liver=normal spleen=normal pancreas=normal kidney=normal
Die Milz ist nicht vergrößert und homogen. | spleen=normal spleen.splenomegaly=0
Zum Ausschluss einer Pankreatitis Laborkontrolle empfohlen. | pancreas.pancreatitis=None
Multiple, bis 4,1 cm dilatierte Dünndarmschlingen. | small_intestine=abnormal small_intestine.obstruction=1
Kein Nachweis eines Emphysems, einer Pneumonie oder eines Pleuraergusses. | lung=normal lung.emphysema=0 lung.pneumonia=0 lung.pleural_effusion=0
Keine Lebermetastasen, in Segment II eine Zyste. | liver=abnormal liver.metastasis=0 liver.cyst=1
Leber- und Milzmetastasen. | liver.metastasis=1 liver=abnormal spleen=abnormal
"""


@pytest.mark.parametrize("line", SENTENCES.strip().splitlines(), ids=lambda line: line.split(" |")[0])
def test_sentences(reader: Reader, line: str) -> None:
    text, expected = line.rsplit(" | ", 1)
    reading = reader.read(text)
    wanted = dict(item.split("=") for item in expected.split())
    found = {name: str(reading.labels[name]) if "." in name else reading.anatomies[name].status for name in wanted}
    assert found == wanted
    positive = {name for name, label in reading.labels.items() if label == 1}
    assert positive == {name for name, label in wanted.items() if label == "1"}
    unexpected = {name for name, anatomy in reading.anatomies.items() if anatomy.status != "unmentioned"} - {
        name.split(".")[0] for name in wanted
    }
    assert not unexpected


@pytest.mark.parametrize(
    ("written", "respelled"),
    [
        ("Milz nicht vergrößert.", "Milz nicht vergroessert."),
        ("Milz nicht vergrößert.", "Milz nicht vergrössert."),
        ("Pleuraergüsse beidseits.", "Pleuraerguesse beidseits."),
        ("Ösophagusvarizen.", "Oesophagusvarizen."),
        ("Lungen unauffällig, gut belüftet.", "LUNGEN UNAUFFAELLIG, GUT BELUEFTET."),
    ],
)
def test_umlauts_are_read_in_every_spelling(reader: Reader, written: str, respelled: str) -> None:
    one, other = reader.read(written), reader.read(respelled)
    assert one.labels == other.labels
    assert {n: a.status for n, a in one.anatomies.items()} == {n: a.status for n, a in other.anatomies.items()}


@pytest.mark.parametrize(
    "form", ["unauffällig", "unauffällige", "unauffälliger", "unauffälliges", "unauffälligen", "unauffälligem"]
)
def test_adjectives_are_read_in_every_form(reader: Reader, form: str) -> None:
    assert reader.read(f"{form.capitalize()} Darstellung der Leber.").anatomies["liver"].status == "normal"


def test_sections(reader: Reader) -> None:
    text = (
        "Klinische Angaben: Staging.\nTechnik: Spiral-CT.\nVoruntersuchung: keine.\n\n"
        "Befund:\nLeber o. B.\n\nBeurteilung:\nKein Tumor.\nNachtrag:\nKleine Nierenzyste."
    )
    sections = [sentence.section for sentence in reader.read(text).sentences]
    assert sections[:5] == ["history", "technique", "comparison", "findings", "impression"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Milz o. B. Nieren o.B. Leber mit Zyste.", ["Milz o. B.", "Nieren o.B.", "Leber mit Zyste."]),
        ("Nebennieren bds. Die Milz ist zart.", ["Nebennieren bds.", "Die Milz ist zart."]),
        ("Z. n. Splenektomie. V. a. Pneumonie.", ["Z. n. Splenektomie.", "V. a. Pneumonie."]),
        ("Z.n.Splenektomie ca. 2010.", ["Z.n.Splenektomie ca. 2010."]),
        ("Herd im Segment V. Milz zart.", ["Herd im Segment V.", "Milz zart."]),
        ("Zyste 2,3 cm. Milz zart.", ["Zyste 2,3 cm.", "Milz zart."]),
    ],
)
def test_sentences_end_where_german_ones_do(reader: Reader, text: str, sentences: list[str]) -> None:
    assert [sentence.text for sentence in reader.read(text).sentences] == sentences


@pytest.mark.parametrize(
    ("text", "finding", "side", "size_mm"),
    [
        ("Nierenzyste links, 2,3 cm.", "kidney.cyst", "left", 23.0),
        ("In der rechten Niere eine 14 x 11 mm große Zyste.", "kidney.cyst", "right", 14.0),
        ("Pleuraergüsse bds. bis 3,5 cm.", "lung.pleural_effusion", "both", 35.0),
        ("Nebennierenadenom re., 18 mm.", "adrenal_gland.nodule", "right", 18.0),
    ],
)
def test_side_and_size(reader: Reader, text: str, finding: str, side: str, size_mm: float) -> None:
    evidence = next(e for e in reader.read(text).evidence if e.finding == finding)
    assert (evidence.side, evidence.size_mm) == (side, size_mm)


def test_headers_carry_over(reader: Reader) -> None:
    reading = reader.read("Befund:\nNieren: Zyste links 2 cm. Kein Aufstau.\nMilz: o. B.\n")
    assert reading.anatomies["kidney"].text == "Nieren: Zyste links 2 cm. Kein Aufstau."
    assert reading.labels["kidney.hydronephrosis"] == 0
    assert reading.anatomies["spleen"].status == "normal"
