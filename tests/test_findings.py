"""Each finding of `ct54` is recognised as radiologists word it: stated, denied and doubted."""

import pytest

from preprocess.report_reader import read_report
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

STATED = [
    ("adrenal_gland.thickening", "The left adrenal gland is diffusely thickened."),
    ("adrenal_gland.thickening", "Both adrenals are bulky without a focal mass."),
    ("adrenal_gland.nodule", "1.4 cm lipid-rich adenoma in the right adrenal gland."),
    ("adrenal_gland.nodule", "A small nodule is noted in the lateral limb of the left adrenal."),
    ("adrenal_gland.metastasis", "Bilateral adrenal metastases."),
    ("adrenal_gland.metastasis", "Heterogeneous left suprarenal mass consistent with metastasis."),
    ("bladder.diverticulum", "Posterolateral bladder diverticulum measuring 3 cm."),
    ("bladder.stone", "A 9 mm calculus lies dependently in the urinary bladder."),
    ("bladder.stone", "Bladder: two stones in the lumen."),
    ("colon.appendicolith", "The appendix contains an appendicolith."),
    (
        "colon.appendicitis",
        "Dilated, thick-walled appendix with surrounding fat stranding, in keeping with acute appendicitis.",
    ),
    ("colon.obstruction", "Large bowel obstruction with a transition point in the sigmoid."),
    ("colon.obstruction", "The colon is markedly distended proximal to the splenic flexure."),
    ("colon.diverticulum", "Sigmoid diverticulosis without evidence of diverticulitis."),
    ("colon.diverticulum", "Multiple diverticula in the descending colon."),
    ("colon.colorectal_cancer", "Circumferential mass of the ascending colon, suggestive of carcinoma."),
    (
        "colon.colorectal_cancer",
        "Irregular annular wall thickening in the sigmoid colon with shouldering, consistent with malignancy.",
    ),
    ("colon.rectal_cancer", "Rectal carcinoma invading the mesorectal fat."),
    ("colon.rectal_cancer", "There is an asymmetric mass in the mid rectum."),
    ("esophagus.varices", "Prominent esophageal varices."),
    ("esophagus.varices", "Dilated tortuous veins around the distal esophagus, compatible with varices."),
    ("esophagus.cancer", "Mass in the mid esophagus narrowing the lumen, consistent with carcinoma."),
    ("esophagus.hiatal_hernia", "Small sliding hiatus hernia."),
    ("esophagus.hiatal_hernia", "Part of the gastric fundus herniates through the hiatus."),
    (
        "gallbladder.cholecystitis",
        "Distended gallbladder with wall edema and pericholecystic fluid: acute cholecystitis.",
    ),
    ("gallbladder.gallstone", "Several calcified stones in the gallbladder."),
    ("gallbladder.gallstone", "Cholelithiasis."),
    ("gallbladder.adenomyomatosis", "Focal fundal wall thickening of the gallbladder, likely benign; adenomyomatosis."),
    ("heart.cardiomegaly", "The heart is enlarged."),
    ("heart.cardiomegaly", "Cardiac size is increased."),
    ("heart.cardiomegaly", "Mild cardiomegaly."),
    ("heart.pericardial_effusion", "Small pericardial effusion."),
    ("heart.pericardial_effusion", "There is a thin layer of fluid in the pericardium."),
    ("kidney.atrophy", "The left kidney is small and atrophic with cortical thinning."),
    ("kidney.cyst", "Simple cortical cyst in the lower pole of the right kidney."),
    ("kidney.cyst", "Kidneys: 2 cm Bosniak I cyst on the left."),
    ("kidney.hydronephrosis", "Moderate left hydronephrosis."),
    ("kidney.hydronephrosis", "The right renal pelvis and ureter are dilated."),
    ("kidney.calculus", "Non-obstructing 4 mm stone in the left kidney."),
    ("kidney.calculus", "Right ureteric calculus at the pelvic brim."),
    ("liver.fatty_liver", "Diffuse hepatic steatosis."),
    ("liver.fatty_liver", "The liver is diffusely low in attenuation, consistent with fatty infiltration."),
    ("liver.glisson_capsule_effusion", "Periportal oedema is noted."),
    ("liver.metastasis", "Multiple hypodense lesions in both lobes of the liver, consistent with metastases."),
    ("liver.bile_duct_dilatation", "The intrahepatic bile ducts are dilated."),
    ("liver.bile_duct_dilatation", "Mild intrahepatic biliary ductal dilatation."),
    (
        "liver.cancer",
        "Arterially enhancing lesion with washout in segment VIII of the liver, diagnostic of hepatocellular carcinoma.",
    ),
    ("liver.cyst", "Subcentimetre hepatic cyst."),
    ("liver.cyst", "Liver: simple cyst in segment 4."),
    ("liver.abscess", "Rim-enhancing collection in the right lobe of the liver compatible with an abscess."),
    ("liver.cirrhosis", "Cirrhotic liver with nodular contour."),
    ("liver.hemangioma", "Haemangioma in hepatic segment VII."),
    ("lung.atelectasis", "Bibasal atelectasis."),
    ("lung.atelectasis", "Complete collapse of the left lower lobe."),
    ("lung.bronchiectasis", "Cylindrical bronchiectasis in both lower lobes."),
    ("lung.emphysema", "Centrilobular emphysema, upper lobe predominant."),
    ("lung.pneumonia", "Consolidation in the right middle lobe, consistent with pneumonia."),
    ("lung.pleural_effusion", "Moderate right pleural effusion."),
    ("lung.pleural_effusion", "Bilateral pleural effusions with adjacent atelectasis."),
    ("pancreas.cancer", "Hypodense mass in the pancreatic head, suggestive of adenocarcinoma."),
    ("pancreas.atrophy", "The pancreas is atrophic."),
    ("pancreas.pancreatitis", "Swollen pancreas with peripancreatic stranding and fluid, acute pancreatitis."),
    ("pancreas.duct_dilatation", "The main pancreatic duct is dilated to 6 mm."),
    ("pancreas.steatosis", "Fatty replacement of the pancreas."),
    (
        "portal_vein.hypertension",
        "Dilated portal vein of 17 mm with splenomegaly and collaterals, signs of portal hypertension.",
    ),
    ("portal_vein.thrombosis", "Filling defect in the main portal vein, consistent with thrombosis."),
    ("small_intestine.intussusception", "Jejuno-jejunal intussusception with a target sign."),
    ("small_intestine.obstruction", "Dilated small bowel loops with air-fluid levels."),
    ("small_intestine.diverticulum", "Duodenal diverticulum."),
    ("spleen.hemangioma", "Splenic hemangioma, 15 mm."),
    ("spleen.infarction", "Wedge-shaped hypodensity at the periphery of the spleen, consistent with infarct."),
    ("spleen.splenomegaly", "The spleen is enlarged, measuring 16 cm."),
    ("stomach.wall_thickening", "Diffuse thickening of the gastric wall."),
    ("stomach.cancer", "Ulcerated mass at the gastric antrum, consistent with carcinoma."),
    ("stomach.varices", "Fundal varices."),
    ("sacrum.osteitis", "Triangular sclerosis along the sacroiliac joints, typical of osteitis condensans ilii."),
    ("sacrum.osteitis", "Bilateral sacroiliitis."),
]

DENIED = [
    ("adrenal_gland.nodule", "No adrenal nodule."),
    ("adrenal_gland.thickening", "The adrenal glands are not thickened."),
    ("bladder.stone", "No calculus in the urinary bladder."),
    ("bladder.diverticulum", "The bladder is smooth, without diverticula."),
    ("colon.appendicitis", "The appendix is normal."),
    ("colon.appendicitis", "No evidence of appendicitis."),
    ("colon.obstruction", "No large bowel obstruction."),
    ("colon.diverticulum", "No diverticula are seen in the sigmoid colon."),
    ("esophagus.hiatal_hernia", "There is no hiatal hernia."),
    ("gallbladder.gallstone", "Gallbladder without stones."),
    ("gallbladder.cholecystitis", "No signs of acute cholecystitis."),
    ("heart.cardiomegaly", "Normal heart size."),
    ("heart.cardiomegaly", "The heart is not enlarged."),
    ("heart.pericardial_effusion", "No pleural or pericardial effusion."),
    ("kidney.hydronephrosis", "No hydronephrosis, stone or mass in either kidney."),
    ("kidney.calculus", "No hydronephrosis, stone or mass in either kidney."),
    ("kidney.cyst", "Both kidneys are free of cysts."),
    ("liver.bile_duct_dilatation", "No intra- or extrahepatic biliary dilatation."),
    ("liver.cyst", "Liver: no cysts or masses."),
    ("liver.metastasis", "There is no evidence of liver metastases."),
    ("liver.cirrhosis", "No features of cirrhosis."),
    ("lung.pleural_effusion", "Pleural effusion was not detected."),
    ("lung.pneumonia", "No pneumonia."),
    ("lung.atelectasis", "The lungs are clear without atelectasis, consolidation or effusion."),
    ("lung.emphysema", "Neither emphysema nor bronchiectasis is seen."),
    ("lung.bronchiectasis", "Neither emphysema nor bronchiectasis is seen."),
    ("lung.pleural_effusion", "The previously seen pleural effusion has resolved."),
    ("pancreas.duct_dilatation", "The pancreatic duct is not dilated."),
    ("pancreas.pancreatitis", "No peripancreatic inflammation to suggest pancreatitis."),
    ("portal_vein.thrombosis", "The portal vein is patent."),
    ("portal_vein.thrombosis", "No thrombus in the portal or splenic vein."),
    ("small_intestine.obstruction", "No small bowel obstruction."),
    ("spleen.splenomegaly", "The spleen is of normal size."),
    ("spleen.splenomegaly", "No splenomegaly."),
    ("stomach.wall_thickening", "No gastric wall thickening is present."),
    ("esophagus.varices", "No esophageal or gastric varices."),
    ("stomach.varices", "No esophageal or gastric varices."),
    ("sacrum.osteitis", "Sacroiliac joints without sclerosis or erosions."),
]

DOUBTED = [
    ("kidney.cyst", "Hypodense lesion in the left kidney (cyst?)."),
    ("liver.hemangioma", "Hyperenhancing focus in the liver, possibly a hemangioma."),
    ("liver.metastasis", "Small hypodense liver lesion; metastasis cannot be excluded."),
    ("lung.pneumonia", "Patchy opacity in the left lower lobe, may represent pneumonia."),
    ("colon.appendicitis", "Appendicitis is not excluded."),
    ("pancreas.cancer", "Ill-defined area in the pancreatic head, suspicious for carcinoma."),
    ("gallbladder.cholecystitis", "Thick gallbladder wall, probable cholecystitis."),
    ("spleen.infarction", "Peripheral splenic hypodensity, infarct is suspected."),
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary("ct54")


def _ids(cases: list[tuple[str, str]]) -> list[str]:
    return [f"{finding}-{' '.join(text.split()[:5])}" for finding, text in cases]


@pytest.mark.parametrize(("finding", "text"), STATED, ids=_ids(STATED))
def test_stated_finding_is_positive(finding: str, text: str, vocabulary: Vocabulary) -> None:
    reading = read_report(text, vocabulary)
    assert reading.labels[finding] == 1
    assert reading.anatomies[finding.split(".")[0]].status == "abnormal"


@pytest.mark.parametrize(("finding", "text"), DENIED, ids=_ids(DENIED))
def test_denied_finding_is_negative(finding: str, text: str, vocabulary: Vocabulary) -> None:
    reading = read_report(text, vocabulary)
    assert reading.labels[finding] == 0
    assert reading.anatomies[finding.split(".")[0]].status == "normal"


@pytest.mark.parametrize(("finding", "text"), DOUBTED, ids=_ids(DOUBTED))
def test_doubted_finding_is_uncertain(finding: str, text: str, vocabulary: Vocabulary) -> None:
    assert read_report(text, vocabulary).labels[finding] == -1


def test_every_finding_has_a_case(vocabulary: Vocabulary) -> None:
    assert {finding for finding, _ in STATED} == {finding.id for finding in vocabulary.findings}


@pytest.mark.parametrize(("finding", "text"), STATED, ids=_ids(STATED))
def test_a_statement_does_not_touch_other_anatomies(finding: str, text: str, vocabulary: Vocabulary) -> None:
    """What is said of one organ is no finding of another, unless the sentence names it."""
    others = {
        evidence.anatomy for evidence in read_report(text, vocabulary).evidence if evidence.assertion == "positive"
    } - {finding.split(".")[0]}
    named = {name for name in others if name and any(word in text.lower() for word in NAMED_TOO.get(name, ()))}
    assert others == named


NAMED_TOO = {
    "spleen": ("splenomegaly",),
    "lung": ("atelectasis",),
    "gallbladder": ("gallbladder",),
    "liver": ("liver",),
    "small_intestine": ("jejun",),
    "esophagus": ("hiatus",),
}
