"""Each messy case does what the documentation says, through the whole of preprocessing."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from phantoms import body, canonical_affine, dicom_series, save_series

from preprocess.errors import InputError, Reason
from preprocess.pipeline import RunSummary, preprocess_archive
from preprocess.simulate import site as sites
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.dicom import build_uid
from preprocess.simulate.identity import draw_identities
from preprocess.simulate.mess import draw_case, load_cases, make_messy, makers
from preprocess.simulate.site import load_site
from preprocess.simulate.truth import write_labels
from preprocess.store import Store
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

CASES = load_cases()
SHAPE = (12, 40, 36)
AFFINE = canonical_affine()
NAMES = {1: "liver", 2: "spleen", 3: "stomach", 4: "heart", 5: "vertebrae_L1", 6: "vertebrae_L2", 7: "urinary_bladder"}
PLACES = {1: (4, 14, 8), 2: (4, 14, 24), 3: (4, 10, 19), 4: (8, 13, 20), 5: (4, 26, 17), 6: (2, 26, 17), 7: (1, 12, 17)}  # fmt: skip


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    for number, (z, y, x) in PLACES.items():
        array[z : z + 3, y : y + 4, x : x + 4] = number
    return array


def write_messy(root: Path, name: str, number: int) -> str:
    """A study of the phantom in `archive/` and its mask in `masks/`, made into a case; its key."""
    uid, accession = build_uid("study", number), f"A{number:07d}"
    work = root / "work" / uid
    primary = work / "study" / build_uid(uid, "series", 0)
    save_series(
        primary,
        dicom_series(
            body(SHAPE, seed=number), AFFINE, StudyInstanceUID=uid, SeriesInstanceUID=primary.name, ConvolutionKernel="B30f",
            AccessionNumber=accession, PatientID=f"P{number}", StudyDate="20200101", SeriesNumber=2,
            SeriesDescription="portal B30f", StudyID="1", PatientName="Simulated", StudyTime="120000",
        ),
    )  # fmt: skip
    write_labels(work / "mask.nii.gz", labels(), AFFINE, NAMES)
    make_messy(name, work / "study", work / "mask.nii.gz", primary, np.random.default_rng(number))
    key = accession if CASES[name].key == "accession" else uid
    for path in work.iterdir():
        if path.name == "mask.nii.gz":
            path.replace(root / "masks" / f"{key}.nii.gz")
        elif path.name == "study":
            path.replace(root / "archive" / uid)
        else:
            path.replace(root / "archive" / f"{uid}{path.name.removeprefix('volume')}")
    return key


def run(root: Path, **options: object) -> RunSummary:
    """Preprocesses an archive for one anatomy."""
    full = load_vocabulary("ct54")
    vocabulary = Vocabulary(name="liver", anatomies={"liver": full.anatomies["liver"]}, findings=())
    given = {"masks": root / "masks", "study_id": "keep", "workers": 0, "vocabulary": vocabulary, **options}
    return preprocess_archive(root / "archive", root / "store", **given)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Case to what became of its study, of one run over all cases."""
    root = tmp_path_factory.mktemp("mess")
    for folder in ("archive", "masks", "work"):
        (root / folder).mkdir()
    keys = {name: write_messy(root, name, number) for number, name in enumerate(CASES)}
    run(root)
    store = Store(root / "store")
    failed = {
        row["study"]: row for row in map(json.loads, (root / "store" / "failures.jsonl").read_text().splitlines())
    }
    series = store.series()
    found: dict[str, dict[str, object]] = {}
    for name, key in keys.items():
        row: dict[str, object] = {"stored": key in store.study_ids(), "failure": failed.get(key)}
        row["left_out"] = " | ".join(series.loc[series["study_id"] == key, "reason"].dropna())
        row["chosen"] = int(series.loc[series["study_id"] == key, "chosen"].sum())
        if row["stored"]:
            with store.open_study(key) as study:
                row["flags"] = " | ".join(study.volume_attributes("v0")["flags"])
                row["liver"] = study.crop("v0", "liver")
        found[name] = row
    return found


@pytest.mark.parametrize("name", CASES)
def test_each_case_ends_as_it_must(outcome, name):
    case, found = CASES[name], outcome[name]
    assert found["stored"] == (case.outcome == "stored"), found["failure"]
    if case.outcome == "refused":
        assert (found["failure"]["reason"], bool(case.message)) == (case.reason, True)
        assert re.search(case.message, found["failure"]["message"])
    else:
        assert found["failure"] is None
        assert found["chosen"] == 1
        assert (case.flag or "") in found["flags"]
        assert ("look exchanged" in found["flags"]) == ("exchanged" in (case.flag or ""))
    assert (case.left_out or "") in found["left_out"]


def test_every_study_is_either_stored_or_listed_once(outcome):
    assert all(row["stored"] == (row["failure"] is None) for row in outcome.values())


CHANGED = {
    "tilted",
    "two_regions",
    "mirrored",
    "back_to_front",
    "upside_down",
    "small_field",
    "clipped_12_bit",
    "metal",
}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.outcome == "stored" and name not in CHANGED])  # fmt: skip
def test_cases_that_leave_the_voxels_give_the_crop_of_the_clean_study(outcome, name):
    number = list(CASES).index(name)
    crop = outcome[name]["liver"]
    z, y, x = PLACES[1]
    inside = body(SHAPE, seed=number)[z : z + 3, y : y + 4, x : x + 4].astype(float)
    assert crop.extent == "complete"
    assert crop.volume_ml == pytest.approx(48 * 4 * 1.5 * 2 / 1000, rel=1e-3)
    assert crop.image[crop.mask == 1].mean() == pytest.approx(inside.mean(), abs=3)


def test_a_straightened_tilt_puts_the_organ_where_its_mask_is(outcome):
    crop = outcome["tilted"]["liver"]
    assert crop.volume_ml == pytest.approx(48 * 12 / 1000, rel=0.3)
    assert crop.image[crop.mask == 1].mean() == pytest.approx(40, abs=15)


def test_the_documentation_lists_the_cases():
    text = (Path(__file__).parents[1] / "docs" / "archive.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", text, flags=re.MULTILINE)
    assert [row for row in rows if row[0] in CASES] == [(c.name, c.what, c.happens) for c in CASES.values()]


def test_the_registry_is_whole():
    assert set(makers()) == set(CASES)
    assert all((case.outcome == "refused") == (case.reason is not None) for case in CASES.values())
    assert 0.3 < sum(case.rate for case in CASES.values()) < 1
    assert {case.reason for case in CASES.values()} - {None} <= set(Reason)


def test_cases_are_drawn_by_name_in_turn_and_at_their_rates():
    identities = draw_identities(4000, 3, load_site("A"))
    assert {draw_case("none", identity, 3, "A") for identity in identities} == {None}
    assert [draw_case("nrrd, mha", identity, 3, "A") for identity in identities[:3]] == ["nrrd", "mha", "nrrd"]
    assert [draw_case("all", identity, 3, "A") for identity in identities[: len(CASES)]] == list(CASES)
    drawn = pd.Series([draw_case("real", identity, 3, "A") for identity in identities])
    expected = sum(case.rate for case in CASES.values())
    assert drawn.notna().mean() == pytest.approx(expected, abs=0.03)
    assert (drawn == "implicit_vr").mean() == pytest.approx(CASES["implicit_vr"].rate, abs=0.015)
    with pytest.raises(InputError, match="mess='mice' is unknown; it is none, real, all, or some of dicomdir"):
        draw_case("mice", identities[0], 3, "A")


@pytest.fixture
def coarse_sites(monkeypatch):
    coarse = {"in_plane_mm": (7.0, 7.5), "slice_mm": (9.0, 10.0), "coverage": {"whole": 1.0}}
    monkeypatch.setattr(sites, "SITES", {name: replace(site, **coarse) for name, site in sites.SITES.items()})


def test_a_messy_archive_says_which_study_got_what(coarse_sites, tmp_path):
    mess = "missing_slice,empty_study_uid,nifti"
    simulate_archive(tmp_path, studies=3, seed=5, mess=mess, workers=1)
    table = pd.read_parquet(tmp_path / "truth" / "mess.parquet")
    assert table["case"].tolist() == mess.split(",")
    assert table["outcome"].tolist() == ["refused", "stored", "stored"]
    assert json.loads((tmp_path / "truth" / "simulation.json").read_text())["options"]["mess"] == mess
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "masks", "truth"]
    summary = run(tmp_path)
    assert (summary.studies, summary.done, summary.reasons) == (3, 2, {"GEOMETRY": 1})
    assert set(Store(tmp_path / "store").study_ids()) == set(table.loc[table["outcome"] == "stored", "key"])


def listed(store: Store, key: str) -> dict[bool, list[str]]:
    table = store.series()
    own = table[table["study_id"] == key]
    return {chosen: own.loc[own["chosen"] == chosen, "reason"].fillna("").tolist() for chosen in (True, False)}


@pytest.mark.parametrize(
    ("case", "choice", "volumes"),
    [
        ("two_regions", "primary", 1), ("two_regions", "one_per_phase", 2), ("two_regions", "all", 2),
        ("late_phase", "one_per_phase", 2), ("sharp_copy", "one_per_phase", 1), ("sharp_copy", "all", 2),
        ("thick_copy", "one_per_phase", 1), ("bolus_tracking", "all", 1),
    ],
)  # fmt: skip
def test_how_many_volumes_are_kept_is_a_rule(tmp_path, case, choice, volumes):
    for folder in ("archive", "masks", "work"):
        (tmp_path / folder).mkdir()
    key = write_messy(tmp_path, case, 1)
    run(tmp_path, series=choice)
    store = Store(tmp_path / "store")
    found = listed(store, key)
    assert (len(found[True]), len(found[True]) + len(found[False])) == (volumes, 2)
    assert all(found[False])
    with store.open_study(key) as study:
        assert len(study.volumes) == volumes


@pytest.mark.parametrize(
    ("case", "options", "action", "flag"),
    [
        ("missing_slice", {"gaps": "resample"}, None, "slices resampled to even steps (a gap of 8.00 mm"),
        ("missing_slice", {}, "resample", "slices resampled to even steps (a gap of 8.00 mm"),
        ("zero_bytes", {"gaps": "resample"}, None, "slices resampled to even steps"),
        ("moved_slice", {"gaps": "resample"}, None, "slices resampled to even steps"),
        ("eight_bits", {}, "accept", "accepted by decision: looked at (the gate said: the values span 0 to 255"),
        ("mirrored", {}, "flip_left_right", "flip_left_right by decision: looked at"),
        ("back_to_front", {}, "flip_front_back", "flip_front_back by decision: looked at"),
        ("upside_down", {}, "flip_head_feet", "flip_head_feet by decision: looked at"),
        ("nifti", {}, "refuse", None),
    ],
)  # fmt: skip
def test_options_and_decisions_change_what_happens(tmp_path, case, options, action, flag):
    for folder in ("archive", "masks", "work"):
        (tmp_path / folder).mkdir()
    key = write_messy(tmp_path, case, 1)
    if action is not None:
        (tmp_path / "d.csv").write_text(f"study,series,action,reason\n{key},,{action},looked at\n")
        options = {**options, "decisions": tmp_path / "d.csv"}
    summary = run(tmp_path, **options)
    if flag is None:
        assert summary.reasons == {"NO_VOLUME": 1}
        return
    with Store(tmp_path / "store").open_study(key) as study:
        flags, crop = " | ".join(study.volume_attributes("v0")["flags"]), study.crop("v0", "liver")
    assert flag in flags
    assert "look exchanged" not in flags
    if case != "eight_bits":
        z, y, x = PLACES[1]
        inside = body(SHAPE, seed=1)[z : z + 3, y : y + 4, x : x + 4].astype(float)
        assert crop.image[crop.mask == 1].mean() == pytest.approx(inside.mean(), abs=8)
