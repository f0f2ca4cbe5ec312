"""The contrastive loss and its gradients against a slow loop, and the identity of `patient` and `normal`."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ctvlp.loss import contrastive_loss, target_entropy
from ctvlp.pairing import pairing_targets


def slow_loss(image, text, scale, targets, exclude):
    """Sum over directions, anchors and allowed partners, one at a time."""
    count, total = len(image), torch.zeros((), dtype=image.dtype)
    for first, second in ((image, text), (text, image)):
        for i in range(count):
            allowed = [j for j in range(count) if exclude is None or not exclude[i, j]]
            logits = [scale * (first[i] * second[j]).sum() for j in allowed]
            normaliser = torch.log(sum(torch.exp(logit) for logit in logits))
            for j, logit in zip(allowed, logits, strict=True):
                total = total - targets[i, j] * (logit - normaliser) / count / 2
    return total


def draw(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(count, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    targets = torch.rand(count, count, generator=generator, dtype=torch.float64)
    exclude = torch.triu(torch.rand(count, count, generator=generator) < 0.3, 1)
    exclude = exclude | exclude.T
    targets = targets.masked_fill(exclude, 0)
    return F.normalize(image, dim=1), F.normalize(text, dim=1), targets / targets.sum(1, keepdim=True), exclude


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("with_exclusions", [False, True])
def test_loss_and_gradients_equal_a_slow_loop(count, with_exclusions):
    image, text, targets, exclude = draw(count)
    banned = exclude if with_exclusions else None
    found, expected = [], []
    for function, results in ((contrastive_loss, found), (slow_loss, expected)):
        leaves = [image.clone().requires_grad_(), text.clone().requires_grad_(), torch.tensor(9.0, requires_grad=True)]
        loss = function(*leaves, targets, exclude=banned)
        loss.backward()
        results += [loss.detach(), *(leaf.grad for leaf in leaves)]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), atol=1e-6, rtol=1e-6)


def test_an_excluded_partner_does_not_touch_the_gradient():
    image, text, _, _ = draw(4)
    exclude = torch.zeros(4, 4, dtype=torch.bool)
    exclude[0, 3] = exclude[3, 0] = True
    moved = text.clone()
    moved[3] = -text[3]
    gradients = []
    for texts in (text, moved):
        leaf = image.clone().requires_grad_()
        contrastive_loss(leaf, texts, 5.0, torch.eye(4, dtype=image.dtype), exclude=exclude).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert (gradients[0][1] - gradients[1][1]).abs().max() > 1e-3


def test_loss_falls_to_the_entropy_of_the_targets():
    targets = torch.full((4, 4), 0.25)
    same = F.normalize(torch.ones(4, 3), dim=1)
    torch.testing.assert_close(contrastive_loss(same, same, 10.0, targets), target_entropy(targets))
    assert float(target_entropy(torch.eye(5))) == 0.0


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_patient_and_normal_are_one_loss_where_all_normal_texts_are_equal(scale):
    image, text, _, _ = draw(8, seed=3)
    abnormal = np.array([False, True, False, False, True, False, True, False])
    text[~torch.from_numpy(abnormal)] = text[0].clone()  # a single normal template
    ids = np.where(abnormal, np.arange(8), 0)
    losses, gradients = [], []
    for mode in ("patient", "normal"):
        leaf = image.clone().requires_grad_()
        targets = torch.from_numpy(pairing_targets(abnormal, ids, mode=mode)).double()
        loss = contrastive_loss(leaf, text, scale, targets)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-6)
    varied = text.clone()
    varied[2] = -varied[2]  # a second normal wording: now the two modes differ
    first, second = (
        contrastive_loss(image, varied, scale, torch.from_numpy(pairing_targets(abnormal, ids, mode=mode)).double())
        for mode in ("patient", "normal")
    )
    assert abs(float(first - second)) > 1e-3
