"""A store through a model: one vector for each anatomy of each study, and from it the scores of all findings."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ctvlp.batches import build_image_batch
from ctvlp.prompts import PromptFeatures, encode_prompts, screening_prompts
from ctvlp.scores import SCORE_COLUMNS
from ctvlp.transforms import Tokens
from ctvlp.volume_batches import build_volume_batch
from ctvlp.windows import WindowGrid, plan_windows, read_volume
from ctvlp.zeroshot import assess, zero_shot_probability
from preprocess.errors import InputError, StoreError
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ctvlp.model import AnatomyCLIP
    from preprocess.store import Store

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called after each study with the studies done and all studies."""

UNTRUSTED_FLAG = "look exchanged"
"""A volume with this among its flags has sides that contradict its masks: it is not judged."""


@dataclass(frozen=True)
class Encoded:
    """The vectors of a store's studies.

    Attributes:
        vectors: Anatomy to study to (D,) unit vector.
        failures: Study to why it could not be read; it has no vectors at all.
    """

    vectors: dict[str, dict[str, Floats]]
    failures: dict[str, str]


def score_store(
    store: "Store",
    model: "AnatomyCLIP",
    vocabulary: Vocabulary,
    *,
    splits: Collection[str] | None = None,
    trained_patients: Collection[str] = (),
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score all findings of a vocabulary in the studies of a store.

    Args:
        store: The store.
        model: In evaluation mode.
        vocabulary: Findings and their prompts.
        splits: Only studies of these splits; None for all.
        trained_patients: Patients that the model was trained on: their studies are of split train, whatever the store
            says.
        device: Where the model lies.
        progress: Called after each study.

    Returns:
        The table of `ctvlp.scores.SCORE_COLUMNS`, by study and in the vocabulary's order, and the studies that could
        not be read, with the reason.

    Raises:
        InputError: No study is left to score.
    """
    manifest = screened_rows(store, vocabulary, splits, trained_patients)
    encoded = encode_store(store, model, manifest, device=device, progress=progress)
    with torch.inference_mode():
        prompts = encode_prompts(screening_prompts(vocabulary), lambda texts: model.encode_text(texts).cpu().numpy())
        scale = float(model.logit_scale)
    kept = manifest[~manifest["study_id"].isin(list(encoded.failures))]
    if kept.empty:
        raise InputError(f"{store.path}: no study could be read; the first: {next(iter(encoded.failures.values()))}")
    table = score_table(encoded.vectors, prompts, scale, kept, vocabulary, report_status(store), untrusted(store, kept))
    return table, encoded.failures


def screened_rows(
    store: "Store", vocabulary: Vocabulary, splits: Collection[str] | None, trained_patients: Collection[str] = ()
) -> pd.DataFrame:
    """Manifest rows of the studies to screen, with the split as the model's training makes it.

    Raises:
        InputError: There is none.
    """
    manifest = store.manifest()
    trained = manifest["patient_id"].isin(list(trained_patients))
    manifest = manifest.assign(split=manifest["split"].astype(object).where(~trained, "train"))
    rows = manifest[manifest["anatomy"].isin(list(vocabulary.anatomies))]
    rows = rows if splits is None else rows[rows["split"].isin(list(splits))]
    if rows.empty:
        found = sorted({str(split) for split in manifest["split"].dropna()})
        wanted = "" if splits is None else f" of split {', '.join(splits)}"
        raise InputError(f"{store.path}: no study{wanted} to screen; splits in the store: {', '.join(found) or 'none'}")
    return rows


def encode_store(
    store: "Store",
    model: "AnatomyCLIP",
    manifest: pd.DataFrame,
    *,
    device: str = "cpu",
    batch_crops: int = 16,
    progress: Progress | None = None,
) -> Encoded:
    """Encode each anatomy in view: its primary crop or, for the volume encoder, windows of the volume it is taken from.

    A study of which something is damaged is left out whole, named in the log, and the others go on.

    Args:
        store: The store.
        model: In evaluation mode.
        manifest: Rows of `Store.manifest` of the studies wanted.
        device: Where the model lies.
        batch_crops: Crops of one anatomy encoded at a time.
        progress: Called after each study.
    """
    waiting: dict[str, list[tuple[str, Tokens]]] = {}
    result, grid = Encoded({}, {}), model.window
    shown = manifest[manifest["primary"].astype(bool) & (manifest["extent"] != "absent")]
    wanted = {str(study): rows for study, rows in shown.groupby("study_id")}
    studies = sorted(set(manifest["study_id"].astype(str)))
    for number, study in enumerate(studies, start=1):
        try:
            if grid is None:
                tokens = _study_tokens(store, model, study, wanted.get(study))
            else:
                tokens = {}
                _encode_windows(store, model, grid, study, wanted.get(study), result, device)
        except StoreError as error:
            logger.warning("%s; the study is left out", error)
            result.failures[study] = str(error)
            tokens = {}
        for anatomy, cut in tokens.items():
            waiting.setdefault(anatomy, []).append((study, cut))
            if len(waiting[anatomy]) == batch_crops:
                _flush(model, anatomy, waiting.pop(anatomy), result, device)
        if progress is not None:
            progress(number, len(studies))
    for anatomy, entries in waiting.items():
        _flush(model, anatomy, entries, result, device)
    return result


def score_table(
    vectors: Mapping[str, Mapping[str, Floats]],
    prompts: Mapping[str, PromptFeatures],
    logit_scale: float,
    manifest: pd.DataFrame,
    vocabulary: Vocabulary,
    status: Mapping[tuple[str, str], str],
    not_trusted: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Scores of all findings in all studies of a manifest.

    Args:
        vectors: Anatomy to study to unit vector.
        prompts: Features of every finding's and every anatomy's prompts.
        logit_scale: Multiplies similarities.
        manifest: Manifest rows; a study and anatomy without a vector counts as absent.
        vocabulary: Findings.
        status: (study, anatomy) to status in the report.
        not_trusted: (study, volume) that may not be judged.
    """
    probability = {
        key: dict(
            zip(of_study, zero_shot_probability(np.stack(list(of_study.values())), pair, logit_scale), strict=True)
        )
        for key, pair in prompts.items()
        if (of_study := vectors.get(_anatomy_of(key, vocabulary), {}))
    }
    rows: list[dict[str, Any]] = []
    for name, of_rows in manifest.groupby("study_id", sort=True):
        study, first = str(name), of_rows.iloc[0]
        extents, volumes = _extents(of_rows)
        for finding in vocabulary.findings:
            anatomy = finding.anatomy or ""
            beside = vocabulary.anatomies[anatomy].beside if anatomy else ()
            trusted = (study, volumes.get(anatomy, "")) not in not_trusted
            reason, partial = assess(finding, beside, extents, status=status.get((study, anatomy)), quality=trusted)
            value = None if reason else probability[finding.id][study]
            plain = probability.get(anatomy, {}).get(study) if trusted else None
            values = (
                first["patient_id"],
                first["split"],
                anatomy,
                finding.id,
                value,
                reason is None,
                partial,
                reason or "",
            )
            rows.append(dict(zip(SCORE_COLUMNS, (study, *values, plain), strict=True)))
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    return table.astype({"probability": "float64", "abnormal_probability": "float64", "reason": "str"})


def report_status(store: "Store") -> dict[tuple[str, str], str]:
    """(study, anatomy) to status in the report; empty for a store without reports."""
    if not (store.path / "text" / "anatomies.parquet").is_file():
        return {}
    table = store.table("anatomies")
    keys = zip(table["study_id"].astype(str), table["anatomy"].astype(str), strict=True)
    return dict(zip(keys, table["status"].astype(str), strict=True))


def untrusted(store: "Store", manifest: pd.DataFrame) -> set[tuple[str, str]]:
    """(study, volume) pairs whose flags forbid judging them."""
    found = set()
    for study, of_study in manifest.groupby("study_id"):
        with store.open_study(str(study)) as file:
            for volume in of_study["volume"].unique():
                flags: Sequence[str] = file.volume_attributes(str(volume)).get("flags") or ()
                if any(UNTRUSTED_FLAG in flag for flag in flags):
                    found.add((str(study), str(volume)))
    return found


def _study_tokens(store: "Store", model: "AnatomyCLIP", study: str, rows: pd.DataFrame | None) -> dict[str, Tokens]:
    tokens = {}
    with store.open_study(study) as file:
        for row in [] if rows is None else rows.itertuples():
            crop = file.crop(str(row.volume), str(row.anatomy))
            tokens[str(row.anatomy)] = model.tokenize(crop, str(row.anatomy))
    return tokens


def _encode_windows(
    store: "Store",
    model: "AnatomyCLIP",
    grid: WindowGrid,
    study: str,
    rows: pd.DataFrame | None,
    result: Encoded,
    device: str,
) -> None:
    """Encode all anatomies of a study from windows that hold them whole, one window at a time."""
    found: dict[str, Floats] = {}
    with store.open_study(study) as file:
        for volume, of_volume in [] if rows is None else rows.groupby("volume"):
            whole = read_volume(file, str(volume), of_volume["anatomy"].astype(str).tolist())
            for window in plan_windows(whole, grid):
                batch = build_volume_batch([window], {name: [0] for name in window.tokens}).to(device)
                with torch.inference_mode():
                    vectors = model.encode_part(batch)
                found = {name: vector[0].float().cpu().numpy() for name, vector in vectors.items()} | found
    for anatomy, vector in found.items():
        result.vectors.setdefault(anatomy, {})[study] = vector


def _flush(
    model: "AnatomyCLIP", anatomy: str, entries: Sequence[tuple[str, Tokens]], result: Encoded, device: str
) -> None:
    batch = build_image_batch(anatomy, [tokens for _, tokens in entries]).to(device)
    with torch.inference_mode():
        features = model.encode_image(batch).float().cpu().numpy()
    of_study = result.vectors.setdefault(anatomy, {})
    of_study.update((study, vector) for (study, _), vector in zip(entries, features, strict=True))


def _extents(of_study: pd.DataFrame) -> tuple[dict[str, str], dict[str, str]]:
    """Extent and volume taken of each anatomy of one study; an anatomy without a primary volume is absent."""
    primary = of_study[of_study["primary"].astype(bool)]
    names = primary["anatomy"].astype(str)
    extents = dict.fromkeys(of_study["anatomy"].astype(str), "absent")
    extents |= dict(zip(names, primary["extent"].astype(str), strict=True))
    return extents, dict(zip(names, primary["volume"].astype(str), strict=True))


def _anatomy_of(key: str, vocabulary: Vocabulary) -> str:
    finding = vocabulary.by_id.get(key)
    return key if finding is None else finding.anatomy or ""
