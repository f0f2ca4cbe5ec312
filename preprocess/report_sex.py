"""Which sex a report's words give away, from the `sexes.yaml` of a language."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from preprocess.language import AUTO
from preprocess.lexicon import language_folder, listed, read_words
from preprocess.lexicon_extension import base_of
from preprocess.phrases import PhraseSet, fold

SEXES = ("female", "male")
FILE = "sexes.yaml"
BETWEEN = " \n "


class SexWords:
    """Words of one or several languages that give a sex away.

    Args:
        language: `auto` (all shipped languages), the name of a shipped language, or a folder, which may lack the file.

    Raises:
        InputError: There is no such language, or a file cannot be read or has other keys.
    """

    def __init__(self, language: str | Path = AUTO) -> None:
        words: dict[str, list[str]] = {sex: [] for sex in SEXES}
        for path in _find_files(language):
            for sex, phrases in read_words(path, set(SEXES)).items():
                words[sex] += listed(phrases)
        self._phrases = PhraseSet({"sexes": words})

    def find(self, texts: Iterable[str]) -> dict[str, str]:
        """Return each sex that the texts give away, with the first words that do, as written."""
        text = BETWEEN.join(texts)
        folded = fold(text)
        found: dict[str, str] = {}
        if not self._phrases.may_find(folded):
            return found
        for match in self._phrases.find_all(folded)["sexes"]:
            found.setdefault(match.key, " ".join(text[match.start : match.end].split()))
        return found


def _find_files(language: str | Path) -> list[Path]:
    if language == AUTO:
        return sorted((Path(str(files("preprocess"))) / "data").glob(f"*/{FILE}"))
    folder = language_folder(language)
    base = base_of(folder)
    folders = [folder] if base is None else [language_folder(base), folder]
    return [path for place in folders if (path := place / FILE).is_file()]
