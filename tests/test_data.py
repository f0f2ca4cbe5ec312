"""Batches: each study once an epoch, each anatomy its samples, each distinct text once, the same for the same seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_store import small_store, small_vocabulary
from tiny_text import write_tiny_encoder

from ctvlp.data import TokenSource, build_batch, choose_patches, epoch_order, measure_statistics
from ctvlp.model import build_config, build_model
from ctvlp.samples import read_samples
from ctvlp.transforms import count_tokens, measure_crop

VOCABULARY = small_vocabulary()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    encoder = str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))
    config = build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=8, text_encoder=encoder)
    return build_model(config, VOCABULARY.anatomies)


def by_study(store, text="raw"):
    samples = {}
    for sample in read_samples(store, VOCABULARY, text=text):
        samples.setdefault(sample.study_id, []).append(sample)
    return samples


def batch_of(store, model, rng_seed=0, text="raw", **options):
    samples = by_study(store, text)
    source = TokenSource(store, model, shifts=3, seed=0, in_memory=True)
    return build_batch(sorted(samples), samples, source, VOCABULARY, np.random.default_rng(rng_seed), **options)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_holds_each_study_once_and_no_small_rest(count, size, seed, epoch):
    studies = [f"s{i}" for i in range(count)]
    batches = epoch_order(studies, size, seed=seed, epoch=epoch)
    assert sorted(name for batch in batches for name in batch) == sorted(studies)
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(batches) == 1 or size / 2 <= len(batches[-1]) < size * 1.5
    assert batches == epoch_order(studies, size, seed=seed, epoch=epoch)


def test_epochs_differ_in_order():
    studies = [f"s{i}" for i in range(30)]
    assert epoch_order(studies, 8, seed=0, epoch=0) != epoch_order(studies, 8, seed=0, epoch=1)


def test_a_batch_holds_each_distinct_text_once_and_points_to_it(model):
    store = small_store(8)
    batch = batch_of(store, model)
    assert len(set(batch.texts)) == len(batch.texts)
    assert list(batch.anatomies) == ["liver", "kidney"]
    said = {(row["study_id"], row["anatomy"]): row for row in store.texts}
    stated = {row["study_id"]: row for row in store.labels}
    for name, part in batch.anatomies.items():
        assert len(part.image) == len(batch.studies) == 8
        findings = VOCABULARY.of(name)
        for row, study in enumerate(batch.studies):
            assert batch.texts[part.text_row[row]] == said[study, name]["text"]
            assert bool(part.abnormal[row]) == (said[study, name]["status"] == "abnormal")
            bits = sum(1 << k for k, finding in enumerate(findings) if stated[study][finding.id] == 1)
            assert int(part.findings[row]) == bits
            assert part.labels[row].tolist() == [stated[study][finding.id] for finding in findings]


def test_studies_of_one_patient_exclude_each_other(model):
    store = small_store(6)
    patients = {row["study_id"]: row["patient_id"] for row in store.rows}
    batch = batch_of(store, model)
    expected = [[patients[a] == patients[b] and a != b for b in batch.studies] for a in batch.studies]
    assert batch.anatomies["liver"].exclude.tolist() == expected
    assert any(map(any, expected))


def test_a_text_that_names_nothing_has_no_id(model):
    store = small_store(2)
    store.texts[0]["text"] = store.texts[2]["text"] = "Stable."
    liver = batch_of(store, model).anatomies["liver"]
    assert liver.text_id.tolist() == [-1, -1]
    assert liver.text_row[0] == liver.text_row[1]


def test_findings_that_need_the_whole_anatomy_are_masked_where_it_is_cut(model):
    store = small_store(2)
    findings = [
        f.model_copy(update={"needs": "whole" if f.id == "liver.cyst" else "part"}) for f in VOCABULARY.findings
    ]
    store.rows[0]["extent"] = "truncated"
    samples = by_study(store)
    source = TokenSource(store, model, shifts=1, seed=0, in_memory=False)
    needing = VOCABULARY.model_copy(update={"findings": tuple(findings)})
    batch = build_batch(sorted(samples), samples, source, needing, np.random.default_rng(0))
    column = [finding.id for finding in needing.of("liver")].index("liver.cyst")
    assert batch.anatomies["liver"].labels.isnan().nonzero().tolist() == [[0, column]]


def test_one_seed_gives_one_batch_and_grids_vary(model):
    store = small_store(6)
    first, second, other = (batch_of(store, model, seed).anatomies["liver"].image for seed in (0, 0, 1))
    assert torch.equal(first.patches, second.patches)
    assert first.patches.shape != other.patches.shape or not torch.equal(first.patches, other.patches)


@pytest.mark.parametrize("in_memory", [True, False])
def test_tokens_are_those_of_the_model_and_kept_only_if_asked(model, in_memory):
    store = small_store(1)
    sample = by_study(store)["s000"][0]
    source = TokenSource(store, model, shifts=2, seed=0, in_memory=in_memory)
    first = source.tokens(sample, 0)
    straight = model.tokenize(store.studies["s000"].crops[sample.anatomy], sample.anatomy)
    np.testing.assert_array_equal(first.patches, straight.patches)
    assert not np.array_equal(source.tokens(sample, 1).index, first.index)
    source.tokens(sample, 0)
    assert len(store.studies["s000"].reads) == (1 if in_memory else 3)


def test_mixed_texts_are_drawn_anew_for_each_batch_and_alike_for_one_seed(model):
    store = small_store(8, rate=1.0)
    raw, canonical, *mixed = (
        batch_of(store, model, rng_seed=seed, text=text)
        for text, seed in [("raw", 0), ("canonical", 0), ("mixed", 0), ("mixed", 0), ("mixed", 1)]
    )
    assert not set(raw.texts) & set(canonical.texts)
    assert all(set(batch.texts) <= {*raw.texts, *canonical.texts} for batch in mixed)
    assert any(set(batch.texts) & set(raw.texts) and set(batch.texts) & set(canonical.texts) for batch in mixed)
    drawn = [[batch.texts[row] for row in batch.anatomies["liver"].text_row] for batch in mixed]
    assert drawn[0] == drawn[1] != drawn[2]


def test_canonical_texts_that_say_no_more_than_abnormal_are_nothing_particular(model):
    store = small_store(4, rate=1.0)
    for row in store.texts:
        if row["anatomy"] == "liver":
            row["canonical"] = "The liver is abnormal."
    batch = batch_of(store, model, text="canonical")
    assert batch.anatomies["liver"].text_id.tolist() == [-1] * 4
    assert (batch.anatomies["kidney"].text_id >= 0).all()


def test_measure_statistics_are_those_of_the_training_crops(model):
    store = small_store(5)
    samples = read_samples(store, VOCABULARY)
    source = TokenSource(store, model, shifts=1, seed=0, in_memory=False)
    mean, spread = measure_statistics(source, samples)["liver"]
    measures = [measure_crop(store.studies[s.study_id].crops["liver"]) for s in samples if s.anatomy == "liver"]
    np.testing.assert_allclose(mean, np.mean(measures, axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, np.std(measures, axis=0), rtol=1e-4, atol=1e-6)


def test_patch_edges_grow_until_the_median_crop_fits():
    store = small_store(5)
    samples = read_samples(store, VOCABULARY)
    crops = [store.studies[sample.study_id].crops["liver"] for sample in samples if sample.anatomy == "liver"]
    counts = {edge: int(np.median([count_tokens(crop, edge) for crop in crops])) for edge in (2, 4, 8)}
    assert counts[2] > counts[4] > counts[8]
    for edges, cap, expected in [((2, 4, 8), counts[4], 4), ((2, 4, 8), counts[8], 8), ((2, 4), 1, 4)]:
        config = build_config(patch_voxels=edges, max_tokens=cap)
        assert choose_patches(store, samples, config, VOCABULARY)["liver"] == expected
