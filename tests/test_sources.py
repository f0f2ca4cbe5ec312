"""Tokens kept in memory: no more than the limit, and nothing that is drawn depends on it."""

import numpy as np
import pytest
from small_batches import batch_of, by_study, contents, token_source
from small_store import small_store

from ctvlp.augmentation import AugmentationSettings


def size_of(tokens):
    arrays = (tokens.patches, tokens.inside, tokens.positions_mm, tokens.index, tokens.measures)
    return sum(array.nbytes for array in arrays)


def kept_and_read(source, store):
    """Bytes of the tokens that a source gives without reading the crop again, and of all others."""
    kept, read = 0, 0
    for study, samples in by_study(store).items():
        reads = store.studies[study].reads
        for sample in samples:
            for grid in range(source.shifts):
                before = len(reads)
                size = size_of(source.tokens(sample, grid))
                kept, read = (kept + size, read) if len(reads) == before else (kept, read + size)
    return kept, read


def batches_of(store, source):
    return [
        contents(batch_of(store, step=step, source=source, augmentation=AugmentationSettings())) for step in range(3)
    ]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.0], ids=["none", "few", "most", "all"])
def test_tokens_are_kept_up_to_the_limit_and_batches_do_not_depend_on_it(share, caplog):
    caplog.set_level("INFO", logger="ctvlp.sources")
    store = small_store(6)
    plain = token_source(store)
    _, whole = kept_and_read(plain, store)
    limit = round(share * whole)
    source = token_source(store, memory_gb=limit / 1e9)
    assert batches_of(store, source) == batches_of(store, plain)
    kept, read = kept_and_read(source, store)
    assert kept + read == whole
    largest = whole / (6 * 2 * source.shifts) * 1.5
    assert limit - largest < kept <= limit
    full = [record.getMessage() for record in caplog.records]
    assert len(full) == (0 < share < 1)
    assert all("memory_gb is full with tokens of" in message for message in full)


def test_what_is_kept_is_what_would_be_cut_again():
    store = small_store(2)
    kept, plain = token_source(store, memory_gb=1.0), token_source(store)
    for samples in by_study(store).values():
        for grid in (1, 0, 2, 1):
            for one, other in zip(
                kept.study_tokens(samples, [grid] * 2), plain.study_tokens(samples, [grid] * 2), strict=True
            ):
                np.testing.assert_array_equal(one.patches, other.patches)
                np.testing.assert_array_equal(one.index, other.index)
