"""The archive's page: outliers by a robust score, distributions that leave nothing out, and a page a browser can show."""

import numpy as np
import pandas as pd
import pytest

from ctvlp.page.build import REFUSALS_SHOWN, render_page
from ctvlp.page.content import ArchiveSummary, PageContent, Refusal
from ctvlp.page.inspection import FAR, FEWEST, find_outliers, inspect_store, summarize_inspection
from preprocess.errors import InputError
from preprocess.store import Store
from tests.chromium import chromium, require_chromium
from tests.screened_store import write_screened_store


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


@pytest.mark.parametrize("value", [[5.0], [1.0, 1.0], [0.1, 0.2, 0.7], [3.0, 300.0, np.nan]])
def test_classes_hold_all_values(tmp_path, value):
    write_screened_store(tmp_path, studies=2)
    series = pd.DataFrame({"chosen": True, "reason": None, "coverage_mm": value, "slices": 3})
    series.to_parquet(tmp_path / "series.parquet")
    coverage = next(entry for entry in summarize_inspection(Store(tmp_path)).histograms if "coverage" in entry.name)
    assert sum(coverage.counts) == np.isfinite(value).sum()
    assert coverage.unknown == np.isnan(value).sum()
    assert np.all(np.diff(coverage.edges) > 0)


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
