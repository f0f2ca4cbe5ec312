"""Steps that two processes take together, and that one takes alone: run by torchrun, one file of results a process."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tiny_learner import (
    SETTINGS,
    VOCABULARY,
    batch_for,
    eight_studies,
    gradients,
    local_part,
    tiny_learner,
    uncertain,
    without,
)

from ctvlp.contrast import TargetShares
from ctvlp.ranks import ALONE, Ranks, join_ranks, leave_ranks
from ctvlp.samples import Sample
from ctvlp.settings import PairingSettings
from ctvlp.step import train_step
from preprocess.errors import CtvlpError

Studies = Mapping[str, Sequence[Sample]]


def _dealt(samples: Studies) -> tuple[Studies, Studies]:
    names = list(samples)
    first, second = ({name: samples[name] for name in names[rank::2]} for rank in range(2))
    return first, second


def _uneven(samples: Studies) -> tuple[Studies, Studies]:
    return _dealt(dict(list(samples.items())[:7]))


def _absent(samples: Studies) -> tuple[Studies, Studies]:
    first, second = _dealt(samples)
    return first, without(second, "kidney")


def _healthy(samples: Studies) -> tuple[Studies, Studies]:
    calm = {name for name, mine in samples.items() if not any(sample.abnormal for sample in mine)}
    first, second = ({n: s for n, s in samples.items() if (n in calm) is healthy} for healthy in (False, True))
    assert first
    assert second
    return first, second


def _open(samples: Studies) -> tuple[Studies, Studies]:
    first, second = _dealt(samples)
    return first, uncertain(second)


def _one_sided(samples: Studies) -> tuple[Studies, Studies]:
    return samples, {}


SHARDED = replace(SETTINGS, sharded=True)
SUM = PairingSettings(mode="disease", mix="sum", overlap_weight=0.3)
CASES = {
    "dealt": (_dealt, SETTINGS, {}),
    "text that learns": (_dealt, SETTINGS, {"text_frozen": False}),
    "an uneven batch": (_uneven, SETTINGS, {}),
    "an anatomy absent on a rank": (_absent, SETTINGS, {}),
    "a rank without abnormal samples": (_healthy, SETTINGS, {}),
    "a rank of uncertain samples": (_open, SETTINGS, {}),
    "a rank without studies": (_one_sided, SETTINGS, {}),
    "chunks": (_dealt, replace(SETTINGS, chunk_crops=2), {}),
    "weights in parts": (_dealt, SHARDED, {}),
    "weights in parts, blocks computed anew": (_absent, SHARDED, {"checkpoint_blocks": True}),
    "weights in parts, chunks": (_uneven, replace(SHARDED, chunk_crops=2), {}),
    "weights in parts, a rank without studies": (_one_sided, SHARDED, {}),
    "no labels": (_dealt, replace(SETTINGS, alignment_weight=0.0), {}),
    "sum of anatomies": (_dealt, replace(SETTINGS, reduction="sum", pairing=SUM), {}),
}
"""Name to who gets which samples, settings, and changes of the model."""
BROKEN = "an image that is no number"


def take_step(encoder: str, case: str, ranks: Ranks = ALONE) -> dict:
    """This process's part of a case; alone, all of it."""
    deal, settings, changes = CASES["dealt" if case == BROKEN else case]
    store, samples = eight_studies()
    parts = deal(samples)
    learner = tiny_learner(encoder, settings, **changes)
    mine = parts[ranks.rank] if ranks.count > 1 else {**parts[0], **parts[1]}
    batch = batch_for(learner, store, mine)
    if case == BROKEN:
        batch.anatomies["liver"].image.measures[0] = torch.nan if ranks.rank == ranks.count - 1 else 1.0
    update, found, shares = learner.update, {}, TargetShares()

    def spied():
        found["gradients"] = gradients(learner)
        return update()

    learner.update = spied
    try:
        losses = train_step(learner, batch, VOCABULARY, ranks=ranks, shares=shares)
    except CtvlpError as error:
        return {"error": str(error), "step": learner.step}
    state = learner.state(VOCABULARY, 1)
    with learner.averaged() as model, torch.no_grad():  # as validation does, each rank for itself
        encoded = model.encode(batch)
    other = tiny_learner(encoder, replace(settings, seed=settings.seed + 1), **changes)
    other.restore(state)
    return {
        "losses": losses | shares.figures(),
        "state": state,
        "restored": other.state(VOCABULARY, 1),
        "encoded": encoded,
        "held": sum(local_part(p).numel() for p in learner.model.vision.blocks.parameters()),
        **found,
    }


def main(encoder: str, out: Path) -> None:
    ranks, _ = join_ranks("cpu")
    torch.set_num_threads(1)
    found = {case: take_step(encoder, case, ranks) for case in (*CASES, BROKEN)}
    torch.save(found, out / f"rank{ranks.rank}.pt")
    leave_ranks()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
