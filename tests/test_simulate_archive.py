"""The simulated archive: files, tables, masks that fail, and no shortcut to the labels."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk

from benchmarks.shortcuts import draft_archive, mean_auroc
from preprocess.errors import InputError
from preprocess.geometry import affine_from_nifti, lps_from_index
from preprocess.simulate import lesions as registry
from preprocess.simulate import site as sites
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.delivery import StudyJob
from preprocess.simulate.dicom import build_uid
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.prevalence import draw_findings, load_prevalence
from preprocess.simulate.scene import Lesion, Scene
from preprocess.simulate.segmenter import RATES, FailureRates, segment_like, shift_labels
from preprocess.simulate.study import anatomy_structures, draft_study, finding_ids, simulate_study
from preprocess.simulate.truth import read_voxels
from preprocess.simulate.version import simulator_digest

STUDIES = 7
COARSE = {"in_plane_mm": (5.4, 6.2), "slice_mm": (7.5, 9.0)}


def coarse() -> dict[str, sites.Site]:
    """Both sites with large voxels, so that studies cost a tenth."""
    return {name: replace(site, **COARSE) for name, site in sites.SITES.items()}


@pytest.fixture
def coarse_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "SITES", coarse())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "A"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sites, "SITES", coarse())
        simulate_archive(out, studies=STUDIES, seed=11, workers=1)
    return out


def series_of(archive: Path, study: str) -> dict[str, list[pydicom.Dataset]]:
    """Series UID to its slices in order of instance number."""
    found: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted((archive / "archive").glob(f"*/{study}/*/*.dcm")):
        file = pydicom.dcmread(path)
        assert file.SeriesInstanceUID == path.parent.name
        found.setdefault(file.SeriesInstanceUID, []).append(file)
    return {uid: sorted(slices, key=lambda file: file.InstanceNumber) for uid, slices in found.items()}


def primary(archive: Path, study: str) -> list[pydicom.Dataset]:
    """The slices of the primary series."""
    return series_of(archive, study)[build_uid(study, "series", 0)]


def study_ids(archive: Path) -> list[str]:
    return pd.read_parquet(archive / "truth" / "findings.parquet")["study_id"].tolist()


def file_digests(folder: Path) -> dict[str, str]:
    """Path below the folder to the digest of the file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout(archive: Path) -> None:
    assert sorted(path.name for path in archive.iterdir()) == ["archive", "masks", "truth"]
    for study in study_ids(archive):
        assert (archive / "masks" / f"{study}.nii.gz").is_file()
        assert (archive / "truth" / "masks" / f"{study}.nii.gz").is_file()
        assert (archive / "truth" / "lesions" / f"{study}.npz").is_file()
        assert series_of(archive, study)
    note = json.loads((archive / "truth" / "simulation.json").read_text())
    assert note["digest"] == simulator_digest()
    assert note["options"] == {"seed": 11, "site": "A", "prevalence": "default", "identifiers": "en"}
    assert note["studies"] == STUDIES


def test_reports_join_studies(archive: Path) -> None:
    with (archive / "archive" / "reports.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study_id"] for row in rows] == study_ids(archive)
    for row in rows:
        header = primary(archive, row["study_id"])[0]
        assert header.AccessionNumber == row["accession_number"]
        assert header.PatientID == row["patient_id"]
        assert len(row["report_text"]) > 40


def test_headers_are_valid_dicom(archive: Path) -> None:
    uids = set()
    for study in study_ids(archive):
        for slices in series_of(archive, study).values():
            for file in slices:
                assert file.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
                assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
                assert pydicom.uid.UID(file.SOPInstanceUID).is_valid
                assert len(file.SOPInstanceUID) <= 64
                assert file.StudyInstanceUID == study
                assert file.Modality == "CT"
                assert file.SOPInstanceUID not in uids
                uids.add(file.SOPInstanceUID)
                assert ("ContrastBolusAgent" in file) == (
                    "native" not in file.SeriesDescription and file.SeriesNumber > 1
                )
            rows = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
            assert np.allclose(rows @ rows.T, np.eye(2), atol=1e-5)


def test_pixels_are_not_square(archive: Path) -> None:
    spacings = [[float(v) for v in primary(archive, study)[0].PixelSpacing] for study in study_ids(archive)]
    assert all(abs(rows - columns) > 1e-3 for rows, columns in spacings)


def test_an_independent_reader_puts_the_masks_on_the_primary_series(archive: Path) -> None:
    for study in study_ids(archive)[:3]:
        folder = next((archive / "archive").glob(f"*/{study}/{build_uid(study, 'series', 0)}"))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        mask = sitk.ReadImage(str(archive / "masks" / f"{study}.nii.gz"))
        on_image = sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)
        hu, labels = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(on_image)
        assert (labels > 0).sum() == (sitk.GetArrayFromImage(mask) > 0).sum()
        assert np.median(hu[np.isin(labels, range(10, 15))]) < -600
        assert -1024 <= hu.min() < -900
        spine = np.isin(labels, range(25, 44))
        assert np.median(hu[spine]) > 100


def test_truth_masks_carry_their_names_and_differ_from_the_segmenters(archive: Path) -> None:
    for study in study_ids(archive)[:3]:
        truth = nibabel.load(archive / "truth" / "masks" / f"{study}.nii.gz")
        masks = nibabel.load(archive / "masks" / f"{study}.nii.gz")
        assert np.allclose(truth.affine, masks.affine)
        assert truth.shape == masks.shape
        assert b'Key="5"' in masks.header.extensions[0].get_content()
        same = np.asarray(truth.dataobj) == np.asarray(masks.dataobj)
        assert 0.9 < same.mean() < 1


def test_lesions_lie_where_the_table_says(archive: Path) -> None:
    table = pd.read_parquet(archive / "truth" / "lesions.parquet")
    findings = pd.read_parquet(archive / "truth" / "findings.parquet").set_index("study_id")
    for study in study_ids(archive):
        voxels, shape, affine = read_voxels(archive / "truth" / "lesions" / f"{study}.npz")
        mask = nibabel.load(archive / "truth" / "masks" / f"{study}.nii.gz")
        assert shape == mask.shape[::-1]
        assert np.allclose(affine_from_nifti(mask.affine), affine, atol=1e-3)
        rows = table[table["study_id"] == study].set_index("finding")
        assert set(voxels) == set(rows.index)
        assert set(rows.index) == {f for f in finding_ids() if findings[f].eq(1).fillna(False)[study]}
        for finding, flat in voxels.items():
            points = lps_from_index(affine, np.stack(np.unravel_index(flat, shape), axis=1))
            row = rows.loc[finding]
            assert row["voxels"] == len(flat)
            assert np.allclose(points.mean(axis=0), [row[f"centre_{a}_mm"] for a in "lps"], atol=0.1)
            assert np.allclose(points.min(axis=0), [row[f"low_{a}_mm"] for a in "lps"], atol=0.1)
            assert 0 <= row["severity"] <= 1


def test_findings_are_unknown_exactly_where_the_scan_does_not_reach(archive: Path) -> None:
    findings = pd.read_parquet(archive / "truth" / "findings.parquet").set_index("study_id")
    headers = pd.read_parquet(archive / "truth" / "headers.parquet").set_index("study_id")
    for study, row in findings.iterrows():
        coverage = headers.loc[study, "coverage"]
        if coverage in ("whole", "abdomen_pelvis"):
            assert row[[f for f in finding_ids() if f.startswith(("bladder.", "colon.", "liver."))]].notna().all()
        if coverage in ("whole", "chest"):
            assert row[[f for f in finding_ids() if f.startswith(("lung.", "heart."))]].notna().all()
        if coverage == "chest":
            assert row[[f for f in finding_ids() if f.startswith(("bladder.", "sacrum."))]].isna().all()
        if coverage == "abdomen_pelvis":
            assert row[[f for f in finding_ids() if f.startswith(("lung.", "heart."))]].isna().all()


def test_split_is_by_patient(archive: Path) -> None:
    split = pd.read_csv(archive / "truth" / "split.csv")
    assert list(split.columns) == ["study_id", "patient_id", "split"]
    assert (split.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(split["split"]) == {"train", "test"}


def test_any_number_of_workers_gives_the_same_files(tmp_path: Path) -> None:
    simulate_archive(tmp_path / "one", studies=2, seed=5, site="B", workers=1)
    simulate_archive(tmp_path / "two", studies=2, seed=5, site="B", workers=2)
    assert file_digests(tmp_path / "one") == file_digests(tmp_path / "two")


def test_another_seed_gives_another_archive(coarse_sites: None, tmp_path: Path, archive: Path) -> None:
    simulate_archive(tmp_path / "other", studies=1, seed=12, workers=1)
    assert not set(study_ids(tmp_path / "other")) & set(study_ids(archive))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"studies": 0}, "studies=0"),
        ({"seed": -1}, "seed=-1"),
        ({"workers": 0}, "workers=0"),
        ({"site": "C"}, "site='C'"),
        ({"prevalence": "often"}, "prevalence='often'"),
    ],
    ids=["studies", "seed", "workers", "site", "prevalence"],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_archive(tmp_path / "out", **{"studies": 1, "seed": 0, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        simulate_archive(tmp_path, studies=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(InputError, match="is a file"):
        simulate_archive(tmp_path / "kept.txt", studies=1, seed=0)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        simulate_archive(tmp_path / "file" / "out", studies=1, seed=0, workers=1)


def test_series_of_one_study_show_a_lesion_at_one_place(coarse_sites: None, tmp_path: Path, monkeypatch) -> None:
    """A bright mark, painted at a place drawn from the finding's generator, appears at one point of every series."""

    def paint(scene: Scene, severity: float, rng: np.random.Generator) -> Lesion:
        place = scene.plan.organs["liver"].shapes[0].centre + rng.normal(size=3)
        index = np.rint(scene.index(place[None])[0]).astype(int)
        scene.hu[tuple(slice(n - 1, n + 2) for n in index)] = 3000
        flat = np.ravel_multi_index(tuple(index), scene.hu.shape)
        return Lesion("liver.cyst", severity, np.array([flat], dtype=np.int64))

    every = replace(sites.SITES["A"], second_phase=1.0, sharp_copy=1.0, thick_copy=1.0)
    monkeypatch.setattr(sites, "SITES", {"A": every})
    monkeypatch.setattr(registry, "painters", lambda site: {"liver.cyst": paint})
    monkeypatch.setattr(registry, "shapers", lambda site: {})
    chosen = next(i for i in draw_identities(400, 3, every) if _has(i, "liver.cyst"))
    record = simulate_study(StudyJob(chosen, 3, "A", "default", tmp_path))
    assert [row["finding"] for row in record.lesions] == ["liver.cyst"]
    centre = np.array([record.lesions[0][f"centre_{axis}_mm"] for axis in "lps"], dtype=float)
    series = [s for s in series_of(tmp_path, chosen.study_uid).values() if "LOCALIZER" not in s[0].ImageType]
    assert len(series) == 4
    for slices in series:
        pixels = np.stack([file.pixel_array * file.RescaleSlope + file.RescaleIntercept for file in slices])
        z, y, x = np.argwhere(pixels > 0.8 * pixels.max()).mean(axis=0)
        first, last = (np.array(file.ImagePositionPatient, dtype=float) for file in (slices[0], slices[-1]))
        along = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
        rows, columns = (float(v) for v in slices[0].PixelSpacing)
        found = first + (last - first) * z / (len(slices) - 1) + along[0] * x * columns + along[1] * y * rows
        assert np.abs(found - centre).max() < 10


def _has(identity, finding: str) -> bool:
    draft = draft_study(StudyJob(identity, 3, "A", "default", Path()))
    return finding in draft.severities and draft.protocol.coverage == "whole"


def test_patients_return_with_the_same_body_and_another_date() -> None:
    identities = draw_identities(400, 1, sites.SITE_A)
    visits = pd.Series([i.patient for i in identities]).value_counts()
    assert 0.12 < (visits > 1).mean() < 0.30
    assert [i.index for i in identities] == list(range(400))
    assert len({i.study_uid for i in identities}) == len({i.accession for i in identities}) == 400
    second = next(i for i in identities if i.visit == 1)
    first = next(i for i in identities if i.patient == second.patient and i.visit == 0)
    one, two = (draft_study(StudyJob(i, 1, "A", "default", Path())).body for i in (first, second))
    assert first.day < second.day
    assert first.patient_id == second.patient_id
    assert one.sex == two.sex
    assert one.age_years <= two.age_years
    assert [s.centre for s in one.organs["liver"].shapes] == [s.centre for s in two.organs["liver"].shapes]
    assert one.organs["liver"].hu != two.organs["liver"].hu


def shares(site: sites.Site, name: str, count: int) -> pd.DataFrame:
    prevalence = load_prevalence(name)
    rows = [draw_findings(stream(4, name, n), prevalence, site, set(anatomy_structures())) for n in range(count)]
    return pd.DataFrame([{f: f in row for f in finding_ids()} for row in rows])


@pytest.mark.parametrize("site", ["A", "B"])
@pytest.mark.parametrize("name", ["default", "realistic"])
def test_findings_keep_their_prevalence(site: str, name: str) -> None:
    drawn = shares(sites.SITES[site], name, 3000)
    for finding, wanted in load_prevalence(name).share.items():
        tolerance = 4.5 * np.sqrt(wanted * (1 - wanted) / 3000)
        assert drawn[finding].mean() == pytest.approx(wanted, abs=tolerance), finding


def test_prevalence_files_name_each_finding() -> None:
    default, realistic = load_prevalence("default"), load_prevalence("realistic")
    assert list(default.share) == list(realistic.share) == list(finding_ids())
    assert all(0.08 <= share <= 0.12 for share in default.share.values())
    assert np.mean(list(realistic.share.values())) < np.mean(list(default.share.values()))


@pytest.mark.parametrize("site", ["A", "B"])
def test_excluding_findings_never_meet(site: str) -> None:
    drawn = shares(sites.SITES[site], "default", 1500)
    for one, other in load_prevalence().exclusions:
        assert not (drawn[one] & drawn[other]).any()


def test_site_a_draws_independently_and_site_b_together() -> None:
    pair = ("liver.cirrhosis", "portal_vein.hypertension")
    a, b = (shares(sites.SITES[site], "default", 3000)[list(pair)].astype(float).corr().iloc[0, 1] for site in "AB")
    assert abs(a) < 0.08 < 0.2 < b


def test_findings_of_uncovered_anatomies_are_not_drawn() -> None:
    drawn = [draw_findings(stream(4, n), load_prevalence(), sites.SITE_A, {"liver"}) for n in range(60)]
    assert {finding.split(".")[0] for row in drawn for finding in row} == {"liver"}


@pytest.fixture(scope="module")
def box_scene() -> Scene:
    """A made-up scene: liver, gallbladder, lobes, kidneys and an adrenal gland as boxes of soft tissue."""
    names = {number: name for name, number in _numbers().items()}
    labels = np.zeros((20, 40, 60), dtype=np.uint8)
    for name, (z, y, x) in {
        "liver": ((2, 12), (5, 30), (2, 25)),
        "gallbladder": ((2, 6), (5, 10), (26, 32)),
        "adrenal_gland_left": ((8, 11), (30, 34), (40, 44)),
        "kidney_left": ((1, 8), (28, 38), (45, 55)),
        "lung_lower_lobe_left": ((13, 20), (5, 35), (35, 58)),
        "small_bowel": ((2, 10), (5, 20), (45, 58)),
    }.items():
        labels[slice(*z), slice(*y), slice(*x)] = _numbers()[name]
    affine = np.array([[0, 0, 3.0, -90], [0, 3.0, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
    return Scene(np.full(labels.shape, 40, dtype=np.float32), labels, names, affine, "portal", None)


def _numbers() -> dict[str, int]:
    from preprocess.simulate.raster import structure_numbers

    return structure_numbers()


NEVER = FailureRates(0.0, {}, 0.0, 0.0, 0.0, cyst_told=0.0, leak=0.0, swap=0.0)


def test_a_segmenter_that_never_fails_gives_the_truth(box_scene: Scene) -> None:
    labels, failures = segment_like(box_scene, [], np.random.default_rng(0), NEVER)
    assert np.array_equal(labels, box_scene.labels)
    assert failures == []


@pytest.mark.parametrize(
    ("finding", "structure", "change", "kind", "low", "high"),
    [
        ("lung.pleural_effusion", "lung_lower_lobe_left", {"fluid_left_out": 1.0}, "fluid_left_out", 1.0, 1.0),
        ("lung.pneumonia", "lung_lower_lobe_left", {"dense_left_out": 1.0}, "dense_left_out", 0.1, 0.75),
        ("liver.metastasis", "liver", {"mass_missed": 1.0}, "mass_missed", 0.1, 0.75),
        ("liver.fatty_liver", "liver", {"mass_missed": 1.0}, None, 0.0, 0.0),
    ],
    ids=["effusion", "consolidation", "tumour", "steatosis"],
)
def test_lesions_are_left_out_as_stated(box_scene, finding, structure, change, kind, low, high) -> None:
    voxels = np.flatnonzero(box_scene.mask(structure))
    lesion = Lesion(finding, 0.8, voxels)
    labels, failures = segment_like(box_scene, [lesion], np.random.default_rng(1), replace(NEVER, **change))
    lost = (labels.ravel()[voxels] == 0).mean()
    assert low <= lost <= high
    assert [failure.kind for failure in failures] == ([kind] if kind else [])


def test_renal_cysts_are_told_by_side(box_scene: Scene) -> None:
    voxels = np.flatnonzero(box_scene.mask("kidney_left"))[:60]
    scene = replace(box_scene, hu=box_scene.hu.copy())
    scene.hu.ravel()[voxels] = 8
    lesion = Lesion("kidney.cyst", 0.8, voxels)
    labels, _ = segment_like(scene, [lesion], np.random.default_rng(1), replace(NEVER, cyst_told=1.0))
    assert (labels.ravel()[voxels] == _numbers()["kidney_cyst_left"]).all()


def test_failures_come_at_their_rates(box_scene: Scene) -> None:
    rates = replace(RATES, jitter_mm=0.0)
    kinds: dict[str, int] = {}
    for seed in range(300):
        _, failures = segment_like(box_scene, [], np.random.default_rng(seed), rates)
        for failure in failures:
            key = failure.structure if failure.kind == "missing" else failure.kind
            kinds[key] = kinds.get(key, 0) + 1
    assert kinds["gallbladder"] / 300 == pytest.approx(RATES.missing["gallbladder"], abs=0.045)
    assert kinds["adrenal_gland_left"] / 300 == pytest.approx(RATES.missing["adrenal_gland_left"], abs=0.045)
    assert 0 < kinds["leak"] / 300 < RATES.leak
    assert 0 < kinds["swap"] / 300 < RATES.swap


def test_jitter_moves_borders_only(box_scene: Scene) -> None:
    labels, _ = segment_like(box_scene, [], np.random.default_rng(3), replace(NEVER, jitter_mm=1.5))
    liver = _numbers()["liver"]
    truth = box_scene.labels == liver
    assert not np.array_equal(labels, box_scene.labels)
    assert (labels == liver).sum() == pytest.approx(truth.sum(), rel=0.1)
    assert (labels == liver)[5:9, 12:24, 8:19].all()


def test_shift_by_whole_voxels_is_exact() -> None:
    labels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    one, none = np.ones((3, 4, 5), dtype=np.float32), np.zeros((3, 4, 5), dtype=np.float32)
    moved = shift_labels(labels, none, one, none, np.float32(0), np.float32(1), np.float32(0))
    assert np.array_equal(moved[:, :-1], labels[:, 1:])
    assert np.array_equal(moved[:, -1], labels[:, -1])


def test_digest_is_of_source_and_data() -> None:
    assert len(simulator_digest()) == 16
    assert int(simulator_digest(), 16) >= 0


@pytest.fixture(scope="module")
def drafts() -> tuple[pd.DataFrame, pd.DataFrame]:
    return draft_archive(studies=360, seed=2, site="A")


def test_identifiers_and_acquisition_carry_no_label(drafts) -> None:
    headers, findings = drafts
    value, judged = mean_auroc(headers, findings)
    assert judged == 54
    assert value == pytest.approx(0.5, abs=0.05)


def test_the_shortcut_check_finds_a_planted_shortcut(drafts) -> None:
    headers, findings = drafts
    leaky = headers.assign(noise_hu=headers["noise_hu"] + 40 * findings["liver.cyst"].fillna(0).astype(float))
    value, judged = mean_auroc(leaky, findings[["liver.cyst"]])
    assert judged == 1
    assert value > 0.9
