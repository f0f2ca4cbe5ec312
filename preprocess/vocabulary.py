"""Anatomies and findings as data: read from YAML, validated, and named in every error by file and key."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from preprocess.errors import InputError
from preprocess.series_rules import load_series_rules

SCHEMA = 1
MAX_FINDINGS = 64
"""Findings an anatomy can have: their sets travel as 64-bit masks (`ctvlp.pairing`)."""

Spacing = tuple[float, float, float]
Model = TypeVar("Model", bound=BaseModel)


class _Entry(BaseModel):
    """A frozen entry of a data file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Region(_Entry):
    """Where an anatomy's findings can be, relative to its mask.

    Attributes:
        dilate_mm: Rim round the (filled) mask in mm.
        companions: Structures that belong to the region too; `with` in the file.
        fill: "none", "hull" (convex hull of the mask) or "thorax" (the cavity inside the rib cage).
    """

    dilate_mm: float = Field(ge=0, le=100)
    companions: tuple[str, ...] = Field(default=(), alias="with")
    fill: Literal["none", "hull", "thorax"] = "none"


class Anatomy(_Entry):
    """One anatomy.

    Attributes:
        name: Identifier.
        index: Position among the anatomies, from 0.
        parts: Part name to TotalSegmentator v2 structure names; the mask's values 1, 2, ... follow this order.
        region: Region rule.
        spacing_mm: Crop voxel size (z, y, x) in mm.
        margin_mm: Rim of the crop round the region's box in mm.
        windows_hu: (low, high) in HU of each input channel.
        max_tokens: Largest number of tokens of a crop.
        beside: Anatomies at the same level: where one of them is complete, this one must at least partly be in view, so
            that a mask that lacks it is the segmenter's failure.
        phases: Contrast phases in order of preference, where several volumes show it; empty where none is preferred.
        kernel: Preferred kernel, where several volumes show it.
        words: Words and phrases by which reports name the anatomy.
    """

    name: str
    index: int
    parts: dict[str, tuple[str, ...]] = Field(min_length=1, max_length=254)
    region: Region
    spacing_mm: Spacing
    margin_mm: float = Field(ge=0, le=100)
    windows_hu: tuple[tuple[float, float], ...] = Field(min_length=1)
    max_tokens: int = Field(ge=1)
    beside: tuple[str, ...] = ()
    phases: tuple[str, ...] = Field(default_factory=lambda: load_series_rules().phase_order)
    kernel: Literal["soft", "sharp"] = "soft"
    words: tuple[str, ...] = Field(min_length=1)

    @field_validator("spacing_mm")
    @classmethod
    def _positive(cls, value: Spacing) -> Spacing:
        if min(value) <= 0.2 or max(value) > 50:
            raise ValueError(f"spacing must lie between 0.2 and 50 mm, got {value}")
        return value

    @field_validator("windows_hu")
    @classmethod
    def _ascending(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for low, high in value:
            if low >= high:
                raise ValueError(f"a window runs from low to high, got [{low}, {high}]")
        return value

    @field_validator("phases")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [phase for phase in value if phase not in load_series_rules().phase_order]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no phase; known: {', '.join(load_series_rules().phase_order)}")
        return value

    @field_validator("parts")
    @classmethod
    def _distinct(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        structures = [name for names in value.values() for name in names]
        if not all(value.values()) or len(set(structures)) < len(structures):
            raise ValueError("each part names at least one structure, and no structure stands in two parts")
        return value

    @property
    def structures(self) -> tuple[str, ...]:
        """All structures of the anatomy, part by part."""
        return tuple(name for names in self.parts.values() for name in names)

    @property
    def title(self) -> str:
        """The name as text: `portal vein`."""
        return self.name.replace("_", " ")


class Finding(_Entry):
    """One finding (or label) of a vocabulary.

    Attributes:
        id: `anatomy.finding`, or the label's own name where the vocabulary names labels.
        anatomy: Name of its anatomy, or None for a label outside all anatomies.
        index: Position among the findings of its anatomy, from 0: its bit in finding masks.
        name: What prompts call it.
        synonyms: How reports name it.
        needs: "whole" if a truncated anatomy cannot be judged, else "part".
        positive: Prompts that state it, filled in.
        negative: Prompts that deny it, filled in.
    """

    id: str
    anatomy: str | None
    index: int
    name: str = Field(min_length=1)
    synonyms: tuple[str, ...] = Field(min_length=1)
    needs: Literal["whole", "part"]
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)


class Vocabulary(_Entry):
    """Anatomies with the findings looked for in them.

    Attributes:
        name: Name of the set of findings.
        anatomies: Name to anatomy, in order.
        findings: All findings, in the order of the file.
    """

    name: str
    anatomies: dict[str, Anatomy]
    findings: tuple[Finding, ...]

    @model_validator(mode="after")
    def _few_enough(self) -> "Vocabulary":
        for anatomy in self.anatomies:
            if (count := len(self.of(anatomy))) > MAX_FINDINGS:
                raise ValueError(f"{anatomy} has {count} findings; at most {MAX_FINDINGS} are possible")
        return self

    @cached_property
    def by_id(self) -> Mapping[str, Finding]:
        """Finding id to finding."""
        return {finding.id: finding for finding in self.findings}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole content, 16 hex digits: two vocabularies with one digest are the same."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def prompts_digest(self) -> str:
        """SHA-256 over the prompts alone, 16 hex digits."""
        text = json.dumps([(f.id, f.positive, f.negative) for f in self.findings], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of(self, anatomy: str) -> tuple[Finding, ...]:
        """Return the findings of one anatomy, by index."""
        return tuple(finding for finding in self.findings if finding.anatomy == anatomy)

    def finding(self, finding_id: str) -> Finding:
        """Return the finding with this id.

        Raises:
            InputError: No finding has this id.
        """
        if finding_id not in self.by_id:
            raise InputError(f"the vocabulary {self.name} has no finding {finding_id!r}")
        return self.by_id[finding_id]


def load_anatomies(source: str | Path = "ct15") -> dict[str, Anatomy]:
    """Read anatomies from a shipped set or a file of the user's.

    A file with `extends: ct15` adds to the shipped set or changes entries of it, key by key.

    Args:
        source: Name of a shipped set, or path of a YAML file.

    Returns:
        Name to anatomy, in the order of the file, inherited ones first.

    Raises:
        InputError: The file is missing or wrong; file and key are named.
    """
    path = _locate("anatomies", source)
    data = _read_yaml(path, {"schema", "name", "extends", "defaults", "anatomies"})
    entries = _anatomy_entries(path, data)
    anatomies = {
        name: _validated(Anatomy, {"name": name, "index": index, **entry}, path, f"anatomies.{name}")
        for index, (name, entry) in enumerate(entries.items())
    }
    for name, anatomy in anatomies.items():
        unknown = [other for other in anatomy.beside if other not in anatomies or other == name]
        if unknown:
            raise InputError(f"{path}: anatomies.{name}.beside: {unknown[0]!r} is no other anatomy of this file")
    return anatomies


def load_vocabulary(
    source: str | Path = "ct54", anatomies: Mapping[str, Anatomy] | str | Path | None = None
) -> Vocabulary:
    """Read a set of findings with their anatomies.

    Args:
        source: Name of a shipped set (`ct54`, `ct_rate18`), or path of a YAML file; `extends` adds to a shipped one.
        anatomies: Anatomies, or where to read them; by default what the file names.

    Raises:
        InputError: A file is missing or wrong; file and key are named.
    """
    path = _locate("findings", source)
    data = _read_yaml(path, {"schema", "name", "extends", "anatomies", "prompts", "findings"})
    base = _read_yaml(_locate("findings", data["extends"]), None) if "extends" in data else {}
    if anatomies is None:
        anatomies = data.get("anatomies", base.get("anatomies", "ct15"))
    known = load_anatomies(_beside(path, anatomies)) if isinstance(anatomies, str | Path) else dict(anatomies)
    prompts = {**base.get("prompts", {}), **data.get("prompts", {})}
    entries = {**base.get("findings", {}), **data.get("findings", {})}
    counts = dict.fromkeys([*known, None], -1)
    findings = []
    for finding_id, entry in entries.items():
        finding = _build_finding(path, finding_id, entry, prompts, known)
        counts[finding.anatomy] += 1
        findings.append(finding.model_copy(update={"index": counts[finding.anatomy]}))
    content = {"name": data.get("name", path.stem), "anatomies": known, "findings": tuple(findings)}
    return _validated(Vocabulary, content, path, "findings")


def _build_finding(
    path: Path, finding_id: str, entry: Any, prompts: dict[str, list[str]], anatomies: Mapping[str, Anatomy]
) -> Finding:
    key = f"findings.{finding_id}"
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {key}: expected a mapping, got {entry!r}")
    anatomy = entry.get("anatomy", finding_id.split(".", 1)[0])
    if anatomy is not None and anatomy not in anatomies:
        raise InputError(f"{path}: {key}: no anatomy {anatomy!r}; known: {', '.join(anatomies)}")
    words = {"name": entry.get("name", ""), "anatomy": "body" if anatomy is None else anatomies[anatomy].title}
    filled = {}
    for side in ("positive", "negative"):
        templates = [*prompts.get(side, []), *entry.get(side, [])]
        try:
            filled[side] = tuple(template.format_map(words) for template in templates)
        except (KeyError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: {key}.{side}: {error!r} in a template; its slots: {{name}}, {{anatomy}}"
            ) from error
    return _validated(Finding, {**entry, **filled, "id": finding_id, "anatomy": anatomy, "index": 0}, path, key)


def _anatomy_entries(path: Path, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base_path = _locate("anatomies", data["extends"]) if "extends" in data else None
    base = _anatomy_entries(base_path, _read_yaml(base_path, None)) if base_path else {}
    base_defaults = _read_yaml(base_path, None).get("defaults", {}) if base_path else {}
    defaults = {**base_defaults, **data.get("defaults", {})}
    entries = dict(base)
    for name, entry in data.get("anatomies", {}).items():
        if not isinstance(entry, dict):
            raise InputError(f"{path}: anatomies.{name}: expected a mapping, got {entry!r}")
        merged = {**defaults, **entries.get(name, {}), **entry}
        inherited = entries.get(name, defaults).get("region", {})
        if isinstance(entry.get("region"), dict):
            merged["region"] = {**inherited, **entry["region"]}
        entries[name] = merged
    return entries


def _validated(model: type[Model], content: dict[str, Any], path: Path, key: str) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([key, *map(str, first["loc"])])
        raise InputError(f"{path}: {where}: {first['msg']}, got {first['input']!r}") from error


def _locate(kind: str, source: str | Path) -> Path:
    """Return the path of a shipped data file by its short name, or `source` itself as a path."""
    shipped = Path(str(files("preprocess"))) / "data" / f"{kind}_{source}.yaml"
    if isinstance(source, str) and shipped.is_file():
        return shipped
    path = Path(source)
    if not path.is_file():
        names = sorted(p.stem.removeprefix(f"{kind}_") for p in shipped.parent.glob(f"{kind}_*.yaml"))
        raise InputError(f"{source}: neither a file nor one of the shipped sets of {kind} ({', '.join(names)})")
    return path


def _beside(path: Path, source: str | Path) -> str | Path:
    """Resolve a file named in another file relative to that file."""
    neighbour = path.parent / source
    return neighbour if neighbour.is_file() else source


def _read_yaml(path: Path, keys: set[str] | None) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping at the top")
    if data.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema: expected {SCHEMA}, got {data.get('schema')!r}")
    unknown = sorted(set(data) - keys) if keys is not None else []
    if unknown:
        raise InputError(f"{path}: {unknown[0]}: unknown key; known: {', '.join(sorted(keys or ()))}")
    for key in {"anatomies", "findings"} & set(data):
        if not isinstance(data[key], dict) and not (key == "anatomies" and isinstance(data[key], str)):
            raise InputError(f"{path}: {key}: expected a mapping")
    return data
