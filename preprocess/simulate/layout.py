"""How a simulated report stands on the page: sections, line headers or one paragraph, and the impression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from preprocess.simulate.dictation import Dictated
from preprocess.simulate.opinion import Opinion, pick, state
from preprocess.simulate.wording_schema import Wording


@dataclass(frozen=True)
class Style:
    """The form of one report.

    Args:
        kind: "paragraph" (no headers), "prose" (sections) or "lines" (sections, a header for each anatomy).
        terse: Normal anatomies get a word in place of a sentence; only where a header names them.
    """

    kind: Literal["paragraph", "prose", "lines"]
    terse: bool = False


def draw_style(rng: np.random.Generator) -> Style:
    """Return the form of a report, drawn at random."""
    draw = rng.random()
    if draw < 0.35:
        return Style("lines", terse=bool(rng.random() < 0.5))
    return Style("paragraph" if draw < 0.5 else "prose")


def lay_out(
    dictated: Dictated, opinions: Sequence[Opinion], *, style: Style, wording: Wording, rng: np.random.Generator
) -> str:
    """Return the text of a report.

    Args:
        dictated: Its sentences; every one of them is used.
        opinions: What the impression takes up.
        style: The form.
        wording: The site's wording.
        rng: Draws the order of shared sentences, the labels and the sections before the findings.
    """
    if style.kind == "paragraph":
        return " ".join(_in_order(dictated, rng))
    findings = _lines(dictated, wording, rng) if style.kind == "lines" else _prose(dictated, rng)
    gap = "\n" if style.kind == "lines" or rng.random() < 0.5 else " "
    parts = [*_preamble(wording, rng), f"{pick(wording.sections.findings, rng)}{gap}{findings}"]
    if rng.random() < 0.85:
        parts.append(_impression(opinions, wording, rng))
    return pick(("\n\n", "\n"), rng).join(parts)


def _in_order(dictated: Dictated, rng: np.random.Generator) -> list[str]:
    """Return all sentences, the shared ones at random places among the anatomies."""
    blocks = [block for block in dictated.blocks.values() if block]
    for sentence in dictated.shared:
        blocks.insert(int(rng.integers(len(blocks) + 1)), [sentence])
    return [sentence for block in blocks for sentence in block] + dictated.closing


def _prose(dictated: Dictated, rng: np.random.Generator) -> str:
    sentences = _in_order(dictated, rng)
    size = int(rng.integers(1, 6)) if rng.random() < 0.5 else max(len(sentences), 1)
    return "\n".join(" ".join(sentences[start : start + size]) for start in range(0, len(sentences), size))


def _lines(dictated: Dictated, wording: Wording, rng: np.random.Generator) -> str:
    lines = [
        f"{pick(wording.anatomies[anatomy].header, rng)}: {' '.join(block)}"
        for anatomy, block in dictated.blocks.items()
        if block
    ]
    rest = [*(dictated.shared[int(index)] for index in rng.permutation(len(dictated.shared))), *dictated.closing]
    if rest:
        lines.append(f"{pick(wording.sections.other, rng)} {' '.join(rest)}")
    return "\n".join(lines)


def _preamble(wording: Wording, rng: np.random.Generator) -> list[str]:
    sections = wording.sections
    parts = [pick(sections.exam, rng)] if rng.random() < 0.5 else []
    for section, probability in ((sections.indication, 0.5), (sections.technique, 0.4), (sections.comparison, 0.3)):
        if rng.random() < probability:
            parts.append(f"{pick(section.label, rng)} {pick(section.text, rng)}")
    return parts


def _impression(opinions: Sequence[Opinion], wording: Wording, rng: np.random.Generator) -> str:
    taken = [o for o in opinions if rng.random() < (0.9 if o.assertion == "positive" else 0.5)] or list(opinions)
    taken = [taken[int(index)] for index in rng.permutation(len(taken))]
    items: list[str] = []
    if len(taken) > 1 and taken[0].assertion == taken[1].assertion == "positive" and rng.random() < 0.2:
        items, taken = [_pair(taken[0], taken[1], wording, rng)], taken[2:]
    items += [state(opinion, wording, rng, brief=True) for opinion in taken]
    if not items:
        items = [pick(wording.impression_none, rng)]
    elif rng.random() < 0.25:
        items.append(pick(wording.impression_rest, rng))
    if len(items) > 2 and rng.random() < 0.2:
        items[:2] = [f"{items[0].removesuffix('.')}; {_lower_first(items[1])}"]
    label = pick(wording.sections.impression, rng)
    marks = [f"{number}. " for number in range(1, len(items) + 1)] if rng.random() < 0.5 else ["- "] * len(items)
    if len(items) > 1 and rng.random() < 0.7:
        return "\n".join([label, *(mark + item for mark, item in zip(marks, items, strict=True))])
    return f"{label}{pick((chr(10), ' '), rng)}{' '.join(items)}"


def _pair(first: Opinion, second: Opinion, wording: Wording, rng: np.random.Generator) -> str:
    nouns = [pick(wording.findings[opinion.finding].nouns, rng) for opinion in (first, second)]
    return pick(wording.impression_pairs, rng).render({"first": nouns[0], "second": nouns[1]}, rng)


def _lower_first(text: str) -> str:
    """Return `text` as it goes on after a semicolon; abbreviations keep their capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
