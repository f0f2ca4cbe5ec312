"""The shape of a site's wording, and the rules that a wording file must keep."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from preprocess.simulate.grammar import Phrase, parse

Words = Annotated[tuple[str, ...], Field(min_length=1)]
_FINDING_SLOTS = frozenset({"size", "side", "organ", "part", "degree", "degreely"})


def _to_phrase(value: Any) -> Phrase:
    if isinstance(value, Phrase):
        return value
    if not isinstance(value, str):
        raise ValueError(f"a sentence is text, got {value!r}; quote it if it holds ': '")
    return parse(value)


def _to_claim(value: Any) -> Any:
    return {"say": value} if isinstance(value, str) else value


Template = Annotated[Phrase, BeforeValidator(_to_phrase)]


class _Entry(BaseModel):
    """A frozen entry of the data file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class Claim(_Entry):
    """A sentence without finding that may deny some.

    Attributes:
        say: The sentence.
        denies: Findings that it denies.
        unless: Further findings beside which it must not be said.
        of: Anatomies that it calls normal.
        near: It is said only where one of these anatomies is inside the scan; `with` in the file.
    """

    say: Template
    denies: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    near: tuple[str, ...] = Field(default=(), alias="with")


class Denial(_Entry):
    """A thing that can be denied alone or in a list.

    Attributes:
        item: Synonyms.
        local: Synonyms that are clear only among the sentences on the anatomy.
        denies: Findings that its denial denies; empty for things outside the 54.
        unless: Further findings beside which it must not be denied.
    """

    item: Words
    local: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


Claims = tuple[Annotated[Claim, BeforeValidator(_to_claim)], ...]


class AnatomyWording(_Entry):
    """How one anatomy is spoken of.

    Attributes:
        header: Line headers.
        names: Names in a list of organs, without article.
        sides: "left", "right", "both" to the sided organ with its article.
        parts: Part as lesions name it to the part with its article.
        normal: Sentences that call it normal.
        denied: Sentences that deny findings and can stand beside others.
        denials: Items for denial frames.
    """

    header: Words
    names: Words
    sides: dict[Literal["left", "right", "both"], str] = {}
    parts: dict[str, str] = {}
    normal: Annotated[Claims, Field(min_length=3)]
    denied: Claims = ()
    denials: Annotated[tuple[Denial, ...], Field(min_length=1)]


class FindingWording(_Entry):
    """How one finding is stated.

    Attributes:
        nouns: Noun phrases for the hedges of impressions.
        positive: Sentences that state it, on one side or none.
        both: Sentences that state it on both sides.
        hedged: Sentences that leave it open.
        impression: Short statements for the impression.
    """

    nouns: Words
    positive: Annotated[tuple[Template, ...], Field(min_length=4)]
    both: tuple[Template, ...] = ()
    hedged: Annotated[tuple[Template, ...], Field(min_length=2)]
    impression: Annotated[tuple[Template, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_filled(self) -> "FindingWording":
        for phrase in (*self.positive, *self.both, *self.hedged, *self.impression):
            if unknown := phrase.slots - _FINDING_SLOTS:
                raise ValueError(f"unknown slot {{{min(unknown)}}} in '{phrase.source}'")
        for key in ("positive", "hedged", "impression"):
            if not any(phrase.required <= {"degree", "degreely"} for phrase in getattr(self, key)):
                raise ValueError(f"{key}: at least one sentence must do without side, part and size")
        for phrase in self.both:
            if unknown := phrase.required & {"side", "organ", "part", "size"}:
                raise ValueError(f"both: '{phrase.source}' must do without {{{min(unknown)}}}")
        return self


class Labelled(_Entry):
    """A section with a label in front."""

    label: Words
    text: Words


class Sections(_Entry):
    """The sections of a report and their labels."""

    exam: Words
    indication: Labelled
    technique: Labelled
    comparison: Labelled
    findings: Words
    impression: Words
    other: Words
    line_normal: Words


class Size(_Entry):
    """How sizes are written: `styles` for all, and findings that may be measured in two dimensions."""

    styles: Annotated[tuple[Literal["mm", "cm", "approx"], ...], Field(min_length=1)]
    two_dimensional: tuple[str, ...] = ()


class Degrees(_Entry):
    """Words of degree, by thirds of the severity."""

    low: Words
    middle: Words
    high: Words


class Frames(_Entry):
    """Denials: `many` takes a list of two or more, `one` a single item, `attached` hangs items on a statement."""

    many: Annotated[tuple[Template, ...], Field(min_length=1)]
    one: Annotated[tuple[Template, ...], Field(min_length=1)]
    attached: Annotated[tuple[Template, ...], Field(min_length=1)]


class Wording(_Entry):
    """All that a site says; see the head of the data file for the grammar."""

    site: str
    size: Size
    degree: Degrees
    degreely: Degrees
    sections: Sections
    order: Words
    denial_frames: Frames
    joint_normal: Annotated[tuple[Template, ...], Field(min_length=1)]
    collective_normal: Claims
    remaining_normal: Claims
    not_covered: Annotated[tuple[Template, ...], Field(min_length=1)]
    impression_hedges: Annotated[tuple[Template, ...], Field(min_length=1)]
    impression_pairs: Annotated[tuple[Template, ...], Field(min_length=1)]
    impression_none: Words
    impression_rest: Words
    distractors: Claims
    anatomies: dict[str, AnatomyWording]
    findings: dict[str, FindingWording]

    @model_validator(mode="after")
    def _consistent(self) -> "Wording":
        if sorted(self.order) != sorted(self.anatomies):
            raise ValueError("order must name every anatomy once")
        for finding in self.findings:
            if finding.split(".")[0] not in self.anatomies:
                raise ValueError(f"findings.{finding}: unknown anatomy")
        for key, names in self._named():
            if unknown := set(names) - self.findings.keys():
                raise ValueError(f"{key}: unknown finding '{min(unknown)}'")
        for claim in (*self.collective_normal, *self.remaining_normal, *self.distractors):
            if unknown := {*claim.of, *claim.near} - self.anatomies.keys():
                raise ValueError(f"'{claim.say.source}': unknown anatomy '{min(unknown)}'")
        for key, slots in _FRAME_SLOTS.items():
            phrases = getattr(self.denial_frames, key, None) or getattr(self, key)
            for phrase in phrases:
                if len(phrase.required & slots) != 1 or phrase.slots - slots - {"statement"}:
                    raise ValueError(f"{key}: '{phrase.source}' must hold one of {sorted(slots)}")
        for phrase in self.impression_pairs:
            if phrase.required != {"first", "second"}:
                raise ValueError(f"impression_pairs: '{phrase.source}' must hold {{first}} and {{second}}")
        return self

    def _named(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        yield "size.two_dimensional", self.size.two_dimensional
        for claim in (*self.collective_normal, *self.remaining_normal, *self.distractors):
            yield f"'{claim.say.source}'", claim.denies + claim.unless
        for name, anatomy in self.anatomies.items():
            entries: tuple[Claim | Denial, ...] = (*anatomy.normal, *anatomy.denied, *anatomy.denials)
            for entry in entries:
                yield f"anatomies.{name}", entry.denies + entry.unless

    def of(self, anatomy: str) -> tuple[str, ...]:
        """Return the findings of an anatomy."""
        return tuple(finding for finding in self.findings if finding.startswith(anatomy + "."))


_FRAME_SLOTS = {
    "many": frozenset({"list", "nor_list", "and_list"}),
    "one": frozenset({"item"}),
    "attached": frozenset({"list", "and_list"}),
    "joint_normal": frozenset({"organs"}),
    "not_covered": frozenset({"organs"}),
    "impression_hedges": frozenset({"noun"}),
}
