"""Everything about a training run that is not the model: plain values with their meaning."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ctvlp.alignment import Silence
from ctvlp.augmentation import AugmentationSettings
from ctvlp.bounds import Seed, Share, ShareBelowOne, check_values
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
        "memory_gb",
        "loader_workers",
        "loader_start",
        "loader_ahead",
        "loader_timeout_s",
        "checkpoint_epochs",
        "checkpoint_minutes",
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

    Raises:
        InputError: A value cannot be; it is named.
    """

    mode: Mode = "disease"
    mix: Mix = "mixture"
    overlap_weight: Share = 0.5
    self_weight: Share = 0.5
    peer_temperature: PositiveFloat = 0.1
    peer_momentum: Share = 0.995
    use_findings: bool = True
    use_peer: bool = True

    def __post_init__(self) -> None:
        check_values(self, "training.pairing")


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
        alignment_weight: Weight of the finding alignment; 0 switches it off. The labels still reach the targets of mode
            "disease" where `use_findings` is set.
        reduction: Of the anatomies' contrastive losses: "mean" over those with an abnormal sample, or "sum" (fVLM's).
        silence: What a finding is that the report does not mention: "masked", "negative_if_normal" or "negative", see
            `ctvlp.alignment.label_targets`.
        text: What the texts are: "raw" (the report's own clauses), "canonical" (one English sentence rendered from what
            was read) or "mixed" (each batch draws one of the two).
        unmentioned: What an anatomy is that the report does not mention: "leave_out" or "normal".
        average: Momentum of the moving average of the weights that screening uses; 0 for the last weights.
        pairing: The contrastive targets.
        augmentation: Changes of the crops; of windows of whole volumes the attenuation alone is changed.
        precision: Of the encoders: "float32", or "bf16" where the hardware is faster with it (weights, features and
            losses stay float32).
        chunk_crops: Crops, or windows of whole volumes, and texts, encoded at a time (gradient caching): memory for one
            chunk instead of the whole batch, for a second forward pass; 0 keeps the whole batch.
        sharded: Keep the image encoder's blocks in parts (FSDP): each process its share of their weights, gradients,
            optimiser's state and average.
        shifts: Number of patch grids a crop is cut with.
        memory_gb: GB of tokens that each process keeps at most, where batches are built without workers; 0 keeps none.
        loader_workers: Processes that build batches; 0 builds them in the training process.
        loader_start: How they are started.
        loader_ahead: Batches that each of them keeps ready.
        loader_timeout_s: Seconds to wait for a batch before the run ends with an error.
        shuffle_reports: Give each study another one's report; a control.
        checkpoint_epochs: Epochs between checkpoints.
        checkpoint_minutes: Minutes after which one is written within an epoch too; 0 for epochs' ends alone.
        validate_epochs: Epochs between zero-shot validations on split `val`; 0 for none.
        tracker: "tensorboard" or "wandb" (offline) beside `log.jsonl`; None for neither.
        seed: Of everything random.
        threads: Torch's threads in each process; None leaves them as they are.

    Raises:
        InputError: A value cannot be; it is named.
    """

    epochs: PositiveInt = 30
    batch_studies: PositiveInt = 16
    balance: ShareBelowOne = 0.0
    learning_rate: PositiveFloat = 1e-3
    final_rate: Share = 0.01
    warmup: Share = 0.05
    weight_decay: NonNegativeFloat = 0.05
    clip: PositiveFloat = 1.0
    contrastive_weight: NonNegativeFloat = 1.0
    alignment_weight: NonNegativeFloat = 1.0
    reduction: Reduction = "mean"
    silence: Silence = "negative"
    text: TextKind = "raw"
    unmentioned: Unmentioned = "leave_out"
    average: Share = 0.98
    pairing: PairingSettings = field(default_factory=PairingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    precision: Precision = "float32"
    chunk_crops: NonNegativeInt = 0
    sharded: bool = False
    shifts: PositiveInt = 3
    memory_gb: NonNegativeFloat = 4.0
    loader_workers: NonNegativeInt = 0
    loader_start: StartMethod = "forkserver"
    loader_ahead: PositiveInt = 2
    loader_timeout_s: PositiveFloat = 300.0
    shuffle_reports: bool = False
    checkpoint_epochs: PositiveInt = 5
    checkpoint_minutes: NonNegativeFloat = 30.0
    validate_epochs: NonNegativeInt = 1
    tracker: Tracker | None = None
    seed: Seed = 0
    threads: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_values(self, "training")

    def decisive(self) -> dict[str, Any]:
        """Plain values of the settings on which the weights depend."""
        return {name: value for name, value in asdict(self).items() if name not in RUNTIME}
