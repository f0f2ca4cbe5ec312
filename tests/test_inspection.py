"""The archive's page: outliers by a robust score, distributions that leave nothing out, and a page a browser can show."""

import numpy as np
import pandas as pd
import pytest

from ctvlp.page.build import KINDS_SHOWN, REFUSALS_SHOWN, render_page
from ctvlp.page.content import PageContent
from ctvlp.page.content_archive import ArchiveSummary, Refusal
from ctvlp.page.inspection import FLAGS_PICTURED, inspect_store, summarize_inspection
from ctvlp.page.kinds import group_messages
from ctvlp.page.outliers import FAR, FEWEST, find_outliers, missing_parts
from preprocess.errors import InputError
from preprocess.store import Store
from tests.chromium import chromium, require_chromium
from tests.screened_store import write_screened_store
from tests.small_store import ball_crop


def volumes(sizes, anatomy="liver"):
    studies = [f"s{number:02d}" for number in range(len(sizes))]
    return pd.DataFrame({"study_id": studies, "volume": "v0", "anatomy": anatomy, "volume_ml": sizes})


def even(count):
    return list(np.exp(np.linspace(6.9, 7.1, count)))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([*even(20), 10_000.0], ["s20"]),
        ([*even(20), 10.0, 100_000.0], ["s20", "s21"]),
        (even(21), []),
        ([*even(FEWEST - 2), 10_000.0], []),
        ([1000.0] * 20 + [10_000.0], []),
        ([0.0, *even(20), 10_000.0], ["s21"]),
        ([], []),
    ],
    ids=["large", "small and large", "none", "too few studies", "no spread", "an empty mask is no size", "no study"],
)
def test_outliers_lie_far_from_the_other_studies(sizes, expected):
    found = find_outliers(volumes(sizes))
    assert list(found["study_id"]) == expected
    assert (found["score"].abs() > FAR).all()


def test_an_anatomy_is_compared_with_its_like():
    table = pd.concat([volumes(even(20)), volumes([size / 100 for size in even(20)], "spleen")])
    assert find_outliers(table).empty
    assert list(find_outliers(pd.concat([table, volumes([10.0])]))["anatomy"]) == ["liver"]


def test_each_anatomy_has_its_turn():
    table = pd.concat([volumes([*even(20), 1e4, 1e5, 1e6]), volumes([*even(20), 5e3], "spleen")])
    found = find_outliers(table)
    assert list(zip(found["anatomy"], found["study_id"], strict=True)) == [
        ("liver", "s22"), ("spleen", "s20"), ("liver", "s21"), ("liver", "s20"),
    ]  # fmt: skip


def test_the_modified_z_score_is_that_of_the_definition():
    sizes = np.exp([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 40.0])
    found = find_outliers(volumes(list(sizes)))
    assert found["score"].tolist() == pytest.approx([0.6745 * (40 - 6) / 3])
    assert found["median_ml"].tolist() == pytest.approx([np.exp(6)])


def test_distributions_count_every_volume(tmp_path):
    write_screened_store(tmp_path, studies=14)
    store = Store(tmp_path)
    found = summarize_inspection(store)
    spacing = next(entry for entry in found.histograms if entry.name.startswith("distance"))
    assert sum(spacing.counts) + spacing.unknown == 14
    whole = store.manifest().query("primary and extent == 'complete' and anatomy == 'liver'")["volume_ml"]
    liver = next(entry for entry in found.spreads if entry.anatomy == "liver")
    assert liver.studies == len(whole) == 13
    assert liver.percentiles_ml[2] == pytest.approx(np.median(whole))


@pytest.mark.parametrize(
    "value", [[5.0], [1.0, 1.0], [0.1, 0.2, 0.7], [3.0, 300.0, np.nan], [*np.linspace(1, 5, 400), 900.0, -900.0]]
)
def test_classes_hold_all_values(tmp_path, value):
    write_screened_store(tmp_path, studies=2)
    series = pd.DataFrame({"study_id": "000abc", "chosen": True, "reason": None, "coverage_mm": value, "slices": 3})
    series.to_parquet(tmp_path / "series.parquet")
    coverage = next(entry for entry in summarize_inspection(Store(tmp_path)).histograms if "coverage" in entry.name)
    assert sum(coverage.counts) + sum(coverage.beyond) == np.isfinite(value).sum()
    assert coverage.extremes == (np.nanmin(value), np.nanmax(value))
    assert coverage.unknown == np.isnan(value).sum()
    assert np.all(np.diff(coverage.edges) > 0)


def test_a_few_far_values_do_not_press_the_others_into_one_class(tmp_path):
    write_screened_store(tmp_path, studies=2)
    values = [*np.linspace(1, 5, 400), 900.0]
    series = pd.DataFrame({"study_id": "000abc", "chosen": True, "reason": None, "coverage_mm": values, "slices": 3})
    series.to_parquet(tmp_path / "series.parquet")
    coverage = next(entry for entry in summarize_inspection(Store(tmp_path)).histograms if "coverage" in entry.name)
    assert coverage.edges[-1] < 6
    assert coverage.beyond[1] >= 1
    assert len(coverage.counts) > 10


def flag_volumes(store, flags):
    """Gives the volumes of the first studies these flags in the manifest."""
    manifest = pd.read_parquet(store / "manifest.parquet")
    by_study = dict(zip(sorted(set(manifest["study_id"])), flags, strict=False))
    manifest["flags"] = manifest["study_id"].map(by_study).fillna("").astype("string")
    manifest.to_parquet(store / "manifest.parquet")


def test_flags_are_told_by_kind_with_a_picture(tmp_path):
    write_screened_store(tmp_path, studies=4)
    assert [noticed.kind.text for noticed in summarize_inspection(Store(tmp_path)).noticed] == [
        "left and right look exchanged (3 of 3 pairs of structures)"
    ]
    flag_volumes(tmp_path, ["padding set to -1024; gantry tilt of 3.0 degrees corrected", "padding set to -1024"])
    found = summarize_inspection(Store(tmp_path))
    assert [(noticed.kind.text, noticed.kind.count) for noticed in found.noticed] == [
        ("padding set to -1024", 2), ("gantry tilt of 3.0 degrees corrected", 1)
    ]  # fmt: skip
    assert found.flagged == 2
    assert [[picture.name for picture in noticed.pictures] for noticed in found.noticed] == [
        ["coronal", "sagittal"]
    ] * 2


def test_what_is_shown_is_bounded(tmp_path):
    write_screened_store(tmp_path, studies=KINDS_SHOWN + 3)
    flag_volumes(tmp_path, [f"flag {'x' * number}" for number in range(KINDS_SHOWN + 3)])
    inspection = summarize_inspection(Store(tmp_path))
    assert sum(bool(noticed.pictures) for noticed in inspection.noticed) == FLAGS_PICTURED
    refused = group_messages((f"s{number}", f"reason {'x' * number}") for number in range(KINDS_SHOWN + 3))
    refusals = [Refusal("s", "read", "INTERNAL", "x")]
    archive = ArchiveSummary(0, 0, 0, 0, refusals=refusals, refused=refused)
    html = render_page(PageContent("t", "s", archive, inspection))
    assert "3 further kinds of reasons with 3 studies" in html
    assert "3 further kinds stand in the column flags" in html


def test_an_outlier_says_why_it_is_one(tmp_path):
    write_screened_store(tmp_path, studies=14)
    flag_volumes(tmp_path, [""] * 5 + ["padding set to -1024"])
    manifest = pd.read_parquet(tmp_path / "manifest.parquet")
    far = manifest["study_id"] == "005abc"
    manifest.loc[far, "volume_ml"] *= 50
    manifest.loc[far, "source_spacing_z"] *= 3
    manifest.to_parquet(tmp_path / "manifest.parquet")
    found = summarize_inspection(Store(tmp_path))
    assert found.found == 2
    liver = next(outlier for outlier in found.outliers if outlier.anatomy == "liver")
    said = " ".join(liver.reasons)
    assert liver.reasons[0].split(" times the median of ")[1].startswith("13 studies, ")
    assert "mm apart; usual are" in said
    assert "The volume is flagged: padding set to -1024." in said
    assert "In this study kidney stand out too." in said
    assert {spread.anatomy: spread.outliers for spread in found.spreads}["liver"] == 1
    assert "Nothing is marked" not in said


@pytest.mark.parametrize(
    ("kept", "expected"), [((1, 2), []), ((2,), ["left"]), ((), ["left", "right"])], ids=["both", "one", "none"]
)
def test_parts_without_a_voxel_are_named(kept, expected):
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="kidney")
    mask = np.full((4, 4, 4), 255, dtype=np.uint8)
    mask.flat[: len(kept)] = kept
    assert missing_parts(type(crop)(**{**vars(crop), "mask": mask, "parts": ("left", "right")})) == expected
    assert missing_parts(type(crop)(**{**vars(crop), "mask": mask, "parts": ("whole",)})) == []


def test_refusals_are_counted_by_reason_and_their_list_is_bounded():
    refusals = [Refusal(f"study{number:04d}", "read", "UNREADABLE", "cut off") for number in range(REFUSALS_SHOWN + 5)]
    refusals.insert(0, Refusal("other", "masks", "MASK_MISSING", "none"))
    html = render_page(PageContent("t", "s", ArchiveSummary(0, 0, 0, 0, refusals=refusals)))
    assert f"UNREADABLE {REFUSALS_SHOWN + 5}, MASK_MISSING 1" in html
    assert html.count("<code>study") == REFUSALS_SHOWN - 1


def test_the_page_shows_in_a_browser(tmp_path):
    require_chromium()
    write_screened_store(tmp_path / "store", studies=14)
    manifest = pd.read_parquet(tmp_path / "store" / "manifest.parquet")
    far = (manifest["study_id"] == "005abc") & (manifest["anatomy"] == "liver")
    manifest.loc[far, "volume_ml"] *= 50
    manifest.to_parquet(tmp_path / "store" / "manifest.parquet")
    seen = []
    page_file = inspect_store(tmp_path / "store", tmp_path / "archive.html", progress=lambda *done: seen.append(done))
    assert seen == [(1, 1)]
    with chromium() as browser:
        page = browser.new_page()
        page.open(page_file, width=390, height=844)
        assert page.evaluate("document.querySelectorAll('#outliers article').length") == 1
        assert page.evaluate("document.querySelector('#outliers article').innerText").count("005abc") == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelectorAll('#inspection .bar').length") > 0
        assert (page.messages, page.requests) == ([], [])


def test_an_empty_store_is_refused(tmp_path):
    write_screened_store(tmp_path, studies=1)
    manifest = pd.read_parquet(tmp_path / "manifest.parquet")
    manifest.head(0).to_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match="no study"):
        inspect_store(tmp_path, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
