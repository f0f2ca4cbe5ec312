"""Batches of a small store, cut as a small model would, without the model."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from small_store import small_vocabulary

from ctvlp.batches import Batch
from ctvlp.data import build_batch
from ctvlp.samples import Sample, read_samples
from ctvlp.sources import TokenSource
from ctvlp.tokenizer import Tokenizer
from preprocess.vocabulary import Vocabulary

VOCABULARY = small_vocabulary()


def by_study(store: Any, vocabulary: Vocabulary = VOCABULARY, **options: Any) -> dict[str, list[Sample]]:
    """The samples of a store's training studies."""
    samples: dict[str, list[Sample]] = {}
    for sample in read_samples(store, vocabulary, **options):
        samples.setdefault(sample.study_id, []).append(sample)
    return samples


def token_source(store: Any, *, shifts: int = 3, memory_gb: float = 0.0, block: int = 4) -> TokenSource:
    """Gives tokens of patches of 8 voxels."""
    tokenizer = Tokenizer(VOCABULARY.anatomies, dict.fromkeys(VOCABULARY.anatomies, 8), block, 48)
    model: Any = SimpleNamespace(tokenizer=tokenizer, window=None)
    return TokenSource(store, model, shifts=shifts, seed=0, memory_gb=memory_gb)


def batch_of(store: Any, studies: Sequence[str] | None = None, *, text: str = "raw", **options: Any) -> Batch:
    """A batch of some studies, or of all."""
    samples = by_study(store, options.get("vocabulary", VOCABULARY), text=text)
    chosen = {study: samples[study] for study in studies or sorted(samples)}
    values = {"vocabulary": VOCABULARY, "seed": 0, "step": 0, "source": token_source(store)} | options
    return build_batch(studies=chosen, **values)


def contents(value: Any) -> Any:
    """Everything in a batch as plain values, so that two can be compared."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: contents(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {name: contents(entry) for name, entry in value.items()}
    if hasattr(value, "numpy"):  # by bytes, for NaN is equal to itself here
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    return value
