"""Two segmenters, or two versions of one, meet in a store only where the user says so."""

import pytest

from preprocess.errors import InputError
from preprocess.segmenters import check_mixture

OWN = {"name": "totalsegmentator total fast", "version": "2.18.0", "weights_digest": "aa"}
FILES = {"name": "files", "version": None, "weights_digest": None}


@pytest.mark.parametrize("stored", [[], [OWN, OWN], [dict(OWN)]], ids=["empty store", "the same", "a copy"])
def test_one_segmenter_passes(stored):
    check_mixture(OWN, stored)
    check_mixture(FILES, [FILES])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**OWN, "version": "2.17.0"}, "2.17.0"),
        ({**OWN, "weights_digest": "bb"}, r"\(weights bb\)"),
        ({**OWN, "name": "totalsegmentator total"}, "totalsegmentator total 2.18.0"),
        (FILES, "by files, and"),
        (None, "an unnamed segmenter"),
    ],
    ids=["version", "weights", "mode", "files", "none recorded"],
)
def test_another_is_refused_unless_mixing_is_wanted(other, named):
    with pytest.raises(InputError, match=named) as error:
        check_mixture(OWN, [OWN, OWN, OWN, other])
    assert "the store holds 1 volumes" in str(error.value)
    assert "mix_segmenters=true" in str(error.value)
    assert "\n" not in str(error.value)
    check_mixture(OWN, [OWN, other], mix=True)
