"""The loader: one content in one order for any processes, an error where they die or hang, memory that stays flat."""

import gc
import multiprocessing
import os
import pickle
import signal
import time
from functools import partial
from itertools import islice

import psutil
import pytest
import torch
from screened_store import write_screened_store
from small_batches import VOCABULARY, batch_of, by_study, contents, token_source
from small_store import small_store

from ctvlp import loader
from ctvlp.augmentation import AugmentationSettings
from ctvlp.data import build_batch
from ctvlp.loader import open_batches
from ctvlp.packing import pack
from ctvlp.sampling import build_schedule
from ctvlp.settings import TrainingSettings
from preprocess.errors import CtvlpError, StoreError
from preprocess.store import Store, study_path

STARTS = ["fork", "forkserver", "spawn"]


class Loading:
    """A small store with its schedule, and what builds its batches."""

    def __init__(self, store, *, studies=4, epochs=1, block=4, memory_gb=0.0):
        self.samples = by_study(store)
        self.schedule = build_schedule(self.samples, studies, epochs=epochs, seed=0)
        self.build = partial(
            build_batch,
            source=token_source(store, block=block, memory_gb=memory_gb),
            vocabulary=VOCABULARY,
            seed=0,
            augmentation=AugmentationSettings(),
        )

    def open(self, build=None, first=0, **options):
        return open_batches(self.schedule.steps(first), self.samples, build or self.build, **options)

    def all(self, **options):
        with self.open(**options) as batches:
            return [(step, contents(batch)) for step, batch in batches]


@pytest.fixture
def loading():
    return Loading(small_store(12))


def build_or(what, step, studies, *, build, at):
    """Builds batches, but does something else at one step."""
    if step == at:
        what()
    return build(step, studies)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(600)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def refuse():
    raise StoreError("study s001, v0/liver: damaged or missing (checksum)")


@pytest.mark.parametrize("start", STARTS)
def test_processes_change_neither_order_nor_content(loading, start):
    straight = loading.all()
    assert [step for step, _ in straight] == list(loading.schedule.steps())
    assert [content["studies"] for _, content in straight] == [step.studies for step in loading.schedule.steps()]
    for workers in (1, 2) if start == "fork" else (1,):  # the others take seconds to start
        assert loading.all(workers=workers, start=start) == straight


def test_loading_goes_on_from_any_step(loading):
    straight = loading.all()
    assert loading.all(first=2, workers=2, start="fork") == straight[2:]


def test_ranks_build_each_study_once_and_as_one_rank_would(loading):
    whole = loading.all()
    parts = [loading.all(rank=rank, ranks=3, workers=rank, start="fork") for rank in range(3)]
    for (step, _), *mine in zip(whole, *parts, strict=True):
        assert [other for other, _ in mine] == [step] * 3
        assert [content["studies"] for _, content in mine] == [step.studies[rank::3] for rank in range(3)]
    study = whole[0][0].studies[1]
    alone = batch_of(small_store(12), [study], augmentation=AugmentationSettings())
    with loading.open(rank=1, ranks=4) as batches:
        _, batch = next(batches)
    assert contents(batch) == contents(alone)


def test_more_ranks_than_studies_give_batches_without_anatomies(loading):
    with loading.open(rank=5, ranks=6, workers=1, start="fork") as batches:
        assert [(batch.studies, batch.anatomies) for _, batch in batches] == [((), {})] * 3


def test_torchs_random_state_stays_as_it_is(loading):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loading.all(workers=1, start="fork")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_store_arrives_as_it_is(loading, workers):
    build = partial(build_or, refuse, build=loading.build, at=1)
    with (
        pytest.raises(StoreError, match=r"^study s001, v0/liver: damaged or missing \(checksum\)$"),
        loading.open(build, workers=workers, start="fork") as batches,
    ):
        list(batches)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_one_clear_error(loading):
    build = partial(build_or, die, build=loading.build, at=1)
    with (
        pytest.raises(
            CtvlpError, match=r"a loader process died \(DataLoader worker .* often memory or /dev/shm ran out"
        ),
        loading.open(build, workers=2, start="fork", timeout_s=60) as batches,
    ):
        list(batches)
    assert multiprocessing.active_children() == []


def train_until(what, loading):
    with loading.open(workers=1, start="fork") as batches:
        next(batches)
        what()


def kill_the_process():
    multiprocessing.active_children()[0].kill()
    time.sleep(60)  # ended by the signal


def break_down():
    raise RuntimeError("shapes differ")


def test_a_process_that_dies_while_training_computes_is_the_same_error(loading):
    with pytest.raises(CtvlpError, match=r"a loader process died"):
        train_until(kill_the_process, loading)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("what", [hang, stop], ids=["busy for ever", "stopped"])
def test_a_process_that_hangs_is_one_clear_error_and_is_ended(loading, what, monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE_S", 0.5)
    build = partial(build_or, what, build=loading.build, at=1)
    with (
        pytest.raises(CtvlpError, match=r"no batch came for 1 s: a loader process hangs, or the store is too slow"),
        loading.open(build, workers=1, start="fork", timeout_s=1) as batches,
    ):
        list(batches)
    assert multiprocessing.active_children() == []


def test_other_errors_of_training_pass_as_they_are(loading):
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        train_until(break_down, loading)
    assert multiprocessing.active_children() == []


def test_processes_end_where_the_run_ends_early(loading):
    with loading.open(workers=2, start="fork") as batches:
        next(batches)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


def train_for_ever(start, connection):
    with Loading(small_store(6)).open(workers=2, start=start) as batches:
        next(batches)
        connection.send([child.pid for child in multiprocessing.active_children()])
        time.sleep(600)


@pytest.mark.parametrize(("how", "start"), [("fork", "fork"), ("spawn", "forkserver")], ids=["fork", "forkserver"])
def test_processes_end_with_a_run_that_is_killed(how, start):
    context = multiprocessing.get_context(how)
    here, there = context.Pipe()
    run = context.Process(target=train_for_ever, args=(start, there))
    run.start()
    assert here.poll(60)
    workers = here.recv()
    assert [psutil.pid_exists(worker) for worker in workers] == [True, True]
    run.kill()
    run.join()
    latest = time.monotonic() + 30
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < latest:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))


def test_what_goes_to_a_process_is_small(tmp_path):
    write_screened_store(tmp_path, studies=8, train=8)
    loading = Loading(Store(tmp_path))
    assert len(pickle.dumps(loading.build)) < 200_000  # the vocabulary, no samples
    step = next(loading.schedule.steps())
    assert len(pickle.dumps({study: loading.samples[study] for study in step.studies})) < 20_000


def test_a_damaged_crop_in_the_store_is_named(tmp_path):
    write_screened_store(tmp_path, studies=8, train=8)
    loading = Loading(Store(tmp_path))
    path = study_path(tmp_path, "003abc")
    path.write_bytes(path.read_bytes()[:-200])
    with (
        pytest.raises(StoreError, match=r"study 003abc: 003abc.zarr.zip cannot be opened"),
        loading.open(workers=2, start="fork") as batches,
    ):
        list(batches)


def usage(processes):
    """Resident bytes, and open file handles, of some processes."""
    gc.collect()
    return (
        sum(process.memory_info().rss for process in processes),
        sum(process.num_fds() for process in processes),
    )


@pytest.mark.parametrize(
    ("memory_gb", "options"),
    [
        (TrainingSettings().memory_gb, {}),
        (0.001, {}),
        (0.0, {"workers": 2, "start": "fork"}),
        (0.0, {"workers": 2, "start": "forkserver"}),
    ],
    ids=["default", "memory soon full", "fork", "forkserver"],
)
def test_memory_and_file_handles_stay_flat_over_a_thousand_steps(tmp_path, memory_gb, options):
    write_screened_store(tmp_path, studies=20, train=20)
    loading = Loading(Store(tmp_path), studies=1, epochs=50, block=1, memory_gb=memory_gb)
    parent, seen = psutil.Process(), []
    with loading.open(**options) as batches:
        processes = [parent, *(psutil.Process(child.pid) for child in multiprocessing.active_children())]
        for wanted in (200, 1000):
            for _ in islice(batches, wanted - 200 if seen else wanted):
                pass
            seen.append(usage(processes))
    (memory, handles), (later, handles_later) = seen
    block = len(pack(loading.build(0, {"001abc": loading.samples["001abc"]})).block)
    assert later - memory < 800 * block / 10  # were one of ten batches kept, it would be more
    assert handles_later - handles < 10
