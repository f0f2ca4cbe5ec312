import random
import re

import pytest
from phantoms import body, canonical_affine, dicom_series, save_series

from preprocess.archive import find_studies
from preprocess.dicom_headers import read_header
from preprocess.series import SeriesSource, choose_series, passed_over
from preprocess.series_rules import is_sharp, load_series_rules, phase_of, phase_rank
from preprocess.study_source import build_study


def candidate(name, **values):
    usual = {"slices": 100, "step_mm": 3.0, "coverage_mm": 297.0, "plane": "axial", "kernel": "Br38f"}
    return SeriesSource(name, "dicom", (), **{**usual, **values})


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"plane": "coronal", "step_mm": 1.0}),
        ({}, {"original": False, "step_mm": 1.0}),
        ({}, {"kernel": "B70f", "step_mm": 1.0}),
        ({"step_mm": 1.0, "slices": 298}, {}),
        ({"slices": 120}, {}),
        ({}, {"coverage_mm": 20.0, "step_mm": 1.0}),
        ({"phase": "portal"}, {"phase": "native"}),
        ({"phase": "native"}, {}),
        ({"range_mm": (0, 297)}, {"range_mm": (100, 200), "coverage_mm": 100.0, "step_mm": 1.0}),
        ({"step_mm": 2.0, "range_mm": (0, 120), "coverage_mm": 120.0}, {"range_mm": (110, 407)}),
    ],
    ids=[
        "axial",
        "original",
        "soft",
        "thin",
        "more slices",
        "whole",
        "phase",
        "known phase",
        "within",
        "another region",
    ],
)
def test_the_better_series_comes_first_whatever_the_order(better, worse):
    one, other = candidate("b", **better), candidate("a", **worse)
    for found in ([one, other], [other, one]):
        assert choose_series(found)[0][0] is one


def test_equal_series_are_ordered_by_name():
    assert [series.name for series in choose_series([candidate("b"), candidate("a")])[0]] == ["a", "b"]


def test_refused_series_keep_their_reason():
    chosen, left_out = choose_series(
        [candidate("a"), candidate("b", refusal="localizer"), candidate("c", coverage_mm=9.0)]
    )
    assert [series.name for series in chosen] == ["a"]
    assert {series.name: reason for series, reason in left_out} == {
        "b": "localizer",
        "c": "covers 9 mm of the 297 mm that another series covers",
    }


CHEST = {"range_mm": (300.0, 600.0), "phase": "portal"}
ABDOMEN = {"range_mm": (0.0, 330.0), "phase": "portal"}


@pytest.mark.parametrize(
    ("kept", "series", "choice", "reason"),
    [
        ([], {}, "primary", None),
        ([{}], {"phase": "portal"}, "primary", "another series was preferred"),
        ([{}], {}, "all", None),
        ([ABDOMEN], CHEST, "one_per_phase", None),
        ([ABDOMEN], {**ABDOMEN, "kernel": "B70f"}, "one_per_phase", "another series of this phase and region"),
        ([ABDOMEN], {**ABDOMEN, "phase": "native"}, "one_per_phase", None),
        ([ABDOMEN], {**CHEST, "range_mm": (100.0, 600.0)}, "one_per_phase", "another series of this phase and region"),
        ([ABDOMEN], {**ABDOMEN, "phase": None}, "one_per_phase", "another series of this phase and region"),
        ([ABDOMEN], {**ABDOMEN, "phase": "contrast"}, "one_per_phase", "another series of this phase and region"),
        ([{**ABDOMEN, "phase": "native"}], {**ABDOMEN, "phase": "contrast"}, "one_per_phase", None),
        ([{**ABDOMEN, "phase": None}], ABDOMEN, "one_per_phase", None),
        ([ABDOMEN], {**CHEST, "phase": None}, "one_per_phase", None),
        ([{"phase": "portal"}], {"phase": "portal"}, "one_per_phase", "another series of this phase and region"),
    ],
    ids=["first", "primary", "all", "two regions", "two kernels", "two phases", "overlapping", "unknown phase", "contrast after portal", "contrast after native", "portal after unknown", "unknown phase elsewhere",
         "unknown range"],
)  # fmt: skip
def test_how_many_volumes_of_a_study_are_kept(kept, series, choice, reason):
    said = passed_over(candidate("x", **series), [candidate(str(n), **one) for n, one in enumerate(kept)], choice)
    assert (said is None) if reason is None else said.startswith(reason)


def test_a_fragment_of_another_region_is_a_volume_unless_it_is_tiny():
    whole = candidate("whole", range_mm=(0, 500), coverage_mm=500.0)
    head = candidate("head", range_mm=(520, 660), coverage_mm=140.0)
    level = candidate("level", range_mm=(520, 530), coverage_mm=10.0)
    within = candidate("within", range_mm=(100, 240), coverage_mm=140.0)
    chosen, left_out = choose_series([whole, head, level, within])
    assert {series.name for series in chosen} == {"whole", "head"}
    assert {series.name for series, _ in left_out} == {"level", "within"}


def test_the_rules_name_each_criterion_and_phase_once():
    rules = load_series_rules()
    assert sorted(rules.order) == ["axial", "many", "original", "phase", "soft", "thin"]
    assert sorted(rules.phase_order) == sorted([*rules.phases, "contrast"])
    assert [phase_rank(phase) for phase in ("portal", "native", None, "x")] == [0, 4, 5, 5]


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        (None, False), ("Br38f 3", False), ("B30f", False), ("B70f", True), ("I70f 3", True), ("Bl57d", True),
        ("STANDARD", False), ("SOFT", False), ("LUNG", True), ("BONEPLUS", True), ("FC08", False), ("FC51", True),
        ("B", False), ("C", False), ("YA", True), ("L", True), ("Qr40", False), ("Hr60h", True), ("Br59d 2", True), ("FC 30", True), ("Lunge", True),
        ("Standard Weichteil", False), ("Knochen", True), ("['Br40f', '2']", False), ("", False),
    ],
)  # fmt: skip
def test_kernels(kernel, sharp):
    assert is_sharp(kernel) is sharp


@pytest.mark.parametrize(
    ("description", "contrast", "phase"),
    [
        ("Abdomen portalvenous 3.0", True, "portal"),
        ("ABD VEN 5mm", None, "portal"),
        ("Thorax arterial", True, "arterial"),
        ("CTA aorta", None, "arterial"),
        ("Abdomen nativ", None, "native"),
        ("Chest without contrast", None, "native"),
        ("late phase", True, "delayed"),
        ("CT Body 3.0", True, "contrast"),
        ("CT Body 3.0", None, None),
        ("Partial heart", False, None),
        ("Abdomen venös 3mm", None, "portal"),
        ("Abd. portalvenös", None, "portal"),
        ("Oberbauch arteriell 1.5", None, "arterial"),
        ("Thorax spätarteriell", None, "arterial"),
        ("late arterial", None, "arterial"),
        ("Becken Spätphase", True, "delayed"),
        ("SPÄTPHASE 10 min", True, "delayed"),
        ("Niere Ausscheidungsphase", None, "delayed"),
        ("Thorax ohne KM", None, "native"),
        ("Schädel nativ", None, "native"),
        ("Thorax_nativ_1.0", None, "native"),
        ("Thorax mit KM", True, "contrast"),
        ("AP view", None, None),
    ],
)
def test_phases(description, contrast, phase):
    found, source = phase_of(description, contrast)
    assert found == phase
    assert (source is None) == (phase is None)


def series_of(folder):
    (study,) = find_studies(folder).studies
    return study.series


def test_empty_series_uids_are_grouped_by_folder_orientation_and_size(tmp_path):
    blank = {"SeriesInstanceUID": "", "SOPInstanceUID": "", "StudyInstanceUID": "2.25.7"}
    coronal = canonical_affine()
    coronal[:3, :3] = coronal[:3, [1, 0, 2]]
    groups = {
        "a": dicom_series(body(), canonical_affine(), **blank),
        "b": dicom_series(body(), canonical_affine(), **blank),
        "a/more": dicom_series(body((5, 20, 24)), canonical_affine(), **blank),
        "a/coronal": dicom_series(body(), coronal, **blank),
    }
    for name, series in groups.items():
        save_series(tmp_path / name.split("/")[0], series, suffix=f"-{name.replace('/', '-')}")
    found = series_of(tmp_path)
    assert sorted((series.slices, series.plane, series.refusal) for series in found) == [
        (5, "axial", None), (12, "axial", None), (12, "axial", None), (12, "coronal", None),
    ]  # fmt: skip
    assert len({series.name for series in found}) == 4


@pytest.mark.parametrize("how", ["folder", "acquisition", "kernel"])
def test_slices_that_share_a_uid_and_a_place_are_parted(tmp_path, how):
    tags = [{}, {}]
    if how == "acquisition":
        tags = [{"AcquisitionNumber": "1"}, {"AcquisitionNumber": "2"}]
    elif how == "kernel":
        tags = [{"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}]
    for number, own in enumerate(tags):
        series = dicom_series(body(seed=number), canonical_affine(), **own)
        for z, dataset in enumerate(series):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.9.{number}.{z}"
        save_series(tmp_path / (str(number) if how == "folder" else "x"), series, suffix=f"-{number}.dcm")
    assert [series.slices for series in series_of(tmp_path)] == [12, 12]


def test_copies_of_the_same_instances_count_once(tmp_path):
    for folder in ("one", "copy"):
        save_series(tmp_path / folder, dicom_series(body(), canonical_affine()))
    (series,) = series_of(tmp_path)
    assert series.slices == 12


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"Modality": "SR", "Rows": None}, r"not an image \(SR\)"),
        ({"Modality": "PT"}, "modality PT"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "dose report"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "colour or inverted"),
        ({"ImagePositionPatient": None, "ImageOrientationPatient": None}, "no place in the patient"),
    ],
    ids=["localizer", "secondary capture", "report", "pet", "screen shot", "inverted", "no place"],
)
def test_what_is_no_ct_slice_is_left_out_with_the_reason(tmp_path, tags, reason):
    save_series(tmp_path / "ct", dicom_series(body(), canonical_affine()))
    others = dicom_series(body(), canonical_affine(), **{"SeriesInstanceUID": "2.25.1.2", **tags})
    save_series(tmp_path / "other", others)
    good, bad = series_of(tmp_path)
    assert good.refusal is None
    assert re.match(reason, bad.refusal)


def test_a_series_of_two_slices_is_no_volume(tmp_path):
    save_series(tmp_path, dicom_series(body(), canonical_affine())[:2])
    assert series_of(tmp_path)[0].refusal == "only 2 slices"


@pytest.mark.parametrize("value", ["here", "nan"])
def test_slices_whose_place_is_no_number_are_listed_and_left_out(tmp_path, value):
    paths = save_series(
        tmp_path, dicom_series(body(), canonical_affine(), ImagePositionPatient=["0", "0", "12.000000"])
    )
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"12.000000", value.encode().ljust(9)))
    assert series_of(tmp_path)[0].refusal.startswith("no place in the patient")


def test_one_instance_uid_for_all_files_loses_no_slice(tmp_path):
    save_series(tmp_path, dicom_series(body(), canonical_affine(), SOPInstanceUID="2.25.5"))
    assert [series.slices for series in series_of(tmp_path)] == [12]


def messy_headers(root):
    """Headers of two series in two folders, a copied folder, empty series UIDs and a localizer."""
    save_series(root / "a", dicom_series(body(), canonical_affine()))
    save_series(root / "copy", dicom_series(body(), canonical_affine()))
    save_series(root / "b", dicom_series(body(), canonical_affine(), SeriesInstanceUID="2.25.1.2"))
    for folder in ("c", "d"):
        blank = {"SeriesInstanceUID": "", "SOPInstanceUID": ""}
        save_series(root / folder, dicom_series(body(), canonical_affine(), **blank))
    scout = dicom_series(body(), canonical_affine(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save_series(root / "b", scout[:2], suffix="-scout.dcm")
    return [header for path in sorted(root.rglob("*.dcm")) if (header := read_header(path)) is not None]


def sharing(headers):
    """The same headers, equal shared parts being one object, as an index gives them."""
    known = {}
    return [header._replace(shared=known.setdefault(repr(header.shared), header.shared)) for header in headers]


@pytest.mark.parametrize("shared", [False, True], ids=["an object a file", "shared objects"])
def test_neither_the_order_of_files_nor_shared_objects_change_a_study(tmp_path, shared):
    headers = messy_headers(tmp_path)
    expected = build_study("k", headers, (), tmp_path)
    assert [(series.slices, series.refusal) for series in expected.series] == [
        (12, None), (2, "localizer"), (12, None), (12, None), (12, None),
    ]  # fmt: skip
    for seed in range(5):
        random.Random(seed).shuffle(headers)
        given = sharing(headers) if shared else headers
        assert build_study("k", given, (), tmp_path) == expected


def test_files_are_sorted_folder_by_folder(tmp_path):
    for name in ("a.b", "a", "a-b"):
        save_series(tmp_path / name, dicom_series(body(), canonical_affine(), SeriesInstanceUID=""))
    headers = [read_header(path) for path in tmp_path.rglob("*.dcm")]
    study = build_study("k", headers, (), tmp_path)
    assert study.first == study.files[0] == tmp_path / "a" / "I0000.dcm"
    assert all(series.files == tuple(sorted(series.files)) for series in study.series)
    assert [series.files[0].parent.name for series in study.series] == ["a", "a-b", "a.b"]
