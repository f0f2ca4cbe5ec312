"""Which studies make up which step: an order that depends on the seed alone, patients kept apart."""

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil

import numpy as np

from ctvlp.samples import Sample
from preprocess.errors import InputError


@dataclass(frozen=True)
class Step:
    """The studies of one step of a run.

    Attributes:
        number: From 0, over the whole run.
        epoch: From 0.
        studies: Ids, of all ranks.
        ends_epoch: It is the epoch's last.
    """

    number: int
    epoch: int
    studies: tuple[str, ...]
    ends_epoch: bool


@dataclass(frozen=True)
class Schedule:
    """The steps of a run, made an epoch at a time.

    Every study stands in each epoch. With `balance`, further places of each batch are filled with drawn studies, see
    `draw_abnormal`, so that an anatomy's samples hold abnormal ones wherever there are any; an epoch then has more
    batches. Studies are spread evenly over as few batches as hold them.

    Attributes:
        patients: Study to patient.
        abnormal: Study to the anatomies that are abnormal in it.
        batch_studies: Studies of a batch at most.
        epochs: Passes over the studies.
        seed: Of the order.
        balance: Share of a batch's places that are drawn, at least 0 and below 1; above 0 at least one place.
    """

    patients: Mapping[str, str]
    abnormal: Mapping[str, Sequence[str]]
    batch_studies: int
    epochs: int
    seed: int
    balance: float = 0.0

    @property
    def epoch_steps(self) -> int:
        """Number of steps of an epoch."""
        return len(self._sizes())

    def __len__(self) -> int:
        """Return the number of steps of the run."""
        return self.epochs * self.epoch_steps

    def steps(self, first: int = 0) -> Iterator[Step]:
        """Yield the steps of the run from number `first` on."""
        per_epoch = self.epoch_steps
        for epoch in range(first // per_epoch, self.epochs):
            batches = self.epoch(epoch)
            for place in range(max(0, first - epoch * per_epoch), per_epoch):
                yield Step(epoch * per_epoch + place, epoch, batches[place], place == per_epoch - 1)

    def epoch(self, number: int) -> list[tuple[str, ...]]:
        """Return the batches of an epoch, made from the seed and the epoch's number alone."""
        rng = np.random.default_rng([self.seed, number])
        batches = spread_patients(self.patients, self._sizes(), rng)
        if self.drawn:
            candidates: dict[str, list[str]] = {}
            for study, anatomies in self.abnormal.items():
                for anatomy in anatomies:
                    candidates.setdefault(anatomy, []).append(study)
            for batch in batches:
                draw_abnormal(batch, self.drawn, self.patients, self.abnormal, candidates, rng)
        return [tuple(batch) for batch in batches]

    @property
    def drawn(self) -> int:
        """Places of a batch that are drawn."""
        return max(1, round(self.balance * self.batch_studies)) if self.balance else 0

    def _sizes(self) -> list[int]:
        """Studies of each batch that are not drawn, equally many up to one."""
        studies = len(self.patients)
        batches = ceil(studies / (self.batch_studies - self.drawn))
        return [(studies + batch) // batches for batch in range(batches)]


def build_schedule(
    samples: Mapping[str, Sequence[Sample]], batch_studies: int, *, epochs: int, seed: int, balance: float = 0.0
) -> Schedule:
    """Build the schedule of a run.

    Args:
        samples: Study to its samples, of which each has at least one.
        batch_studies: Studies of a batch.
        epochs: Passes over the studies.
        seed: Of the order.
        balance: See `Schedule`.

    Raises:
        InputError: A batch would have no place, or drawn ones alone, or the balance is no share.
    """
    if batch_studies < 1 or not 0 <= balance < 1:
        raise InputError(
            f"batch_studies={batch_studies}, balance={balance}: expected at least 1, and at least 0 and below 1"
        )
    studies = sorted(samples)
    schedule = Schedule(
        patients={study: samples[study][0].patient_id for study in studies},
        abnormal={study: tuple(s.anatomy for s in samples[study] if s.pairs_abnormal) for study in studies},
        batch_studies=batch_studies,
        epochs=epochs,
        seed=seed,
        balance=balance,
    )
    if schedule.drawn >= batch_studies:
        raise InputError(
            f"batch_studies={batch_studies}, balance={balance}: every place of a batch would be drawn; raise "
            "batch_studies or lower balance"
        )
    return schedule


def spread_patients(patients: Mapping[str, str], sizes: Sequence[int], rng: np.random.Generator) -> list[list[str]]:
    """Place studies into batches at random, those of one patient into different ones wherever that can be done.

    Each patient's studies go to the batches with most places left, ties by chance. That finds a distribution without
    two studies of a patient in a batch if there is one (Gale and Ryser); what a patient has beyond the number of
    batches fills the places left in the end.

    Args:
        patients: Study to patient.
        sizes: Places of each batch; together as many as studies.
        rng: Decides.
    """
    names = list(patients)
    of_patient: dict[str, list[str]] = {}
    for i in rng.permutation(len(names)):
        of_patient.setdefault(patients[names[i]], []).append(names[i])
    batches: list[list[str]] = [[] for _ in sizes]
    ties = rng.random(len(names) + len(sizes)).tolist()
    free = [(-size, ties.pop(), batch) for batch, size in enumerate(sizes)]
    heapq.heapify(free)
    left = []
    for studies in of_patient.values():
        taken = [heapq.heappop(free) for _ in range(min(len(studies), len(free)))]
        left += studies[len(taken) :]
        for study, (places, _, batch) in zip(studies, taken, strict=False):
            batches[batch].append(study)
            if places < -1:
                heapq.heappush(free, (places + 1, ties.pop(), batch))
    places_left = [batch for places, _, batch in sorted(free) for _ in range(-places)]
    for study, batch in zip(left, places_left, strict=True):
        batches[batch].append(study)
    return batches


def draw_abnormal(
    batch: list[str],
    places: int,
    patients: Mapping[str, str],
    abnormal: Mapping[str, Sequence[str]],
    candidates: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
) -> None:
    """Fill further places of a batch, each for the anatomy that has the fewest abnormal samples in it so far.

    A place gets a random study in which that anatomy is abnormal, of a patient who is not in the batch; where there is
    none, the next anatomy's turn comes, and where there is none for any, the place stays empty.

    Args:
        batch: Studies; further ones are added.
        places: How many.
        patients: Study to patient.
        abnormal: Study to the anatomies that are abnormal in it.
        candidates: Anatomy to the studies in which it is abnormal.
        rng: Draws; also decides between anatomies with equally many.
    """
    present = {patients[study] for study in batch}
    counts = dict.fromkeys(candidates, 0)
    for study in batch:
        for anatomy in abnormal[study]:
            counts[anatomy] += 1
    names = list(counts)
    for _ in range(places):
        turn = sorted((counts[names[i]], rank, names[i]) for rank, i in enumerate(rng.permutation(len(names))))
        found = (_pick(candidates[anatomy], present, patients, rng) for _, _, anatomy in turn)
        drawn = next((study for study in found if study is not None), None)
        if drawn is None:
            return
        batch.append(drawn)
        present.add(patients[drawn])
        for anatomy in abnormal[drawn]:
            counts[anatomy] += 1


def _pick(
    studies: Sequence[str], present: Set[str], patients: Mapping[str, str], rng: np.random.Generator
) -> str | None:
    """Return a study of a patient not present: the first from a random one on; None if there is none."""
    start = int(rng.integers(len(studies)))
    for place in range(start, start + len(studies)):
        study = studies[place % len(studies)]
        if patients[study] not in present:
            return study
    return None
