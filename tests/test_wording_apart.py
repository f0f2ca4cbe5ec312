"""The simulator's wording is held back: neither the reader's lexicon nor the prompts share a template with it."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from preprocess.simulate.grammar import normalise
from preprocess.simulate.wording import templates
from preprocess.vocabulary_files import load_vocabulary

DATA = Path(str(files("preprocess"))) / "data"
WORDS_OF_A_TEMPLATE = 4
"""Shorter entries of the lexicon are terms, which any two texts on one subject share."""


def strings(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from (text for pair in content.items() for part in pair for text in strings(part))
    elif isinstance(content, list):
        yield from (text for part in content for text in strings(part))


@pytest.fixture(scope="module")
def held_back() -> set[str]:
    return {*templates("A"), *templates("B")}


def test_sites_share_no_template():
    assert len(templates("A")) > 500
    assert len(templates("B")) > 500
    assert not set(templates("A")) & set(templates("B"))


@pytest.mark.parametrize("name", ["ct54", "ct_rate18"])
def test_prompts_share_no_template(name, held_back):
    raw = yaml.safe_load((DATA / f"findings_{name}.yaml").read_text(encoding="utf-8"))
    prompts = {*strings(raw["prompts"])}
    for finding in load_vocabulary(name).findings:
        prompts |= {*finding.positive, *finding.negative}
    assert not {prompt for prompt in prompts if normalise(prompt) in held_back}


@pytest.mark.parametrize("path", sorted(DATA.glob("en/*.yaml")), ids=lambda path: path.name)
def test_lexicon_shares_no_template(path, held_back):
    entries = {*strings(yaml.safe_load(path.read_text(encoding="utf-8")))}
    long = {entry for entry in entries if len(entry.split()) >= WORDS_OF_A_TEMPLATE}
    assert not {entry for entry in long if normalise(entry) in held_back}


@pytest.mark.parametrize("package", ["preprocess", "ctvlp"])
def test_only_the_simulator_reads_the_wording(package):
    root = Path(str(files(package)))
    readers = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "wording" in path.read_text(encoding="utf-8") and path.parent.name != "simulate"
    }
    assert readers == set()
