"""The one door to a local language model: clauses in, statements of a closed list out.

Any instruction-tuned causal model of `transformers` in a local folder serves. Its tokens are constrained, one by one,
to the paths of a tree of all possible answers, so that no other answer can be written; the best path is taken greedily,
without chance. Nothing is fetched and no code from the folder is run. torch and transformers are imported when the
first clause is asked.
"""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from preprocess.errors import InputError
from preprocess.model_answers import MARK, Answer, Choice, Failure, possible_answers, question, schema_digest
from preprocess.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

BATCH = 16
MAX_CLAUSE_TOKENS = 256
"""A clause of more tokens is no clause: it fails unasked."""

_PARTS = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors")
_CHUNK = 1 << 24

Tree = dict[int, Any]
"""Token to the tree of what can follow; the end token to the `Choice` that its path means."""


class LocalModel:
    """Answers clauses; loaded when first asked.

    Args:
        folder: Configuration, tokenizer and safetensors weights of a causal model.
        vocabulary: Anatomies and findings that answers can name.
        device: `cpu`, `cuda` or `cuda:<number>`.
        batch_size: Clauses asked at once.

    Raises:
        InputError: The folder holds no such model.
    """

    def __init__(
        self, folder: Path | str, vocabulary: Vocabulary, *, device: str = "cpu", batch_size: int = BATCH
    ) -> None:
        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        self.vocabulary = vocabulary
        self.device = device
        self.batch_size = batch_size
        if batch_size < 1:
            raise InputError(f"a language model is asked at least one clause at once, not {batch_size}")
        check_model_folder(self.folder)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the model's files and the question, 16 hex digits: answers of another digest do not count."""
        digest = hashlib.sha256(schema_digest(self.vocabulary).encode())
        for path in sorted({path for pattern in _PARTS for path in self.folder.glob(pattern)}):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()[:16]

    @cached_property
    def _network(self) -> "_Network":
        return _load(self.folder, self.device, self.vocabulary)

    def ask(self, clauses: Sequence[str]) -> dict[str, Answer | Failure]:
        """Ask about distinct clauses.

        Clauses of similar length go together. Where a batch fails, its halves are tried, so that one clause alone is
        to blame for each failure.

        Raises:
            InputError: The model cannot be loaded.
        """
        ordered = sorted(set(clauses), key=lambda clause: (len(clause), clause))
        outcomes: dict[str, Answer | Failure] = {}
        for start in range(0, len(ordered), self.batch_size):
            outcomes |= self._ask(ordered[start : start + self.batch_size])
        return outcomes

    def _ask(self, clauses: list[str]) -> dict[str, Answer | Failure]:
        network = self._network
        try:
            chosen = network.choose(clauses)
        except (RuntimeError, ValueError, IndexError) as error:  # out of memory among them
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            if len(clauses) == 1:
                logger.warning("the language model failed on a clause: %s", reason)
                return {clauses[0]: Failure(reason)}
        else:
            return {
                clause: outcome if isinstance(outcome, Failure) else Answer(*outcome, self.name)
                for clause, outcome in zip(clauses, chosen, strict=True)
            }
        middle = len(clauses) // 2
        return self._ask(clauses[:middle]) | self._ask(clauses[middle:])


def check_model_folder(folder: Path | str) -> None:
    """Refuses what cannot be a model's folder; loads nothing.

    Raises:
        InputError: Configuration or weights are missing.
    """
    if not (Path(folder) / "config.json").is_file() or not any(Path(folder).glob("*.safetensors")):
        raise InputError(f"language model {folder}: no folder with config.json and safetensors weights")


@dataclass(frozen=True)
class _Network:
    """A loaded model with its question and answers in tokens.

    Attributes:
        model: The causal model.
        tokenizer: Its tokenizer.
        lead: Tokens of the question before the clause, the same for all clauses.
        tail: Tokens behind the clause.
        tree: All possible answers.
        depth: Most tokens of an answer, with the end token.
        end: The token that ends an answer.
        memory: What the model keeps of `lead`, computed once.
        apart: Clauses of different lengths go apart, for the model sees a window in which padding would count.
    """

    model: Any
    tokenizer: Any
    lead: list[int]
    tail: list[int]
    tree: Tree
    depth: int
    end: int
    memory: Any
    apart: bool

    def choose(self, clauses: Sequence[str]) -> list[tuple[Choice, float] | Failure]:
        """Return each clause's answer with its confidence, or why there is none."""
        asked = [
            self.tokenizer(clause, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            for clause in clauses
        ]
        outcomes: list[tuple[Choice, float] | Failure] = [
            Failure(f"{len(tokens)} tokens are more than {MAX_CLAUSE_TOKENS}") for tokens in asked
        ]
        short = [place for place, tokens in enumerate(asked) if len(tokens) <= MAX_CLAUSE_TOKENS]
        for length in sorted({len(asked[place]) if self.apart else 0 for place in short}):
            group = [place for place in short if not self.apart or len(asked[place]) == length]
            for place, outcome in zip(group, self._generate([asked[place] for place in group]), strict=True):
                outcomes[place] = outcome
        return outcomes

    def _generate(self, asked: Sequence[list[int]]) -> list[tuple[Choice, float] | Failure]:
        import torch

        width = max(map(len, asked))
        padding = [[self.end] * (width - len(tokens)) for tokens in asked]
        rows = [[*self.lead, *pad, *tokens, *self.tail] for pad, tokens in zip(padding, asked, strict=True)]
        device = self.model.device
        mask = torch.ones((len(rows), len(rows[0])), dtype=torch.long, device=device)
        for row, pad in enumerate(padding):
            mask[row, len(self.lead) : len(self.lead) + len(pad)] = 0
        memory = deepcopy(self.memory)
        memory.batch_repeat_interleave(len(rows))
        begin = len(rows[0])
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=mask,
                past_key_values=memory,
                prefix_allowed_tokens_fn=lambda _, tokens: self._allowed(tokens[begin:].tolist()),
            )
        # (step, row, token) -> (row, step): log probability of each token among those allowed
        scores = torch.stack([step.float() for step in written.scores]).log_softmax(-1).transpose(0, 1)
        tokens = written.sequences[:, begin:]
        taken = scores.gather(2, tokens.unsqueeze(2)).squeeze(2)
        return [self._read(row, logs) for row, logs in zip(tokens.tolist(), taken.tolist(), strict=True)]

    def _allowed(self, written: list[int]) -> list[int]:
        """Return the tokens that can follow; behind an end (or an answer outside the tree) only the end token."""
        node: Any = self.tree
        for token in written:
            node = node.get(token) if isinstance(node, dict) else None
        return list(node) if isinstance(node, dict) else [self.end]

    def _read(self, tokens: list[int], logs: list[float]) -> tuple[Choice, float] | Failure:
        """Follow the tokens down the tree to what they mean; scores that are no numbers lead nowhere."""
        node: Any = self.tree
        total = 0.0
        for token, log in zip(tokens, logs, strict=True):
            node = node.get(token)
            total += log
            if not isinstance(node, dict):
                break
        if not isinstance(node, Choice) or not math.isfinite(total):
            return Failure("the model's scores are not finite")
        return node, math.exp(total)


def _load(folder: Path, device: str, vocabulary: Vocabulary) -> _Network:
    """Load a model and put its question and answers into tokens.

    Raises:
        InputError: Device or model cannot be used.
    """
    import torch
    from transformers import GenerationConfig

    model, tokenizer = _load_files(folder, _device(device))
    if tokenizer.eos_token_id is None:
        raise InputError(f"language model {folder}: its tokenizer has no token that ends a text")
    templated = bool(getattr(tokenizer, "chat_template", None))
    lead, tail = _question_tokens(tokenizer, question(vocabulary), templated=templated)
    end = int(tokenizer.eos_token_id)
    tree, depth = _build_tree(tokenizer, possible_answers(vocabulary), "" if templated else " ", end, folder)
    longest = len(lead) + MAX_CLAUSE_TOKENS + len(tail) + depth
    room = getattr(model.config, "max_position_embeddings", longest)
    if room < longest:
        raise InputError(f"language model {folder}: it reads {room} tokens at once; the question needs {longest}")
    model.generation_config = GenerationConfig(  # in place of the folder's own, which may draw at random
        do_sample=False,
        num_beams=1,
        max_new_tokens=depth,
        eos_token_id=end,
        pad_token_id=end,
        output_scores=True,
        return_dict_in_generate=True,
    )
    with torch.inference_mode():
        written = model(torch.tensor([lead], device=model.device), use_cache=True)
    memory = getattr(written, "past_key_values", None)
    if not hasattr(memory, "batch_repeat_interleave"):
        raise InputError(f"language model {folder}: its kind ({model.config.model_type}) keeps no attention memory")
    logger.info("loaded language model %s on %s", folder, model.device)
    apart = (getattr(model.config, "sliding_window", None) or longest) < longest
    return _Network(model, tokenizer, lead, tail, tree, depth, end, memory, apart)


def _load_files(folder: Path, device: Any) -> tuple[Any, Any]:
    """Return the folder's model on a device, and its tokenizer; on the CPU in single precision.

    Raises:
        InputError: They cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, torch_dtype="auto", **local)
        return (model.float() if device.type == "cpu" else model).to(device).eval(), tokenizer
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise InputError(f"language model {folder} cannot be loaded: {' '.join(str(error).split())}") from error


def _question_tokens(tokenizer: Any, text: str, *, templated: bool) -> tuple[list[int], list[int]]:
    """Return the question's tokens before and behind the clause, as a turn of a talk where the model knows turns."""
    if templated:
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    before, behind = text.split(MARK)
    lead: list[int] = tokenizer(before, add_special_tokens=not templated)["input_ids"]
    tail: list[int] = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return lead, tail


def _device(name: str) -> Any:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"language model: device {name!r} is unknown; it is cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"language model: device {name}: torch can use {torch.cuda.device_count()} CUDA devices of this machine"
        )
    return device


def _build_tree(tokenizer: Any, lines: Mapping[str, Choice], lead: str, end: int, folder: Path) -> tuple[Tree, int]:
    """Return the tree of all answers in tokens, and how many tokens the longest has."""
    tree: Tree = {}
    depth = 0
    for line, choice in lines.items():
        tokens = [*tokenizer(lead + line, add_special_tokens=False)["input_ids"], end]
        node = tree
        for token in tokens[:-1]:
            node = node.setdefault(token, {})
        if end in tokens[:-1] or end in node:
            raise InputError(f"language model {folder}: its tokenizer cannot tell the answer {line!r} from another")
        node[end] = choice
        depth = max(depth, len(tokens))
    return tree, depth
