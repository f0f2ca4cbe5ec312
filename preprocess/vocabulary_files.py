"""Reads anatomies and findings from YAML files, shipped ones and a user's; every error names file and key."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from preprocess.errors import InputError
from preprocess.vocabulary import Anatomy, Finding, Vocabulary

SCHEMA = 1

Model = TypeVar("Model", bound=BaseModel)


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
