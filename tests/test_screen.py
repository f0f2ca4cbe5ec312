"""Screening writes scores and a page from a trained run, or refuses in one clear line before any work."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ctvlp.baselines import untrained_model
from ctvlp.checkpoint import load_run
from ctvlp.evaluate import evaluate
from ctvlp.model import ModelConfig
from ctvlp.scores import read_scores, score_notes
from ctvlp.scoring import score_store
from ctvlp.screen import describe_run, screen
from ctvlp.settings import TrainingSettings
from ctvlp.train import train
from preprocess.errors import InputError
from preprocess.store import Store
from preprocess.store_place import store_place
from tests.screened_store import VOCABULARY, write_screened_store
from tests.small_store import FINDINGS
from tests.tiny_text import write_tiny_encoder


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> tuple[Path, Path]:
    """A store of 12 studies, 8 to train on, and a run of one epoch on it."""
    folder = tmp_path_factory.mktemp("screen")
    write_screened_store(folder / "store", studies=12, train=8)
    encoder = write_tiny_encoder(folder / "encoder")
    config = ModelConfig(width=16, depth=1, heads=2, stem_width=4, embed_dim=16, pooling_heads=2, max_tokens=12)
    train(
        Store(folder / "store"),
        folder / "run",
        vocabulary=VOCABULARY,
        model_config=ModelConfig(**{**vars(config), "text_encoder": str(encoder)}),
        settings=TrainingSettings(epochs=1, batch_studies=4, shifts=1),
    )
    return folder / "store", folder / "run"


@pytest.fixture(scope="module")
def screened(case, tmp_path_factory):
    store, run = case
    out = tmp_path_factory.mktemp("out") / "new folder"
    return screen(store, run, out, pages=2), out


def test_a_store_at_a_url_trains_and_screens_alike(case, screened, tmp_path) -> None:
    folder, run = case
    url = store_place("memory://screened/store")
    for path in folder.rglob("*.*"):
        place = url / path.relative_to(folder).as_posix()
        place.write_bytes(path.read_bytes())
    config = load_run(run).model.config
    settings = TrainingSettings(epochs=1, batch_studies=4, shifts=1)
    train(Store(url), tmp_path / "run", vocabulary=VOCABULARY, model_config=config, settings=settings)
    result = screen(url, tmp_path / "run", tmp_path / "out", pages=2)
    pd.testing.assert_frame_equal(result.scores, screened[0].scores)
    known = evaluate(result.scores, f"{url}/text/labels.parquet", split="test", min_positives=1, resamples=10)
    assert (
        known.counts
        == evaluate(
            result.scores, folder / "text" / "labels.parquet", split="test", min_positives=1, resamples=10
        ).counts
    )
    with pytest.raises(InputError, match="out=memory://screened/scores: this has to lie on this machine's disk"):
        screen(url, run, "memory://screened/scores")


def test_scores_and_page_are_written(screened) -> None:
    result, out = screened
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "scores.csv", "scores.parquet"]
    written = read_scores(out / "scores.parquet")
    assert len(written) == 12 * len(FINDINGS)
    pd.testing.assert_frame_equal(written, read_scores(result.scores))
    pd.testing.assert_frame_equal(read_scores(out / "scores.csv"), written)
    html = (out / "report.html").read_text()
    assert html.count('<article class="study"') == 2
    assert "000abc" in html
    assert "For research use only, not for diagnosis" in html
    assert "AUROC" not in html


def test_notes_travel_with_the_scores_into_the_evaluation(case, screened) -> None:
    store, run = case
    result, out = screened
    notes = score_notes(out / "scores.parquet")
    assert notes == result.notes == describe_run(load_run(run))
    assert notes["labels_used"] is True
    judged = evaluate(out / "scores.parquet", store / "text" / "labels.parquet", min_positives=1, resamples=10, run=run)
    assert judged.provenance["prompts_digest"] == notes["prompts_digest"]
    assert judged.provenance["checkpoint_digest"] == notes["checkpoint_digest"]


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, True),
        ({"alignment_weight": 0.0}, True),  # the targets of mode disease
        ({"alignment_weight": 0.0, "use_findings": False}, False),
        ({"alignment_weight": 0.0, "mode": "normal"}, False),
        ({"contrastive_weight": 0.0}, True),
    ],
    ids=str,
)
def test_every_use_of_labels_is_told(case, changes, used) -> None:
    run = load_run(case[1])
    values = json.loads(json.dumps(run.settings))
    for name, value in changes.items():
        (values["pairing"] if name in values["pairing"] else values)[name] = value
    assert describe_run(replace(run, settings=values))["labels_used"] is used


def test_screening_again_gives_the_same_bytes(case, screened, tmp_path: Path) -> None:
    store, run = case
    _, out = screened
    screen(Store(store), run, tmp_path, pages=2)
    for name in ("scores.parquet", "scores.csv", "report.html"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_the_untrained_model_scores_the_same_rows_differently(case, screened) -> None:
    store, run = case
    loaded = load_run(run)
    control, _ = score_store(Store(store), untrained_model(loaded), loaded.vocabulary)
    result, _ = screened
    assert control["assessable"].equals(result.scores["assessable"])
    assert (control["probability"].dropna() != result.scores["probability"].dropna()).mean() > 0.9


def test_no_page_when_none_is_asked_for(case, tmp_path: Path) -> None:
    store, run = case
    assert screen(store, run, tmp_path, splits=["test"], pages=0).page is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.parquet"]
    assert set(read_scores(tmp_path / "scores.csv")["split"]) == {"test"}


@pytest.mark.parametrize("broken", ["store", "run", "out"])
def test_what_cannot_be_used_is_refused_in_one_line(case, tmp_path: Path, broken: str) -> None:
    store, run = case
    (tmp_path / "file").write_text("")
    places = {"store": store, "run": run, "out": tmp_path / "out"}
    places[broken] = tmp_path / "file" / "x" if broken == "out" else tmp_path / "nothing"
    with pytest.raises(InputError) as caught:
        screen(places["store"], places["run"], places["out"])
    assert "\n" not in str(caught.value)
    assert str(places[broken]) in str(caught.value)
    assert not list(tmp_path.glob("out/*"))
