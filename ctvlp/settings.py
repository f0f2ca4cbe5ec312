"""Everything about a training run that is not the model: plain values with their meaning."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ctvlp.alignment import Silence
from ctvlp.augmentation import AugmentationSettings
from ctvlp.loader import StartMethod
from ctvlp.pairing import Mix, Mode
from ctvlp.samples import TextKind, Unmentioned

Reduction = Literal["mean", "sum"]
Precision = Literal["float32", "bf16"]
Tracker = Literal["tensorboard", "wandb"]

RUNTIME = frozenset(
    {
        "threads",
        "chunk_crops",
        "sharded",
        "in_memory",
        "loader_workers",
        "loader_start",
        "loader_ahead",
        "loader_timeout_s",
        "checkpoint_epochs",
        "validate_epochs",
        "tracker",
    }
)
"""Settings that a run may change when it goes on: how it is computed and told of; the weights differ by rounding."""


@dataclass(frozen=True)
class PairingSettings:
    """The contrastive targets, see `ctvlp.pairing.pairing_targets`.

    Attributes:
        mode: "patient", "normal" or "disease".
        mix: "sum" or "mixture".
        overlap_weight: Share of the overlap of findings against the peer.
        self_weight: Share that an abnormal sample keeps for itself.
        peer_temperature: Divides the peer's cosines.
        peer_momentum: Of the peer, a moving average of the text tower.
        use_findings: Whether findings of the reports enter the targets.
        use_peer: Whether the peer does.
    """

    mode: Mode = "disease"
    mix: Mix = "mixture"
    overlap_weight: float = 0.5
    self_weight: float = 0.5
    peer_temperature: float = 0.1
    peer_momentum: float = 0.995
    use_findings: bool = True
    use_peer: bool = True


@dataclass(frozen=True)
class TrainingSettings:
    """One training run.

    Attributes:
        epochs: Passes over the training studies.
        batch_studies: Studies of a batch, over all processes.
        balance: Share of a batch's places drawn so that every anatomy meets abnormal samples, see
            `ctvlp.sampling.Schedule`; 0 takes each study once an epoch.
        learning_rate: Highest rate of AdamW; falls to `final_rate` of it along a cosine.
        final_rate: Last learning rate as a share of the highest.
        warmup: Share of all steps over which the rate rises.
        weight_decay: Of AdamW, for matrices only.
        clip: Largest norm of the gradient.
        contrastive_weight: Weight of the contrastive term.
        alignment_weight: Weight of the finding alignment; 0 leaves the labels out.
        reduction: Of the anatomies' contrastive losses: "mean" over those with an abnormal sample, or "sum" (fVLM's).
        silence: What a finding is that the report does not mention: "masked", "negative_if_normal" or "negative", see
            `ctvlp.alignment.label_targets`.
        text: What the texts are: "raw" (the report's own clauses), "canonical" (one English sentence rendered from what
            was read) or "mixed" (each batch draws one of the two).
        unmentioned: What an anatomy is that the report does not mention: "leave_out" or "normal".
        average: Momentum of the moving average of the weights that screening uses; 0 for the last weights.
        pairing: The contrastive targets.
        augmentation: Changes of the crops.
        precision: Of the encoders: "float32", or "bf16" where the hardware is faster with it (weights, features and
            losses stay float32).
        chunk_crops: Crops, and texts, encoded at a time (gradient caching): memory for one chunk instead of the whole
            batch, for a second forward pass; 0 keeps the whole batch.
        sharded: Keep the image encoder's blocks in parts (FSDP): each process its share of their weights, gradients,
            optimiser's state and average.
        shifts: Number of patch grids a crop is cut with.
        in_memory: Keep all tokens of the training studies in memory, where batches are built without workers.
        loader_workers: Processes that build batches; 0 builds them in the training process.
        loader_start: How they are started.
        loader_ahead: Batches that each of them keeps ready.
        loader_timeout_s: Seconds to wait for a batch before the run ends with an error.
        shuffle_reports: Give each study another one's report; a control.
        checkpoint_epochs: Epochs between checkpoints.
        validate_epochs: Epochs between zero-shot validations on split `val`; 0 for none.
        tracker: "tensorboard" or "wandb" (offline) beside `log.jsonl`; None for neither.
        seed: Of everything random.
        threads: Torch's threads in each process; None leaves them as they are.
    """

    epochs: int = 30
    batch_studies: int = 16
    balance: float = 0.0
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    contrastive_weight: float = 1.0
    alignment_weight: float = 1.0
    reduction: Reduction = "mean"
    silence: Silence = "negative"
    text: TextKind = "raw"
    unmentioned: Unmentioned = "leave_out"
    average: float = 0.98
    pairing: PairingSettings = field(default_factory=PairingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    precision: Precision = "float32"
    chunk_crops: int = 0
    sharded: bool = False
    shifts: int = 3
    in_memory: bool = True
    loader_workers: int = 0
    loader_start: StartMethod = "forkserver"
    loader_ahead: int = 2
    loader_timeout_s: float = 300.0
    shuffle_reports: bool = False
    checkpoint_epochs: int = 5
    validate_epochs: int = 1
    tracker: Tracker | None = None
    seed: int = 0
    threads: int | None = None

    def decisive(self) -> dict[str, Any]:
        """Plain values of the settings on which the weights depend."""
        return {name: value for name, value in asdict(self).items() if name not in RUNTIME}
