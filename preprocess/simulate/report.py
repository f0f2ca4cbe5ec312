"""Free-text reports of simulated studies: true findings, as a radiologist who errs puts them in a site's own words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from preprocess.simulate.dictation import dictate
from preprocess.simulate.layout import draw_style, lay_out
from preprocess.simulate.opinion import Opinion, side_is_sayable
from preprocess.simulate.wording import load_wording
from preprocess.simulate.wording_schema import Wording

_SIZE_SPREAD = 0.05
"""Relative standard deviation of a size measured by hand."""
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Statement:
    """A true finding of a study.

    Args:
        finding: Id, `anatomy.finding`.
        severity: 0 (invisible) to 1 (plain).
        side: "left", "right", "both" or None.
        part: Sub-part, such as "left lower lobe" or "tail", or None.
        size_mm: Largest extent, or None.
    """

    finding: str
    severity: float
    side: str | None = None
    part: str | None = None
    size_mm: float | None = None


@dataclass(frozen=True)
class Report:
    """A report and what it says, for scoring.

    Args:
        text: The report.
        stated: Finding to what the text says of it; findings that it does not mention are missing.
        omitted: True findings that the report leaves out (it may deny them).
        overcalled: Findings stated that are not there.
        wrong_side: Findings stated on the other side.
    """

    text: str
    stated: dict[str, Literal["positive", "uncertain", "negative"]]
    omitted: tuple[str, ...] = ()
    overcalled: tuple[str, ...] = ()
    wrong_side: tuple[str, ...] = ()


def write_report(
    findings: Sequence[Statement],
    *,
    covered: Collection[str],
    site: str,
    rng: np.random.Generator,
    omit: float = 0.05,
    overcall: float = 0.02,
    wrong_side: float = 0.02,
) -> Report:
    """Write the report of one study.

    Each true finding is left out with probability `omit`. Each one that remains has its side swapped with probability
    `wrong_side`, if it lies on one side and the site's sentences can name that side. Each one that remains brings with
    it, with probability `overcall`, one finding that is not there, drawn evenly from the absent findings of covered
    anatomies; so over-calls are that share of the true findings reported, in expectation. Over-calls are stated as
    positive. A true finding is hedged instead of stated with a probability that falls from one half at severity 0 to
    0.04 at severity 1.

    No sentence denies a finding that the report states or hedges, and none calls its anatomy normal.

    Args:
        findings: True findings; each in a covered anatomy, none twice.
        covered: Anatomies inside the scan; the others are not assessed.
        site: "A" or "B".
        rng: The only source of chance.
        omit: Probability that a true finding is left out.
        overcall: Over-calls for each true finding reported.
        wrong_side: Probability that a side is swapped.

    Raises:
        ValueError: A finding is unknown, stands twice, or lies in an anatomy that is not covered.
    """
    wording = load_wording(site)
    _check(findings, covered, wording)
    kept = [statement for statement in findings if rng.random() >= omit]
    opinions = [_opinion(statement, wording, rng, wrong_side) for statement in kept]
    truth = {statement.finding for statement in findings}
    extra = _overcalls(len(kept), truth, covered, wording, rng, overcall)
    opinions += extra
    style = draw_style(rng)
    dictated = dictate(opinions, covered=covered, terse=style.terse, wording=wording, rng=rng)
    text = lay_out(dictated, opinions, style=style, wording=wording, rng=rng)
    stated: dict[str, Literal["positive", "uncertain", "negative"]] = dict.fromkeys(sorted(dictated.denied), "negative")
    stated |= {opinion.finding: opinion.assertion for opinion in opinions}
    return Report(
        text=text,
        stated=stated,
        omitted=tuple(sorted(truth - {statement.finding for statement in kept})),
        overcalled=tuple(sorted(opinion.finding for opinion in extra)),
        wrong_side=tuple(sorted(opinion.finding for opinion in opinions if opinion.swapped)),
    )


def _check(findings: Sequence[Statement], covered: Collection[str], wording: Wording) -> None:
    if unknown := set(covered) - wording.anatomies.keys():
        raise ValueError(f"unknown anatomy '{min(unknown)}'")
    seen: set[str] = set()
    for statement in findings:
        if statement.finding not in wording.findings:
            raise ValueError(f"unknown finding '{statement.finding}'")
        if statement.finding in seen:
            raise ValueError(f"finding '{statement.finding}' stands twice")
        if statement.finding.split(".")[0] not in covered:
            raise ValueError(f"finding '{statement.finding}' lies outside the covered anatomies")
        seen.add(statement.finding)


def _opinion(statement: Statement, wording: Wording, rng: np.random.Generator, wrong_side: float) -> Opinion:
    hedge = 0.04 + 0.46 * (1 - min(max(statement.severity, 0.0), 1.0)) ** 2
    size = statement.size_mm
    opinion = Opinion(
        finding=statement.finding,
        assertion="uncertain" if rng.random() < hedge else "positive",
        severity=statement.severity,
        side=statement.side or _side_of(statement.part),
        part=statement.part,
        size_mm=None if size is None else max(1.0, size * float(np.exp(rng.normal(scale=_SIZE_SPREAD)))),
    )
    swap = rng.random() < wrong_side
    if not swap or opinion.side not in _OTHER_SIDE or not side_is_sayable(opinion, wording):
        return opinion
    return replace(opinion, side=_OTHER_SIDE[opinion.side], part=_mirror(opinion.part), swapped=True)


def _side_of(part: str | None) -> str | None:
    words = set((part or "").replace("_", " ").split())
    sides = words & _OTHER_SIDE.keys()
    return min(sides) if len(sides) == 1 and "lobe" in words and len(words) == 3 else None


def _mirror(part: str | None) -> str | None:
    if part is None:
        return None
    words = part.replace("_", " ").split()
    if "middle" in words:
        return "left upper lobe"
    return " ".join(_OTHER_SIDE.get(word, word) for word in words)


def _overcalls(
    reported: int, truth: set[str], covered: Collection[str], wording: Wording, rng: np.random.Generator, rate: float
) -> list[Opinion]:
    absent = [finding for finding in wording.findings if finding not in truth and finding.split(".")[0] in covered]
    count = min(int(rng.binomial(reported, rate)), len(absent))
    drawn = rng.permutation(len(absent))[:count]
    return [_overcall(absent[int(index)], wording, rng) for index in drawn]


def _overcall(finding: str, wording: Wording, rng: np.random.Generator) -> Opinion:
    sided = bool(wording.anatomies[finding.split(".")[0]].sides)
    side = ("left", "right")[int(rng.integers(2))] if sided else None
    return Opinion(finding, "positive", severity=float(rng.uniform(0, 0.4)), side=side)
