"""Batches: each anatomy its samples, each distinct text once, and for one seed, step and study always the same."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_batches import VOCABULARY, batch_of, by_study, contents, token_source
from small_store import SmallStudy, small_store

from ctvlp.augmentation import AugmentationSettings
from ctvlp.batches import build_image_batch, identifier
from ctvlp.data import build_batch, choose_patches, measure_statistics
from ctvlp.model import build_config
from ctvlp.samples import read_samples
from ctvlp.sources import WindowSource, build_source
from ctvlp.transforms import count_tokens
from ctvlp.windows import WindowGrid


def test_a_batch_holds_each_distinct_text_once_and_points_to_it():
    store = small_store(8)
    batch = batch_of(store)
    assert len(set(batch.texts)) == len(batch.texts)
    assert list(batch.anatomies) == ["liver", "kidney"]
    said = {(row["study_id"], row["anatomy"]): row for row in store.texts}
    stated = {row["study_id"]: row for row in store.labels}
    for name, part in batch.anatomies.items():
        assert len(part) == len(part.image) == len(batch.studies) == 8
        findings = VOCABULARY.of(name)
        for row, study in enumerate(batch.studies[number] for number in part.study):
            text = said[study, name]["text"]
            assert batch.texts[part.text_row[row]] == text
            assert part.text_id[row] == identifier(text)
            assert part.patient[row] == identifier(stated[study]["patient_id"])
            assert bool(part.abnormal[row]) == (said[study, name]["status"] == "abnormal")
            bits = sum(1 << k for k, finding in enumerate(findings) if stated[study][finding.id] == 1)
            assert int(part.findings[row]) == bits
            assert part.labels[row].tolist() == [stated[study][finding.id] for finding in findings]


def test_samples_point_to_their_studies_where_some_lack_the_anatomy():
    store = small_store(5)
    for row in store.rows:
        if row["anatomy"] == "liver" and row["study_id"] in ("s001", "s002"):
            row["extent"] = "absent"
    batch = batch_of(store)
    assert batch.anatomies["liver"].study.tolist() == [0, 3, 4]
    assert batch.anatomies["kidney"].study.tolist() == [0, 1, 2, 3, 4]


def test_a_rank_without_studies_gets_a_batch_without_anatomies():
    batch = build_batch(7, {}, token_source(small_store(1)), VOCABULARY, seed=0)
    assert (batch.step, batch.studies, batch.texts, batch.anatomies, batch.volumes) == (7, (), (), {}, None)


def test_identifiers_are_equal_for_equal_texts_and_have_no_sign():
    texts = [f"text {i}" for i in range(1000)]
    numbers = [identifier(text) for text in texts]
    assert numbers == [identifier(text) for text in texts]
    assert len(set(numbers)) == len(texts)
    assert min(numbers) >= 0
    assert max(numbers) < 2**63
    assert identifier("a") == 0x4A978112CA1BBDCA  # sha256 begins ca978112ca1bbdca: the same in every process


def test_a_text_that_names_nothing_has_no_id():
    store = small_store(2)
    for text, labels in zip(store.texts[::2], store.labels, strict=True):
        text.update(text="Liver: stable.", status="normal")
        labels.update({"liver.cyst": None, "liver.fatty_liver": None})
    liver = batch_of(store).anatomies["liver"]
    assert liver.text_id.tolist() == [-1, -1]
    assert liver.text_row[0] == liver.text_row[1]


def needing_whole(*names):
    findings = [f.model_copy(update={"needs": "whole" if f.id in names else "part"}) for f in VOCABULARY.findings]
    return VOCABULARY.model_copy(update={"findings": tuple(findings)})


@pytest.mark.parametrize("silence", ["masked", "negative"])
def test_findings_that_need_the_whole_anatomy_are_masked_where_it_is_cut(silence):
    store = small_store(2)
    store.rows[0]["extent"] = "truncated"
    for row in store.labels:
        row["liver.cyst"], row["liver.fatty_liver"] = None, 0
    needing = needing_whole("liver.cyst")
    part = batch_of(store, vocabulary=needing, silence=silence).anatomies["liver"]
    column = [finding.id for finding in needing.of("liver")].index("liver.cyst")
    other = 1 - column
    assert part.labels[:, column].isnan().tolist() == [True, silence == "masked"]
    assert part.labels[:, other].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("extent", "needs", "labels", "alone"),
    [
        ("truncated", "liver.cyst", {"liver.cyst": 1, "liver.fatty_liver": 1}, True),
        ("truncated", "liver.cyst", {"liver.cyst": -1, "liver.fatty_liver": 1}, True),
        ("truncated", "liver.cyst", {"liver.cyst": 0, "liver.fatty_liver": 1}, True),
        ("truncated", "liver.cyst", {"liver.cyst": None, "liver.fatty_liver": 1}, False),
        ("truncated", "kidney.calculus", {"liver.cyst": 1, "liver.fatty_liver": 1}, False),
        ("complete", "liver.cyst", {"liver.cyst": 1, "liver.fatty_liver": 1}, False),
    ],
    ids=["stated", "suspected", "denied", "not mentioned", "seen on a part", "all in view"],
)
def test_a_truncated_crop_pairs_only_with_texts_whose_findings_need_a_part(extent, needs, labels, alone):
    store = small_store(3)
    store.rows[0]["extent"] = extent
    store.texts[0]["status"] = "abnormal"
    store.labels[0].update(labels)
    needing = needing_whole(needs)
    liver = batch_of(store, vocabulary=needing).anatomies["liver"]
    assert bool(liver.uncertain[0]) == alone
    assert bool(liver.abnormal[0]) != alone
    hidden = extent == "truncated" and needs == "liver.cyst"
    names = [finding.id for finding in needing.of("liver")]
    expected = {name for name in names if labels[name] == 1 and not (hidden and name == needs)}
    assert {name for k, name in enumerate(names) if int(liver.findings[0]) >> k & 1} == expected
    assert not liver.labels[0, names.index("liver.fatty_liver")].isnan()  # it still teaches what a part shows


def test_a_study_is_drawn_alike_in_whatever_batch_of_a_step_it_stands():
    store = small_store(8, rate=1.0)
    options = {"text": "mixed", "augmentation": AugmentationSettings(), "step": 3}
    together = batch_of(store, **options)
    for study, name in [("s002", "liver"), ("s007", "kidney")]:
        row = together.studies.index(study)
        alone, whole = batch_of(store, [study], **options).anatomies[name], together.anatomies[name]
        ends = whole.image.lengths.cumsum(0).tolist()
        mine = slice(ends[row] - int(whole.image.lengths[row]), ends[row])
        assert torch.equal(alone.image.patches, whole.image.patches[mine])
        assert torch.equal(alone.image.positions_mm, whole.image.positions_mm[mine])
        assert alone.text_id[0] == whole.text_id[row]


def test_steps_and_seeds_draw_anew_and_one_of_each_draws_alike():
    store = small_store(4)
    first, again, step, seed = (
        contents(batch_of(store, step=step, seed=seed, augmentation=AugmentationSettings()).anatomies)
        for step, seed in [(0, 0), (0, 0), (1, 0), (0, 1)]
    )
    assert first == again
    for other in (step, seed):
        assert first["liver"]["image"]["patches"] != other["liver"]["image"]["patches"]


def test_grids_vary():
    store = small_store(1)
    shapes = {tuple(batch_of(store, step=step).anatomies["liver"].image.positions_mm[0].tolist()) for step in range(20)}
    assert len(shapes) == 3


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_tokens_are_those_of_the_tokenizer_and_kept_only_if_asked(memory_gb):
    store = small_store(1)
    samples = by_study(store)["s000"]
    source = token_source(store, shifts=2, memory_gb=memory_gb)
    first = source.study_tokens(samples, [0, 0])
    for sample, tokens in zip(samples, first, strict=True):
        straight = source.tokenizer.tokenize(store.studies["s000"].crops[sample.anatomy], sample.anatomy)
        np.testing.assert_array_equal(tokens.patches, straight.patches)
        assert not np.array_equal(source.tokens(sample, 1).index, tokens.index)
    source.tokens(samples[0], 0)
    assert len(store.studies["s000"].reads) == (2 if memory_gb else 5)


def test_a_source_in_another_process_takes_no_tokens_along_and_keeps_none():
    store = small_store(4)
    source, unused = (token_source(store, memory_gb=1.0) for _ in range(2))
    full = batch_of(store, source=source)
    assert len(pickle.dumps(source)) == len(pickle.dumps(unused))
    copy = pickle.loads(pickle.dumps(source))
    for times in (1, 2):
        assert contents(batch_of(store, source=copy)) == contents(full)
        assert len(copy.store.studies["s000"].reads) == len(store.studies["s000"].reads) + 2 * times


def test_mixed_texts_are_drawn_anew_for_each_step_and_alike_for_one_seed():
    store = small_store(8, rate=1.0)
    raw, canonical, *mixed = (
        batch_of(store, step=step, text=text)
        for text, step in [("raw", 0), ("canonical", 0), ("mixed", 0), ("mixed", 0), ("mixed", 1)]
    )
    assert not set(raw.texts) & set(canonical.texts)
    assert all(set(batch.texts) <= {*raw.texts, *canonical.texts} for batch in mixed)
    assert any(set(batch.texts) & set(raw.texts) and set(batch.texts) & set(canonical.texts) for batch in mixed)
    drawn = [[batch.texts[row] for row in batch.anatomies["liver"].text_row] for batch in mixed]
    assert drawn[0] == drawn[1] != drawn[2]


def test_canonical_texts_that_say_no_more_than_abnormal_are_nothing_particular():
    store = small_store(4, rate=1.0)
    for row in store.texts:
        if row["anatomy"] == "liver":
            row["canonical"] = "The liver is abnormal."
    batch = batch_of(store, text="canonical")
    assert batch.anatomies["liver"].text_id.tolist() == [-1] * 4
    assert (batch.anatomies["kidney"].text_id >= 0).all()


@pytest.mark.parametrize(("most", "lengths"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_images_split_in_order_and_lose_nothing(most, lengths):
    image = batch_of(small_store(5)).anatomies["liver"].image
    pieces = image.split(most)
    assert [len(piece) for piece in pieces] == lengths
    assert [len(piece.patches) for piece in pieces] == [int(piece.lengths.sum()) for piece in pieces]
    for name in ("patches", "inside", "positions_mm", "lengths", "measures"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(image, name))


def test_pieces_of_no_crop_are_refused_and_images_of_none_have_no_pieces():
    image = batch_of(small_store(2)).anatomies["liver"].image
    with pytest.raises(ValueError, match=r"at least one crop, asked for is 0"):
        image.split(0)
    with pytest.raises(ValueError, match=r"liver: a batch needs at least one crop"):
        build_image_batch("liver", [])
    assert replace(image, lengths=image.lengths[:0]).split(3) == []


def test_moving_a_batch_moves_all_of_it_and_changes_nothing():
    batch = batch_of(small_store(3))
    assert contents(batch.to("cpu", non_blocking=True)) == contents(batch)
    moved = batch.to("meta").anatomies["liver"]
    tensors = [
        value for part in (moved, moved.image) for value in vars(part).values() if isinstance(value, torch.Tensor)
    ]
    assert len(tensors) == 13
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_the_encoder_decides_what_is_read():
    grid = WindowGrid((32, 32, 32), (16, 16, 16))
    options = {"shifts": 1, "seed": 0, "memory_gb": 0.0}
    assert isinstance(build_source(small_store(1), SimpleNamespace(window=grid), **options), WindowSource)
    crops = build_source(small_store(1), SimpleNamespace(window=None, tokenizer=None), **options)
    assert not isinstance(crops, WindowSource)


class VolumeStudy(SmallStudy):
    """Keeps its whole volume too: 3 x 1 x 1 mm, over the same 90 mm as the crops."""

    def array(self, volume, name):
        affine = np.array([[0, 0, 1.0, -42], [0, 1.0, 0, 8], [3.0, 0, 0, 99], [0, 0, 0, 1]])
        return np.full((30, 90, 90), 40, dtype=np.int16), affine


def volume_store(studies):
    store = small_store(studies)
    for name, study in store.studies.items():
        store.studies[name] = VolumeStudy(study.crops)
    return store


def test_windows_of_volumes_come_with_the_samples_that_lie_whole_in_them():
    store = volume_store(4)
    store.rows = [row for row in store.rows if (row["study_id"], row["anatomy"]) != ("s001", "liver")]
    grid = WindowGrid((32, 96, 96), (16, 32, 32))
    batch = batch_of(store, source=WindowSource(store, grid))
    assert batch.volumes.volumes.shape == (4, 1, 32, 96, 96)
    assert {name: part.study.tolist() for name, part in batch.anatomies.items()} == {
        "liver": [0, 2, 3],
        "kidney": [0, 1, 2, 3],
    }
    for name, part in batch.anatomies.items():
        assert batch.volumes.rows[name].tolist() == part.study.tolist()
        assert len(batch.volumes.tokens[name]) == len(part)
        assert len(part.image) == 0
    crops = batch_of(store)
    assert batch.texts == crops.texts
    assert torch.equal(batch.anatomies["liver"].labels, crops.anatomies["liver"].labels)


def test_anatomies_that_every_window_cuts_are_left_out_with_their_texts():
    store = volume_store(2)
    batch = batch_of(store, source=WindowSource(store, WindowGrid((8, 96, 96), (8, 32, 32))))
    assert (batch.anatomies, batch.texts, batch.volumes) == ({}, (), None)


def test_measure_statistics_are_those_of_the_training_crops():
    store = small_store(5)
    samples = read_samples(store, VOCABULARY)
    source = token_source(store, shifts=1)
    mean, spread = measure_statistics(source, samples)["liver"]
    measures = [source.tokens(sample, 0).measures for sample in samples if sample.anatomy == "liver"]
    np.testing.assert_allclose(mean, np.mean(measures, axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, np.std(measures, axis=0), rtol=1e-4, atol=1e-6)


def test_patch_edges_grow_until_the_median_crop_fits():
    store = small_store(5)
    samples = read_samples(store, VOCABULARY)
    crops = [store.studies[sample.study_id].crops["liver"] for sample in samples if sample.anatomy == "liver"]
    counts = {edge: int(np.median([count_tokens(crop, edge) for crop in crops])) for edge in (2, 4, 8)}
    assert counts[2] > counts[4] > counts[8]
    for edges, cap, expected in [((2, 4, 8), counts[4], 4), ((2, 4, 8), counts[8], 8), ((2, 4), 1, 4)]:
        config = build_config(patch_voxels=edges, max_tokens=cap, block_voxels=2)
        assert choose_patches(store, samples, config, VOCABULARY)["liver"] == expected
        anatomies = {name: a.model_copy(update={"max_tokens": cap}) for name, a in VOCABULARY.anatomies.items()}
        config = build_config(patch_voxels=edges, max_tokens=10**6, block_voxels=2)
        vocabulary = VOCABULARY.model_copy(update={"anatomies": anatomies})
        assert choose_patches(store, samples, config, vocabulary)["liver"] == expected


def test_how_many_crops_lose_tokens_is_told_once(caplog):
    store = small_store(5)
    for study in ("s000", "s001", "s002"):
        crop = store.studies[study].crops["liver"]
        store.studies[study].crops["liver"] = replace(crop, mask=np.where(crop.mask == 255, 0, crop.mask))  # no rim
    counts = [count_tokens(study.crops["liver"], 4) for study in store.studies.values()]
    config = build_config(patch_voxels=(4,), max_tokens=int(np.median(counts)))
    with caplog.at_level("INFO", logger="ctvlp.data"):
        choose_patches(store, read_samples(store, VOCABULARY), config, VOCABULARY)
    (record,) = caplog.records
    assert "crops that lose tokens above their cap: {'kidney': '5 of 5', 'liver': '2 of 5'}" in record.getMessage()
