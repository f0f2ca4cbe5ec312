"""Zero-shot validation during training: how well the model of the moment tells the findings of split `val` apart."""

import logging
import math
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import torch

from ctvlp.evaluate import Null, evaluate
from ctvlp.learner import Learner
from ctvlp.prompts import encode_prompts, screening_prompts
from ctvlp.ranks import Ranks
from ctvlp.scores import SCORE_COLUMNS
from ctvlp.scoring import encode_store, report_status, score_table, untrusted
from preprocess.errors import InputError, StoreError
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from preprocess.store import Store

logger = logging.getLogger(__name__)

SPLIT = "val"


def validate(store: "Store", learner: Learner, vocabulary: Vocabulary, ranks: Ranks) -> dict[str, float]:
    """Score split `val` with the averaged weights; every rank scores its share of the studies.

    A finding counts where the studies hold a positive and a negative one of it. What a report does not mention is
    negative if `silence` says so for training, else it is left out.

    Args:
        store: The store.
        learner: The state; as it was afterwards.
        vocabulary: Findings and their prompts.
        ranks: This process among the others.

    Returns:
        `val_auroc`: mean AUROC over the findings; `val_within`: the same among studies in which the finding's anatomy
        is abnormal, as far as it is defined; `val_studies` and `val_findings`: how many were judged. The same on every
        rank; empty where no finding can be judged, which is told once.

    Raises:
        StoreError: A study is damaged, on all ranks alike: epochs judged on other studies could not be compared.
    """
    manifest = store.manifest()
    manifest = manifest[(manifest["split"] == SPLIT) & manifest["anatomy"].isin(list(vocabulary.anatomies))]
    studies = sorted(manifest["study_id"].unique())
    if not studies:
        return {}
    mine = manifest[manifest["study_id"].isin(studies[ranks.rank :: ranks.count])]
    parts, failures = zip(*ranks.gather_values(_score(store, learner, vocabulary, mine)), strict=True)
    if damaged := [reason for part in failures for reason in part.values()]:
        raise StoreError(f"split {SPLIT!r}: {damaged[0]}")
    scores = pd.concat([part for part in parts if len(part)], ignore_index=True)
    null: Null = "negative" if learner.settings.silence == "negative" else "exclude"
    try:
        judged = evaluate(scores, store.table("labels"), split=SPLIT, null=null, min_positives=1, resamples=0)
    except InputError as error:
        _warn_once(ranks, str(error))
        return {}
    if not judged.counts["counted"]:
        _warn_once(ranks, "no finding has both a positive and a negative study")
        return {}
    found = {
        "val_auroc": judged.means["auroc"].value,
        "val_within": judged.means["within"].value,
        "val_studies": judged.counts["studies"],
        "val_findings": judged.counts["counted"],
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


@cache
def _warn_once(ranks: Ranks, reason: str) -> None:
    if ranks.first:
        logger.warning("split %r is not judged: %s", SPLIT, reason)


def _score(
    store: "Store", learner: Learner, vocabulary: Vocabulary, manifest: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score studies; also those that are damaged, with the reason."""
    device = learner.model.log_scale.device
    with learner.averaged() as model, torch.no_grad():  # which all ranks enter, also those without a study
        if manifest.empty:
            return pd.DataFrame(columns=list(SCORE_COLUMNS)), {}
        encoded = encode_store(store, model, manifest, device=str(device))
        prompts = encode_prompts(screening_prompts(vocabulary), lambda texts: model.encode_text(texts).cpu().numpy())
        scale = float(model.logit_scale)
    kept = manifest[~manifest["study_id"].isin(list(encoded.failures))]
    doubtful = untrusted(store, kept)
    scores = score_table(encoded.vectors, prompts, scale, kept, vocabulary, report_status(store), doubtful)
    return scores, encoded.failures
