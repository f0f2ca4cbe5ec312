"""One study through a child process: what happens when it hangs, holds too much memory or dies."""

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.attempt import Attempt
from preprocess.errors import Reason
from preprocess.estimate import GIB, describe_need
from preprocess.limits import Limits
from preprocess.networks import gpu_is_lost
from preprocess.pieces import Piece
from preprocess.study import Settings, StudyTask, record
from preprocess.worker import CallEnded, Worker

logger = logging.getLogger(__name__)

PROCESS_STUDY = "preprocess.study:process_study"


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to.

    Attributes:
        piece: What became of the study; None where it needs another attempt, alone on its machine.
        started: Number of children started for it.
        restarted: Those of them that were not the worker's first.
    """

    piece: Piece | None
    started: int
    restarted: int


Outcomes = Generator[Outcome, None, None]


def try_study(
    worker: Worker, task: StudyTask, settings: Settings, limits: Limits, *, at_a_time: int = 1, alone: bool = False
) -> Outcome:
    """Does one study in a worker's child process.

    A study that takes too long, or whose process dies or loses its GPU, is tried once more at once; one that needs more
    memory than its share is to be tried once more alone. The second attempt has a process of its own that saves
    memory at the price of time; it gives the same bytes.

    Args:
        worker: Its child does the work.
        task: The study.
        settings: Of the run.
        limits: Time and memory of one attempt.
        at_a_time: Number of studies under way on this machine.
        alone: The second attempt of a study that needed more memory than its share.

    Raises:
        InputError: The store can no longer be written, or no child can be started.
    """
    before = worker.started
    budget = limits.budget_bytes(1 if alone else at_a_time)
    piece: Piece | None = None
    try:
        piece = _call(worker, task, settings, limits, budget, lighter=alone)
        hopeless = piece.stage == "admit" and limits.budget_bytes(1) <= budget
        if not alone and piece.reason == Reason.OUT_OF_MEMORY and not hopeless:
            logger.warning("study %s needs more memory than its share; it is tried once more, alone", task.study_id)
            piece = None
        elif not alone and gpu_is_lost(piece.message or ""):
            logger.warning("study %s: %s; it is tried once more", task.study_id, piece.message)
            worker.stop()
            piece = _second(worker, task, settings, limits, budget)
    except CallEnded as first:
        if alone:
            piece = _give_up(first, task, settings, limits, budget)
        elif first.how == "time" or (first.how == "died" and first.detail != "SIGKILL"):
            logger.warning("study %s: %s; it is tried once more", task.study_id, _what(first, limits, budget))
            piece = _second(worker, task, settings, limits, budget)
        else:
            what = _what(first, limits, budget)
            logger.warning("study %s: %s; it is tried once more, alone", task.study_id, what)
    if piece is not None and gpu_is_lost(piece.message or ""):
        worker.stop()  # the next study has a process that can use the GPU
    started = worker.started - before
    return Outcome(piece, started, started - (1 if started and not before else 0))


def _second(worker: Worker, task: StudyTask, settings: Settings, limits: Limits, budget: int) -> Piece:
    try:
        return _call(worker, task, settings, limits, budget, lighter=True)
    except CallEnded as ended:
        return _give_up(ended, task, settings, limits, budget)


def _call(worker: Worker, task: StudyTask, settings: Settings, limits: Limits, budget: int, *, lighter: bool) -> Piece:
    attempt = Attempt(lighter=lighter, memory_bytes=budget)
    piece: Piece = worker.call(task, settings, attempt, seconds=limits.seconds, memory_bytes=budget, lighter=lighter)
    return piece


def record_lost(task: StudyTask, settings: Settings) -> Piece:
    """Records a study whose workers died again and again, and not its child."""
    message = "the workers that it was handed to died: most likely their machines ran out of memory"
    return _record_failure(task, settings, "worker", Reason.OUT_OF_MEMORY, message)


def _give_up(ended: CallEnded, task: StudyTask, settings: Settings, limits: Limits, budget: int) -> Piece:
    """Records a study whose process had to be ended, or died, twice."""
    if ended.how == "time":
        reason = Reason.TIMEOUT
    else:
        reason = Reason.OUT_OF_MEMORY if ended.detail == "SIGKILL" else Reason.INTERNAL
    message = f"{_what(ended, limits, budget)}, at the second attempt too{_need(ended.facts)}"
    return _record_failure(task, settings, ended.facts.get("stage", "worker"), reason, message)


def _record_failure(task: StudyTask, settings: Settings, stage: str, reason: Reason, message: str) -> Piece:
    piece = Piece(
        task.study_id, task.patient_id, "failed", task.digest, stage=stage, reason=str(reason), message=message
    )
    record(piece, settings)
    return piece


def _what(ended: CallEnded, limits: Limits, budget: int) -> str:
    if ended.how == "time":
        return f"it took more than the {limits.seconds:g} s allowed"
    if ended.how == "memory":
        return f"it held more than the {budget / GIB:.2f} GiB allowed"
    if ended.detail == "SIGKILL":
        return "its process was killed by the system, as happens where the machine runs out of memory"
    return f"its process died ({ended.detail})"


def _need(facts: Mapping[str, Any]) -> str:
    return f"; {describe_need(facts['shape'], facts['needed_bytes'])}" if "shape" in facts else ""
