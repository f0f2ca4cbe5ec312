import pytest

from ctvlp.demo import _claim, run_demo
from preprocess.errors import InputError

SETTINGS = {"studies": 6, "seed": 1, "epochs": 1, "simulator": "x"}


def test_same_settings_go_on_and_others_are_refused(tmp_path):
    folder = tmp_path / "demo"
    _claim(folder, SETTINGS)
    _claim(folder, SETTINGS)
    with pytest.raises(InputError, match="other settings"):
        _claim(folder, {**SETTINGS, "studies": 7})


@pytest.mark.parametrize("kind", ["file", "foreign folder"])
def test_what_is_not_ours_is_left_alone(kind, tmp_path):
    place = tmp_path / "there"
    if kind == "file":
        place.write_text("kept")
    else:
        place.mkdir()
        (place / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="there"):
        run_demo(place, studies=6, seed=1, epochs=1, tell=print)
    assert sorted(path.name for path in tmp_path.rglob("*")) == (["there"] if kind == "file" else ["kept.txt", "there"])
