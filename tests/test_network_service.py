"""One process holds the networks and labels for all others; when it dies, another takes its place."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from nnunet_folder import build_random_networks
from phantoms import canonical_affine
from test_total import noise

from preprocess.errors import InputError, Reason, StudyError
from preprocess.network_service import network_service, service_networks_loaded
from preprocess.networks import networks_loaded
from preprocess.segment import segment

CLIENT = """
import sys
from pathlib import Path
import numpy as np
from preprocess.segment import segment
from preprocess.volume import Volume
address, weights, place = sys.argv[1:]
with np.load(place) as given:
    volume = Volume(given["hu"], given["affine"])
labels = segment(volume, weights=Path(weights), service=Path(address)).labels
assert "torch" not in sys.modules
np.save(place + ".labels.npy", labels)
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return build_random_networks(tmp_path_factory.mktemp("weights"), fast=True)


@pytest.fixture(scope="module")
def service():
    with network_service() as address:
        yield address
    assert not address.exists()


VOLUMES = [noise((14, 30, 26), canonical_affine((4.0, 3.0, 2.5)), seed) for seed in range(4)]


@pytest.mark.slow
def test_several_processes_share_one_network(service, weights, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    clients = []
    for number, volume in enumerate(VOLUMES[:2]):
        place = tmp_path / f"{number}.npz"
        np.savez(place, hu=volume.hu, affine=volume.affine)
        command = [sys.executable, "-c", CLIENT, str(service), str(weights), str(place)]
        clients.append((place, volume, subprocess.Popen(command, env=environment)))
    for place, volume, client in clients:
        assert client.wait(60) == 0
        assert np.array_equal(np.load(f"{place}.labels.npy"), segment(volume, weights=weights).labels)
    assert service_networks_loaded(service) == 1


def test_this_process_loads_nothing(service, weights):
    before = networks_loaded()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda volume: segment(volume, weights=weights, service=service), VOLUMES))
    assert networks_loaded() == before
    for volume, label_map in zip(VOLUMES, found, strict=True):
        assert np.array_equal(label_map.labels, segment(volume, weights=weights).labels)


def test_errors_come_back_as_they_are(service, weights, tmp_path):
    with pytest.raises(InputError, match="device='tpu9' is unknown"):
        segment(VOLUMES[0], weights=weights, device="tpu9", service=service)
    broken = build_random_networks(tmp_path, fast=True)
    next(broken.rglob("*.pth")).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be loaded"):
        segment(VOLUMES[0], weights=broken, service=service)


@pytest.mark.slow
def test_a_service_that_dies_is_started_again(service, weights):
    first = segment(VOLUMES[0], weights=weights, service=service).labels
    for child in children("network_service"):
        os.kill(child, 9)
    assert np.array_equal(segment(VOLUMES[0], weights=weights, service=service).labels, first)
    assert service_networks_loaded(service) == 1


def test_a_service_that_is_not_there_is_an_error_of_the_study(weights, tmp_path):
    with pytest.raises(StudyError, match="died 3 times over") as error:
        segment(VOLUMES[0], weights=weights, service=tmp_path / "gone" / "socket")
    assert error.value.reason is Reason.SEGMENTER


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
