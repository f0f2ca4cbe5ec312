"""What a service calls in tests instead of networks: the image's one voxel says how it ends."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess import network_service
from preprocess.errors import InputError
from preprocess.networks import Inference, _named_errors
from preprocess.weights import Network

FINE, DIES, HANGS, LOSES_GPU, WAITS = range(5)
_AT_FIRST = 10


@dataclass(frozen=True)
class Turn:
    """One image that a service ran: by which process, on which device."""

    process: str
    device: str


@dataclass(frozen=True)
class Fake:
    """What tests ask of a service of these networks.

    Attributes:
        folder: Where the service notes what it did.
    """

    folder: Path
    target: str = "fake_networks:serve"

    def request(self, kind, *, only_at_first=False, device="cpu"):
        image = np.full((1, 1, 1), kind + _AT_FIRST * only_at_first, dtype=np.int16)
        return Network(self.folder), image, (1.0, 1.0, 1.0), Inference(device)

    def ask(self, service, kind, **options):
        return network_service.run_network_at(service, *self.request(kind, **options))

    def turns(self, kind):
        place = self.folder / f"turns.{kind}"
        return [Turn(*line.split()) for line in place.read_text().splitlines()] if place.exists() else []

    def let_go(self):
        """Ends the wait of all images of that kind."""
        (self.folder / "go").touch()


def serve(address, seconds, *, tell):
    network_service.run_network = _run
    network_service.serve(address, seconds, tell=tell)


def refuse(address, seconds, *, tell):
    raise InputError("a network cannot be loaded")


def die(address, seconds, *, tell):
    os._exit(3)


def _run(network, image, spacing_mm, how):
    value = int(image[0, 0, 0])
    kind = value % _AT_FIRST
    place = network.folder / f"turns.{kind}"
    again = place.exists()
    with place.open("a") as stream:
        stream.write(f"{os.getpid()} {how.device}\n")
    if not (value >= _AT_FIRST and again):
        ENDS[kind](network.folder)
    return np.full((1, 1, 1), kind, dtype=np.uint8)


def _lose_gpu(folder):
    with _named_errors(Network(folder)):
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")


def _wait(folder):
    while not (folder / "go").exists():
        time.sleep(0.01)


ENDS = {
    FINE: lambda folder: None,
    DIES: lambda folder: os.kill(os.getpid(), signal.SIGKILL),
    HANGS: lambda folder: time.sleep(600),
    LOSES_GPU: _lose_gpu,
    WAITS: _wait,
}
