"""A store on disk with the plain organs of `small_store`, and a stand-in for the model that needs no text encoder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ctvlp.batches import ImageBatch
from ctvlp.transforms import Tokens, tokenize_crop
from preprocess.crops import Crop
from preprocess.manifest import write_manifest
from preprocess.store import StoredVolume, write_study
from preprocess.volume import LabelMap
from tests.small_store import FINDINGS, ball_crop, small_vocabulary

VOCABULARY = small_vocabulary()


def absent_crop(like: Crop) -> Crop:
    return Crop(None, None, None, like.spacing_mm, "absent", 0.0, 0.0, like.parts, like.source_grid)


def write_screened_store(
    path: Path, *, studies: int = 24, train: int = 0, seed: int = 0, manufacturer: str = "ACME"
) -> pd.DataFrame:
    """Write a store, with reports that tell the truth; the first study's kidney is absent, its liver cut.

    Returns:
        The labels, indexed by study.
    """
    rng = np.random.default_rng(seed)
    rows, texts, sentences = [], [], []
    for number in range(studies):
        study, patient = f"{number:03d}abc", f"p{number // 2:02d}"
        stated = {name for name in FINDINGS if rng.random() < 0.4}
        crops = {name: ball_crop(rng, stated, anatomy=name) for name in VOCABULARY.anatomies}
        if number == 0:
            crops["kidney"] = absent_crop(crops["kidney"])
            crops["liver"] = ball_crop(rng, stated, anatomy="liver", extent="truncated")
        affine = np.array([[0, 0, 6.0, -60], [0, 6.0, 0, -20], [6.0, 0, 0, 80], [0, 0, 0, 1]])
        overview = rng.normal(30, 20, (24, 20, 22)).round().astype(np.int16)
        labels = LabelMap(np.zeros((4, 4, 4), dtype=np.uint8), affine, {5: "liver"})
        flags = ["left and right look exchanged (3 of 3 pairs of structures)"] if number == 1 else []
        attributes = {"series": f"x{number}", "phase": "portal", "kernel": "B30", "flags": flags}
        attributes |= {"coverage_mm": [144.0, 120.0, 132.0], "segmenter": {"name": "files", "version": None}}
        volume = StoredVolume(attributes, labels, (overview, affine), crops)
        split = "train" if number < train else "test"
        study_attributes = {
            "patient_id": patient,
            "split": split,
            "age_years": 61.0,
            "sex": "F",
            "manufacturer": manufacturer,
        }
        write_study(path, study, study_attributes, {"v0": volume})
        rows.append({"study_id": study, "patient_id": patient, **{f: int(f in stated) for f in FINDINGS}})
        for name, anatomy in VOCABULARY.anatomies.items():
            found = [f for f in stated if f.startswith(name)]
            text = f"{anatomy.title} <b>shows</b> {len(found)} findings." if found else f"Normal {anatomy.title}."
            status = "abnormal" if found else "normal"
            texts.append({"study_id": study, "anatomy": name, "status": status, "text": text})
            sentences.append(
                {"study_id": study, "index": len(sentences), "section": "findings", "text": text, "anatomies": [name]}
            )
    write_manifest(path)
    labels_table = pd.DataFrame(rows).astype(dict.fromkeys(FINDINGS, "Int8"))
    (path / "text").mkdir()
    tables = {"anatomies": pd.DataFrame(texts), "sentences": pd.DataFrame(sentences), "labels": labels_table}
    for name, table in tables.items():
        table.to_parquet(path / "text" / f"{name}.parquet", index=False)
    series = pd.DataFrame(
        {
            "study_id": ["000abc"] * 2,
            "series": ["x0", "scout"],
            "chosen": [True, False],
            "reason": [None, "a localizer"],
        }
    )
    series = series.assign(coverage_mm=[144.0, None], slices=[24, 1])
    series.to_parquet(path / "series.parquet", index=False)
    failure = {"study_id": "bad<i>", "stage": "quality", "reason": "HU_IMPLAUSIBLE", "message": "air is not air"}
    (path / "failures.jsonl").write_text(json.dumps(failure) + "\n", encoding="utf-8")
    return labels_table.set_index("study_id")


class DensityModel(torch.nn.Module):
    """Looks at one thing: how dense the organ and its densest token are; its texts point at dense, light or bright."""

    logit_scale = torch.tensor(4.0)
    window = None  # it reads crops

    def tokenize(self, crop: Crop, anatomy: str) -> Tokens:
        return tokenize_crop(crop, VOCABULARY.anatomies[anatomy], patch_voxels=6)

    def encode_image(self, batch: ImageBatch) -> torch.Tensor:
        vectors = []
        for patches in torch.split(batch.patches.float(), batch.lengths.tolist()):
            vectors.append(torch.stack([torch.tensor(1.0), patches[:, 0].mean() / 1000, patches.amax() / 300]))
        return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        bright = ["stone" in text and "free of" not in text and "lacking" not in text for text in texts]
        vectors = [[0.3, 0.0, 1.0] if is_bright else [1.0, 0.3, -0.2] for is_bright in bright]
        return torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)
