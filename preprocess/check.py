"""Verifies a store: every file against its record, every crop's bytes against the schema."""

import hashlib
import logging
from collections.abc import Iterator

import numpy as np

from preprocess.crops import OUTSIDE_ORGAN, Crop
from preprocess.errors import StoreError
from preprocess.geometry import Affine, spacing_mm
from preprocess.manifest import build_manifest
from preprocess.pieces import read_piece, read_pieces
from preprocess.store import Store, study_path
from preprocess.store_place import StorePath, in_turn
from preprocess.study_file import ROOT_KEYS, VOLUME_KEYS, StudyFile

logger = logging.getLogger(__name__)

_CROP_KEYS = ("spacing_mm", "affine", "extent", "cut_fraction", "volume_ml", "parts", "source_grid")


def check_store(path: StorePath | str) -> list[str]:
    """What is wrong with a store, one line a problem; an empty list means that all is well.

    Args:
        path: Place of the store.

    Raises:
        InputError: There is no store.
        OSError: The store's place can no longer be reached.
    """
    store = Store(path)
    by_study = in_turn(store.path, lambda study_id: check_study(store, study_id), store.study_ids())
    problems = [problem for found in by_study for problem in found]
    problems.extend(_check_records(store))
    return problems or list(_check_manifest(store))


def check_study(store: Store, study_id: str) -> list[str]:
    """What is wrong with one study's file."""
    problems = []
    piece = read_piece(store.path / "studies", study_id)
    file = study_path(store.path, study_id)
    if piece is None or piece.status != "done":
        problems.append(f"study {study_id}: it has a file, but no record of being done")
    content = file.read_bytes()
    if piece is not None and piece.status == "done" and piece.file_sha256 != hashlib.sha256(content).hexdigest():
        problems.append(f"study {study_id}: {file.name} is not the file that was written (its SHA-256 differs)")
    with StudyFile(file, study_id, content) as study:
        try:
            problems.extend(_check_file(study))
        except StoreError as error:
            problems.append(str(error))
    return problems


def _check_file(study: StudyFile) -> Iterator[str]:
    attributes = study.attributes
    for key in set(ROOT_KEYS) ^ set(attributes):
        yield f"study {study.study_id}: root attribute {key} is missing or unknown"
    if attributes.get("study_id") != study.study_id:
        yield f"study {study.study_id}: its file says study_id {attributes.get('study_id')!r}"
    if not study.volumes:
        yield f"study {study.study_id}: it holds no volume"
    for volume in study.volumes:
        for key in set(VOLUME_KEYS) ^ set(study.volume_attributes(volume)):
            yield f"study {study.study_id}, {volume}: attribute {key} is missing or unknown"
        for read in (study.labels, study.overview):
            try:
                read(volume)
            except StoreError as error:
                yield str(error)
        for anatomy in study.anatomies(volume):
            where = f"study {study.study_id}, {volume}/{anatomy}"
            try:
                keys = set(study.anatomy_attributes(volume, anatomy))
                yield from (f"{where}: attribute {key} is missing or unknown" for key in set(_CROP_KEYS) ^ keys)
                yield from (f"{where}: {problem}" for problem in _check_crop(study.crop(volume, anatomy)))
            except StoreError as error:
                yield str(error)


def _check_crop(crop: Crop) -> Iterator[str]:
    if crop.extent not in ("complete", "truncated", "absent"):
        yield f"extent is {crop.extent!r}"
    if (crop.cut_fraction > 0) != (crop.extent == "truncated") or crop.cut_fraction > 1:
        yield f"cut_fraction {crop.cut_fraction} does not fit extent {crop.extent}"
    if crop.image is None or crop.mask is None or crop.affine is None:
        return
    if crop.image.dtype != np.int16 or crop.mask.dtype != np.uint8 or crop.image.shape != crop.mask.shape:
        yield f"image {crop.image.dtype} {crop.image.shape} and mask {crop.mask.dtype} {crop.mask.shape} do not fit"
    values = set(np.unique(crop.mask).tolist()) - {0, OUTSIDE_ORGAN}
    if not values <= set(range(1, len(crop.parts) + 1)):
        yield f"mask holds {sorted(values)}, but there are {len(crop.parts)} parts"
    if not values:
        yield "mask holds no voxel of the organ"
    if crop.volume_ml <= 0:
        yield f"volume_ml is {crop.volume_ml}"
    yield from _check_grid(crop, crop.affine)


def _check_grid(crop: Crop, affine: Affine) -> Iterator[str]:
    if not np.allclose(spacing_mm(affine), crop.spacing_mm, rtol=1e-6):
        yield f"spacing_mm {crop.spacing_mm} is not the affine's {spacing_mm(affine)}"
    step = np.linalg.solve(crop.source_grid.affine, affine)
    if np.abs(step[:3, :3] - np.diag(np.diag(step[:3, :3]))).max() > 1e-4:
        yield "the crop's axes are not parallel to its source's"
    if crop.mask is None:
        return
    low, high = step[:3, 3], step[:3, 3] + np.diag(step)[:3] * (np.array(crop.mask.shape) - 1)
    if (low < -0.51).any() or (high > np.array(crop.source_grid.shape) - 0.49).any():
        yield f"the crop reaches beyond its source: indices {low.round(2).tolist()} to {high.round(2).tolist()}"


def _check_records(store: Store) -> Iterator[str]:
    files = set(store.study_ids())
    for piece in read_pieces(store.path / "studies"):
        if piece.status == "done" and piece.study_id not in files:
            yield f"study {piece.study_id}: its record says done, but it has no file"


def _check_manifest(store: Store) -> Iterator[str]:
    try:
        written = store.manifest()
    except StoreError as error:
        yield str(error)
        return
    if not written.equals(build_manifest(store.path).astype(written.dtypes.to_dict())):
        yield "manifest.parquet is not what the studies' files give: rebuild it by running `ctvlp preprocess` again"
