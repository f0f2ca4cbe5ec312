"""Finding, reading and placing label maps in all forms that segmenters write."""

import nibabel
import numpy as np
import pytest
from phantoms import canonical_affine, oblique_affine, write_nifti

from preprocess.errors import InputError, Reason, StudyError
from preprocess.geometry import canonical, nifti_from_affine
from preprocess.masks import find_masks, place_labels, read_masks
from preprocess.structures import structure_names
from preprocess.volume import LabelMap, Volume

SHAPE = (8, 20, 24)


def label_array(numbers):
    """One box of 4 x 10 x 2 voxels a number, side by side."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for place, number in enumerate(numbers):
        labels[2:6, 5:15, 2 + 2 * place : 4 + 2 * place] = number
    return labels


def write_named(path, labels, names):
    """A label map with its names in the extended header, as TotalSegmentator writes it."""
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), nifti_from_affine(canonical_affine()))
    rows = "".join(
        f'<Label Key="{k}" Red="0.0" Green="1.0" Blue="0.5" Alpha="1"><![CDATA[{v}]]></Label>\n'
        for k, v in names.items()
    )
    text = f"<CaretExtension><VolumeInformation><LabelTable>\n{rows}</LabelTable></VolumeInformation></CaretExtension>"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text.encode()))
    nibabel.save(image, path)
    return path


def present(label_map):
    return sorted(label_map.names.get(int(n), str(n)) for n in np.unique(label_map.labels) if n)


@pytest.mark.parametrize(
    ("numbers", "version", "names"),
    [
        ([1, 5, 51], "v2", ["heart", "liver", "spleen"]),
        ([1, 5, 51], "v1", ["iliac_artery_left", "liver", "spleen"]),
        ([1, 5, 117], "auto", ["costal_cartilages", "liver", "spleen"]),
        ([1, 5], "auto", ["liver", "spleen"]),
    ],
    ids=["v2", "v1", "auto, a number that only v2 has", "auto, alike in both"],
)
def test_multilabel_without_names(tmp_path, numbers, version, names):
    path = write_nifti(tmp_path / "m.nii.gz", label_array(numbers), canonical_affine())
    assert present(read_masks(path, version=version)) == names


def test_auto_takes_v1_where_v2_would_be_monstrous(tmp_path):
    labels = np.zeros((20, 60, 60), dtype=np.uint8)
    labels[:, :40, :30] = 55  # v1 small bowel, 480 ml; v2 right subclavian artery
    labels[:, 40:, :30] = 5
    path = write_nifti(tmp_path / "m.nii.gz", labels, canonical_affine((5.0, 2.0, 2.0)))
    assert present(read_masks(path)) == ["liver", "small_bowel"]
    assert present(read_masks(path, version="v2")) == ["liver", "subclavian_artery_right"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["totalseg_v2.nii.gz", "dicom_totalseg_v2.nii.gz"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_real_masks_without_names_are_recognised_in_either_numbering(shared_data, tmp_path, name, version):
    named = read_masks(shared_data / "real_ct" / name)
    numbers = {structure: number for number, structure in structure_names(version).items()}
    table = np.zeros(256, dtype=np.uint8)
    for number, structure in named.names.items():
        if structure in structure_names("v1").values():  # what both versions have
            table[number] = numbers.get(structure, 0)
    label_map = read_masks(write_nifti(tmp_path / "m.nii.gz", table[named.labels], named.affine))
    assert label_map.names == structure_names(version)


def test_v1_heart_parts_are_heart(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", label_array([44, 45, 46, 47, 48]), canonical_affine())
    assert present(read_masks(path, version="v1")) == ["heart"] * 5


def test_names_in_the_header_win(tmp_path):
    path = write_named(tmp_path / "m.nii.gz", label_array([1, 2, 3]), {1: "liver", 2: "heart_atrium_left", 3: "tumour"})
    assert present(read_masks(path, version="v2")) == ["heart", "liver", "tumour"]


def test_header_as_totalsegmentator_writes_it(tmp_path):
    header = pytest.importorskip("totalsegmentator.nifti_ext_header")
    image = nibabel.Nifti1Image(label_array([1, 5]).transpose(2, 1, 0), nifti_from_affine(canonical_affine()))
    header.save_multilabel_nifti(image, tmp_path / "m.nii.gz", {1: "stomach", 5: "colon"})
    assert present(read_masks(tmp_path / "m.nii.gz")) == ["colon", "stomach"]


def test_one_file_a_structure(tmp_path):
    affine = canonical_affine()
    for name, number in (("liver", 1), ("heart_myocardium", 2), ("heart_atrium_left", 3), ("kidney_right", 4)):
        write_nifti(tmp_path / f"{name}.nii.gz", (label_array([1, 2, 3, 4]) == number).astype(np.uint8), affine)
    write_nifti(tmp_path / "kidney_left.nii", np.zeros(SHAPE, dtype=np.uint8), affine)
    (tmp_path / "statistics.json").write_text("{}")
    label_map = read_masks(tmp_path)
    assert present(label_map) == ["heart", "kidney_right", "liver"]
    assert (label_map.labels == label_map.number("heart")).sum() == 2 * 80
    assert label_map.number("liver") == 5  # v2's number


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.dtype(">i2")], ids=str)
@pytest.mark.parametrize("name", ["nii", "nii.gz"])
def test_files_of_structures_that_overlap_or_hold_nothing(tmp_path, kind, name):
    draw, affine = np.random.default_rng(0), oblique_affine(degrees=170.0)
    numbers = {structure: number for number, structure in list(structure_names("v2").items())[::9]}
    expected = np.zeros(SHAPE, dtype=np.uint8)
    for place, (structure, number) in enumerate(numbers.items()):
        mask = draw.random(SHAPE) < (0.3 if place % 3 == 1 else 0)
        write_nifti(tmp_path / f"{structure}.{name}", (7 * mask).astype(kind), affine)
        expected[mask & (expected == 0)] = number
    label_map = read_masks(tmp_path)
    assert np.array_equal(label_map.labels, canonical(expected, affine)[0])
    assert [label_map.number(structure) for structure in numbers] == list(numbers.values())


@pytest.mark.parametrize("kind", ["other grid", "no mask", "no structure"])
def test_folders_that_are_refused(tmp_path, kind):
    write_nifti(tmp_path / "liver.nii.gz", label_array([1]), canonical_affine())
    if kind == "other grid":
        write_nifti(tmp_path / "spleen.nii.gz", label_array([1]), canonical_affine((5.0, 1.5, 2.0)))
        message = "liver.nii.gz lies on another grid than spleen.nii.gz"
    elif kind == "no mask":
        write_nifti(tmp_path / "spleen.nii.gz", label_array([1, 2]), canonical_affine())
        message = "spleen.nii.gz is no mask"
    else:
        (tmp_path / "liver.nii.gz").rename(tmp_path / "ct.nii.gz")
        message = "no file there is named like a structure"
    with pytest.raises(StudyError, match=message) as error:
        read_masks(tmp_path)
    assert error.value.reason == Reason.MASK_MISMATCH


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (label_array([1]).astype(np.int16) - 5, "no label map"),
        (label_array([1]).astype(np.float32) / 2, "no label map"),
        (label_array([]), "names no known structure; the numbers it holds: none"),
        (label_array([200, 201]), r"names no known structure; the numbers it holds: \[200, 201\]"),
    ],
    ids=["negative", "fractions", "empty", "unknown numbers"],
)
def test_files_that_are_refused(tmp_path, array, message):
    path = write_nifti(tmp_path / "m.nii.gz", array, canonical_affine())
    with pytest.raises(StudyError, match=message) as error:
        read_masks(path)
    assert error.value.reason == Reason.MASK_MISMATCH


def test_damaged_file_is_unreadable(tmp_path):
    (tmp_path / "m.nii.gz").write_bytes(b"no nifti at all")
    with pytest.raises(StudyError) as error:
        read_masks(tmp_path / "m.nii.gz")
    assert error.value.reason == Reason.UNREADABLE


def masks_folder(root, *names):
    for name in names:
        write_nifti(root / name, label_array([5]), canonical_affine())
    return root


@pytest.mark.parametrize(
    ("files", "keys", "only", "found"),
    [
        pytest.param(["1.2.3.nii.gz", "4.nii.gz"], ["1.2.3"], False, "1.2.3.nii.gz", id="key with dots"),
        pytest.param(["b.nii", "a.nii.gz"], ["", "b"], False, "b.nii", id="second key, plain NIfTI"),
        pytest.param(["p1/ct=1 ä.nii.gz", "x.nii.gz"], ["p1/ct=1 ä"], False, "p1/ct=1 ä.nii.gz", id="path as key"),
        pytest.param(["A/liver.nii.gz", "B/liver.nii.gz"], ["9", "B"], False, "B", id="folder of structures"),
        pytest.param(["whatever.nii.gz"], ["1"], True, "whatever.nii.gz", id="one study, one mask"),
        pytest.param(["sub/whatever.nii.gz"], ["1"], True, "sub/whatever.nii.gz", id="one study, one mask below"),
        pytest.param(["liver.nii.gz", "spleen.nii.gz"], ["1"], True, ".", id="one study, one folder of structures"),
    ],
)
def test_masks_are_found(tmp_path, files, keys, only, found):
    root = masks_folder(tmp_path / "masks", *files)
    assert find_masks(root, keys, only_study=only) == (root / found if found != "." else root)


def test_a_mask_file_for_one_study(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", label_array([5]), canonical_affine())
    assert find_masks(path, ["any"], only_study=True) == path
    with pytest.raises(InputError, match="is one file, but the archive holds several studies"):
        find_masks(path, ["any"])


@pytest.mark.parametrize(
    ("files", "keys", "only"),
    [
        (["a.nii.gz", "b.nii.gz"], ["c"], True),
        (["a.nii.gz"], ["c"], False),
        (["a.nii.gz"], ["../masks/a"], False),
        (["a.nii.gz"], [""], False),
    ],
    ids=["two masks", "another key", "a key that climbs out", "no key"],
)
def test_masks_that_are_missing(tmp_path, files, keys, only):
    with pytest.raises(StudyError) as error:
        find_masks(masks_folder(tmp_path / "masks", *files), keys, only_study=only)
    assert error.value.reason == Reason.MASK_MISSING


def test_masks_folder_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_masks(tmp_path / "none", ["1"])


def test_labels_on_another_grid_are_placed_by_affine():
    fine = LabelMap(label_array([5, 1]), canonical_affine((2.0, 1.0, 1.0)), {5: "liver", 1: "spleen"})
    coarse = Volume(np.zeros((4, 10, 12), dtype=np.int16), canonical_affine((4.0, 2.0, 2.0)))
    placed = place_labels(fine, coarse)
    assert placed.shape == coarse.shape
    assert np.array_equal(placed.affine, coarse.affine)
    assert set(np.unique(placed.labels)) == {0, 1, 5}
    assert np.argwhere(placed.labels == 5).mean() < np.argwhere(placed.labels == 1).mean()


def test_labels_of_the_same_shape_but_elsewhere_are_not_taken_by_index():
    moved = canonical_affine(origin=(-36.0, -30.0, 100.0))  # two voxels to the left
    label_map = LabelMap(label_array([5]), moved, {5: "liver"})
    placed = place_labels(label_map, Volume(np.zeros(SHAPE, dtype=np.int16), canonical_affine()))
    assert np.array_equal(placed.labels[:, :, 2:], label_map.labels[:, :, :-2])


@pytest.mark.parametrize(
    "affine", [canonical_affine(origin=(500.0, 0.0, 0.0)), oblique_affine() + np.eye(4, k=3) * 900]
)
def test_labels_that_do_not_overlap_are_refused(affine):
    label_map = LabelMap(label_array([5]), affine, {5: "liver"})
    with pytest.raises(StudyError, match="does not overlap the image") as error:
        place_labels(label_map, Volume(np.zeros(SHAPE, dtype=np.int16), canonical_affine()))
    assert error.value.reason == Reason.MASK_MISMATCH
