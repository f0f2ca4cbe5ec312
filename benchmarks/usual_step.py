"""A training step as it is usually written: for the benchmark that compares it with `ctvlp.step`.

The numbers are those of our step, the ways are those of research code: crops go through the encoder one at a time, all
texts are padded to one length and encoded anew for every anatomy, targets are made by comparing objects in numpy.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pairing import Batch as Objects
from benchmarks.pairing import usual_targets
from ctvlp.batches import AnatomyBatch, Batch
from ctvlp.learner import Learner
from ctvlp.text import FrozenTextEncoder, TextEncoder

PADDED = 384
"""Tokens to which every text is padded, as in fVLM's public code."""


class UsualStep:
    """The usual step for one learner.

    Args:
        learner: Its model's weights are used and updated.
        padded: Tokens to which every text is padded.
    """

    def __init__(self, learner: Learner, padded: int = PADDED) -> None:
        self.learner, self.padded = learner, padded
        own: Any = learner.model.text.encoder
        self.frozen = isinstance(own, FrozenTextEncoder)
        self.encoder: TextEncoder = TextEncoder(own.folder, own.pooling, own.max_tokens).eval() if self.frozen else own

    def __call__(self, batch: Batch) -> float:
        """Update the weights.

        The gradients of an anatomy are gathered before the next one starts: the graphs of all anatomies' padded texts
        do not fit into a usual machine's memory.

        Returns:
            The contrastive loss, less the targets' entropy.
        """
        parts = [part for part in batch.anatomies.values() if bool(part.abnormal.any())]
        total = 0.0
        for part in parts:
            images = torch.cat([self.learner.model.encode_image(crop) for crop in part.image.split(1)])
            loss, entropy = self._contrast(images, [batch.texts[row] for row in part.text_row.tolist()], part)
            torch.autograd.backward(loss / len(parts))
            total += float(loss.detach() - entropy) / len(parts)
        self.learner.update()
        return total

    def _contrast(self, images: Tensor, texts: list[str], part: AnatomyBatch) -> tuple[Tensor, Tensor]:
        """Loss of one anatomy, and the entropy of its targets."""
        pairing, model = self.learner.settings.pairing, self.learner.model
        peer: Any = self.learner.peer
        with torch.set_grad_enabled(not self.frozen):
            features = self.encode(self.encoder, texts)
        said = F.normalize(model.text.project(features), dim=-1)
        with torch.no_grad():
            known = features if self.frozen else self.encode(peer.encoder, texts)
            heard = F.normalize(peer.project(known), dim=-1)
        present = (part.findings[:, None] >> torch.arange(part.labels.shape[1])) & 1  # (N, K)
        objects = Objects(texts, part.abnormal.numpy(), present.bool().numpy(), (heard @ heard.T).numpy())
        targets = torch.from_numpy(usual_targets(objects, mode=pairing.mode, mix=pairing.mix)).float()
        logits = model.logit_scale * images @ said.T
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        return loss, torch.special.entr(targets).sum(dim=1).mean()

    def encode(self, encoder: TextEncoder, texts: list[str]) -> Tensor:
        """Encode (M) texts, all padded to one length, to (M, hidden)."""
        tokens: Any = encoder.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.padded, return_tensors="pt"
        )
        states: Tensor = encoder.network(**tokens).last_hidden_state  # (M, padded, hidden)
        weight = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weight).sum(1) / weight.sum(1)
        return mean
