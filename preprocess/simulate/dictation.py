"""What a report says of each anatomy, sentence by sentence, before it is laid out."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from preprocess.simulate.grammar import tidy
from preprocess.simulate.opinion import Opinion, pick, state
from preprocess.simulate.wording_schema import Claim, Denial, Wording


@dataclass
class Dictated:
    """The sentences of a report.

    Args:
        blocks: Anatomy to its own sentences, in the order of the report.
        shared: Sentences on several anatomies or on none.
        closing: Sentences that must come last.
        denied: Findings denied.
        normal: Anatomies called normal.
    """

    blocks: dict[str, list[str]] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    normal: set[str] = field(default_factory=set)


def dictate(
    opinions: Sequence[Opinion],
    *,
    covered: Collection[str],
    terse: bool,
    wording: Wording,
    rng: np.random.Generator,
) -> Dictated:
    """Return the sentences of a report.

    Args:
        opinions: What the radiologist thinks is there.
        covered: Anatomies inside the scan.
        terse: Some normal anatomies get a word, which only a header makes clear.
        wording: The site's wording.
        rng: Draws order, sentences and what stays unmentioned.
    """
    return _Dictation(opinions, covered, terse, wording, rng).run()


class _Dictation:
    """The state of one dictation: what has been said, and what may still be said."""

    def __init__(
        self,
        opinions: Sequence[Opinion],
        covered: Collection[str],
        terse: bool,
        wording: Wording,
        rng: np.random.Generator,
    ) -> None:
        self.opinions, self.terse, self.wording, self.rng = opinions, terse, wording, rng
        self.asserted = {opinion.finding for opinion in opinions}
        self.abnormal = {opinion.anatomy for opinion in opinions}
        self.order = _vary([name for name in wording.order if name in covered], rng)
        self.missing = [name for name in wording.order if name not in covered]
        self.said = Dictated(blocks={name: [] for name in self.order})
        self.used: set[str] = set()

    def run(self) -> Dictated:
        pool: list[str] = []
        for anatomy in self.order:
            if anatomy in self.abnormal:
                self._describe(anatomy)
            elif (draw := self.rng.random()) < 0.5:
                self._call_normal(anatomy)
            elif draw < 0.85:
                pool.append(anatomy)
        self._call_normal_together(pool)
        self._deny_across()
        self._distract()
        self._close()
        return self.said

    def _allowed(self, claim: Claim | Denial) -> bool:
        return not self.asserted & {*claim.denies, *claim.unless} and all(
            finding.split(".")[0] in self.said.blocks for finding in claim.denies
        )

    def _new(self, claim: Claim | Denial) -> bool:
        return self._allowed(claim) and not (claim.denies and self.said.denied.issuperset(claim.denies))

    def _say(self, claim: Claim, to: list[str]) -> None:
        to.append(claim.say.render({}, self.rng))
        self.said.denied.update(claim.denies)
        self.said.normal.update(name for name in claim.of if name in self.said.blocks and name not in self.abnormal)

    def _describe(self, anatomy: str) -> None:
        block = self.said.blocks[anatomy]
        mine = [opinion for opinion in self.opinions if opinion.anatomy == anatomy]
        for index in self.rng.permutation(len(mine)):
            block.append(state(mine[int(index)], self.wording, self.rng))
        if self.rng.random() < 0.5:
            self._deny(self.wording.anatomies[anatomy].denials, block)
        if self.rng.random() < 0.25:
            self._add_denied(anatomy)

    def _call_normal(self, anatomy: str) -> None:
        entry = self.wording.anatomies[anatomy]
        self.said.normal.add(anatomy)
        if self.terse and self.rng.random() < 0.6:
            self.said.blocks[anatomy].append(pick(self.wording.sections.line_normal, self.rng))
            return
        self._say(pick([claim for claim in entry.normal if self._allowed(claim)], self.rng), self.said.blocks[anatomy])
        if self.rng.random() < 0.3:
            self._deny(entry.denials, self.said.blocks[anatomy])
        elif self.rng.random() < 0.2:
            self._add_denied(anatomy)

    def _add_denied(self, anatomy: str) -> None:
        options = [claim for claim in self.wording.anatomies[anatomy].denied if self._new(claim)]
        if options:
            self._say(pick(options, self.rng), self.said.blocks[anatomy])

    def _deny(self, denials: Iterable[Denial], to: list[str], *, least: int = 1) -> None:
        options = [denial for denial in denials if self._new(denial) and denial.item[0] not in self.used]
        if len(options) < least:
            return
        count = min(len(options), int(self.rng.integers(least, 4)))
        chosen = [options[int(index)] for index in self.rng.permutation(len(options))[:count]]
        shared = to is self.said.shared
        names = [pick(denial.item if shared else denial.item + denial.local, self.rng) for denial in chosen]
        self._append_denial(names, to)
        for denial in chosen:
            self.used.add(denial.item[0])
            self.said.denied.update(denial.denies)

    def _append_denial(self, items: Sequence[str], to: list[str]) -> None:
        """Deny items in a sentence of their own, or in the one before it if that one states a finding."""
        stating = bool(to) and any(to is self.said.blocks[name] for name in self.abnormal)
        if stating and to[-1].endswith(".") and not re.search(r";| without ", to[-1]) and self.rng.random() < 0.4:
            frame = pick(self.wording.denial_frames.attached, self.rng)
            to[-1] = frame.render({"statement": to[-1].removesuffix("."), **_lists(items)}, self.rng)
        else:
            to.append(_denial(items, self.wording, self.rng))

    def _call_normal_together(self, pool: list[str]) -> None:
        for index in self.rng.permutation(len(self.wording.collective_normal)):
            claim = self.wording.collective_normal[int(index)]
            inside = set(claim.of) <= set(pool) and self._allowed(claim)
            if inside and self.rng.random() < 0.6:
                self._say(claim, self.said.shared)
                pool = [name for name in pool if name not in claim.of]
        while pool:
            count = int(self.rng.integers(2, 5))
            group, pool = pool[:count], pool[count:]
            if len(group) == 1:
                self._call_normal(group[0])
                continue
            organs = tidy(_join([pick(self.wording.anatomies[name].names, self.rng) for name in group], "and"))
            frame = pick(self.wording.joint_normal, self.rng)
            starts = frame.source.startswith("{")
            self.said.shared.append(
                frame.render({"organs": organs if starts else organs[0].lower() + organs[1:]}, self.rng)
            )
            self.said.normal.update(group)

    def _deny_across(self) -> None:
        if self.rng.random() < 0.3:
            everywhere = [d for name in self.order for d in self.wording.anatomies[name].denials]
            self._deny(everywhere, self.said.shared, least=2)

    def _distract(self) -> None:
        options = [c for c in self.wording.distractors if self._allowed(c) and set(c.near) & self.said.blocks.keys()]
        for index in self.rng.permutation(len(options))[: int(self.rng.integers(0, 5))]:
            self._say(options[int(index)], self.said.shared)

    def _close(self) -> None:
        unsaid = {name for name in self.order if name not in self.said.normal | self.abnormal}
        options = [claim for claim in self.wording.remaining_normal if len(unsaid & set(claim.of)) >= 2]
        if options and self.rng.random() < 0.35:
            self._say(pick(options, self.rng), self.said.closing)
        if self.missing and self.rng.random() < 0.15:
            start = int(self.rng.integers(len(self.missing)))
            names = [pick(self.wording.anatomies[name].names, self.rng) for name in self.missing[start : start + 3]]
            self.said.closing.append(
                pick(self.wording.not_covered, self.rng).render({"organs": _join(names, "and")}, self.rng)
            )


def _vary(order: list[str], rng: np.random.Generator) -> list[str]:
    """Swap some neighbours, and now and then everything."""
    if rng.random() < 0.1:
        return [order[int(index)] for index in rng.permutation(len(order))]
    for index in np.flatnonzero(rng.random(max(len(order) - 1, 0)) < 0.15):
        order[index], order[index + 1] = order[index + 1], order[index]
    return order


def _denial(items: Sequence[str], wording: Wording, rng: np.random.Generator) -> str:
    if len(items) == 1:
        return pick(wording.denial_frames.one, rng).render({"item": items[0]}, rng)
    return pick(wording.denial_frames.many, rng).render(_lists(items), rng)


def _lists(items: Sequence[str]) -> dict[str, str]:
    return {"list": _join(items, "or"), "nor_list": _join(items, "nor"), "and_list": _join(items, "and")}


def _join(items: Sequence[str], word: str) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"
