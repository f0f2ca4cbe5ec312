"""What a vocabulary says: anatomies, and the findings looked for in them."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from preprocess.errors import InputError
from preprocess.series_rules import load_series_rules

MAX_FINDINGS = 64
"""Findings an anatomy can have: their sets travel as 64-bit masks (`ctvlp.pairing`)."""

Spacing = tuple[float, float, float]


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
