from collections import Counter
from pathlib import Path

import pytest
import yaml

from preprocess.errors import InputError
from preprocess.vocabulary import MAX_FINDINGS
from preprocess.vocabulary_files import load_anatomies, load_vocabulary

ANATOMIES = [
    "adrenal_gland", "bladder", "colon", "esophagus", "gallbladder", "heart", "kidney", "liver", "lung", "pancreas",
    "portal_vein", "small_intestine", "spleen", "stomach", "sacrum",
]  # fmt: skip


def write(path: Path, content: dict) -> Path:
    path.write_text(yaml.safe_dump({"schema": 1, **content}), encoding="utf-8")
    return path


def test_shipped_anatomies_are_the_fifteen():
    anatomies = load_anatomies()
    assert list(anatomies) == ANATOMIES
    assert [anatomy.index for anatomy in anatomies.values()] == list(range(15))
    assert len({anatomy.spacing_mm for anatomy in anatomies.values()}) >= 3


def test_ct54_has_54_findings_in_15_anatomies():
    vocabulary = load_vocabulary("ct54")
    assert len(vocabulary.findings) == 54
    assert Counter(finding.anatomy for finding in vocabulary.findings) == {
        "adrenal_gland": 3, "bladder": 2, "colon": 6, "esophagus": 3, "gallbladder": 3, "heart": 2, "kidney": 4,
        "liver": 9, "lung": 5, "pancreas": 5, "portal_vein": 2, "small_intestine": 3, "spleen": 3, "stomach": 3,
        "sacrum": 1,
    }  # fmt: skip
    whole = {finding.id for finding in vocabulary.findings if finding.needs == "whole"}
    assert {"heart.cardiomegaly", "spleen.splenomegaly", "kidney.atrophy", "liver.cirrhosis"} <= whole
    for anatomy in vocabulary.anatomies:
        assert [finding.index for finding in vocabulary.of(anatomy)] == list(range(len(vocabulary.of(anatomy))))


def test_prompts_are_filled_in_and_differ_between_findings():
    vocabulary = load_vocabulary("ct54")
    for finding in vocabulary.findings:
        assert not any("{" in prompt for prompt in finding.positive + finding.negative)
        assert not set(finding.positive) & set(finding.negative)
    positives = [prompt for finding in vocabulary.findings for prompt in finding.positive]
    assert len(set(positives)) == len(positives)


def test_ct_rate18_names_columns_by_label_and_allows_labels_without_anatomy():
    vocabulary = load_vocabulary("ct_rate18")
    assert len(vocabulary.findings) == 18
    assert vocabulary.finding("Medical material").anatomy is None
    assert vocabulary.finding("Hiatal hernia").anatomy == "esophagus"


def test_user_adds_an_anatomy_and_a_finding_without_code(tmp_path):
    write(
        tmp_path / "anatomies.yaml",
        {
            "name": "with_aorta",
            "extends": "ct15",
            "anatomies": {
                "aorta": {"parts": {"aorta": ["aorta"]}, "spacing_mm": [3.0, 2.0, 2.0], "words": ["aorta", "aortic"]}
            },
        },
    )
    findings = write(
        tmp_path / "findings.yaml",
        {
            "name": "mine",
            "extends": "ct54",
            "anatomies": "anatomies.yaml",
            "findings": {
                "aorta.aneurysm": {"name": "aortic aneurysm", "needs": "part", "synonyms": ["aneurysm"]},
            },
        },
    )
    vocabulary = load_vocabulary(findings)
    assert vocabulary.anatomies["aorta"].index == 15
    assert vocabulary.anatomies["aorta"].windows_hu == load_anatomies()["liver"].windows_hu
    assert vocabulary.anatomies["aorta"].region.fill == "none"
    assert len(vocabulary.findings) == 55
    assert vocabulary.finding("aorta.aneurysm").positive[0] == "aortic aneurysm on CT"
    assert vocabulary.digest != load_vocabulary("ct54").digest


def test_user_changes_one_key_of_a_shipped_anatomy(tmp_path):
    path = write(
        tmp_path / "a.yaml", {"name": "x", "extends": "ct15", "anatomies": {"heart": {"region": {"fill": "hull"}}}}
    )
    heart, shipped = load_anatomies(path)["heart"], load_anatomies()["heart"]
    assert heart.region.fill == "hull"
    assert (heart.region.dilate_mm, heart.parts) == (shipped.region.dilate_mm, shipped.parts)


@pytest.mark.parametrize(
    ("change", "key", "word"),
    [
        pytest.param({"spacing_mm": [1.0, 1.0]}, "spacing_mm", "required", id="spacing-too-short"),
        pytest.param({"spacing_mm": [1.0, 1.0, -1.0]}, "spacing_mm", "between", id="negative-spacing"),
        pytest.param({"windows_hu": [[100, 0]]}, "windows_hu", "low to high", id="window-upside-down"),
        pytest.param({"parts": {}}, "parts", "at least 1", id="no-part"),
        pytest.param({"parts": {"a": ["x"], "b": ["x"]}}, "parts", "two parts", id="structure-twice"),
        pytest.param({"region": {"fill": "cube"}}, "region.fill", "'cube'", id="unknown-fill"),
        pytest.param({"colour": "red"}, "colour", "not permitted", id="unknown-key"),
        pytest.param({"beside": ["splen"]}, "beside", "'splen' is no other anatomy", id="unknown-neighbour"),
        pytest.param({"beside": ["liver"]}, "beside", "'liver' is no other anatomy", id="its-own-neighbour"),
        pytest.param({"phases": ["early"]}, "phases", "'early' is no phase", id="unknown-phase"),
        pytest.param({"kernel": "hard"}, "kernel", "'soft' or 'sharp'", id="unknown-kernel"),
        pytest.param({"max_tokens": 0}, "max_tokens", "greater", id="no-token"),
    ],
)
def test_wrong_anatomy_names_file_and_key(tmp_path, change, key, word):
    path = write(tmp_path / "wrong.yaml", {"name": "x", "extends": "ct15", "anatomies": {"liver": change}})
    with pytest.raises(InputError) as caught:
        load_anatomies(path)
    assert str(path) in str(caught.value)
    assert f"anatomies.liver.{key}" in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param({"name": "x", "needs": "half", "synonyms": ["x"]}, "needs", id="needs"),
        pytest.param({"name": "x", "needs": "part"}, "synonyms", id="no-synonyms"),
        pytest.param({"anatomy": "tail", "name": "x", "needs": "part", "synonyms": ["x"]}, "no anatomy 'tail'", id="anatomy"),
        pytest.param(
            {"name": "x", "needs": "part", "synonyms": ["x"], "positive": ["{size} big"]}, "positive: KeyError", id="slot"
        ),
        pytest.param("x", "expected a mapping", id="no-mapping"),
    ],
)  # fmt: skip
def test_wrong_finding_names_file_and_key(tmp_path, entry, message):
    path = write(tmp_path / "wrong.yaml", {"name": "x", "extends": "ct54", "findings": {"liver.new": entry}})
    with pytest.raises(InputError) as caught:
        load_vocabulary(path)
    assert f"{path}: findings.liver.new" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("schema: 1\nname: [", "cannot be read as YAML", id="no-yaml"),
        pytest.param("- 1", "mapping at the top", id="list"),
        pytest.param("schema: 9\nname: x", "schema: expected 1, got 9", id="schema"),
        pytest.param("schema: 1\nfinding: {}", "finding: unknown key", id="unknown-key"),
        pytest.param("schema: 1\nfindings: 3", "findings: expected a mapping", id="findings-no-mapping"),
    ],
)
def test_unusable_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml") as caught:
        load_vocabulary(path)
    assert message in str(caught.value)


def test_unknown_set_lists_the_shipped_ones():
    with pytest.raises(InputError, match=r"ct55.*ct54, ct_rate18"):
        load_vocabulary("ct55")


def test_more_findings_than_bits_are_refused(tmp_path):
    many = {
        f"liver.f{i}": {"name": f"finding {i}", "needs": "part", "synonyms": [f"f{i}"]} for i in range(MAX_FINDINGS + 1)
    }
    path = write(tmp_path / "many.yaml", {"name": "many", "anatomies": "ct15", "prompts": {"positive": ["{name}"], "negative": ["no"]}, "findings": many})  # fmt: skip
    with pytest.raises(InputError, match="at most 64"):
        load_vocabulary(path)


def test_digest_follows_content_not_file_name(tmp_path):
    source = write(tmp_path / "a.yaml", {"name": "same", "extends": "ct54"})
    copy = tmp_path / "b.yaml"
    copy.write_bytes(source.read_bytes())
    assert load_vocabulary(source).digest == load_vocabulary(copy).digest
