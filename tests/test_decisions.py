import numpy as np
import pytest
from phantoms import body, canonical_affine, oblique_affine, organ_labels

from preprocess.decisions import (
    Decision,
    Ruling,
    check_ruling,
    decisions_of,
    judged,
    read_decisions,
    ruling_on,
    turned_labels,
    turned_volume,
)
from preprocess.errors import InputError, Reason, StudyError
from preprocess.masks import place_labels
from preprocess.quality import orientation_flags
from preprocess.volume import LabelMap, Volume

NAMES = {1: "spleen", 5: "liver", 31: "vertebrae_L1"}
ROWS = "study,series,action,reason\n2.25.1,,accept,phantom\n2.25.1,2.25.1.7,refuse,motion\nä = b, c,,flip_left_right,seen\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_decisions_are_read_by_study(tmp_path):
    quoted = ROWS.replace("ä = b, c", '"ä = b, c"')
    found = read_decisions(write(tmp_path / "d.csv", "\ufeff" + quoted))
    assert found == {
        "2.25.1": (Decision("", "accept", "phantom"), Decision("2.25.1.7", "refuse", "motion")),
        "ä = b, c": (Decision("", "flip_left_right", "seen"),),
    }
    assert decisions_of(found, ("A1", "2.25.1")) == found["2.25.1"]
    assert decisions_of(found, ("other",)) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study,action,reason\n", "no column 'series'"),
        ("", "no column 'study'"),
        ("study,series,action,reason\na,,keep,x\n", "line 2: action 'keep' is none of accept, refuse"),
        ("study,series,action,reason\na,,accept,\n", "line 2: reason is empty"),
        ("study,series,action,reason\n,,accept,x\n", "line 2: study is empty"),
        ("study,series,action,reason\na,,accept\n", "line 2: reason is empty"),
        ("study,series,action,reason\na,,accept,x\na,,refuse,y\n", "study 'a' has rows that contradict"),
        ("study,series,action,reason\na,s,accept,x\na,s,accept,y\n", "study 'a' has rows that contradict"),
    ],
    ids=["column", "empty", "action", "no reason", "no study", "short", "contradiction", "twice"],
)
def test_other_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_decisions(write(tmp_path / "d.csv", text))
    with pytest.raises(InputError, match="cannot be read"):
        read_decisions(tmp_path / "nowhere.csv")


def test_rows_of_a_series_go_before_those_of_its_study():
    decisions = [Decision("", "accept", "all"), Decision("s", "accept", "this"), Decision("t", "refuse", "motion")]
    assert ruling_on(decisions, "s").acceptance == "this"
    assert ruling_on(decisions, "other") == Ruling(acceptance="all")
    assert ruling_on(decisions, "t") == Ruling(refusal="refused by decision: motion")
    assert ruling_on([], "s") == Ruling()
    assert ruling_on([Decision("", "resample", "one slice")], "s").resample


def test_a_refusal_is_raised_before_reading():
    check_ruling(Ruling())
    with pytest.raises(StudyError, match="refused by decision: motion") as caught:
        check_ruling(Ruling(refusal="refused by decision: motion"))
    assert caught.value.reason is Reason.NO_VOLUME


def test_the_gate_gives_way_to_a_decision_and_says_so():
    odd = Volume((body().astype(np.int32) + 1024).astype(np.int16), canonical_affine())
    with pytest.raises(StudyError, match="not applied"):
        judged(odd, Ruling())
    taken = judged(odd, Ruling(acceptance="a phantom of water"))
    assert taken.hu is odd.hu
    assert taken.flags[0].startswith("accepted by decision: a phantom of water (the gate said: soft tissue lies near")
    good = Volume(body(), canonical_affine())
    assert judged(good, Ruling(acceptance="not needed")) is good


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine()], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("action", "axis"), [("flip_head_feet", 0), ("flip_front_back", 1), ("flip_left_right", 2)]
)  # fmt: skip
def test_a_turned_image_and_its_masks_are_turned_back(affine, action, axis):
    right = LabelMap(organ_labels(), affine, NAMES)
    wrong = Volume(np.flip(body(), axis).copy(), affine)
    made = LabelMap(np.flip(organ_labels(), axis).copy(), affine, NAMES)
    ruling = ruling_on([Decision("", action, "seen")], "s")
    volume = turned_volume(wrong, ruling)
    np.testing.assert_array_equal(volume.hu, body())
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.flags == (f"{action} by decision: seen",)
    labels = place_labels(turned_labels(made, volume, ruling), volume)
    np.testing.assert_array_equal(labels.labels, right.labels)


def test_masks_on_a_grid_of_their_own_are_reflected_in_the_middle_of_the_image():
    volume = Volume(body(), canonical_affine())
    shifted = canonical_affine()
    shifted[:3, 3] += shifted[:3, 2] * 5
    part = LabelMap(organ_labels()[:, :, 5:30].copy(), shifted, NAMES)
    turned = place_labels(turned_labels(part, volume, Ruling(flips=(2,))), volume)
    expected = np.zeros_like(organ_labels())
    expected[:, :, 5:30] = organ_labels()[:, :, 5:30]
    np.testing.assert_array_equal(turned.labels, expected[:, :, ::-1])


def test_nothing_is_turned_without_a_decision():
    volume = Volume(body(), canonical_affine())
    labels = LabelMap(organ_labels(), canonical_affine(), NAMES)
    assert turned_volume(volume, Ruling()) is volume
    assert turned_labels(labels, volume, Ruling()) is labels


def test_a_flip_answers_the_flag_that_names_it():
    names = {1: "liver", 2: "spleen", 3: "stomach"}
    labels = np.zeros((6, 6, 12), np.uint8)
    labels[:, :, :2], labels[:, :, 8:10], labels[:, :2, 5:7] = 1, 2, 3
    made = LabelMap(labels[:, :, ::-1].copy(), canonical_affine(), names)
    volume = Volume(np.zeros((6, 6, 12), np.int16), canonical_affine())
    assert orientation_flags(made)[0].startswith("left and right look exchanged")
    ruling = ruling_on([Decision("", "flip_left_right", "seen")], "s")
    assert orientation_flags(turned_labels(made, volume, ruling)) == ()
