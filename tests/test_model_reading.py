"""Reports read with a language model's help, with a script in its place; answers kept, failures asked again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess import model_reading
from preprocess.answer_book import AnswerBook
from preprocess.errors import InputError
from preprocess.model_answers import Answer, Choice, Failure, possible_answers
from preprocess.model_controls import build_controls
from preprocess.model_reading import Asker, ModelOptions, asking, read_many_asking
from preprocess.reading import ReportPart, ReportReading
from preprocess.text_tables import TextSummary, reports_to_tables
from preprocess.vocabulary_files import load_vocabulary
from tests.tiny_model import write_tiny_model

VOCABULARY = load_vocabulary("ct54")
LABELS18 = load_vocabulary("ct_rate18")
ODD = "Quuxoid zorbling is seen"
REPORT = f"FINDINGS: The spleen is normal.\n\n{ODD}, 12 mm on the left.\nIMPRESSION: See above."
PIECE = f"{ODD}, 12 mm on the left."
CYST = Choice("liver", "liver.cyst", "positive")


class Script:
    """Answers from a script, nothing to all else, and writes down what it is asked."""

    name = "script"
    digest = "0"

    def __init__(self, lines: Mapping[str, Choice | Failure], confidence: float = 0.9) -> None:
        self.lines = lines
        self.confidence = confidence
        self.asked: list[str] = []

    def ask(self, clauses: Sequence[str]) -> dict[str, Answer | Failure]:
        self.asked += clauses
        outcomes: dict[str, Answer | Failure] = {}
        for clause in clauses:
            line = self.lines.get(clause, Choice(None, None, ""))
            outcomes[clause] = line if isinstance(line, Failure) else Answer(line, self.confidence, self.name)
        return outcomes


def _asker(script: Script, **settings: object) -> Asker:
    return Asker(script, AnswerBook(None, script.digest), **settings)  # type: ignore[arg-type]


def _read(text: str, script: Script | None, *, rule: str = "any", vocabulary: object = VOCABULARY) -> ReportReading:
    asker = None if script is None else _asker(script)
    items = [("s", [ReportPart(text)])]
    [(name, reading)] = read_many_asking(items, vocabulary, asker, language="en", abnormal_rule=rule)  # type: ignore[arg-type]
    assert name == "s"
    return reading


def _unread(text: str) -> list[str]:
    return [clause for sentence in _read(text, None).sentences for clause in sentence.unread]


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("FINDINGS: The liver is normal.", []),
        ("FINDINGS: The aorta is calcified.", []),
        (f"FINDINGS: {ODD}.", [f"{ODD}."]),
        (f"FINDINGS: The aorta is wide, but {ODD.lower()}.", [f"but {ODD.lower()}."]),
        (f"HISTORY: {ODD}.", []),
        (f"TECHNIQUE: {ODD}.", []),
        ("FINDINGS: 12.5 / 3.", []),
        ("", []),
    ],
    ids=["known", "foreign", "unknown", "half", "history", "technique", "digits", "empty"],
)
def test_what_is_left_unread(text: str, unread: list[str]) -> None:
    assert _unread(text) == unread


def test_only_unread_clauses_are_asked_and_each_once() -> None:
    script = Script({})
    items = [("a", [ReportPart(REPORT)]), ("b", [ReportPart(REPORT)]), ("c", [ReportPart("The liver is normal.")])]
    list(read_many_asking(items, VOCABULARY, _asker(script), language="en"))
    assert script.asked == sorted(set(_unread(REPORT)))
    assert PIECE in script.asked


def test_answer_becomes_evidence_status_text_and_label() -> None:
    before, after = _read(REPORT, None), _read(REPORT, Script({PIECE: CYST}))
    assert (before.anatomies["liver"].status, before.labels["liver.cyst"]) == ("unmentioned", None)
    liver = after.anatomies["liver"]
    assert (liver.status, liver.text, liver.source) == ("abnormal", PIECE, "model")
    assert after.labels["liver.cyst"] == 1
    [evidence] = [e for e in after.evidence if e.finding == "liver.cyst"]
    assert (evidence.assertion, evidence.side, evidence.size_mm) == ("positive", "left", 12.0)
    assert (evidence.source, evidence.rule) == ("model", "script, confidence 0.90")
    [sentence] = [s for s in after.sentences if s.text == PIECE]
    assert (sentence.anatomies, sentence.matched, sentence.unread) == (("liver",), False, ())


def test_what_the_rules_read_stays_theirs() -> None:
    before, after = _read(REPORT, None), _read(REPORT, Script({PIECE: CYST}))
    assert after.anatomies["spleen"] == before.anatomies["spleen"]
    assert after.anatomies["spleen"].source == "rule"
    assert [e for e in after.evidence if e.source == "rule"] == list(before.evidence)


@pytest.mark.parametrize(
    ("choice", "status"),
    [
        (Choice("spleen", None, "normal"), ("normal", "rule")),
        (Choice("spleen", None, "uncertain"), ("uncertain", "model")),
        (Choice("spleen", None, "removed"), ("removed", "model")),
        (Choice("spleen", "spleen.splenomegaly", "positive"), ("abnormal", "model")),
        (Choice("spleen", "spleen.splenomegaly", "negative"), ("normal", "rule")),
        (Choice("spleen", "spleen.splenomegaly", "historical"), ("normal", "rule")),
        (Choice(None, None, ""), ("normal", "rule")),
    ],
    ids=["normal", "uncertain", "removed", "positive", "negative", "historical", "nothing"],
)
def test_answers_and_rules_are_pooled(choice: Choice, status: tuple[str, str]) -> None:
    spleen = _read(REPORT, Script({PIECE: choice})).anatomies["spleen"]
    assert (spleen.status, spleen.source) == status


def test_impression_rule_holds_for_answers() -> None:
    script = Script({PIECE: Choice("spleen", "spleen.splenomegaly", "positive")})
    assert _read(REPORT, script, rule="impression").anatomies["spleen"].status == "normal"


def test_later_addendum_overrides_an_answer() -> None:
    parts = [ReportPart(REPORT), ReportPart("No liver cyst.", "addendum")]
    asker = _asker(Script({PIECE: CYST}))
    [(_, reading)] = read_many_asking([("s", parts)], VOCABULARY, asker, language="en")
    assert reading.labels["liver.cyst"] == 0
    assert [e.overridden for e in reading.evidence if e.source == "model"] == [True]


def test_finding_outside_all_anatomies() -> None:
    script = Script({PIECE: Choice(None, "Medical material", "positive")})
    reading = _read(REPORT, script, vocabulary=LABELS18)
    assert reading.labels["Medical material"] == 1
    assert not [name for name, anatomy in reading.anatomies.items() if anatomy.source == "model"]


@given(st.sampled_from(sorted(possible_answers(VOCABULARY))))
def test_any_answer_reaches_its_own_anatomy_alone(line: str) -> None:
    choice = possible_answers(VOCABULARY)[line]
    before, after = _read(REPORT, None), _read(REPORT, Script({PIECE: choice}))
    changed = {name for name, anatomy in after.anatomies.items() if anatomy != before.anatomies[name]}
    assert changed == ({choice.anatomy} - {None})
    assert {e.finding for e in after.evidence if e.source == "model"} == ({choice.finding} - {None})


@pytest.mark.parametrize("failing", [Failure("no memory is left"), None], ids=["failed", "unsure"])
def test_failed_and_unsure_answers_change_nothing(failing: Failure | None) -> None:
    script = Script({PIECE: failing}) if failing else Script({PIECE: CYST}, confidence=0.4)
    reading = _read(REPORT, script)
    assert reading.anatomies == _read(REPORT, None).anatomies
    assert reading.labels == _read(REPORT, None).labels
    assert any(PIECE in sentence.unread for sentence in reading.sentences)


def test_failures_are_asked_again_and_answers_are_not(tmp_path: Path) -> None:
    path, items = tmp_path / "answers.sqlite", [("s", [ReportPart(REPORT)])]

    def run(script: Script) -> tuple[ReportReading, Asker]:
        book = AnswerBook(path, script.digest)
        asker = Asker(script, book)
        [(_, reading)] = read_many_asking(items, VOCABULARY, asker, language="en")
        book.close()
        return reading, asker

    first, asker = run(Script({PIECE: Failure("no memory is left")}))
    assert (asker.asked, asker.failed) == (len(set(_unread(REPORT))), 1)
    assert first.labels["liver.cyst"] is None
    second, asker = run(retried := Script({PIECE: CYST}))
    assert retried.asked == [PIECE]
    assert asker.failed == 0
    third, _ = run(silent := Script({}))
    assert not silent.asked
    assert second == third
    assert third.labels["liver.cyst"] == 1


def test_order_and_answers_hold_over_many_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_reading, "REPORTS_AT_ONCE", 3)
    items = [(f"s{number}", [ReportPart(REPORT if number % 2 else "The liver is normal.")]) for number in range(8)]
    read = list(read_many_asking(items, VOCABULARY, _asker(Script({PIECE: CYST})), language="en"))
    assert [name for name, _ in read] == [name for name, _ in items]
    assert [reading.labels["liver.cyst"] for _, reading in read] == [None, 1] * 4


def test_language_of_each_report_holds_with_answers() -> None:
    german = f"Befund: Die Leber ist unauffällig. Die Milz ist vergrößert. {ODD}."
    items = [("de", [ReportPart(german)]), ("en", [ReportPart(REPORT)])]
    plain = dict(read_many_asking(items, VOCABULARY, None))
    asked = dict(read_many_asking(items, VOCABULARY, _asker(Script({f"{ODD}.": CYST, PIECE: CYST}))))
    assert asked["en"].labels["liver.cyst"] == 1
    assert asked["de"].anatomies["spleen"] == plain["de"].anatomies["spleen"]


def test_without_a_model_nothing_is_loaded(tmp_path: Path) -> None:
    with asking(None, VOCABULARY) as asker:
        assert asker is None


def test_model_that_misses_the_controls_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    options = ModelOptions(folder, answers=tmp_path / "answers.sqlite")
    with (
        asking(options, VOCABULARY) as asker,
        pytest.raises(InputError, match=r"language model tiny: it answered \d+ of 30 plain clauses rightly"),
    ):
        list(read_many_asking([("s", [ReportPart(REPORT)])], VOCABULARY, asker, language="en"))
    assert AnswerBook(options.answers, "").find([PIECE]) == {}


@pytest.mark.parametrize(("wrong", "refused"), [(0, False), (7, False), (8, True)])
def test_controls_are_counted(wrong: int, refused: bool) -> None:
    controls = build_controls(VOCABULARY)
    lines: dict[str, Choice | Failure] = dict(controls)
    for clause in list(controls)[:wrong]:
        lines[clause] = Failure("no memory is left") if wrong == 8 else CYST
    asker = _asker(Script(lines), controls=controls)
    if refused:
        with pytest.raises(
            InputError, match=r"22 of 30 plain clauses rightly, where 75% are needed.*no memory is left"
        ):
            asker.answers(["x"])
    else:
        assert set(asker.answers(["x"])) == {"x"}


def test_a_report_that_the_rules_read_needs_no_model(tmp_path: Path) -> None:
    with asking(ModelOptions(write_tiny_model(tmp_path / "tiny")), VOCABULARY) as asker:
        [(_, reading)] = read_many_asking([("s", [ReportPart("The liver is normal.")])], VOCABULARY, asker)
    assert reading.anatomies["liver"].status == "normal"


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(InputError, match="lies between 0 and 1"):
        ModelOptions("m", confidence=confidence)


def _write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script) -> tuple[Path, TextSummary]:
    """Tables of one report, read with the script in place of the model."""
    pd.DataFrame({"study_id": ["s"], "report_text": [REPORT]}).to_csv(tmp_path / "reports.csv", index=False)
    monkeypatch.setattr(model_reading, "LocalModel", lambda *_, **__: script)
    monkeypatch.setattr(model_reading, "build_controls", lambda _: {})
    folder = write_tiny_model(tmp_path / "tiny")
    return tmp_path / "out", reports_to_tables(tmp_path / "reports.csv", tmp_path / "out", language_model=folder)


def test_tables_tell_who_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, summary = _write(tmp_path, monkeypatch, Script({PIECE: CYST}))
    assert (summary.asked, summary.failed) == (len(set(_unread(REPORT))), 0)
    anatomies = pd.read_parquet(out / "anatomies.parquet").set_index("anatomy")
    assert anatomies.loc["liver", ["status", "source"]].tolist() == ["abnormal", "model"]
    assert anatomies.loc["spleen", ["status", "source"]].tolist() == ["normal", "rule"]
    evidence = pd.read_parquet(out / "evidence.parquet").set_index("finding")
    assert evidence.loc["liver.cyst", ["rule", "source"]].tolist() == ["script, confidence 0.90", "model"]
    assert pd.read_parquet(out / "labels.parquet").loc[0, "liver.cyst"] == 1


def test_failures_stay_out_of_the_tables_until_a_run_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, summary = _write(tmp_path, monkeypatch, Script({PIECE: Failure("no memory is left")}))
    assert summary.failed == 1
    assert set(pd.read_parquet(out / "anatomies.parquet")["source"]) == {"rule"}
    assert pd.read_parquet(out / "labels.parquet")["liver.cyst"].isna().all()
    assert PIECE in set(pd.read_parquet(out / "sentences.parquet")["text"])
    assert AnswerBook(tmp_path / "out.answers.sqlite", "0").failures() == {PIECE: "no memory is left"}
    out, summary = _write(tmp_path, monkeypatch, Script({PIECE: CYST}))
    assert (summary.asked, summary.failed) == (1, 0)
    assert pd.read_parquet(out / "labels.parquet").loc[0, "liver.cyst"] == 1


def test_unfit_model_writes_no_table(tmp_path: Path) -> None:
    pd.DataFrame({"study_id": ["s"], "report_text": [REPORT]}).to_csv(tmp_path / "reports.csv", index=False)
    folder = write_tiny_model(tmp_path / "tiny")
    with pytest.raises(InputError, match="0 of 30 plain clauses"):
        reports_to_tables(tmp_path / "reports.csv", tmp_path / "out", language_model=folder)
    assert not list((tmp_path / "out").glob("*.parquet"))
