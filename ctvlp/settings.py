"""Everything about a training run that is not the model: plain values with their meaning."""

from dataclasses import dataclass, field

from ctvlp.alignment import Silence
from ctvlp.augmentation import AugmentationSettings
from ctvlp.pairing import Mix, Mode
from ctvlp.samples import TextKind, Unmentioned


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
        batch_studies: Studies of a batch.
        learning_rate: Highest rate of AdamW; falls to `final_rate` of it along a cosine.
        final_rate: Last learning rate as a share of the highest.
        warmup: Share of all steps over which the rate rises.
        weight_decay: Of AdamW, for matrices only.
        clip: Largest norm of the gradient.
        contrastive_weight: Weight of the contrastive term.
        alignment_weight: Weight of the finding alignment; 0 leaves the labels out.
        silence: What a finding is that the report does not mention: "masked", "negative_if_normal" or "negative", see
            `ctvlp.alignment.label_targets`.
        text: What the texts are: "raw" (the report's own clauses), "canonical" (one English sentence rendered from what
            was read) or "mixed" (each batch draws one of the two).
        unmentioned: What an anatomy is that the report does not mention: "leave_out" or "normal".
        average: Momentum of the moving average of the weights that screening uses; 0 for the last weights.
        pairing: The contrastive targets.
        augmentation: Changes of the crops.
        shifts: Number of patch grids a crop is cut with.
        in_memory: Keep all tokens of the training studies in memory.
        shuffle_reports: Give each study another one's report; a control.
        checkpoint_epochs: Epochs between checkpoints.
        seed: Of everything random.
        threads: Torch's threads; None leaves them as they are.
    """

    epochs: int = 30
    batch_studies: int = 16
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    contrastive_weight: float = 1.0
    alignment_weight: float = 1.0
    silence: Silence = "negative"
    text: TextKind = "raw"
    unmentioned: Unmentioned = "leave_out"
    average: float = 0.98
    pairing: PairingSettings = field(default_factory=PairingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    shifts: int = 3
    in_memory: bool = True
    shuffle_reports: bool = False
    checkpoint_epochs: int = 5
    seed: int = 0
    threads: int | None = None
