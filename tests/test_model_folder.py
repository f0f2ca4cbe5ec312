"""Any nnU-Net v2 model folder as segmenter: its labels equal nnU-Net's own, and what cannot be used is refused."""

import contextlib
import io
import json

import nibabel
import numpy as np
import pytest
import torch
import yaml
from nnunet_folder import build_random_network
from phantoms import canonical_affine, oblique_affine
from test_total import noise

from preprocess.errors import InputError
from preprocess.geometry import nifti_from_affine
from preprocess.model_folder import describe_model_folder, read_model_folder
from preprocess.segment import describe_segmenter, segment

LABELS = {"background": 0, "liver": 1, "spleen": 2, "stomach": 3}
PLACE = "Dataset017_Abdomen/nnUNetTrainer__nnUNetPlans__3d_fullres"


def label_map(path, **content):
    path.write_text(yaml.safe_dump(content))
    return path


def nnunet_labels(folder, volume, work, orientation, folds, **options):
    """What nnU-Net gives for the volume's NIfTI, stored in an orientation: (z, y, x) on the volume's grid."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), nifti_from_affine(volume.affine))
    codes = nibabel.orientations.axcodes2ornt(orientation)
    there = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), codes)
    work.mkdir()
    nibabel.save(image.as_reoriented(there), work / "case_0000.nii.gz")
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, **options)
        predictor.initialize_from_trained_model_folder(str(folder), use_folds=folds)
        predictor.predict_from_files_sequential([[str(work / "case_0000.nii.gz")]], [str(work / "case")])
    found = nibabel.load(work / "case.nii.gz")
    back = nibabel.orientations.ornt_transform(codes, nibabel.io_orientation(image.affine))
    return np.asarray(found.as_reoriented(back).dataobj).transpose(2, 1, 0)


CASES = {
    "other spacing, mirrored": ({"spacing_mm": 2.5, "mirroring": (0, 1, 2)}, {}, "RAS"),
    "two folds": ({"folds": (0, 3)}, {}, "RAS"),
    "fold all, own orientation": ({"folds": ("all",)}, {"orientation": "lps"}, "LPS"),
    "mirroring off": ({"mirroring": (0, 1)}, {"mirroring": False, "orientation": "PIL"}, "PIL"),
    "reader that turns": ({"reader": "NibabelIOWithReorient"}, {}, "LAS"),
}


@pytest.mark.parametrize(("network", "options", "orientation"), CASES.values(), ids=CASES.keys())
def test_labels_equal_those_of_nnunet(tmp_path, network, options, orientation):
    folder = build_random_network(tmp_path / PLACE, LABELS, **network)
    labels = label_map(tmp_path / "labels.yaml", structures={name: name for name in LABELS if LABELS[name]}, **options)
    volume = noise((20, 30, 41), oblique_affine((4.0, 2.5, 2.0)))
    expected = nnunet_labels(
        folder,
        volume,
        tmp_path / "work",
        orientation,
        network.get("folds", (0,)),
        use_mirroring=options.get("mirroring", True),
    )
    found = segment(volume, model=folder, labels=labels)
    assert np.array_equal(found.labels, expected)
    assert expected.any()
    assert np.array_equal(segment(volume, model=folder, labels=labels, light=True).labels, expected)


def test_labels_are_named_and_others_dropped(tmp_path):
    folder = build_random_network(tmp_path / PLACE, LABELS)
    volume = noise((12, 20, 22), canonical_affine((3.0, 3.0, 3.0)))
    whole = segment(volume, model=folder)
    assert whole.names == {1: "liver", 2: "spleen", 3: "stomach"}
    labels = label_map(tmp_path / "labels.yaml", structures={"liver": "liver", 3: "tumour"})
    some = segment(volume, model=folder, labels=labels)
    assert some.names == {1: "liver", 3: "tumour"}
    assert np.array_equal(some.labels, np.where(whole.labels == 2, 0, whole.labels))
    one = segment(volume, model=folder, labels=labels, structures=["tumour"])
    assert np.array_equal(one.labels, np.where(whole.labels == 3, 3, 0))


def test_the_description_changes_with_weights_and_names(tmp_path):
    folder = build_random_network(tmp_path / PLACE, LABELS)
    first = describe_segmenter(model=folder)
    assert first["name"] == "nnunet Dataset017_Abdomen nnUNetTrainer__nnUNetPlans__3d_fullres"
    labels = label_map(tmp_path / "labels.yaml", structures={"liver": "liver"})
    named = describe_model_folder(read_model_folder(folder, labels))
    assert named["weights_digest"] != first["weights_digest"]
    with (folder / "fold_0" / "checkpoint_final.pth").open("ab") as stream:
        stream.write(b"\0")
    assert describe_segmenter(model=folder)["weights_digest"] not in {first["weights_digest"], named["weights_digest"]}


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def second_stage(folder):
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    edit(folder / "plans.json", **plans)


BROKEN = {
    "no folder": (lambda folder: folder.rename(folder.with_name("gone")), {}, "no fold_<k>/checkpoint_final.pth"),
    "no plans": (lambda folder: (folder / "plans.json").unlink(), {}, "plans.json is missing"),
    "no JSON": (lambda folder: (folder / "plans.json").write_text("x"), {}, "plans.json cannot be read"),
    "two channels": (
        lambda folder: edit(folder / "dataset.json", channel_names={"0": "CT", "1": "PET"}),
        {},
        "takes 2 images at a time",
    ),
    "regions": (
        lambda folder: edit(folder / "dataset.json", labels={"background": 0, "whole": [1, 2]}),
        {},
        "'whole' is a region",
    ),
    "reader": (lambda folder: edit(folder / "plans.json", image_reader_writer="Tiff3DIO"), {}, "'Tiff3DIO'; known"),
    "cascade": (second_stage, {}, "second stage of a cascade"),
    "unknown label": (None, {"structures": {"lliver": "liver"}}, r"no label 'lliver'; it has 1 \(liver\), 2"),
    "unknown number": (None, {"structures": {9: "liver"}}, "no label 9"),
    "twice": (None, {"structures": {1: "liver", "liver": "spleen"}}, "label 1 is named twice"),
    "no structure": (None, {"structures": {1: "antlers"}}, r"none of its names .* \(antlers\)"),
    "no text": (None, {"structures": {1: 5}}, "mapped to 5"),
    "other keys": (None, {"structures": {1: "liver"}, "tta": True}, "'tta' is unknown"),
    "no structures": (None, {"liver": 1}, "needs the key `structures`"),
    "orientation": (None, {"structures": {1: "liver"}, "orientation": "RRS"}, "orientation 'RRS'"),
}


@pytest.mark.parametrize(("damage", "options", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_used_is_refused(tmp_path, damage, options, message):
    folder = build_random_network(tmp_path / PLACE, LABELS)
    if damage is not None:
        damage(folder)
    labels = label_map(tmp_path / "labels.yaml", **options) if options else None
    with pytest.raises(InputError, match=message) as error:
        read_model_folder(folder, labels)
    assert "\n" not in str(error.value)
