"""Files that appear whole or not at all."""

import os
import socket
import subprocess
import sys
import time

import pytest

from preprocess.publish import publish, remove_leftovers


def test_content_and_mode(tmp_path):
    publish(tmp_path / "a.json", b"one")
    publish(tmp_path / "a.json", b"two")
    assert (tmp_path / "a.json").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    publish(tmp_path / "a.json", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_nothing_that_stays(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from preprocess import publish\n"
        "publish.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "publish.publish(Path(sys.argv[1]), b'new')\n"
    )
    publish(tmp_path / "a.json", b"old")
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "a.json"], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    assert remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_leftovers_of_running_and_distant_writers_are_kept(tmp_path):
    host = "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname())[:40]
    mine = tmp_path / f".a.zarr.zip.{host}-{os.getpid()}-x1.tmp"
    distant = tmp_path / ".a.zarr.zip.elsewhere-1-x1.tmp"
    old = tmp_path / ".b.zarr.zip.elsewhere-1-x1.tmp"
    for path in (mine, distant, old):
        path.write_bytes(b"")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, distant.name])
