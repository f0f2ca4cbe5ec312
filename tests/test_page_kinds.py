"""Messages that differ in their numbers alone are one kind, whatever their order."""

import random

import pytest

from ctvlp.page.content_archive import Kind
from ctvlp.page.kinds import group_messages


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["localizer"], [Kind("localizer", 1, 1, ("s0",))]),
        (["padding set to -1024"] * 2, [Kind("padding set to -1024", 2, 2, ("s0", "s1"))]),
        (["a gap of 9.89 mm at -448.5", "a gap of 3.00 mm at 12.0"], [Kind("a gap of … mm at …", 2, 2, ("s0", "s1"))]),
        (["GEOMETRY: 1 missing"], [Kind("1 missing", 1, 1, ("s0",), "GEOMETRY")]),
        (["HU_IMPLAUSIBLE: 3", "GEOMETRY: 3"], [Kind("3", 1, 1, ("s1",), "GEOMETRY"), Kind("3", 1, 1, ("s0",), "HU_IMPLAUSIBLE")]),
        (["a", "b", "b"], [Kind("b", 2, 2, ("s1", "s2")), Kind("a", 1, 1, ("s0",))]),
        (["kernel B70f"], [Kind("kernel B70f", 1, 1, ("s0",))]),
        (["kernel B70f", "kernel B71f"], [Kind("kernel B70f", 1, 1, ("s0",)), Kind("kernel B71f", 1, 1, ("s1",))]),
        (["x"] * 5, [Kind("x", 5, 5, ("s0", "s1", "s2"))]),
        ([], []),
    ],
    ids=["one", "the same", "numbers", "a code", "two codes", "the frequent first", "a name with a number", "two names", "examples are few",
         "none"],
)  # fmt: skip
def test_kinds(messages, expected):
    assert group_messages([(f"s{number}", message) for number, message in enumerate(messages)]) == expected


def test_a_study_counts_once():
    (kind,) = group_messages([("a", "x 1"), ("a", "x 2"), ("b", "x 3")])
    assert (kind.count, kind.studies, kind.examples) == (3, 2, ("a", "b"))


def test_counts_do_not_hang_on_the_order():
    messages = [(f"s{number % 7}", f"reason {'abc'[number % 3]} of {number % 5}") for number in range(60)]
    before = group_messages(messages)
    random.Random(0).shuffle(messages)
    assert [(kind.text, kind.count, kind.studies) for kind in group_messages(messages)] == [
        (kind.text, kind.count, kind.studies) for kind in before
    ]
