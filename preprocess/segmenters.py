"""Which segmenters a store holds, and whether one more may join: two in one store need the user's word."""

from collections.abc import Iterable, Mapping
from typing import Any

from preprocess.errors import InputError, StoreError
from preprocess.store import Store
from preprocess.store_place import StorePath, in_turn

_KEYS = ("name", "version", "weights_digest")

Identity = tuple[Any, ...]


def identity(segmenter: Mapping[str, Any] | None) -> Identity:
    """Name, version and digest of the weights: what makes two segmenters one."""
    return tuple((segmenter or {}).get(key) for key in _KEYS)


def check_mixture(own: Mapping[str, Any], stored: Iterable[Mapping[str, Any] | None], *, mix: bool = False) -> None:
    """Refuses to put the masks of two segmenters, or of two versions of one, into a store.

    Args:
        own: The segmenter of this run, as the store records it.
        stored: Those of the volumes in the store; None where a volume has none.
        mix: The user wants it (`mix_segmenters=true`).

    Raises:
        InputError: Another segmenter's masks are in the store and `mix` is false; the message names both.
    """
    counts: dict[Identity, int] = {}
    for segmenter in stored:
        counts[identity(segmenter)] = counts.get(identity(segmenter), 0) + 1
    others = {found: count for found, count in counts.items() if found != identity(own)}
    if not others or mix:
        return
    found, count = max(others.items(), key=lambda item: (item[1], str(item[0])))
    raise InputError(
        f"the store holds {count} volumes segmented by {_named(found)}, and this run would segment by "
        f"{_named(identity(own))}: take another store, or say mix_segmenters=true"
    )


def stored_segmenters(store: StorePath | str) -> list[dict[str, Any] | None]:
    """The segmenter of every volume of a store, from the studies' attributes; damaged files are passed over."""
    return [segmenter for found in segmenters_by_study(store).values() for segmenter in found]


def segmenters_by_study(store: StorePath | str) -> dict[str, list[dict[str, Any] | None]]:
    """Study to the segmenter of each of its volumes; none of a damaged file."""
    reader = Store(store)
    study_ids = reader.study_ids()
    return dict(
        zip(study_ids, in_turn(reader.path, lambda study_id: _segmenters(reader, study_id), study_ids), strict=True)
    )


def _segmenters(store: Store, study_id: str) -> list[dict[str, Any] | None]:
    try:
        with store.open_study(study_id) as study:
            return [study.volume_attributes(volume).get("segmenter") for volume in study.volumes]
    except StoreError:
        return []  # `ctvlp check` reports it, and the next run makes it anew


def _named(found: Identity) -> str:
    name, version, digest = found
    details = " ".join(str(value) for value in (version, digest and f"(weights {digest})") if value)
    return f"{name or 'an unnamed segmenter'} {details}".rstrip()
