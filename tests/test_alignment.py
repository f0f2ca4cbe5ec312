"""Finding alignment: masked cross entropy against a slow loop, phrasings drawn anew, labels as the settings say."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from small_store import small_vocabulary

from ctvlp.alignment import START_RATE, START_SCALE, AlignmentHead, Silence, alignment_loss, draw_prompts, label_targets

NAN = math.nan
VOCABULARY = small_vocabulary()


def test_loss_equals_a_loop_over_labels_that_are_known():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[1, 0, NAN], [NAN, NAN, NAN], [0, 0, 1], [1, NAN, 0]])
    expected = torch.zeros(())
    for i in range(4):
        for k in range(3):
            if not math.isnan(labels[i, k]):
                y, p = labels[i, k], logits[i, k].sigmoid()
                expected = expected - (y * p.log() + (1 - y) * (1 - p).log())
    loss = alignment_loss(logits, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert not logits.grad.isnan().any()
    assert (logits.grad[labels.isnan()] == 0).all()
    assert (logits.grad[~labels.isnan()] != 0).all()


def test_without_a_known_label_the_loss_is_zero_with_a_gradient_of_zero():
    logits = torch.ones(2, 2, requires_grad=True)
    alignment_loss(logits, torch.full((2, 2), NAN)).backward()
    assert (logits.grad == 0).all()


def test_logits_are_the_scaled_margin_between_statement_and_denial_plus_the_bias():
    head = AlignmentHead()
    image = torch.eye(3)[:2]
    logits = head(image, torch.eye(3), torch.eye(3)[[1, 0, 2]])
    margin = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    torch.testing.assert_close(logits, START_SCALE * margin + math.log(START_RATE / (1 - START_RATE)))


def test_phrasings_are_drawn_from_each_findings_own_prompts_and_vary():
    findings = VOCABULARY.of("liver")
    rng = np.random.default_rng(0)
    drawn = [draw_prompts(findings, rng) for _ in range(40)]
    for position, finding in enumerate(findings):
        assert {stating[position] for stating, _ in drawn} == set(finding.positive)
        assert {denying[position] for _, denying in drawn} == set(finding.negative)
    assert draw_prompts(findings, np.random.default_rng(7)) == draw_prompts(findings, np.random.default_rng(7))


@pytest.mark.parametrize(
    ("label", "status", "expected"),
    [
        (1, "abnormal", {"masked": 1, "negative_if_normal": 1, "negative": 1}),
        (0, "abnormal", {"masked": 0, "negative_if_normal": 0, "negative": 0}),
        (1, "normal", {"masked": 1, "negative_if_normal": 1, "negative": 1}),
        (-1, "normal", {"masked": NAN, "negative_if_normal": NAN, "negative": NAN}),
        (NAN, "normal", {"masked": NAN, "negative_if_normal": 0, "negative": 0}),
        (NAN, "abnormal", {"masked": NAN, "negative_if_normal": NAN, "negative": 0}),
        (NAN, "uncertain", {"masked": NAN, "negative_if_normal": NAN, "negative": NAN}),
    ],
)
@pytest.mark.parametrize("silence", get_args(Silence))
def test_labels_become_targets(label, status, expected, silence):
    normal, abnormal = np.array([status == "normal"]), np.array([status == "abnormal"])
    found = label_targets(np.array([[label]], np.float32), normal, abnormal, silence=silence)
    np.testing.assert_array_equal(found, np.array([[expected[silence]]], np.float32))
