"""Zero-shot validation during training: how well the model of the moment tells the findings of split `val` apart."""

import math
from typing import TYPE_CHECKING

import pandas as pd
import torch

from ctvlp.evaluate import Null, evaluate
from ctvlp.learner import Learner
from ctvlp.prompts import encode_prompts, screening_prompts
from ctvlp.ranks import Ranks
from ctvlp.scores import SCORE_COLUMNS
from ctvlp.scoring import encode_store, report_status, score_table, untrusted
from preprocess.errors import InputError
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from preprocess.store import Store

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
        is abnormal, as far as it is defined. The same on every rank; empty where no finding can be judged.
    """
    manifest = store.manifest()
    manifest = manifest[(manifest["split"] == SPLIT) & manifest["anatomy"].isin(list(vocabulary.anatomies))]
    studies = sorted(manifest["study_id"].unique())
    if not studies:
        return {}
    mine = manifest[manifest["study_id"].isin(studies[ranks.rank :: ranks.count])]
    parts = ranks.gather_values(_score(store, learner, vocabulary, mine))
    scores = pd.concat([part for part in parts if len(part)], ignore_index=True)
    null: Null = "negative" if learner.settings.silence == "negative" else "exclude"
    try:
        figures = evaluate(scores, store.table("labels"), split=SPLIT, null=null, min_positives=1, resamples=0).means
    except InputError:  # no score can be judged
        return {}
    found = {"val_auroc": figures["auroc"].value, "val_within": figures["within"].value}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _score(store: "Store", learner: Learner, vocabulary: Vocabulary, manifest: pd.DataFrame) -> pd.DataFrame:
    device = learner.model.log_scale.device
    with learner.averaged() as model, torch.no_grad():  # which all ranks enter, also those without a study
        if manifest.empty:
            return pd.DataFrame(columns=list(SCORE_COLUMNS))
        encoded = encode_store(store, model, manifest, device=str(device))
        prompts = encode_prompts(screening_prompts(vocabulary), lambda texts: model.encode_text(texts).cpu().numpy())
        scale = float(model.logit_scale)
    kept = manifest[~manifest["study_id"].isin(list(encoded.failures))]
    doubtful = untrusted(store, kept)
    return score_table(encoded.vectors, prompts, scale, kept, vocabulary, report_status(store), doubtful)
