"""Schedules: every study in each epoch, patients apart, abnormal samples where they are asked for, all by the seed."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_batches import by_study
from small_store import small_store

from ctvlp.sampling import Schedule, build_schedule, spread_patients
from preprocess.errors import InputError

ANATOMIES = ("liver", "kidney", "spleen", "colon")


def schedule_of(count, size, *, per_patient=1, abnormal=None, **options):
    patients = {f"s{i:03d}": f"p{i // per_patient}" for i in range(count)}
    values = {"epochs": 3, "seed": 0} | options
    return Schedule(patients, abnormal or dict.fromkeys(patients, ()), size, **values)


def invented_abnormal(count, rates, seed=0):
    rng = np.random.default_rng(seed)
    drawn = {f"s{i:03d}": rng.random(len(rates)) < rates for i in range(count)}
    return {study: tuple(a for a, is_so in zip(ANATOMIES, row, strict=True) if is_so) for study, row in drawn.items()}


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 2))
def test_an_epoch_holds_each_study_once_in_batches_that_are_equally_large(count, size, seed, epoch):
    schedule = schedule_of(count, size, seed=seed)
    batches = schedule.epoch(epoch)
    assert sorted(name for batch in batches for name in batch) == sorted(schedule.patients)
    assert len(batches) == -(-count // size)  # no more than it takes
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert batches == schedule.epoch(epoch)
    assert len(schedule) == 3 * len(batches)


def test_epochs_and_seeds_differ_in_order():
    first, second = (schedule_of(30, 8, seed=seed) for seed in (0, 1))
    orders = [first.epoch(0), first.epoch(1), second.epoch(0)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    together = [{frozenset(batch) for batch in order} for order in orders]
    assert together[0] != together[1]


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(st.integers(1, 12), min_size=1, max_size=25),
    size=st.integers(1, 8),
    seed=st.integers(0, 3),
)
def test_studies_of_a_patient_share_a_batch_only_where_there_are_more_of_them_than_batches(numbers, size, seed):
    patients = {f"p{p}s{s}": f"p{p}" for p, number in enumerate(numbers) for s in range(number)}
    batches = Schedule(patients, dict.fromkeys(patients, ()), size, 1, seed).epoch(0)
    assert sorted(study for batch in batches for study in batch) == sorted(patients)
    held = [Counter(patients[study] for study in batch) for batch in batches]
    possible = apart_is_possible(numbers, [len(batch) for batch in batches])
    assert (max(count for batch in held for count in batch.values()) == 1) == possible


def apart_is_possible(numbers, sizes):
    """The theorem of Gale and Ryser: whether each patient's studies fit into different batches of these sizes."""
    ordered = sorted(sizes, reverse=True)
    return all(sum(ordered[:k]) <= sum(min(number, k) for number in numbers) for k in range(1, len(sizes) + 1))


def test_every_pair_of_studies_meets_about_as_often():
    schedule = schedule_of(12, 4, epochs=600)
    met = Counter()
    for epoch in range(600):
        for batch in schedule.epoch(epoch):
            met.update((a, b) for a in batch for b in batch if a < b)
    expected = 600 * 3 / 11
    assert len(met) == 12 * 11 / 2
    assert max(abs(count - expected) for count in met.values()) < 5 * np.sqrt(expected)


def test_a_batch_of_many_studies_of_one_patient_is_still_filled():
    patients = {f"s{i}": "p" for i in range(7)}
    batches = spread_patients(patients, [3, 4], np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [3, 4]
    assert sorted(study for batch in batches for study in batch) == sorted(patients)


@pytest.mark.parametrize("first", [0, 1, 3, 4, 7, 11, 12])
def test_steps_go_on_from_any_number(first):
    schedule = schedule_of(16, 4)
    steps = list(schedule.steps())
    assert [step.number for step in steps] == list(range(12))
    assert [step.epoch for step in steps] == [0] * 4 + [1] * 4 + [2] * 4
    assert [step.number for step in steps if step.ends_epoch] == [3, 7, 11]
    assert list(schedule.steps(first)) == steps[first:]


def test_steps_are_made_an_epoch_at_a_time():
    schedule = schedule_of(16, 4, epochs=10**9)
    assert len(schedule) == 4 * 10**9
    assert len(list(islice(schedule.steps(4 * 10**8), 6))) == 6


@pytest.mark.parametrize("balance", [0.25, 0.5])
def test_drawn_places_give_every_anatomy_abnormal_samples(balance):
    abnormal = invented_abnormal(200, [0.5, 0.1, 0.02, 0.02])
    plain, balanced = (schedule_of(200, 16, abnormal=abnormal, balance=b).epoch(0) for b in (0.0, balance))
    drawn = round(balance * 16)
    once = Counter(study for batch in balanced for study in batch[: len(batch) - drawn])
    assert once == Counter(list(abnormal))  # the places that are not drawn hold each study once
    assert len(balanced) == pytest.approx(len(plain) / (1 - balance), rel=0.1)
    for batch in balanced:
        assert len(set(batch)) == len(batch)
        assert {a for study in batch for a in abnormal[study]} == set(ANATOMIES)
    missing = [set(ANATOMIES) - {a for study in batch for a in abnormal[study]} for batch in plain]
    assert any(missing)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(2, 20), balance=st.floats(0.01, 0.5), seed=st.integers(0, 3))
def test_a_batch_with_drawn_studies_is_no_larger_than_asked(count, size, balance, seed):
    abnormal = invented_abnormal(count, [0.5, 0.3, 0.1, 0.02])
    schedule = schedule_of(count, size, abnormal=abnormal, balance=balance, seed=seed)
    assert max(len(batch) for batch in schedule.epoch(0)) <= size


@pytest.mark.parametrize(("size", "balance"), [(4, 0.1), (2, 0.25), (16, 0.03)])
def test_a_small_balance_draws_one_study(size, balance):
    abnormal = {f"s{i:03d}": ("liver",) if i % 3 == 0 else () for i in range(60)}
    batches = schedule_of(60, size, abnormal=abnormal, balance=balance).epoch(0)
    assert sum(map(len, batches)) == 60 + len(batches)


def test_places_go_to_the_anatomy_with_the_fewest_abnormal_samples():
    abnormal = invented_abnormal(200, [0.9, 0.05, 0.05, 0.05])
    batches = schedule_of(200, 16, abnormal=abnormal, balance=0.5).epoch(0)
    counts = np.array([[sum(a in abnormal[study] for study in batch) for a in ANATOMIES] for batch in batches])
    assert counts[:, 1:].min() >= 2
    assert (counts[:, 1:].max(axis=1) - counts[:, 1:].min(axis=1)).mean() < 2


def test_drawn_studies_are_of_other_patients_and_places_without_one_stay_empty():
    abnormal = {f"s{i:03d}": ("liver",) if i < 4 else () for i in range(12)}
    schedule = schedule_of(12, 6, per_patient=2, abnormal=abnormal, balance=0.5)  # the abnormal ones are of 2 patients
    for batch in schedule.epoch(0):
        patients = [schedule.patients[study] for study in batch]
        assert len(set(patients)) == len(patients)
        assert 3 <= len(batch) <= 5
        assert sum(bool(abnormal[study]) for study in batch) == 2


def test_without_an_abnormal_study_there_is_nothing_to_draw():
    balanced = schedule_of(12, 4, balance=0.5)
    assert sorted(study for batch in balanced.epoch(0) for study in batch) == sorted(balanced.patients)


def test_a_schedule_knows_patients_and_what_pairs_as_abnormal():
    store = small_store(9, rate=0.5)
    store.rows[0]["extent"] = "truncated"
    store.texts[2]["status"] = "uncertain"
    samples = by_study(store)
    schedule = build_schedule(samples, 4, epochs=2, seed=1, balance=0.25)
    assert schedule.patients == {row["study_id"]: row["patient_id"] for row in store.rows}
    for study, anatomies in schedule.abnormal.items():
        assert anatomies == tuple(sample.anatomy for sample in samples[study] if sample.pairs_abnormal)
    assert (schedule.batch_studies, schedule.epochs, schedule.seed, schedule.balance) == (4, 2, 1, 0.25)


@pytest.mark.parametrize(
    ("size", "balance"), [(0, 0.0), (4, 1.0), (4, -0.1)], ids=["no place", "all drawn", "negative"]
)
def test_batches_that_cannot_be_are_refused(size, balance):
    with pytest.raises(
        InputError, match=rf"batch_studies={size}, balance={balance}: expected at least 1, and at least 0"
    ):
        build_schedule(by_study(small_store(2)), size, epochs=1, seed=0, balance=balance)


@pytest.mark.parametrize(("size", "balance"), [(1, 0.25), (4, 0.9)])
def test_batches_of_drawn_studies_alone_are_refused(size, balance):
    with pytest.raises(InputError, match=rf"batch_studies={size}, balance={balance}: every place .* would be drawn"):
        build_schedule(by_study(small_store(2)), size, epochs=1, seed=0, balance=balance)
