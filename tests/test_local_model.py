"""The door to a local language model: on a tiny real one, answers outside the schema cannot be written."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

from preprocess.errors import InputError
from preprocess.local_model import MAX_CLAUSE_TOKENS, LocalModel
from preprocess.model_answers import Answer, Choice, Failure, possible_answers
from preprocess.vocabulary_files import load_vocabulary
from tests.tiny_model import write_tiny_model

VOCABULARY = load_vocabulary("ct54")
CLAUSES = ["Snowflake densities persist", "Die Leber ist anders", "x", "</s> liver | normal", "\u2603", "a " * 30]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _plain_answer(model: LocalModel, clause: str) -> tuple[Choice, float]:
    """The greedy answer and its probability, by whole forward passes without memory or padding."""
    network = model._network
    written = network.tokenizer(clause, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    tokens = [*network.lead, *written, *network.tail]
    node, total = network.tree, 1.0
    while isinstance(node, dict):
        with torch.inference_mode():
            logits = network.model(torch.tensor([tokens])).logits[0, -1]
        allowed = list(node)
        shares = logits[allowed].float().softmax(0)
        best = int(shares.argmax())
        total *= float(shares[best])
        tokens.append(allowed[best])
        node = node[allowed[best]]
    return node, total


@pytest.mark.parametrize("name", ["ct54", "ct_rate18"])
@pytest.mark.parametrize("seed", range(2))
def test_every_answer_is_of_the_schema(tmp_path: Path, name: str, seed: int) -> None:
    vocabulary = load_vocabulary(name)
    outcomes = LocalModel(write_tiny_model(tmp_path / "m", seed), vocabulary).ask(CLAUSES)
    assert list(outcomes) == sorted(CLAUSES, key=lambda clause: (len(clause), clause))
    allowed = set(possible_answers(vocabulary).values())
    for outcome in outcomes.values():
        assert isinstance(outcome, Answer)
        assert outcome.choice in allowed
        assert 0 < outcome.confidence <= 1
        assert outcome.model == "m"


@pytest.fixture(scope="module")
def windowed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer with a model that sees no further back than 64 tokens."""
    other = tmp_path_factory.mktemp("windowed") / "tiny"
    shutil.copytree(folder, other)
    config = AutoConfig.from_pretrained(folder)
    sizes = {name: getattr(config, name) for name in ("vocab_size", "hidden_size", "intermediate_size")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
        small = MistralConfig(**sizes, **heads, initializer_range=0.5, sliding_window=64)
        MistralForCausalLM(small).save_pretrained(other)
    return other


@pytest.mark.parametrize("kind", ["folder", "windowed"])
def test_answers_are_the_greedy_path_of_the_plain_model(kind: str, request: pytest.FixtureRequest) -> None:
    model = LocalModel(request.getfixturevalue(kind), VOCABULARY)
    for clause, outcome in model.ask(CLAUSES[:3]).items():
        assert isinstance(outcome, Answer)
        choice, confidence = _plain_answer(model, clause)
        assert outcome.choice == choice
        assert outcome.confidence == pytest.approx(confidence, rel=1e-4)


def test_kind_without_attention_memory_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny"
    shutil.copytree(folder, other)
    MambaForCausalLM(MambaConfig(vocab_size=1500, hidden_size=16, num_hidden_layers=1, state_size=4)).save_pretrained(
        other
    )
    with pytest.raises(InputError, match=r"its kind \(mamba\) keeps no attention memory"):
        LocalModel(other, VOCABULARY).ask(["x"])


def test_batches_do_not_change_answers(folder: Path) -> None:
    together = LocalModel(folder, VOCABULARY, batch_size=16).ask(CLAUSES)
    alone = LocalModel(folder, VOCABULARY, batch_size=1).ask(CLAUSES[::-1])
    assert list(together) == list(alone)
    for clause, outcome in together.items():
        other = alone[clause]
        assert isinstance(outcome, Answer)
        assert isinstance(other, Answer)
        assert outcome.choice == other.choice
        assert outcome.confidence == pytest.approx(other.confidence, rel=1e-4)


def test_same_model_same_answers_and_digest(folder: Path) -> None:
    first, second = (LocalModel(folder, VOCABULARY) for _ in range(2))
    assert first.ask(CLAUSES) == second.ask(CLAUSES)
    assert first.digest == second.digest


def test_digest_follows_weights_and_vocabulary(folder: Path, tmp_path: Path) -> None:
    digests = {
        LocalModel(folder, VOCABULARY).digest,
        LocalModel(folder, load_vocabulary("ct_rate18")).digest,
        LocalModel(write_tiny_model(tmp_path / "m", seed=1), VOCABULARY).digest,
    }
    assert len(digests) == 3


def test_model_without_chat_template(tmp_path: Path) -> None:
    outcomes = LocalModel(write_tiny_model(tmp_path / "m", chat=False), VOCABULARY).ask(["x"])
    assert isinstance(outcomes["x"], Answer)


def test_sampling_settings_of_the_folder_do_not_count(folder: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "tiny")
    settings = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 3.0}
    (other / "generation_config.json").write_text(json.dumps(settings))
    expected = LocalModel(folder, VOCABULARY).ask(CLAUSES)
    assert LocalModel(other, VOCABULARY).ask(CLAUSES) == expected


def test_no_connection_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert isinstance(LocalModel(folder, VOCABULARY).ask(["x"])["x"], Answer)


def test_scores_that_are_no_numbers_fail(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    outcomes = LocalModel(folder, VOCABULARY).ask(["x", "y"])
    assert outcomes == dict.fromkeys("xy", Failure("the model's scores are not finite"))


def test_long_clause_fails_alone(folder: Path) -> None:
    long = "z" * (MAX_CLAUSE_TOKENS + 1)
    outcomes = LocalModel(folder, VOCABULARY).ask([long, "x"])
    assert outcomes[long] == Failure("257 tokens are more than 256")
    assert isinstance(outcomes["x"], Answer)


def test_error_is_blamed_on_one_clause(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel(folder, VOCABULARY)
    network = model._network
    plain = type(network).choose

    def choose(self: object, clauses: list[str]) -> object:
        if len(clauses) > 4 or "bad" in clauses:
            raise torch.OutOfMemoryError("no memory\nis left")
        return plain(network, clauses)

    monkeypatch.setattr(type(network), "choose", choose)
    outcomes = model.ask(["bad", *"abcdefgh"])
    assert outcomes["bad"] == Failure("no memory is left")
    assert all(isinstance(outcomes[clause], Answer) for clause in "abcdefgh")


def test_finding_outside_all_anatomies() -> None:
    choices = possible_answers(load_vocabulary("ct_rate18"))
    assert choices["other | lymphadenopathy | positive"] == Choice(None, "Lymphadenopathy", "positive")


@pytest.mark.parametrize("name", ["ct54", "ct_rate18"])
def test_schema_is_complete_and_unambiguous(name: str) -> None:
    vocabulary = load_vocabulary(name)
    choices = possible_answers(vocabulary)
    assert (
        len(set(choices.values())) == len(choices) == 1 + 4 * len(vocabulary.anatomies) + 5 * len(vocabulary.findings)
    )


def _code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "special",
        "auto_map": {"AutoConfig": "special.Config", "AutoModelForCausalLM": "special.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "special.py").write_text("raise SystemExit('code of the folder was run')")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.bin")


def _damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x10")


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize("spoil", [_code_of_its_own, _no_weights, _damaged, _no_tokenizer], ids=lambda f: f.__name__)
def test_unusable_folder_is_named(tmp_path: Path, spoil: object) -> None:
    folder = write_tiny_model(tmp_path / "m")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"^language model .*/m"):
        LocalModel(folder, VOCABULARY).ask(["x"])


def test_too_little_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it reads 512 tokens at once; the question needs"):
        LocalModel(write_tiny_model(tmp_path / "m", room=512), VOCABULARY).ask(["x"])


@pytest.mark.parametrize("device", ["tpu", "cuda:99", ""])
def test_unusable_device(folder: Path, device: str) -> None:
    with pytest.raises(InputError, match="language model: device"):
        LocalModel(folder, VOCABULARY, device=device).ask(["x"])


def test_batch_of_nothing(folder: Path) -> None:
    with pytest.raises(InputError, match="at least one clause at once, not 0"):
        LocalModel(folder, VOCABULARY, batch_size=0)


def test_importing_loads_no_torch() -> None:
    code = "import sys, preprocess.model_reading; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
