"""A text encoder of a few kilobytes, in the files that a real one has."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = (
    "the is there no a of and with in normal abnormal unremarkable liver kidney cyst fatty hepatic steatosis renal "
    "calculus stone stable ct healthy free features imaging present lacking because"
).split()


def write_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """Write configuration, tokenizer and random weights of a one-layer BERT into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8"
    )
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(WORDS) + 5,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=128,
        )
        BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder
