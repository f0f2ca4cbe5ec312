"""What the user asked of a run: checked before anything is read, and turned into settings."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from preprocess.decisions import read_decisions
from preprocess.errors import InputError
from preprocess.index_refresh import RefreshMode
from preprocess.limits import Limits
from preprocess.plan import Naming, StudyIds
from preprocess.segment import describe_segmenter
from preprocess.segmenters import check_mixture, stored_segmenters
from preprocess.series import SeriesChoice
from preprocess.series_rules import load_series_rules
from preprocess.stack import Gaps
from preprocess.study import FILES, NetworkOptions, Settings
from preprocess.study_file import SCHEMA_VERSION
from preprocess.vocabulary import Vocabulary

SEGMENTERS = ("files", "totalsegmentator")
KEEPABLE = ("volume",)
_GIB = 2**30


def check_choices(
    *,
    segmenter: str,
    study_id: str,
    series: str,
    gaps: str,
    refresh: str,
    keep: Sequence[str],
    workers: int | None,
) -> None:
    """Refuses a value that is none of those allowed.

    Raises:
        InputError: Naming the option, its value and what is allowed.
    """
    allowed = [
        ("study_id", study_id, get_args(StudyIds)),
        ("series", series, get_args(SeriesChoice)),
        ("gaps", gaps, get_args(Gaps)),
        ("refresh", refresh, get_args(RefreshMode)),
        *(("keep", name, KEEPABLE) for name in keep),
    ]
    for name, value, choices in allowed:
        if value not in choices:
            raise InputError(f"{name}={value!r} is unknown; it is one of {', '.join(choices)}")
    if segmenter not in SEGMENTERS and not Path(segmenter).is_dir():
        named = ", ".join(SEGMENTERS)
        raise InputError(
            f"segmenter={segmenter!r} is unknown; it is one of {named}, or the folder of an nnU-Net v2 model"
        )
    if workers is not None and workers < 0:
        raise InputError(f"workers={workers}: it is the number of processes; 0 does the work in this one")


def existing(path: Path | str | None, name: str) -> Path | None:
    """The path, which has to be there.

    Raises:
        InputError: It is not.
    """
    if path is not None and not Path(path).exists():
        raise InputError(f"{name} {path} does not exist")
    return None if path is None else Path(path)


def build_network(
    segmenter: str,
    masks: Path | None,
    *,
    fast: bool,
    weights: Path | str | None,
    device: str,
    labels: Path | str | None = None,
) -> NetworkOptions | None:
    """How to run the networks, or None where masks come from files.

    Raises:
        InputError: Masks are missing, or given though the network is to make them.
    """
    if segmenter == "files":
        if masks is None:
            raise InputError("masks are needed: give masks=PATH, or segmenter=totalsegmentator")
        return None
    if masks is not None:
        raise InputError(f"masks={masks} and segmenter={segmenter} exclude each other: give one of them")
    if segmenter == "totalsegmentator":
        return NetworkOptions(fast, None if weights is None else Path(weights), device)
    return NetworkOptions(device=device, model=Path(segmenter), labels=None if labels is None else Path(labels))


def build_limits(time_limit: float | None, memory_limit: float | None) -> Limits:
    """Limits of one study.

    Args:
        time_limit: Seconds, or None.
        memory_limit: GiB; None shares out what the machine has.
    """
    return Limits(time_limit, None if memory_limit is None else int(memory_limit * _GIB))


def check_segmenter(settings: Settings, *, mix: bool) -> None:
    """Refuses to mix the masks of two segmenters in a store, unless the user wants it.

    Raises:
        InputError: The store holds another segmenter's masks.
    """
    if (settings.store / "studies").is_dir():
        check_mixture(settings.segmenter, stored_segmenters(settings.store), mix=mix)


def _describe(network: NetworkOptions) -> dict[str, Any]:
    return describe_segmenter(fast=network.fast, weights=network.weights, model=network.model, labels=network.labels)


def build_settings(
    out: Path,
    words: Vocabulary,
    network: NetworkOptions | None,
    series: SeriesChoice,
    keep: Sequence[str],
    naming: Naming,
    *,
    gaps: Gaps = "refuse",
    decisions: Path | str | None = None,
) -> Settings:
    """Settings of a run, with the digest of all that a study's bytes depend on."""
    segmenter = FILES if network is None else _describe(network)
    content = {
        "schema": SCHEMA_VERSION,
        "anatomies": {name: anatomy.model_dump(mode="json") for name, anatomy in words.anatomies.items()},
        "segmenter": dict(segmenter),
        "series": series,
        "series_rules": load_series_rules().model_dump(mode="json"),
        "gaps": gaps,
        "keep": sorted(keep),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Settings(
        store=out,
        anatomies=words.anatomies,
        segmenter=segmenter,
        network=network,
        series=series,
        keep=tuple(sorted(keep)),
        gaps=gaps,
        decisions={} if decisions is None else read_decisions(Path(decisions)),
        private=not naming.keep,
        digest=digest,
    )
