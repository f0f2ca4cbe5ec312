"""Nothing that names somebody is in any byte of store, log and pages of a simulated archive."""

import base64
import io
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.leaks import Kept, find_leaks, read_kept, telling_pieces
from preprocess.pipeline import preprocess_archive
from preprocess.simulate import site as sites
from preprocess.simulate.archive import simulate_archive

COARSE = {"in_plane_mm": (7.0, 7.5), "slice_mm": (9.0, 10.0), "coverage": {"whole": 1.0}}


@pytest.mark.parametrize(
    ("piece", "data", "text", "reports", "found"),
    [
        ("Abernathy", b"xxabernathyxx", "", "", True),
        ("M\u00fcller", "m\u00fcller".encode("latin-1"), "", "", True),
        ("M\u00fcller", b'"m\\u00fcller"', "", "", True),
        ("Abernathy", "abernathy".encode("utf-16-le"), "", "", True),
        ("Doe", b"doe", "does", "", False),
        ("Doe", b"", "a doe came", "", True),
        ("2021", b"2021", "2021", "", False),
        ("2021", b"", "", "in 2021.", True),
        ("4711", b"", "", "0.4711", False),
        ("12345678", b"x12345678x", "", "", True),
    ],
    ids=["bytes", "latin", "json", "wide", "part of a word", "word", "year", "year in a report", "decimals", "digits"],
)
def test_what_counts_as_found(piece: str, data: bytes, text: str, reports: str, found: bool) -> None:
    assert find_leaks([piece], Kept([data], text, reports)) == ([piece] if found else [])


def test_names_members_cells_and_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    pd.DataFrame({"text": ["In Ludlow 2021", None]}).to_parquet(tmp_path / "text" / "sentences.parquet")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("zarr.json", '{"name": "Underhill"}' * 9)
    picture = base64.b64encode(b"\0Castellanos\0").decode()
    (tmp_path / "page.html").write_text(f'<img src="data:image/png;base64,{picture}">O&#x27;Connell')
    (tmp_path / "Thackeray.bin").write_bytes(b"")
    pieces = ["Ludlow", "2021", "Underhill", "Castellanos", "O'Connell", "Thackeray", "Quigley", "Nowhere"]
    kept = read_kept([tmp_path], "Dr. Quigley")
    assert find_leaks(pieces, kept) == pieces[:-1]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> tuple[Path, dict[str, object], list[str]]:
    """Four studies, the arguments to preprocess them, and the pieces that must not be left of them."""
    root = tmp_path_factory.mktemp("leaks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sites, "SITES", {name: replace(site, **COARSE) for name, site in sites.SITES.items()})
        simulate_archive(root / "simulated", studies=4, seed=2, workers=1)
    archive = root / "simulated" / "archive"
    options = {"masks": root / "simulated" / "masks", "reports": archive / "reports.csv", "workers": 0}
    pieces = telling_pieces(pd.read_parquet(root / "simulated" / "truth" / "planted.parquet"))
    pieces += [path.name for path in archive.glob("*/*/*") if path.is_dir()]
    return root, {"archive": archive, **options}, pieces


@pytest.fixture(scope="module")
def store(simulated) -> tuple[Path, str]:
    """A store of the four studies, and its log at debug level."""
    root, options, _ = simulated
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        preprocess_archive(out=root / "kept" / "store", key_file=root / "private" / "key", **options)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return root / "kept" / "store", stream.getvalue()


def test_store_log_and_the_archive_s_page_hold_nothing_planted(simulated, store) -> None:
    root, _, pieces = simulated
    folder, log = store
    page = pytest.importorskip("ctvlp.page.inspection")
    page.inspect_store(folder, root / "kept" / "page.html")
    assert len(pieces) > 80
    assert "identifiers replaced" in log
    assert find_leaks(pieces, read_kept([root / "kept"], log)) == []


def test_kept_identifiers_are_found(simulated, tmp_path: Path) -> None:
    """So that the search is known to find what is there."""
    _, options, pieces = simulated
    preprocess_archive(out=tmp_path / "store", key_file=tmp_path / "private" / "key", study_id="keep", **options)
    assert len(find_leaks(pieces, read_kept([tmp_path / "store"]))) > 40


@pytest.mark.slow
def test_a_screening_s_page_and_scores_hold_nothing_planted(simulated, store, tmp_path: Path) -> None:
    train = pytest.importorskip("ctvlp.train").train
    from ctvlp.model import ModelConfig
    from ctvlp.screen import screen
    from ctvlp.settings import TrainingSettings
    from preprocess.store import Store
    from tests.screened_store import VOCABULARY, write_screened_store
    from tests.tiny_text import write_tiny_encoder

    _, _, pieces = simulated
    write_screened_store(tmp_path / "small", studies=12, train=8)
    encoder = write_tiny_encoder(tmp_path / "encoder")
    config = ModelConfig(
        width=16,
        depth=1,
        heads=2,
        stem_width=4,
        embed_dim=16,
        pooling_heads=2,
        max_tokens=12,
        text_encoder=str(encoder),
    )
    settings = TrainingSettings(epochs=1, batch_studies=4, shifts=1)
    train(Store(tmp_path / "small"), tmp_path / "run", vocabulary=VOCABULARY, model_config=config, settings=settings)
    result = screen(Store(store[0]), tmp_path / "run", tmp_path / "screened", pages=4)
    assert result.page is not None
    assert find_leaks(pieces, read_kept([tmp_path / "screened"])) == []
