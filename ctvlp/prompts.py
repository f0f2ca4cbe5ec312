"""Prompts of zero-shot screening: what states and denies each finding, and normal against abnormal of each anatomy."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.vocabulary import Anatomy, Finding, Vocabulary

Floats = NDArray[np.float32]
TextEncoder = Callable[[list[str]], Floats]
"""(M) texts -> (M, D) unit features."""

ABNORMAL = ("the {anatomy} is abnormal", "CT of the {anatomy}: abnormal finding", "there is disease of the {anatomy}")
NORMAL = ("the {anatomy} is normal", "CT of the {anatomy}: nothing abnormal", "there is no disease of the {anatomy}")


@dataclass(frozen=True)
class PromptPair:
    """What states and what denies one thing.

    Args:
        positive: Texts that state it.
        negative: Texts that deny it.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class PromptFeatures:
    """A prompt pair as two directions of the shared space.

    Args:
        positive: (D,) unit mean of the positive prompts' features.
        negative: (D,) unit mean of the negative prompts' features.
    """

    positive: Floats
    negative: Floats


def finding_prompts(finding: Finding) -> PromptPair:
    """Prompts of one finding, with its name filled into templates that have a `{name}` slot left."""
    positive, negative = (
        tuple(text.replace("{name}", finding.name) for text in texts) for texts in (finding.positive, finding.negative)
    )
    return PromptPair(positive, negative)


def normality_prompts(anatomy: Anatomy) -> PromptPair:
    """Prompts of the plain question whether an anatomy is abnormal at all."""
    positive, negative = (tuple(text.format(anatomy=anatomy.title) for text in texts) for texts in (ABNORMAL, NORMAL))
    return PromptPair(positive, negative)


def screening_prompts(vocabulary: Vocabulary) -> dict[str, PromptPair]:
    """Prompts of everything that is scored: each finding by its id, each anatomy's normality by its name."""
    pairs = {finding.id: finding_prompts(finding) for finding in vocabulary.findings if finding.anatomy is not None}
    anatomies = dict.fromkeys(finding.anatomy for finding in vocabulary.findings)
    pairs |= {name: normality_prompts(vocabulary.anatomies[name]) for name in anatomies if name is not None}
    return pairs


def encode_prompts(pairs: dict[str, PromptPair], encode_text: TextEncoder) -> dict[str, PromptFeatures]:
    """Encode each distinct prompt once and average the features of each side.

    Args:
        pairs: Prompts by key.
        encode_text: The text tower.

    Returns:
        Features by key; each side is the mean of its prompts' unit features, brought back to unit length.
    """
    distinct = sorted({text for pair in pairs.values() for text in (*pair.positive, *pair.negative)})
    features = dict(zip(distinct, encode_text(distinct), strict=True)) if distinct else {}
    return {
        key: PromptFeatures(
            _unit_mean(features[t] for t in pair.positive), _unit_mean(features[t] for t in pair.negative)
        )
        for key, pair in pairs.items()
    }


def prompts_digest(pairs: dict[str, PromptPair]) -> str:
    """SHA-256 over keys and texts in order, 16 hex digits: figures with one digest were asked with the same words."""
    rows: Sequence[object] = [(key, pair.positive, pair.negative) for key, pair in pairs.items()]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()[:16]


def _unit_mean(features: Iterable[Floats]) -> Floats:
    mean = np.mean(np.stack(list(features)), axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)
