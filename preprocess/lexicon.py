"""The words of one language, read from its data files and compiled for one vocabulary.

A language is a folder of YAML files (`preprocess/data/en`): `sections`, `clauses`, `assertion`, `anatomies`, `status`,
`findings`, and `inflection` where its words do not change as English ones do. Phrases stand in one text with
semicolons between them (notation: `preprocess.phrase_notation`). Another language is another folder; nothing here or in
the readers knows English.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from preprocess.errors import InputError
from preprocess.inflection import ENGLISH, INFLECTION, Inflection, build_inflection, respelled
from preprocess.lexicon_extension import base_of, check_files, check_names, merge_words
from preprocess.phrases import PhraseSet
from preprocess.sentences import SentenceRules, build_sentence_rules
from preprocess.vocabulary import Vocabulary

ASSERTIONS = ("positive", "negative", "uncertain", "historical", "hypothetical")
FOREIGN = "none:"
COLLECTIVE = "all:"
MASK = "mask:"
FILES = {
    "sections": {"headers", "abbreviations", "continuing", "summary_bullets"},
    "clauses": {"breakers", "joiners", "separators", "verbs", "detections", "openers"},
    "assertion": {"cues", "stops", "affirm"},
    "anatomies": {"words", "foreign", "dominant", "collective", "locative", "masks", "anaphora", "sides"},
    "status": {"normal", "abnormal", "removed", "limited", "existential", "remark", "partial"},
    "findings": {"findings"},
}
OPTIONAL = {"sections": {"enders"}, "assertion": {"restarts", "last"}, "status": {"filling", "fills", "traces"}}
CUE_KINDS = (("stop", "stops"), ("affirm", "affirm"), ("restart", "restarts"), ("last", "last"))
NEAR = 2
"""A cue that reaches no further than so many words does not act across a comma: "wall thickening, gastritis?"."""
FINDING_KEYS = {"own", "terms", "normal", "not", "measured", "above_mm"}


@dataclass(frozen=True, slots=True)
class CueGroup:
    """Cues that act alike.

    Attributes:
        assertion: What they make of a finding.
        before: They stand before what they act on (else after).
        reach: Most words between cue and finding.
        through: Stops do not end their reach.
        across: Whether they act across commas: `any`, `list` (only where the list ends with "or"), or `item` (never).
    """

    assertion: str
    before: bool
    reach: int
    through: bool
    across: str


@dataclass(frozen=True)
class Lexicon:
    """Everything a language knows, compiled; see the data files for what each entry means."""

    language: str
    sentences: SentenceRules
    phrases: PhraseSet
    cue_groups: Mapping[str, CueGroup]
    dominant: frozenset[str]
    collective: Mapping[str, tuple[str, ...]]
    partial: frozenset[str]
    above_mm: Mapping[str, float]
    fills: frozenset[str]


def load_lexicon(vocabulary: Vocabulary, language: str | Path = "en") -> Lexicon:
    """Read a language's files and compile them for a vocabulary.

    Args:
        vocabulary: Its anatomies' words and findings' names and synonyms join those of the language.
        language: Name of a shipped language, or a folder with the same files.

    Raises:
        InputError: A file is missing or wrong; file and key are named.
    """
    folder, data = _read_files(language_folder(language), vocabulary)
    inflection = _inflection(folder)
    sections, clauses, places, status = data["sections"], data["clauses"], data["anatomies"], data["status"]
    groups, cues = _cue_groups(folder, data["assertion"])
    phrases = {
        "clauses": clauses,
        "cues": cues,
        "anatomies": _anatomy_phrases(vocabulary, places),
        "context": {"locative": places["locative"], "anaphora": places["anaphora"]},
        "sides": places["sides"],
        "status": {key: status[key] for key in status if key not in ("partial", "fills")},
        "findings": _finding_phrases(folder, vocabulary, data["findings"]["findings"]),
    }
    return Lexicon(
        language=str(language),
        sentences=_sentence_rules(sections, inflection.letters),
        phrases=_compile(folder, phrases, inflection),
        cue_groups=groups,
        dominant=frozenset(FOREIGN + name for name in listed(places["dominant"])),
        collective=_collective(vocabulary, places),
        partial=frozenset(listed(status["partial"])),
        fills=frozenset(listed(status.get("fills"))),
        above_mm={name: float(entry.get("above_mm", 0)) for name, entry in data["findings"]["findings"].items()},
    )


def _read_files(folder: Path, vocabulary: Vocabulary) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return the folder of the language itself and the content of its files, a user's additions merged."""
    base = base_of(folder)
    own, folder = folder, folder if base is None else language_folder(base)
    data = {name: read_words(folder / f"{name}.yaml", keys, OPTIONAL.get(name)) for name, keys in FILES.items()}
    if base is None:
        return folder, data
    check_files(own, {*FILES, "sexes"})
    for name, keys in FILES.items():
        path = own / f"{name}.yaml"
        if not path.is_file():
            continue
        added = read_words(path, set(), keys | OPTIONAL.get(name, set()))
        if name == "findings":
            findings = {*data[name]["findings"], *(finding.id for finding in vocabulary.findings)}
            check_names(added.get("findings") or {}, findings, f"{path}: findings")
        elif name == "anatomies":
            check_names(added.get("words") or {}, {*data[name]["words"], *vocabulary.anatomies}, f"{path}: words")
        data[name] = merge_words(data[name], added, str(path))
    return folder, data


def _sentence_rules(sections: dict[str, Any], letters: Mapping[str, str]) -> SentenceRules:
    return build_sentence_rules(
        {section: respelled(listed(names), letters) for section, names in sections["headers"].items()},
        respelled(listed(sections["abbreviations"]), letters),
        respelled(listed(sections["continuing"]), letters),
        sections["summary_bullets"],
        respelled(listed(sections.get("enders")), letters),
    )


def _inflection(folder: Path) -> Inflection:
    """Read how the language's words change; where it does not say, as English ones do."""
    path = folder / "inflection.yaml"
    return build_inflection(read_words(path, INFLECTION), str(path)) if path.is_file() else ENGLISH


def _anatomy_phrases(vocabulary: Vocabulary, places: dict[str, Any]) -> dict[str, list[str]]:
    """Join the vocabulary's words, the language's, and those of places outside all anatomies.

    A foreign group with the name of an anatomy of the vocabulary (a user's `aorta`) gives its words to that anatomy.
    """
    phrases = {
        name: [*anatomy.words, *listed(places["words"].get(name)), *listed(places["foreign"].get(name))]
        for name, anatomy in vocabulary.anatomies.items()
    }
    for name, words in places["foreign"].items():
        if name not in phrases:
            phrases[FOREIGN + name] = listed(words)
    for index, entry in enumerate(places["collective"]):
        phrases[f"{COLLECTIVE}{index}"] = listed(entry["phrases"])
    for name, words in places["masks"].items():
        phrases[MASK + name] = listed(words)
    return phrases


def _collective(vocabulary: Vocabulary, places: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        f"{COLLECTIVE}{index}": tuple(name for name in listed(entry["anatomies"]) if name in vocabulary.anatomies)
        for index, entry in enumerate(places["collective"])
    }


def _finding_phrases(folder: Path, vocabulary: Vocabulary, entries: dict[str, Any]) -> dict[str, list[str]]:
    """Return phrases keyed `kind finding-id`, kind being own, terms, normal, not or measured."""
    phrases: dict[str, list[str]] = {}
    for finding in vocabulary.findings:
        entry = entries.get(finding.id, {})
        unknown = sorted(set(entry) - FINDING_KEYS)
        if unknown:
            raise InputError(f"{folder / 'findings.yaml'}: findings.{finding.id}: unknown key {unknown[0]!r}")
        for kind in ("own", "terms", "normal", "not", "measured"):
            phrases[f"{kind} {finding.id}"] = listed(entry.get(kind))
        phrases[f"terms {finding.id}"] += [finding.name, *finding.synonyms]
    return phrases


def _cue_groups(folder: Path, assertion: dict[str, Any]) -> tuple[dict[str, CueGroup], dict[str, list[str]]]:
    groups: dict[str, CueGroup] = {}
    phrases = {key: listed(assertion.get(name)) for key, name in CUE_KINDS}
    for index, entry in enumerate(assertion["cues"]):
        if entry.get("assertion") not in ASSERTIONS or entry.get("side") not in ("before", "after"):
            raise InputError(
                f"{folder / 'assertion.yaml'}: cues.{index}: "
                f"needs `assertion` (one of {', '.join(ASSERTIONS)}) and `side` (before or after)"
            )
        key = f"{index}"
        groups[key] = CueGroup(
            entry["assertion"],
            before=entry["side"] == "before",
            reach=(reach := int(entry.get("reach", 99))),
            through="through" in entry,
            across="item" if reach <= NEAR else entry.get("across", "any"),
        )
        phrases[key] = listed(entry["phrases"])
    return groups, phrases


def listed(entry: str | Sequence[str] | None) -> list[str]:
    """Return the phrases of an entry: a YAML list, or one text with semicolons between them."""
    if entry is None:
        return []
    phrases = entry.split(";") if isinstance(entry, str) else [str(phrase) for phrase in entry]
    return [" ".join(phrase.split()) for phrase in phrases if phrase.strip()]


def _compile(
    folder: Path, groups: Mapping[str, Mapping[str, str | Sequence[str]]], inflection: Inflection
) -> PhraseSet:
    spelled = {
        group: {key: respelled(listed(entry), inflection.letters) for key, entry in keys.items()}
        for group, keys in groups.items()
    }
    try:
        return PhraseSet(spelled, inflection.endings, exact=("verbs",))
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from error


def language_folder(language: str | Path) -> Path:
    """Return the folder of a shipped language by its name, or of a user's own.

    Raises:
        InputError: It is neither.
    """
    shipped = Path(str(files("preprocess"))) / "data" / str(language)
    is_shipped = isinstance(language, str) and (shipped / "sections.yaml").is_file()
    folder = shipped if is_shipped else Path(language)
    if not folder.is_dir():
        names = sorted(path.parent.name for path in shipped.parent.glob("*/sections.yaml"))
        raise InputError(f"{language}: neither a folder nor a shipped language ({', '.join(names)})")
    return folder


def read_words(path: Path, keys: set[str], optional: set[str] | None = None) -> dict[str, Any]:
    """Read one data file of a language, which has all `keys` and may have the `optional` ones.

    Raises:
        InputError: It cannot be read or has other keys.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # noqa: S506 - a SafeLoader without booleans
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or set(data) - (optional or set()) != keys:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise InputError(f"{path}: expected the keys {', '.join(sorted(keys or optional or ()))}, got {found}")
    return data


class _PlainLoader(yaml.SafeLoader):
    """YAML without booleans: a cue `no` stays a word."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
