"""A report explained: nothing is lost or invented, marks are where the words are, and no text can break the page."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctvlp.explanation_text import RESET, format_explanation, printable
from ctvlp.page.explanation import render_explanation, write_explanation
from preprocess.errors import InputError
from preprocess.explanation import Mark, cut_segments, explain_report
from preprocess.vocabulary_files import load_vocabulary
from tests.chromium import chromium, require_chromium

VOCABULARY = load_vocabulary("ct54")
REPORT = """Findings: There is a cyst of 12 mm in the left kidney. No gallstone. Hiatal hernia cannot be excluded.
The aorta is normal. Compared with nothing at all.
Impression: Cyst of the left kidney."""
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def marked(explanation, kind):
    return [
        (segment.text, mark.label)
        for entry in explanation.sentences
        for segment in entry.segments
        for mark in segment.marks
        if mark.kind == kind
    ]


@pytest.mark.parametrize(
    ("text", "kind", "words", "label"),
    [
        ("Cyst of 12 mm in the left kidney.", "anatomy", "kidney", "kidney"),
        ("Cholelithiasis is not observed.", "finding", "Cholelithiasis", "gallbladder.gallstone: negative"),
        ("Cholelithiasis is not observed.", "cue", "is not observed", "makes it negative"),
        ("The aorta is normal.", "elsewhere", "aorta", "elsewhere: aorta"),
        ("The liver is normal.", "sign", "normal", "sign: normal"),
        ("The left kidney is normal.", "side", "left", "side: left"),
    ],
    ids=["anatomy", "finding", "cue", "elsewhere", "sign", "side"],
)
def test_recognised_words_are_marked_where_they_stand(text, kind, words, label):
    found = marked(explain_report(text, VOCABULARY), kind)
    assert "".join(piece for piece, _ in found) == words
    assert {mark for _, mark in found} == {label}


def test_a_finding_is_marked_with_side_and_size():
    found = marked(explain_report("Hydronephrosis on the left. Renal cyst of 12 mm.", VOCABULARY), "finding")
    assert ("Hydronephrosis", "kidney.hydronephrosis: positive, left") in found
    assert "kidney.cyst: positive, 12 mm" in {label for _, label in found}


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(max_size=30),
    places=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6),
)
def test_segments_joined_are_the_sentence_and_each_mark_covers_whole_segments(text, places):
    spans = [(min(a, b), max(a, b)) for a, b in places]
    marks = [Mark(a, b, "cue", str(i)) for i, (a, b) in enumerate(spans) if a < b <= len(text)]
    segments = list(cut_segments(text, marks))
    assert "".join(segment.text for segment in segments) == text
    for mark in marks:
        assert "".join(s.text for s in segments if mark in s.marks) == text[mark.start : mark.end]


PIECES = [
    "no ",
    "cyst",
    "left kidney",
    " and ",
    "liver: ",
    "normal",
    "?",
    ". ",
    "\n",
    "12 mm ",
    "Impression: ",
    "not seen",
    "\x1b[1m",
]


@settings(max_examples=60, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join))
def test_any_text_is_explained_and_shown_as_it_stands(text):
    explanation = explain_report(text, VOCABULARY)
    for entry in explanation.sentences:
        assert "".join(segment.text for segment in entry.segments) == entry.sentence.text
        stated = [mark for segment in entry.segments for mark in segment.marks if mark.kind == "finding"]
        assert len(set(stated)) <= len(entry.evidence)
    shown = ESCAPES.sub("", format_explanation(explanation, colour=True))
    assert all(printable(entry.sentence.text) in shown for entry in explanation.sentences)
    assert not {char for char in shown if not char.isprintable()} - {"\n"}


def test_each_anatomy_has_status_sentence_and_own_words():
    explanation = explain_report(REPORT, VOCABULARY)
    entries = {entry.title: entry for entry in explanation.anatomies}
    assert entries["kidney"].status == "abnormal"
    assert entries["kidney"].canonical == "The kidney is abnormal: renal cyst on the left (12 mm)."
    assert "left kidney" in entries["kidney"].text
    assert entries["gallbladder"].status == "normal"
    assert "spleen" in explanation.unmentioned
    assert not set(entries) & set(explanation.unmentioned)
    assert explanation.matched == len(explanation.sentences) - 1


def test_labels_outside_all_anatomies_are_listed():
    explanation = explain_report("Enlarged lymph nodes. No catheter.", load_vocabulary("ct_rate18"))
    assert explanation.elsewhere == {"medical material": "negative", "lymphadenopathy": "positive"}


def test_the_terminal_shows_every_word_once_with_and_without_colours():
    explanation = explain_report(REPORT, VOCABULARY)
    coloured, plain = (format_explanation(explanation, colour=colour) for colour in (True, False))
    assert RESET in coloured
    assert "\x1b" not in plain
    for entry in explanation.sentences:
        assert printable(entry.sentence.text) in ESCAPES.sub("", coloured)
    assert "[cyst] of 12 mm in the [left] [kidney]." in plain
    assert "> not matched" in plain
    assert "not mentioned: " in plain


def test_what_only_follows_an_anatomy_is_told_apart():
    explanation = explain_report("The liver is normal. Dictated by voice recognition.", VOCABULARY)
    lines = format_explanation(explanation, colour=False).splitlines()
    place = next(i for i, line in enumerate(lines) if "Dictated" in line)
    assert lines[place + 1].strip() == "> liver, only because spoken of before"
    assert lines[place + 2].strip() == "> not matched"


def test_control_characters_of_a_report_do_not_reach_the_terminal():
    text = format_explanation(explain_report("Liver \x1b[31mnormal\x07.\r\nSpleen normal.", VOCABULARY), colour=False)
    assert not set(text) & set("\x1b\x07\r")


class Parsed(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = (
    'Liver <script>alert(1)</script> normal "onmouseover=alert(2) <img src=x onerror=alert(3)> cyst & <b>spleen</b>.'
)


def test_a_report_is_text_on_the_page_never_markup():
    html = render_explanation(explain_report(HOSTILE, VOCABULARY))
    parsed = Parsed()
    parsed.feed(html)
    assert not {"script", "img", "b"} & set(parsed.tags)
    assert parsed.handlers == []
    assert HOSTILE.split(" <b>")[0] in "".join(parsed.text)


def test_a_page_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"explain.html: cannot write the page"):
        write_explanation(tmp_path / "file" / "explain.html", explain_report(REPORT, VOCABULARY))


@pytest.mark.chromium
@pytest.mark.parametrize("size", [(1440, 1000), (390, 844)], ids=["wide", "narrow"])
def test_the_page_opens_without_complaint_and_fits(tmp_path, size):
    require_chromium()
    path = write_explanation(tmp_path / "new" / "explain.html", explain_report(f"{REPORT}\n{HOSTILE}", VOCABULARY))
    with chromium() as browser:
        page = browser.new_page()
        page.open(path, width=size[0], height=size[1], dark=size[0] < 1000)
        assert page.messages == []
        assert page.requests == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate("document.querySelectorAll('.sentences .is-finding.is-positive').length") > 1
        page.screenshot(tmp_path / "page.png", whole=True)
        assert (tmp_path / "page.png").stat().st_size > 5_000
