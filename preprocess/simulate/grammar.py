"""Sentence templates: alternatives `<a|b>`, optional parts `[..]` and slots `{name}`, filled by a random generator."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

KEEP = 0.85
"""Probability that an optional part is kept when all its slots have values."""
KEEP_PLAIN = 0.5
"""Probability that an optional part without slots is kept."""

_TOKEN = re.compile(r"[\[\]<>|]|\{[^{}]*\}|[^\[\]<>|{}]+|[{}]")
_SLOT = re.compile(r"\{([a-z_]+)\}")
_VOWEL_SOUND = re.compile(r"\b([Aa]) (?=(?:[aeio]|u(?!ni|su|ri|re|te)|8|11\b|18\b))")
_CONSONANT_SOUND = re.compile(r"\b([Aa])n (?=(?:[bcdfgjklmnpqrstvwxyz]|(?!8|11\b|18\b)\d|h(?!our|onest)))")


@dataclass(frozen=True)
class Slot:
    """A place for a value."""

    name: str


@dataclass(frozen=True)
class Choice:
    """One of several sequences; an optional part is a choice between itself and nothing."""

    options: tuple["Sequence_", ...]
    optional: bool = False


Node = str | Slot | Choice
Sequence_ = tuple[Node, ...]


@dataclass(frozen=True)
class Phrase:
    """A parsed template.

    Args:
        source: The template as written.
        nodes: Its parts in order.
    """

    source: str
    nodes: Sequence_

    @cached_property
    def required(self) -> frozenset[str]:
        """Slots without which the phrase cannot be said."""
        return _slots(self.nodes, optional=False)

    @cached_property
    def slots(self) -> frozenset[str]:
        """All slots, those of optional parts too."""
        return _slots(self.nodes, optional=True)

    def render(self, values: Mapping[str, str], rng: np.random.Generator, *, keep: float = KEEP) -> str:
        """Return the phrase with its slots filled, tidy, beginning with a capital letter.

        Args:
            values: Slot name to text; must hold every slot of `required`.
            rng: Draws the alternatives and the optional parts.
            keep: Probability to keep an optional part whose slots all have values.
        """
        return tidy("".join(_render(self.nodes, values, rng, keep)))

    def expansions(self) -> list[str]:
        """Return every form that the phrase can take, slots left as `{name}`."""
        return sorted({tidy(form) for form in _expand(self.nodes)})


def parse(text: str) -> Phrase:
    """Return the phrase of a template.

    Raises:
        ValueError: Brackets that do not match, a slot with a bad name, or alternatives with different slots.
    """
    tokens = _TOKEN.findall(text)
    nodes, rest = _parse(tokens, 0, "")
    if rest != len(tokens):
        raise ValueError(f"unexpected '{tokens[rest]}' in '{text}'")
    return Phrase(text, nodes)


def tidy(text: str) -> str:
    """Return `text` with single spaces, `a` or `an` as spoken, and a capital first letter."""
    text = " ".join(text.split()).replace(" .", ".").replace(" ,", ",").replace(" ;", ";").replace(",.", ".")
    text = _VOWEL_SOUND.sub(r"\1n ", _CONSONANT_SOUND.sub(r"\1 ", text))
    return text[:1].upper() + text[1:]


def normalise(text: str) -> str:
    """Return `text` in the form in which templates are compared: lower case, slots as `{}`, no punctuation."""
    return " ".join(re.sub(r"[^\w{}/-]+", " ", re.sub(r"\{[^{}]*\}", "{}", text.lower())).split())


def _parse(tokens: list[str], start: int, until: str) -> tuple[Sequence_, int]:
    nodes: list[Node] = []
    at = start
    while at < len(tokens) and tokens[at] not in ("]", ">", "|"):
        mark = tokens[at]
        if mark == "[":
            inner, at = _parse(tokens, at + 1, "]")
            nodes.append(Choice((inner, ()), optional=True))
        elif mark == "<":
            options: list[Sequence_] = []
            while mark in ("<", "|"):
                inner, at = _parse(tokens, at + 1, ">|")
                options.append(inner)
                mark = tokens[at]
            if len({_slots(option, optional=False) for option in options}) > 1:
                raise ValueError(f"the alternatives of a <..|..> in '{''.join(tokens)}' must hold the same slots")
            nodes.append(Choice(tuple(options)))
        elif mark[0] in "{}":
            match = _SLOT.fullmatch(mark)
            if match is None:
                raise ValueError(f"'{mark}' is no slot")
            nodes.append(Slot(match[1]))
        else:
            nodes.append(mark)
        at += 1
    if until and (at == len(tokens) or tokens[at] not in until):
        raise ValueError(f"no closing '{until[0]}' in '{''.join(tokens)}'")
    return tuple(nodes), at


def _slots(nodes: Sequence_, *, optional: bool) -> frozenset[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, Slot):
            found.add(node.name)
        elif isinstance(node, Choice) and (optional or not node.optional):
            found.update(*(_slots(option, optional=optional) for option in node.options))
    return frozenset(found)


def _render(nodes: Sequence_, values: Mapping[str, str], rng: np.random.Generator, keep: float) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, Slot):
            yield values[node.name]
        elif node.optional:
            slots = _slots(node.options[0], optional=False)
            if slots <= values.keys() and rng.random() < (keep if slots else KEEP_PLAIN):
                yield from _render(node.options[0], values, rng, keep)
        else:
            yield from _render(node.options[int(rng.integers(len(node.options)))], values, rng, keep)


def _expand(nodes: Sequence_) -> Iterator[str]:
    forms: list[list[str]] = []
    for node in nodes:
        if isinstance(node, Choice):
            forms.append([form for option in node.options for form in _expand(option)])
        else:
            forms.append([f"{{{node.name}}}" if isinstance(node, Slot) else node])
    return ("".join(parts) for parts in product(*forms))
