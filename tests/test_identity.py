import hashlib
import hmac
import stat
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import InputError
from preprocess.identifiers import scrub, stand_ins
from preprocess.identity import (
    file_name_of,
    load_key,
    pseudonym,
    read_split_file,
    save_key,
    split_of,
    write_id_map,
)

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_new_key_is_for_its_owner_alone_and_stays(tmp_path):
    path = tmp_path / "deep" / "store.key"
    key = load_key(path)
    assert not path.exists()
    assert key != load_key(path)
    save_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    save_key(path, b"another key that must not replace it")
    assert load_key(path) == key


def test_unusable_key_files_are_refused(tmp_path):
    (tmp_path / "short").write_text("abc\n")
    with pytest.raises(InputError, match="holds 3 characters"):
        load_key(tmp_path / "short")
    with pytest.raises(InputError, match="cannot be read"):
        load_key(tmp_path)


def test_a_pseudonym_is_the_keyed_hash():
    expected = hmac.new(KEY, b"2.25.1", hashlib.sha256).hexdigest()[:16]
    assert pseudonym(KEY, "2.25.1") == expected
    assert pseudonym(KEY + b"x", "2.25.1") != expected


@given(st.text(min_size=1, max_size=40))
def test_file_names_hold_any_identifier_and_can_be_undone(identifier):
    name = file_name_of(identifier)
    assert unquote(name) == identifier
    assert "/" not in name
    assert "\0" not in name
    assert name[0] != "."


def test_uids_stay_as_they_are():
    assert file_name_of("2.25.123") == "2.25.123"


def test_splits_follow_the_fractions_and_never_move():
    splits = [split_of(KEY, f"patient {number}") for number in range(4000)]
    shares = [splits.count(name) / 4000 for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    assert splits[:50] == [split_of(KEY, f"patient {number}") for number in range(50)]
    assert {split_of(KEY, str(number), (0, 0, 1)) for number in range(50)} == {"test"}
    with pytest.raises(InputError, match="sum to 1"):
        split_of(KEY, "x", (0.5, 0.1, 0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study,split\na,train\n", "no column study_id"),
        ("study_id,split\na,train\nb,dev\n", "names 'dev'"),
        ("study_id,split\na,train\na,test\n", "'a' twice"),
        ("", "cannot be read"),
    ],
    ids=["column", "split", "twice", "empty"],
)
def test_unusable_split_files_are_refused(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_split_file(tmp_path / "s.csv")


def test_split_files_keep_ids_as_text(tmp_path):
    (tmp_path / "s.csv").write_text("study_id,split\n007,train\n1.10,val\n")
    assert read_split_file(tmp_path / "s.csv") == {"007": "train", "1.10": "val"}


def row(study, key):
    return {"study_id": study, "patient_id": "p", "key": key, "patient": "Ä, B", "source": "/x"}


def test_the_map_grows_and_is_private(tmp_path):
    path = tmp_path / "ids.csv"
    write_id_map(path, [row("b", "2"), row("a", "1")])
    write_id_map(path, [row("c", "3"), row("a", "new")])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "study_id,patient_id,key,patient,source"
    assert [line.split(",")[0] for line in lines[1:]] == ["a", "b", "c"]
    assert '"Ä, B"' in lines[1]
    assert ",new," in lines[1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["ids.csv"]


@given(patient=st.from_regex(r"[A-Za-z0-9]{4,12}", fullmatch=True))
def test_messages_lose_their_identifiers(patient):
    words = stand_ins(keys=["2.25.99"], patient=patient, files=[f"{patient}_1.dcm"], folders=["/archive/Müller"])
    message = scrub(f"{patient}_1.dcm of {patient}\nin /archive/Müller (2.25.99)", words)
    assert message == "<file 1> of <patient> in <folder> (<key>)"


def test_identifiers_inside_numbers_and_words_are_left():
    assert scrub("a gap of 10.00 mm, 100 slices", {"10": "<patient>"}) == "a gap of 10.00 mm, 100 slices"
