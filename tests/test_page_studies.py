"""What a page shows of studies and archive is what the store, the scores and the report say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctvlp.figures import SOFT_HU
from ctvlp.page.archive import MOST_VALUES, find_simulation, summarize_archive
from ctvlp.page.content_archive import Kind
from ctvlp.page.slices import axial_slices, coronal_box, crop_pictures
from ctvlp.page.studies import MIN_RANKED, Sources, choose_studies, score_ranks, view_studies
from ctvlp.prompts import encode_prompts, screening_prompts
from ctvlp.scoring import score_store
from preprocess.store import Store
from tests.screened_store import VOCABULARY, DensityModel, write_screened_store
from tests.small_store import ball_crop


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Sources:
    path = tmp_path_factory.mktemp("store")
    truth = write_screened_store(path, studies=MIN_RANKED + 4).drop(columns="patient_id")
    store, model = Store(path), DensityModel()
    scores, _ = score_store(store, model, VOCABULARY)
    prompts = encode_prompts(screening_prompts(VOCABULARY), lambda texts: model.encode_text(texts).numpy())
    return Sources(store, VOCABULARY, scores, model, prompts, truth)


def test_scores_status_sentences_and_truth_stand_beside_each_other(sources: Sources) -> None:
    (view,) = view_studies(sources, ["004abc"])
    kidney = next(anatomy for anatomy in view.anatomies if anatomy.name == "kidney")
    row = sources.scores.set_index(["study_id", "finding"]).loc[("004abc", "kidney.calculus")]
    (score,) = kidney.scores
    assert score.probability == row["probability"]
    assert score.truth == score.report == sources.truth.at["004abc", "kidney.calculus"]
    assert score.positive == VOCABULARY.finding("kidney.calculus").positive
    assert kidney.sentences == (("kidney <b>shows</b> 1 findings.",) if score.truth else ("Normal kidney.",))
    assert kidney.status == ("abnormal" if score.truth else "normal")
    assert view.facts["age"] == "61 years"
    assert [picture.name for picture in view.overview] == ["coronal", "sagittal"]
    assert {sentence.anatomies for sentence in view.sentences} == {("liver",), ("kidney",)}


def test_anatomies_out_of_view_come_last_and_have_no_pictures(sources: Sources) -> None:
    (view,) = view_studies(sources, ["000abc"])
    last = view.anatomies[-1]
    assert (last.name, last.extent, last.pictures, last.volume_ml, last.box) == ("kidney", "absent", (), None, None)
    assert last.scores[0].probability is None
    assert last.scores[0].reason == "not_covered"
    assert all(score.partial for score in view.anatomies[0].scores)


def test_heat_shows_the_first_finding_and_needs_a_model(sources: Sources) -> None:
    stones = [study for study in sources.truth.index if sources.truth.at[study, "kidney.calculus"] == 1]
    (view,) = view_studies(sources, stones[2:3])
    kidney = next(anatomy for anatomy in view.anatomies if anatomy.name == "kidney")
    assert kidney.looked_for == VOCABULARY.finding("kidney.calculus").name
    assert any(picture.heat for picture in kidney.pictures)
    plain = Sources(sources.store, VOCABULARY, sources.scores)
    (without,) = view_studies(plain, stones[2:3])
    assert not any(p.heat for anatomy in without.anatomies for p in anatomy.pictures)
    assert all(score.truth is None for anatomy in without.anatomies for score in anatomy.scores)


def test_a_store_without_reports_says_so(tmp_path: Path) -> None:
    write_screened_store(tmp_path, studies=2)
    for path in (tmp_path / "text").iterdir():
        path.unlink()
    store = Store(tmp_path)
    scores, _ = score_store(store, DensityModel(), VOCABULARY)
    (view,) = view_studies(Sources(store, VOCABULARY, scores), ["000abc"])
    assert view.sentences == ()
    assert {anatomy.status for anatomy in view.anatomies} == {"no report"}


def test_ranks_are_shares_of_lower_scores_with_ties_in_the_middle() -> None:
    values = [0.1] * 5 + [0.5] * 10 + [0.9] * 5
    rows = pd.DataFrame({"study_id": [f"s{i}" for i in range(20)], "finding": "f", "probability": values})
    few = rows.head(MIN_RANKED - 1).assign(finding="rare")
    ranks = score_ranks(pd.concat([rows, few]))
    assert ranks["s0", "f"] == pytest.approx(2.5 / 20)
    assert ranks["s7", "f"] == pytest.approx(10 / 20)
    assert ranks["s19", "f"] == pytest.approx(17.5 / 20)
    assert np.isnan(ranks["s0", "rare"])


def test_studies_are_chosen_by_identifier_alone(sources: Sources) -> None:
    shuffled = sources.scores.sample(frac=1, random_state=3)
    assert choose_studies(shuffled, 2) == choose_studies(sources.scores, 2) == ["000abc", "001abc"]
    marked = sources.scores.assign(split=np.where(sources.scores["study_id"] > "010", "test", "train"))
    assert choose_studies(marked, 2, split="test") == ["010abc", "011abc"]


def test_archive_counts_patients_studies_series_and_reasons(sources: Sources) -> None:
    summary = summarize_archive(sources.store, {"more": "lines"})
    assert (summary.patients, summary.studies, summary.series, summary.volumes) == (12, 24, 2, 24)
    assert summary.splits == {"test": (12, 24)}
    assert summary.left_out == [Kind("a localizer", 1, 1, ("000abc",))]
    assert summary.refused == [Kind("air is not air", 1, 1, ("bad<i>",), "HU_IMPLAUSIBLE")]
    assert summary.coverage["kidney"] == {"complete": 23, "truncated": 0, "absent": 1}
    assert summary.coverage["liver"] == {"complete": 23, "truncated": 1, "absent": 0}
    (refusal,) = summary.refusals
    assert (refusal.study, refusal.reason) == ("bad<i>", "HU_IMPLAUSIBLE")
    shares = {entry.name: entry.rows for entry in summary.shares}
    assert shares == {
        "contrast phase": (("portal", 24, 24),), "kernel": (("B30", 24, 24),), "scanner": (("ACME", 24, 24),)
    }  # fmt: skip
    assert summary.facts["more"] == "lines"


def test_only_the_most_frequent_values_are_named(tmp_path: Path) -> None:
    write_screened_store(tmp_path, studies=MOST_VALUES + 4)
    manifest = pd.read_parquet(tmp_path / "manifest.parquet")
    numbers = manifest["study_id"].str[:3].astype(int)
    manifest["kernel"] = [f"K{number:02d}" if number > 1 else None for number in numbers]
    manifest.to_parquet(tmp_path / "manifest.parquet")
    kernels = next(entry for entry in summarize_archive(Store(tmp_path)).shares if entry.name == "kernel")
    assert kernels.rows[:2] == (("unknown", 2, 2), ("K02", 1, 1))
    assert (len(kernels.rows), kernels.others) == (MOST_VALUES, (3, 3))


@pytest.mark.parametrize(("manufacturer", "simulated"), [("ACME", False), ("SIMULATED ALPHA", True)])
def test_simulated_images_are_recognised(tmp_path: Path, manufacturer: str, simulated: bool) -> None:
    write_screened_store(tmp_path, studies=1, manufacturer=manufacturer)
    assert (find_simulation(Store(tmp_path)) is not None) == simulated


def test_slices_follow_the_organ_and_the_heat() -> None:
    shown = np.zeros((20, 4, 4), dtype=bool)
    shown[5:15] = True
    assert axial_slices(shown, None) == [6, 9, 12]
    heat = np.zeros(shown.shape, dtype=np.float32)
    heat[14, 0, 0] = 1
    assert axial_slices(shown, heat) == [6, 9, 14]


def test_pictures_keep_true_proportions_and_the_head_is_up() -> None:
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    stretched = type(crop)(**{**vars(crop), "spacing_mm": (10.0, 5.0, 5.0)})
    pictures = crop_pictures(stretched)
    assert [picture.name for picture in pictures][-1] == "coronal"
    assert (pictures[0].width, pictures[0].height) == (90.0, 90.0)
    assert (pictures[-1].width, pictures[-1].height) == (90.0, 180.0)
    assert all(picture.organ and picture.region and picture.heat is None for picture in pictures)
    assert SOFT_HU[0] < 60 < SOFT_HU[1]


def test_box_on_the_overview_lies_where_the_crop_lies() -> None:
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    affine = crop.affine.copy()
    affine[:3, :3] *= 2  # an overview of twice the voxel size, whose first voxel's centre is the crop's first
    left, top, width, height = coronal_box(crop, affine, (12, 10, 11))
    assert (width, height) == (90.0, 90.0)
    assert left == pytest.approx(2.5)  # half an overview voxel less half a crop voxel
    assert top == pytest.approx(12 * 10 - 2.5 - 90)
