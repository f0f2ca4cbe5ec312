"""The page holds everything it shows, escapes what it was given, and works in a browser, wide and narrow."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ctvlp.page.build import build_page, render_page
from ctvlp.page.content import PageContent
from preprocess.errors import InputError
from tests.chromium import Browser, Page, chromium, require_chromium
from tests.page_content import full_content, without_truth

WIDE, NARROW = (1440, 1000), (390, 844)


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> PageContent:
    return full_content(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def page_file(content, tmp_path_factory) -> Path:
    return build_page(tmp_path_factory.mktemp("page") / "index.html", content)


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


class Attributes(HTMLParser):
    """Collects ids, targets and everything that could be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        self.loaded += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        if "href" in values:
            (self.targets if tag == "a" else self.loaded).append(values["href"])


def parse(html: str) -> Attributes:
    parser = Attributes()
    parser.feed(html)
    return parser


def test_nothing_is_loaded_and_every_link_has_its_target(content: PageContent) -> None:
    found = parse(render_page(content))
    assert len(found.ids) == len(set(found.ids))
    assert all(target.startswith("#") and target[1:] in found.ids for target in found.targets)
    assert found.loaded
    assert all(place.startswith("data:") for place in found.loaded)


def test_given_text_is_escaped(content: PageContent) -> None:
    html = render_page(content)
    assert "<everything>" not in html
    assert "A page of &lt;everything&gt;" in html
    assert "bad&lt;i&gt;" in html
    assert "&lt;b&gt;shows&lt;/b&gt;" in html
    assert "<b>shows" not in html


def test_research_use_and_simulated_data_are_said(content: PageContent) -> None:
    html = render_page(content)
    assert "For research use only, not for diagnosis" in html
    assert "Simulated data." in html
    assert "0123456789abcdef" in html
    real = render_page(replace(content, simulation=None))
    assert "For research use only, not for diagnosis" in real
    assert "imulat" not in re.sub(r"known from the simulator|<style>.*?</style>", "", real, flags=re.DOTALL)


def test_figures_on_the_page_are_those_of_the_evaluation(content: PageContent) -> None:
    html = render_page(content)
    evaluation = content.evaluation
    assert evaluation is not None
    assert f"<b>{evaluation.means['auroc'].value:.3f}</b>" in html
    for digest in ("scores_digest", "labels_digest"):
        assert evaluation.provenance[digest] in html
    assert html.count('data-sort="number"') >= 6
    for row in evaluation.findings.itertuples():
        assert f'data-value="{row.auroc}"' in html


def test_without_truth_there_are_no_results(content: PageContent) -> None:
    html = render_page(without_truth(content))
    assert 'id="results"' not in html
    assert "AUROC" not in html
    assert 'id="studies"' in html


def test_an_archive_without_studies_gives_a_page(content: PageContent) -> None:
    html = render_page(PageContent("t", "s", content.archive))
    assert 'id="studies"' not in html
    assert 'id="archive"' in html


def test_what_cannot_be_assessed_says_why(content: PageContent) -> None:
    html = render_page(content)
    assert "not assessable: not covered" in html
    assert "partial view" in html
    assert "not in the volume" in html


def test_the_same_content_gives_the_same_bytes(content: PageContent) -> None:
    assert render_page(content) == render_page(content)


def test_a_place_that_cannot_be_written_is_one_clear_line(content: PageContent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"index\.html: cannot write the page: "):
        build_page(tmp_path / "file" / "index.html", content)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_a_missing_browser_fails_under_ci_only(monkeypatch, ci: str, outcome: str) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match="chromium is not installed") as caught:  # outcomes are no Exceptions
        require_chromium()
    assert type(caught.value).__name__ == outcome


@pytest.mark.chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_page_opens_without_complaint_and_fits(
    page_file: Path, browser: Browser, size, dark: bool, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.open(page_file, width=size[0], height=size[1], dark=dark)
    assert page.messages == []
    assert page.requests == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.chromium
def test_a_request_would_be_refused_and_seen(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file)
    page.evaluate(
        "new Promise((done) => { const i = new Image(); i.onerror = done; i.src = 'http://127.0.0.1:9/x.png'; })"
    )
    assert any("Content Security Policy" in message for message in page.messages)


@pytest.mark.chromium
def test_tables_sort_by_click_and_keyboard(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file)
    values = "[...document.querySelectorAll('.findings tbody tr')].map((r) => parseFloat(r.cells[4].dataset.value))"
    before = page.evaluate(values)
    page.evaluate("document.querySelectorAll('.findings thead th')[4].querySelector('button').click()")
    assert page.evaluate(values) == sorted(before, reverse=True)
    page.evaluate("document.querySelectorAll('.findings thead th')[4].querySelector('button').focus()")
    page.press("Enter")
    assert page.evaluate(values) == sorted(before)
    assert page.evaluate("document.querySelectorAll('.findings thead th')[4].ariaSort") == "ascending"


@pytest.mark.chromium
def test_studies_are_tabs_with_arrow_keys(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file)
    shown = "[...document.querySelectorAll('.study')].map((s) => !s.hidden)"
    assert page.evaluate(shown) == [True, False, False]
    page.evaluate("document.getElementById('tab-1').focus()")
    page.press("ArrowRight")
    assert page.evaluate(shown) == [False, True, False]
    assert page.evaluate("document.activeElement.id") == "tab-2"
    page.press("End")
    assert page.evaluate(shown) == [False, False, True]


@pytest.mark.chromium
def test_heat_and_outlines_can_be_switched(page_file: Path, browser: Browser) -> None:
    page = opened(browser, page_file)

    def visible(selector: str) -> bool:
        found = f"document.querySelector('.study:not([hidden]) {selector}')"
        return bool(page.evaluate(f"getComputedStyle({found}).display !== 'none'"))

    page.evaluate("document.getElementById('tab-3').click()")
    assert not visible(".heat")
    assert visible(".outline.organ")
    page.evaluate("document.getElementById('show-heat').click()")
    page.evaluate("document.getElementById('show-outline').click()")
    assert visible(".heat")
    assert not visible(".outline.organ")


def opened(browser: Browser, path: Path) -> Page:
    page = browser.new_page()
    page.open(path, width=WIDE[0], height=WIDE[1])
    return page
