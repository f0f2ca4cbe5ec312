"""One process a device holds the networks and labels for all others; when it dies, another takes its place."""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_networks import DIES, FINE, HANGS, LOSES_GPU, WAITS, Fake
from nnunet_folder import build_random_networks
from phantoms import canonical_affine
from test_total import noise

from preprocess.errors import InputError, Reason, StudyError
from preprocess.network_service import named_devices, network_service, service_state
from preprocess.networks import gpu_is_lost, networks_loaded
from preprocess.segment import segment

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
TWO_CUDA = pytest.param(
    "cuda:0,cuda:1",
    marks=[pytest.mark.cuda, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two CUDA devices")],
)

CLIENT = """
import sys
from pathlib import Path
import numpy as np
from preprocess.segment import segment
from preprocess.volume import Volume
address, weights, place, device = sys.argv[1:]
with np.load(place) as given:
    volume = Volume(given["hu"], given["affine"])
labels = segment(volume, weights=Path(weights), service=Path(address), device=device).labels
assert "torch" not in sys.modules
np.save(place + ".labels.npy", labels)
"""


VOLUMES = [noise((14, 30, 26), canonical_affine((4.0, 3.0, 2.5)), seed) for seed in range(4)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return build_random_networks(tmp_path_factory.mktemp("weights"), fast=True)


@pytest.fixture(scope="module", params=["cpu", "cpu:0,cpu:1", CUDA, TWO_CUDA])
def served(request):
    """A service of real networks, and its devices."""
    with network_service(named_devices(request.param)) as folder:
        yield folder, request.param
    assert not folder.exists()


@pytest.mark.slow
def test_several_processes_share_one_network_a_device(served, weights, tmp_path):
    service, device = served
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    clients = []
    for number, volume in enumerate(VOLUMES[:2]):
        place = tmp_path / f"{number}.npz"
        np.savez(place, hu=volume.hu, affine=volume.affine)
        command = [sys.executable, "-c", CLIENT, str(service), str(weights), str(place), device]
        clients.append((place, volume, subprocess.Popen(command, env=environment)))
    for place, volume, client in clients:
        assert client.wait(120) == 0
        expected = segment(volume, weights=weights, device=named_devices(device)[0]).labels
        assert np.array_equal(np.load(f"{place}.labels.npy"), expected)
    assert all(service_state(service / name).networks <= 1 for name in named_devices(device))


@pytest.mark.slow
def test_this_process_loads_nothing_and_errors_come_back_as_they_are(served, weights, tmp_path):
    service, device = served
    before = networks_loaded()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda volume: segment(volume, weights=weights, service=service, device=device), VOLUMES))
    assert networks_loaded() == before
    for volume, label_map in zip(VOLUMES, found, strict=True):
        expected = segment(volume, weights=weights, device=named_devices(device)[0])
        assert np.array_equal(label_map.labels, expected.labels)
    broken = build_random_networks(tmp_path, fast=True)
    next(broken.rglob("*.pth")).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be loaded"):
        segment(VOLUMES[0], weights=broken, service=service, device=device)


@pytest.mark.slow
def test_a_service_that_is_killed_is_started_again(served, weights):
    service, device = served
    first = segment(VOLUMES[0], weights=weights, service=service, device=device).labels
    for child in children("network_service"):
        os.kill(child, 9)
    again = segment(VOLUMES[0], weights=weights, service=service, device=device).labels
    assert np.array_equal(again, first)


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


def images_at(address, wanted):
    """Waits until a service has so many images."""
    end = time.monotonic() + 60
    while service_state(address).images != wanted:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_image_that_kills_the_service_twice_is_refused_and_no_other(fake):
    """Whoever waits while the service dies loses no turn."""
    with network_service(["cpu"], target=fake.target) as service, ThreadPoolExecutor(6) as pool:
        bad = pool.submit(fake.ask, service, DIES)
        others = [pool.submit(fake.ask, service, FINE) for _ in range(12)]
        assert all(other.result().tolist() == [[[FINE]]] for other in others)
        with pytest.raises(StudyError, match="died or hung 2 times over at this image") as error:
            bad.result()
    assert error.value.reason is Reason.SEGMENTER
    assert not gpu_is_lost(str(error.value))
    assert len(fake.turns(DIES)) == 2


def test_an_image_at_which_the_service_dies_once_is_labelled_by_the_next(fake):
    with network_service(["cpu"], target=fake.target) as service:
        assert fake.ask(service, DIES, only_at_first=True).tolist() == [[[DIES]]]
    first, second = fake.turns(DIES)
    assert first.process != second.process


def test_a_process_that_lost_its_gpu_gives_way_to_another(fake):
    with network_service(["cpu"], target=fake.target) as service:
        with pytest.raises(StudyError, match="device-side assert triggered") as error:
            fake.ask(service, LOSES_GPU)
        fake.ask(service, FINE)
    assert gpu_is_lost(str(error.value))
    assert fake.turns(LOSES_GPU)[0].process != fake.turns(FINE)[0].process


def test_a_network_that_hangs_holds_up_no_other_image(fake):
    with network_service(["cpu"], seconds=1.0, target=fake.target) as service:
        with pytest.raises(StudyError, match="died or hung 2 times over"):
            fake.ask(service, HANGS)
        assert fake.ask(service, FINE).tolist() == [[[FINE]]]


def test_a_client_that_is_gone_costs_no_time_and_each_has_one_image_there(fake):
    with network_service(["cpu"], target=fake.target) as service, ThreadPoolExecutor(2) as pool:
        slow = pool.submit(fake.ask, service, WAITS)
        images_at(service / "cpu", 1)
        with Client(str(service / "cpu"), family="AF_UNIX") as gone:
            gone.send(fake.request(HANGS))
            images_at(service / "cpu", 2)
        waiting = pool.submit(fake.ask, service, FINE)
        images_at(service / "cpu", 3)
        fake.let_go()
        assert slow.result().tolist() == [[[WAITS]]]
        assert waiting.result().tolist() == [[[FINE]]]
        images_at(service / "cpu", 0)
    assert fake.turns(HANGS) == []


def test_the_device_with_least_to_do_is_taken(fake):
    with network_service(["cpu:0", "cpu:1"], target=fake.target) as service, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fake.ask, service, WAITS, device="cpu:1,cpu:0")
        images_at(service / "cpu:1", 1)
        for _ in range(3):
            fake.ask(service, FINE, device="cpu:1,cpu:0")
        fake.let_go()
        slow.result()
    assert {turn.device for turn in fake.turns(WAITS)} == {"cpu:1"}
    assert {turn.device for turn in fake.turns(FINE)} == {"cpu:0"}
    assert len({turn.process for turn in (*fake.turns(WAITS), *fake.turns(FINE))}) == 2


@pytest.mark.parametrize("target", ["fake_networks:refuse", "fake_networks:die"])
def test_a_service_that_cannot_start_ends_the_run(fake, target):
    with (
        network_service(["cpu"], target=target) as service,
        pytest.raises(InputError, match="the process that holds the networks on cpu cannot be started"),
    ):
        fake.ask(service, FINE)


def test_a_long_name_of_the_temporary_folder_does_no_harm(fake, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with network_service(["cpu"], target=fake.target) as service:
        assert fake.ask(service, FINE).tolist() == [[[FINE]]]
        assert service.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("device", "names"),
    [("cuda", ["cuda"]), ("cuda:0, cuda:1", ["cuda:0", "cuda:1"]), ("cuda:1,cuda:1", ["cuda:1"])],
)
def test_devices_are_named_with_commas(device, names):
    assert named_devices(device) == names


def children(word):
    """Numbers of this process's children whose command line holds a word."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and word in (place / "cmdline").read_text():
                found.append(int(place.name))
        except (OSError, IndexError):
            continue
    return found
