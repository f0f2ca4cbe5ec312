"""`ctvlp preprocess segmenter=totalsegmentator` on a simulated archive, from its command line to its store, watched."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from nnunet_folder import FLAT_TILE, build_random_networks
from pydicom import dcmread

from preprocess.simulate.archive import simulate_archive
from preprocess.weights import total_mode

STUDIES, SLICES = 6, 6
ALLOWED = ("127.0.0.1", "file")
"""Loopback, and sockets that are files."""
WATCH = '''
"""Every Python process of a run notes what it asks of the network, and which checkpoints it reads to load them."""
import os, sys

def note(event, arguments):
    if event == "socket.connect":
        words = [event, str(arguments[1][0] if isinstance(arguments[1], tuple) else "file")]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        words = [event, str(arguments[0])]
    elif event == "open" and str(arguments[0]).endswith("checkpoint_final.pth"):
        words = ["open", str(arguments[0])]
    else:
        return
    with open(os.environ["WATCHED"], "a") as stream:
        stream.write("\\t".join([str(os.getpid()), *words]) + "\\n")

sys.addaudithook(note)
'''


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """An archive of short scans, and networks of both modes."""
    folder = tmp_path_factory.mktemp("given")
    simulate_archive(folder / "simulated", studies=STUDIES, seed=1, workers=1)
    for series in {path.parent for path in (folder / "simulated" / "archive").rglob("*.dcm")}:
        in_order = sorted(series.iterdir(), key=lambda path: dcmread(path, stop_before_pixels=True).InstanceNumber)
        for path in in_order[SLICES:]:
            path.unlink()
    for fast in (True, False):
        build_random_networks(folder / "weights", fast=fast, size=FLAT_TILE)
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    return folder


def preprocess(given, out, **options):
    """Runs the command in a network namespace of its own where the system has such."""
    (out / "home").mkdir(parents=True)
    folders = (given / "watch", Path(__file__).parents[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOTALSEG", "nnUNet"))}
    environment |= {"HOME": str(out / "home"), "WATCHED": str(out / "watched"), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    options |= {"archive": given / "simulated" / "archive", "out": out / "store", "key_file": given / "store.key"}
    options |= {"segmenter": "totalsegmentator", "weights": given / "weights"}
    words = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ctvlp.cli", "preprocess", *words]
    done = subprocess.run(alone(command), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def alone(command):
    """The command with loopback as its only network, where the system lets a user have that."""
    inside = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        possible = subprocess.run([*inside, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    return [*inside, *command] if possible else command


def sums(store):
    """Digest of every file of the store but what tells of times."""
    found = {path.relative_to(store): path for path in store.rglob("*") if path.is_file()}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if path.suffix == ".zip" or path.name in ("manifest.parquet", "series.parquet", "failures.jsonl")
    }


RUNS = {"one": ("cpu", 1), "two": ("cpu", 2), "service": ("cpu:0,cpu:1", 1)}
"""Device and workers. A service has a process a device; the second one has nothing to do where one worker asks."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fast", "names"), [(True, ["one", "two", "service"]), (False, ["one", "two"])], ids=["fast", "full"]
)
def test_however_many_workers_write_the_same_bytes_and_ask_nobody(given, tmp_path, fast, names):
    stores = {}
    for name in names:
        device, workers = RUNS[name]
        preprocess(given, tmp_path / name, fast=str(fast).lower(), workers=workers, device=f"'{device}'")
        counts = json.loads((tmp_path / name / "store" / "run.json").read_text())["counts"]
        assert (counts["done"], counts["failed"]) == (STUDIES, 0)
        assert counts["children"] == {"started": workers, "restarted": 0}
        watched = [line.split("\t") for line in (tmp_path / name / "watched").read_text().splitlines()]
        reads = Counter(process for process, event, _ in watched if event == "open")
        networks = len(total_mode(fast=fast).numbers)
        assert sorted(reads.values()) == [networks] * (workers + 1)  # the run itself reads them for their digest
        assert {place for _, event, place in watched if event != "open" and place not in ALLOWED} == set()
        assert list((tmp_path / name / "home").glob(".totalsegmentator*")) == []
        stores[name] = sums(tmp_path / name / "store")
    assert len([name for name in stores["one"] if name.endswith(".zip")]) == STUDIES
    assert all(store == stores["one"] for store in stores.values())


def test_the_watch_sees_what_it_is_for(given, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(given / "watch"), "WATCHED": str(tmp_path / "watched")}
    code = "import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(('192.0.2.1', 80))"
    subprocess.run(alone([sys.executable, "-c", code]), env=environment, check=True)
    assert (tmp_path / "watched").read_text().split("\t")[1:] == ["socket.connect", "192.0.2.1\n"]
