import numpy as np
import pytest

from preprocess.simulate.grammar import normalise, parse, tidy


@pytest.mark.parametrize(
    ("template", "values", "forms"),
    [
        pytest.param("a {size} stone", {"size": "8 mm"}, {"An 8 mm stone"}, id="slot-and-article"),
        pytest.param("<one|two> cysts", {}, {"One cysts", "Two cysts"}, id="choice"),
        pytest.param("cyst[ of {size}].", {}, {"Cyst."}, id="optional-without-value"),
        pytest.param("cyst[ of {size}].", {"size": "5 mm"}, {"Cyst.", "Cyst of 5 mm."}, id="optional-with-value"),
        pytest.param("cyst<|, benign>.", {}, {"Cyst.", "Cyst, benign."}, id="empty-alternative"),
        pytest.param("[{side}] cyst[, <big|small>]", {}, {"Cyst", "Cyst, big", "Cyst, small"}, id="nested"),
    ],
)
def test_render_gives_every_form_and_no_other(template: str, values: dict[str, str], forms: set[str]) -> None:
    phrase = parse(template)
    rng = np.random.default_rng(0)
    assert {phrase.render(values, rng) for _ in range(200)} == forms


@pytest.mark.parametrize(
    "template", ["a [b", "a <b", "a b]", "a <b|c]", "{Size}", "a {b", "a | b", "<{a}|b>"], ids=lambda template: template
)
def test_a_malformed_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"closing|unexpected|no slot|same slots"):
        parse(template)


def test_required_slots_are_those_outside_optional_parts() -> None:
    phrase = parse("[{side}] <{organ}|all of {organ}> with {size}")
    assert phrase.required == {"organ", "size"}
    assert phrase.slots == {"side", "organ", "size"}


def test_expansions_list_every_form() -> None:
    assert parse("[{side}] <renal|kidney> cyst").expansions() == [
        "Kidney cyst",
        "Renal cyst",
        "{side} kidney cyst",
        "{side} renal cyst",
    ]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a 8 mm node", "An 8 mm node"),
        ("an 12 mm node", "A 12 mm node"),
        ("a 18 x 9 mm node", "An 18 x 9 mm node"),
        ("an 80 mm mass", "An 80 mm mass"),
        ("a irregular mass", "An irregular mass"),
        ("an mass", "A mass"),
        ("a unilateral cyst", "A unilateral cyst"),
        ("an ulcerated tumor", "An ulcerated tumor"),
        ("an HCC", "An HCC"),
    ],
)
def test_articles_are_as_spoken(text: str, spoken: str) -> None:
    assert tidy(text) == spoken


def test_normalise_makes_templates_comparable() -> None:
    assert normalise("There is {degree} Emphysema.") == "there is {} emphysema"
    assert normalise("There is {name} emphysema") == normalise("There is {degree} Emphysema.")
