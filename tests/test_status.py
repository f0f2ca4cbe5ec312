import os

import pytest
from phantoms import body, canonical_affine, write_nifti

from ctvlp.run_text import format_status
from preprocess.archive import index_archive
from preprocess.errors import InputError
from preprocess.index import ArchiveIndex
from preprocess.pieces import Piece, write_piece
from preprocess.status import Status, store_status

NOW = 1_700_000_000.0


def store_with(folder, times, failed=()):
    (folder / "studies").mkdir(parents=True)
    for number, seconds_ago in enumerate(times):
        reason = failed[number] if number < len(failed) else None
        piece = Piece(f"s{number:03d}", "p", "failed" if reason else "done", "d", reason=reason)
        write_piece(folder / "studies", piece)
        os.utime(folder / "studies" / f"s{number:03d}.json", (NOW - seconds_ago,) * 2)
    return folder


def test_counts_reasons_rate_and_time_left(tmp_path):
    for number in range(30):
        write_nifti(tmp_path / "archive" / f"{number}.nii", body((3, 8, 8)), canonical_affine())
    with ArchiveIndex(tmp_path / "store.index.sqlite") as index:
        index_archive(index, tmp_path / "archive")
    store = store_with(tmp_path / "store", [60 * n for n in range(11)], ["TIMEOUT", "GEOMETRY", "TIMEOUT"])
    assert store_status(store, now=NOW) == Status(8, 3, {"GEOMETRY": 1, "TIMEOUT": 2}, 30, 60.0, 19 / 60, 0.0)


def test_without_an_index_there_is_no_total(tmp_path):
    status = store_status(store_with(tmp_path / "store", [0, 36]), now=NOW)
    assert (status.done, status.total, status.hours_left, status.rate) == (2, None, None, 100.0)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([], None),
        ([5], None),
        ([7200, 7230], None),
        ([0, 60, 9000, 9001, 9002], 60.0),
        ([120, 240], 15.0),
    ],
    ids=["nothing yet", "one record", "an earlier run", "an earlier run and this one", "slow ones under way"],
)
def test_the_rate_is_this_runs(tmp_path, times, rate):
    assert store_status(store_with(tmp_path / "store", times), now=NOW).rate == rate


def test_files_that_are_being_written_do_not_count(tmp_path):
    store = store_with(tmp_path / "store", [0, 1])
    (store / "studies" / ".s009.json.host-1-x.tmp").write_text("{")
    (store / "studies" / "s010.json").write_text("{")
    assert store_status(store, now=NOW).done == 2


def test_a_place_without_a_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="no store there"):
        store_status(tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(8, 1, {"TIMEOUT": 1}, 30, 60.0, 0.35, 2.0),
         ["8 done, 1 failed of 30 studies", "failed: TIMEOUT: 1", "60 studies an hour", "21.0 min left"]),
        (Status(2, 0, {}, 2, None, 0.0, 7200.0), ["2 done, 0 failed of 2 studies", "nothing was recorded for 2.0 h", "every study has an outcome"]),
        (Status(0, 0, {}, None, None, None, None), ["0 done, 0 failed"]),
    ],
    ids=["running", "over", "nothing"],
)  # fmt: skip
def test_the_status_in_words(status, words):
    text = format_status(status)
    assert all(word in text for word in words)
    assert text.count("\n") == len(words) - 1
