"""Which shipped language a report is written in, told by the words of the languages' own data files."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from preprocess.lexicon import FILES, OPTIONAL, language_folder, listed, read_words

AUTO = "auto"
LANGUAGES = ("en", "de")
"""Languages to choose from; the first one where nothing tells."""

TELLING = ("sections", "clauses", "assertion", "status", "anatomies")
"""Files with words that tell a language; findings are named alike in many."""

WORD = re.compile(r"[^\W\d_]{2,}")
LEADING = 2000
"""Characters that are looked at: more tell nothing new."""


def detect_language(text: str, otherwise: str = LANGUAGES[0]) -> str:
    """Return the language of a text, `en` or `de`, and `otherwise` where its words do not tell.

    Each word that only one language's data files have counts for that language. The same text gives the same answer.
    """
    counts: Counter[str] = Counter()
    telling = _telling_words()
    for word in WORD.findall(text[:LEADING].lower()):
        language = telling.get(word)
        if language is not None:
            counts[language] += 1
    return max((otherwise, *LANGUAGES), key=lambda language: counts[language])


def resolve_languages(texts: Sequence[str], language: str | Path = AUTO) -> list[str | Path]:
    """Return `language` for each of a study's texts, or each text's own where it is `auto`.

    A text whose words do not tell, such as a short addendum, is in the language of all of them together.
    """
    if language != AUTO:
        return [language] * len(texts)
    together = detect_language("\n".join(texts)) if len(texts) > 1 else LANGUAGES[0]
    return [detect_language(text, together) for text in texts]


@cache
def _telling_words() -> Mapping[str, str]:
    """Return words that only one language's files have, each with its language."""
    words = {language: _words(language) for language in LANGUAGES}
    seen = Counter(word for own in words.values() for word in own)
    return {word: language for language, own in words.items() for word in own if seen[word] == 1}


def _words(language: str) -> frozenset[str]:
    folder = language_folder(language)
    texts: list[str] = []
    for name in TELLING:
        texts += _texts(read_words(folder / f"{name}.yaml", FILES[name], OPTIONAL.get(name)))
    return frozenset(word for text in texts for phrase in listed(text) for word in WORD.findall(phrase.lower()))


def _texts(entry: Any) -> Iterator[str]:
    """Yield the texts of a data file, not its keys."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, Mapping):
        for value in entry.values():
            yield from _texts(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _texts(value)
