import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from preprocess.errors import InputError
from preprocess.simulate.report import Report, Statement, write_report
from preprocess.simulate.wording import load_wording, read_wording, templates
from preprocess.vocabulary_files import load_vocabulary

SITES = ("A", "B")
ANATOMIES = tuple(load_wording("A").anatomies)
FINDINGS = tuple(load_wording("A").findings)
PARTS = {"lung": "left lower lobe", "liver": "right lobe", "pancreas": "tail", "kidney": "upper pole"}


def statement(finding: str, severity: float = 1.0, side: str = "left") -> Statement:
    anatomy = finding.split(".")[0]
    sided = bool(load_wording("A").anatomies[anatomy].sides)
    part = PARTS.get(anatomy) if side != "right" else None
    return Statement(finding, severity, side if sided else None, part, 14.0)


def draw_study(rng: np.random.Generator) -> tuple[list[str], list[Statement]]:
    covered = [name for name in ANATOMIES if rng.random() < 0.85]
    drawn = [finding for finding in FINDINGS if finding.split(".")[0] in covered and rng.random() < 0.1]
    sides = ("left", "right", "both")
    return covered, [statement(finding, float(rng.random()), sides[int(rng.integers(3))]) for finding in drawn]


def draw_reports(site: str, count: int, seed: int) -> Iterator[tuple[list[str], list[Statement], Report]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        covered, truth = draw_study(rng)
        yield covered, truth, write_report(truth, covered=covered, site=site, rng=rng)


def sentences(text: str) -> list[str]:
    """Split at full stops and line ends, and drop line headers."""
    rough = re.split(r"(?<=[.?])\s+|\n", text)
    return [re.sub(r"^(?:- |\d\. )?(?:[A-Z][\w /-]*: (?=[A-Z]))?", "", sentence).rstrip(".") for sentence in rough]


def named(match: re.Match[str]) -> list[str]:
    """The things that a list in a sentence names."""
    return re.split(r", | or | nor | and ", match[match.lastindex or 0].lower().removeprefix("the "))


class Denials:
    """Reads denials and normal statements back from a text, from the data file alone."""

    def __init__(self, site: str) -> None:
        self.wording = load_wording(site)
        frames = self.wording.denial_frames
        self.frames = [
            re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(form.rstrip("."))), re.IGNORECASE)
            for phrase in (*frames.many, *frames.one, *frames.attached)
            for form in phrase.expansions()
        ]
        self.items = {
            item.lower(): denial.denies
            for anatomy in self.wording.anatomies.values()
            for denial in anatomy.denials
            for item in denial.item
        }
        claims = [*self.wording.distractors, *self.wording.collective_normal]
        self.claims = {form.rstrip(".").lower(): c.denies for c in claims for form in c.say.expansions()}
        self.normal: dict[str, set[str]] = {}
        for name, anatomy in self.wording.anatomies.items():
            for claim in (*anatomy.normal, *anatomy.denied):
                for form in claim.say.expansions():
                    self.claims[form.rstrip(".").lower()] = claim.denies
            self.normal[name] = {f.rstrip(".").lower() for claim in anatomy.normal for f in claim.say.expansions()}
            for claim in self.wording.collective_normal:
                if name in claim.of:
                    self.normal[name] |= {form.rstrip(".").lower() for form in claim.say.expansions()}
        self.joint = [
            re.compile(re.escape(form.rstrip(".")).replace(r"\{organs\}", "(.+)"), re.IGNORECASE)
            for phrase in self.wording.joint_normal
            for form in phrase.expansions()
        ]

    def denied(self, text: str) -> set[str]:
        found: set[str] = set()
        for sentence in sentences(text):
            found.update(self.claims.get(sentence.lower(), ()))
            for match in filter(None, (frame.fullmatch(sentence) for frame in self.frames)):
                found.update(finding for item in named(match) for finding in self.items.get(item, ()))
        return found

    def called_normal(self, text: str) -> set[str]:
        said = sentences(text)
        found = {name for name, known in self.normal.items() if known & {sentence.lower() for sentence in said}}
        for match in filter(None, (joint.fullmatch(sentence) for joint in self.joint for sentence in said)):
            text_of_list = match[1].lower()
            for name, anatomy in self.wording.anatomies.items():
                if any(re.search(rf"\b{re.escape(word.lower())}\b", text_of_list) for word in anatomy.names):
                    found.add(name)
        return found


@pytest.mark.parametrize("site", SITES)
def test_the_wording_covers_the_vocabulary(site: str) -> None:
    vocabulary = load_vocabulary("ct54")
    wording = load_wording(site)
    assert set(wording.findings) == {finding.id for finding in vocabulary.findings}
    assert set(wording.anatomies) == set(vocabulary.anatomies)


@pytest.mark.parametrize("site", SITES)
def test_every_sentence_of_every_finding_can_be_filled(site: str) -> None:
    wording = load_wording(site)
    values = dict.fromkeys(("size", "side", "organ", "part", "degree", "degreely"), "xyz")
    rng = np.random.default_rng(0)
    for finding, entry in wording.findings.items():
        assert len(entry.positive) >= 4, finding
        for phrase in (*entry.positive, *entry.both, *entry.hedged, *entry.impression):
            text = phrase.render(values, rng)
            assert not re.search(r"[][<>{}|]|  ", text), text


@pytest.mark.parametrize(("site", "side"), product(SITES, ("left", "right", "both")))
def test_every_finding_can_be_stated(site: str, side: str) -> None:
    rng = np.random.default_rng(1)
    for finding in FINDINGS:
        truth = statement(finding, side=side)
        anatomy = finding.split(".")[0]
        texts = set()
        for _ in range(12):
            report = write_report([truth], covered=[anatomy], site=site, rng=rng, omit=0, overcall=0)
            assert report.stated[finding] in ("positive", "uncertain")
            assert not re.search(r"[][<>{}|]|  |\ba [aeio]|\b[Aa]n? an? ", report.text), report.text
            texts.add(report.text)
        assert len(texts) == 12, finding


@pytest.mark.parametrize("site", SITES)
def test_errors_come_at_the_stated_rates(site: str) -> None:
    true = sided = 0
    errors: Counter[str] = Counter()
    for _, truth, report in draw_reports(site, 2200, seed=2):
        true += len(truth)
        one_sided = {s.finding for s in truth if s.side in ("left", "right")} - set(report.omitted)
        sided += len(one_sided)
        errors.update(omit=len(report.omitted), overcall=len(report.overcalled), side=len(report.wrong_side))
        assert set(report.overcalled).isdisjoint(s.finding for s in truth)
        assert set(report.wrong_side) <= one_sided
        assert set(report.omitted).isdisjoint(f for f, said in report.stated.items() if said != "negative")
    assert true > 9_000
    assert errors["omit"] / true == pytest.approx(0.05, abs=0.007)
    assert errors["overcall"] / (true - errors["omit"]) == pytest.approx(0.02, abs=0.005)
    assert errors["side"] / sided == pytest.approx(0.02, abs=0.008)


@pytest.mark.parametrize("site", SITES)
def test_no_report_contradicts_itself_and_denials_are_recorded(site: str) -> None:
    reader = Denials(site)
    denials = normals = 0
    for covered, _, report in draw_reports(site, 400, seed=3):
        asserted = {finding for finding, said in report.stated.items() if said != "negative"}
        denied, normal = reader.denied(report.text), reader.called_normal(report.text)
        assert denied.isdisjoint(asserted), report.text
        assert normal.isdisjoint(finding.split(".")[0] for finding in asserted), report.text
        assert denied <= report.stated.keys(), report.text
        assert {finding.split(".")[0] for finding in report.stated} <= set(covered)
        assert normal <= set(covered), report.text
        denials += len(denied)
        normals += len(normal)
    assert denials > 400
    assert normals > 800


@pytest.mark.parametrize("site", SITES)
def test_normal_anatomies_are_sometimes_named_and_sometimes_not(site: str) -> None:
    wording = load_wording(site)
    rng = np.random.default_rng(4)
    texts = [write_report([], covered=ANATOMIES, site=site, rng=rng).text.lower() for _ in range(150)]
    for name, anatomy in wording.anatomies.items():
        words = [word.lower() for word in (*anatomy.header, *anatomy.names)]
        share = np.mean([any(word in text for word in words) for text in texts])
        assert 0.4 < share < 1, (name, share)


@pytest.mark.parametrize("site", SITES)
def test_forms_of_reports_vary(site: str) -> None:
    wording = load_wording(site)
    texts = [report.text for _, _, report in draw_reports(site, 300, seed=5)]
    assert len(set(texts)) == 300
    for labels, low, high in ((wording.sections.findings, 0.75, 0.95), (wording.sections.impression, 0.6, 0.85)):
        assert low < np.mean([any(label in text for label in labels) for text in texts]) < high
    line_header = re.compile(rf"^(?:{'|'.join(wording.anatomies['spleen'].header)}): ", re.MULTILINE)
    assert 0.1 < np.mean([bool(line_header.search(text)) for text in texts]) < 0.5


@pytest.mark.parametrize("site", SITES)
def test_the_same_generator_gives_the_same_report(site: str) -> None:
    _, truth = draw_study(np.random.default_rng(6))
    one, two, other = (
        write_report(truth, covered=ANATOMIES, site=site, rng=np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert one == two
    assert one.text != other.text


@pytest.mark.parametrize(
    ("finding", "part"),
    [("kidney.calculus", None), ("adrenal_gland.nodule", None), ("lung.pneumonia", "left lower lobe")],
)
@pytest.mark.parametrize("site", SITES)
def test_a_wrong_side_is_told_in_the_text(site: str, finding: str, part: str | None) -> None:
    truth = Statement(finding, 1.0, "left", part, 9.0)
    rng = np.random.default_rng(9)
    for _ in range(40):
        report = write_report(
            [truth], covered=[finding.split(".")[0]], site=site, rng=rng, omit=0, overcall=0, wrong_side=1
        )
        assert report.wrong_side == (finding,)
        assert re.search(r"\bright\b", report.text, re.IGNORECASE), report.text
        assert not re.search(r"\bleft (?:\w+ lobe|kidney|adrenal|lung|\w+ gland)|on the left", report.text)


def test_what_is_hardly_visible_is_hedged_more_often() -> None:
    def hedged(severity: float) -> float:
        rng = np.random.default_rng(10)
        truth = Statement("spleen.splenomegaly", severity)
        reports = [write_report([truth], covered=["spleen"], site="A", rng=rng, omit=0) for _ in range(500)]
        return float(np.mean([report.stated[truth.finding] == "uncertain" for report in reports]))

    assert hedged(0.0) == pytest.approx(0.5, abs=0.06)
    assert hedged(1.0) == pytest.approx(0.04, abs=0.03)


@pytest.mark.parametrize(
    ("truth", "covered", "message"),
    [
        pytest.param([Statement("liver.crack", 1)], ["liver"], "unknown finding 'liver.crack'", id="finding"),
        pytest.param([], ["brain"], "unknown anatomy 'brain'", id="anatomy"),
        pytest.param([Statement("liver.cyst", 1)], ["lung"], "'liver.cyst' lies outside", id="not-covered"),
        pytest.param([Statement("liver.cyst", 1)] * 2, ["liver"], "'liver.cyst' stands twice", id="twice"),
    ],
)
def test_impossible_studies_are_refused(truth: list[Statement], covered: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_report(truth, covered=covered, site="A", rng=np.random.default_rng(0))


def test_an_unknown_site_is_refused() -> None:
    with pytest.raises(InputError, match="unknown site 'C'"):
        load_wording("C")


def test_the_sites_share_no_template() -> None:
    ours, theirs = templates("A"), templates("B")
    assert len(ours) > 800
    assert len(theirs) > 800
    assert not set(ours) & set(theirs)
    assert "cholelithiasis with a {} stone" in ours


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param(
            ("findings", "liver.cyst", "positive", 0), "A [cyst", "findings.liver.cyst.positive.0", id="bracket"
        ),
        pytest.param(
            ("findings", "liver.cyst", "positive", 0), "{place} cyst", "findings.liver.cyst: .*place", id="slot"
        ),
        pytest.param(("findings", "liver.cyst", "positive", 0), {"a": 1}, "findings.liver.cyst.positive.0", id="colon"),
        pytest.param(("findings", "liver.cyst", "positive"), ["A cyst."], "findings.liver.cyst.positive", id="few"),
        pytest.param(("findings", "liver.cyst", "note"), "x", "findings.liver.cyst.note", id="key"),
        pytest.param(
            ("findings", "liver.cyst", "hedged"), ["{size}", "{size}?"], "hedged: at least one", id="fallback"
        ),
        pytest.param(("findings", "tail.cyst"), "same", "findings.tail.cyst: unknown anatomy", id="finding"),
        pytest.param(("anatomies", "liver", "normal"), [], "anatomies.liver.normal", id="normal"),
        pytest.param(
            ("anatomies", "liver", "denials", 0, "denies"), ["crack"], "anatomies.liver: .*liver.crack", id="denies"
        ),
        pytest.param(("denial_frames", "many", 0), "No {item}.", "many: 'No {item}.'", id="frame"),
        pytest.param(("order",), ["liver"], "order", id="order"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_key(tmp_path: Path, path: tuple, value: object, message: str) -> None:
    raw = yaml.safe_load((Path(__file__).parents[1] / "preprocess/simulate/wording_a.yaml").read_text(encoding="utf-8"))
    entry = raw
    for step in path[:-1]:
        entry = entry[step]
    entry[path[-1]] = raw["findings"]["liver.cyst"] if value == "same" else value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^mine\.yaml: .*{message}"):
        read_wording(file)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", ""], ids=["not-yaml", "a-list", "empty"])
def test_a_file_that_is_no_wording_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"^mine\.yaml: "):
        read_wording(file)
