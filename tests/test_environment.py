"""Variables set for a while: there within the block, as before after it, whatever happens inside."""

import os

import pytest

from preprocess.environment import environment


def read_and_fail(variables):
    with environment(variables):
        assert {name: os.environ[name] for name in variables} == variables
        raise KeyError


def test_what_was_there_before_comes_back_even_after_an_error(monkeypatch):
    monkeypatch.setenv("CTVLP_KNOWN", "before")
    monkeypatch.delenv("CTVLP_NEW", raising=False)
    with pytest.raises(KeyError):
        read_and_fail({"CTVLP_KNOWN": "within", "CTVLP_NEW": "within"})
    assert os.environ["CTVLP_KNOWN"] == "before"
    assert "CTVLP_NEW" not in os.environ
