"""Which anatomies a clause speaks of: by their words, by collective names, or by what was spoken of before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preprocess.lexicon import COLLECTIVE, FOREIGN, MASK, Lexicon
from preprocess.phrases import Match


@dataclass(frozen=True, slots=True)
class Place:
    """What a clause says about where it is.

    Attributes:
        anatomies: Anatomies named, in order of naming.
        collective: Anatomies that a collective name ("upper abdominal organs") stands for, unless it only tells where
            something dominant was sought ("no lymph node in the upper abdomen"), or some of them are named too. Of two
            such names the narrower counts.
        foreign: Something outside all anatomies of the vocabulary is named (aorta, vertebrae).
        beside: The anatomies only tell what it lies next to ("around the gallbladder"), for want of others.
    """

    anatomies: tuple[str, ...]
    collective: tuple[str, ...]
    foreign: bool
    beside: bool = False


def find_place(
    folded: str,
    clause: tuple[int, int],
    words: Sequence[Match],
    context: Sequence[Match],
    own: Iterable[str],
    lexicon: Lexicon,
) -> Place:
    """Return what a clause says about where it is.

    Args:
        folded: The sentence, folded.
        clause: (start, end) of the clause.
        words: The sentence's anatomy, foreign, collective and mask words, without overlap.
        context: The sentence's locative and anaphoric phrases.
        own: Anatomies of findings in the clause that name their anatomy themselves ("cholelithiasis").
        lexicon: The language.
    """
    inside = [word for word in words if clause[0] <= word.start < clause[1] and not word.key.startswith(MASK)]
    subjects = subject_words(folded, inside, context)
    beside = [word for word in inside if word not in subjects]
    own = list(own)
    named = [word.key for word in subjects if not word.key.startswith((FOREIGN, COLLECTIVE))]
    foreign = any(word.key.startswith(FOREIGN) for word in subjects)
    if any(word.key in lexicon.dominant for word in subjects):
        named = []
    lead = clause[0] + len(folded[clause[0] : clause[1]]) - len(folded[clause[0] : clause[1]].lstrip(" ,;:"))
    anaphoric = any(m.key == "anaphora" and m.start == lead for m in context)
    lone = not named and not own and not foreign and not anaphoric
    if lone:
        named = [word.key for word in beside if not word.key.startswith((FOREIGN, COLLECTIVE))]
        foreign = any(word.key.startswith(FOREIGN) for word in beside)
    groups = [lexicon.collective[word.key] for word in subjects if word.key.startswith(COLLECTIVE)]
    groups = [group for group in groups if not set(group) & set(named) and not any(set(o) < set(group) for o in groups)]
    if any(word.key in lexicon.dominant for word in subjects):
        groups = []
    together = tuple(dict.fromkeys(name for group in groups for name in group))
    return Place(tuple(dict.fromkeys([*named, *own])), together, foreign, lone and bool(named))


def subject_words(folded: str, words: Iterable[Match], context: Iterable[Match]) -> list[Match]:
    """Return the words of places that do not only say what something lies next to ("adjacent to the liver")."""
    locatives = [m for m in context if m.key == "locative"]
    return [
        word
        for word in words
        if not word.key.startswith(MASK)
        and not any(m.end <= word.start and not folded[m.end : word.start].strip() for m in locatives)
    ]
