"""Invented batches of a training step, built without a store, and a learner for them.

A crop is an ellipsoid of an organ with its rim in a cube, cut into tokens as training does. Texts are those of reports:
a normal anatomy has one of a few stock sentences, an abnormal one names its findings with sizes, so that hardly two
are equal.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ctvlp.alignment import label_targets
from ctvlp.batches import AnatomyBatch, Batch, ImageBatch, build_image_batch, identifier
from ctvlp.learner import Learner, build_learner
from ctvlp.model import AnatomyCLIP, ModelConfig
from ctvlp.pairing import finding_bits
from ctvlp.settings import TrainingSettings
from ctvlp.transforms import count_tokens
from preprocess.crops import Crop, SourceGrid
from preprocess.vocabulary import Finding, Vocabulary

Bools = npt.NDArray[np.bool_]

EDGE = 44
"""Voxels along an edge of a crop: with it, the region has about as many voxels as the median anatomy's on CT."""
NORMAL_SENTENCES = (
    "The {} is unremarkable.",
    "{} of normal size and attenuation, without focal lesion.",
    "No abnormality of the {}.",
    "The {} is normal in position, size and contour. No evidence of disease.",
)
ABNORMAL_SENTENCES = (
    "{} measuring {} x {} mm, image {} of series {}.",
    "There is {} of up to {} x {} mm, not present on the previous study (image {}, series {}).",
    "Known {}, now {} x {} mm, best seen on image {} of series {}, follow-up recommended.",
)


def invented_batch(
    studies: Sequence[int],
    model: AnatomyCLIP,
    vocabulary: Vocabulary,
    *,
    edge: int = EDGE,
    normal: float = 0.7,
    seed: int = 0,
) -> Batch:
    """Build a batch in which every study shows every anatomy, and no patient has two studies.

    Args:
        studies: Their numbers; a study is the same whatever batch it stands in.
        model: Gives patches and caps.
        vocabulary: Gives anatomies and findings.
        edge: Voxels along an edge of a crop.
        normal: Share of normal samples.
        seed: Of all draws.
    """
    rows: dict[str, int] = {}
    parts = {}
    for place, name in enumerate(vocabulary.anatomies):
        draws = [np.random.default_rng([seed, place, number]) for number in studies]
        stated = np.stack([_draw_findings(len(vocabulary.of(name)), normal, rng) for rng in draws])  # (N, K)
        anatomy, said = model.anatomies[name], zip(stated, draws, strict=True)
        texts = [_text(anatomy.title, vocabulary.of(name), present, rng) for present, rng in said]
        tokens = [model.tokenize(invented_crop(edge, anatomy.spacing_mm, rng), name) for rng in draws]
        for text in texts:
            rows.setdefault(text, len(rows))
        text_row = torch.tensor([rows[text] for text in texts])
        parts[name] = _build_part(build_image_batch(name, tokens), studies, texts, text_row, stated)
    return Batch(step=0, studies=tuple(f"study {number}" for number in studies), texts=tuple(rows), anatomies=parts)


def _build_part(
    image: ImageBatch, studies: Sequence[int], texts: Sequence[str], text_row: Tensor, stated: Bools
) -> AnatomyBatch:
    abnormal = np.asarray(stated.any(axis=1), dtype=bool)
    return AnatomyBatch(
        image=image,
        study=torch.arange(len(studies)),
        text_row=text_row,
        abnormal=torch.from_numpy(abnormal),
        text_id=torch.tensor([identifier(text) for text in texts]),
        findings=torch.from_numpy(finding_bits(stated).view(np.int64)),
        labels=torch.from_numpy(label_targets(stated.astype(np.float32), ~abnormal, abnormal)),
        patient=torch.tensor([identifier(f"patient {number}") for number in studies]),
        uncertain=torch.zeros(len(studies), dtype=torch.bool),
    )


def _draw_findings(count: int, normal: float, rng: np.random.Generator) -> Bools:
    """Which findings an anatomy has: none, or one and sometimes more."""
    present = rng.random(count) < 0.5 / count
    present[rng.integers(count)] = True
    return np.asarray(present & (rng.random() >= normal))


def _text(title: str, findings: Sequence[Finding], present: Bools, rng: np.random.Generator) -> str:
    if not present.any():
        return NORMAL_SENTENCES[int(rng.integers(len(NORMAL_SENTENCES)))].format(title)
    said = []
    for finding in (finding for finding, there in zip(findings, present, strict=True) if there):
        numbers = rng.integers(3, [60, 60, 400, 9]).tolist()
        said.append(ABNORMAL_SENTENCES[int(rng.integers(len(ABNORMAL_SENTENCES)))].format(finding.name, *numbers))
    return " ".join(said)


def invented_crop(edge: int, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> Crop:
    """An ellipsoid of an organ with a rim of two voxels in a cube of fat."""
    radii = edge / 2 * rng.uniform([0.7, 0.7, 0.6], [0.95, 0.95, 0.85])
    places = np.indices((edge, edge, edge), dtype=np.float32).transpose(1, 2, 3, 0) - (edge - 1) / 2
    distance = np.sqrt(((places / radii.astype(np.float32)) ** 2).sum(axis=-1))
    organ, rim = distance < 1 - 2 / radii.min(), distance < 1
    image = rng.normal(-100, 15, organ.shape)
    image[organ] += 160
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], range(4)] = [*spacing_mm, 1]  # (z, y, x) index to (x, y, z) mm
    return Crop(
        image=image.round().astype(np.int16),
        mask=np.where(organ, 1, np.where(rim, 255, 0)).astype(np.uint8),
        affine=affine,
        spacing_mm=spacing_mm,
        extent="complete",
        cut_fraction=0.0,
        volume_ml=float(organ.sum() * np.prod(spacing_mm)) / 1000,
        parts=("organ",),
        source_grid=SourceGrid(shape=(edge, edge, edge), affine=affine),
    )


def fitting_patch(config: ModelConfig, edge: int) -> int:
    """The smallest patch edge with which a typical crop stays below the cap of tokens, as training chooses it."""
    crop = invented_crop(edge, (2.0, 2.0, 2.0), np.random.default_rng(0))
    fitting = [patch for patch in config.patch_voxels if count_tokens(crop, patch) <= config.max_tokens]
    return fitting[0] if fitting else config.patch_voxels[-1]


def chosen_anatomies(vocabulary: Vocabulary, count: int) -> Vocabulary:
    """The first `count` anatomies of a vocabulary, with their findings."""
    names = list(vocabulary.anatomies)[:count]
    anatomies = {name: vocabulary.anatomies[name] for name in names}
    findings = tuple(finding for finding in vocabulary.findings if finding.anatomy in anatomies)
    return Vocabulary(name=f"{vocabulary.name}, {count} anatomies", anatomies=anatomies, findings=findings)


def still_learner(
    config: ModelConfig, vocabulary: Vocabulary, settings: TrainingSettings, *, device: str = "cpu"
) -> Learner:
    """A learner without dropout."""
    learner = build_learner(config, vocabulary, settings, total_steps=1000, device=device)
    learner.model.eval()
    return learner
