"""The loss against hand computation."""

from __future__ import annotations

import math

import pytest
import torch

from protscribe.training.loss import balance_lengths, soft_digits, token_loss
from protscribe.vocabulary import Block, Vocabulary

INF = float("inf")


def test_token_loss_by_hand() -> None:
    # Two rows, two columns, choices of which the last two are pointers; the second row has one residue less.
    logits = torch.tensor(
        [[[0.0, 0, 0, 0], [math.log(3), 0, 0, 0]], [[0, 0, 0, -INF], [0.0, 0, math.log(2), -INF]]]
    )
    targets = torch.tensor([[1, 0], [2, 3]])
    weights = torch.tensor([[1.0, 0.5], [2.0, 0.0]])
    expected = (1 * math.log(4) + 0.5 * math.log(6 / 3) + 2 * math.log(3)) / 3.5
    assert token_loss(logits, targets, weights).item() == pytest.approx(expected, rel=1e-6)


def test_what_stands_at_columns_without_weight_has_no_influence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator, requires_grad=True)
    targets = torch.randint(7, (3, 5), generator=generator)
    weights = (torch.rand(3, 5, generator=generator) > 0.5).float()
    loss = token_loss(logits, targets, weights)
    poisoned = torch.where(weights[..., None] > 0, logits, torch.full_like(logits, float("nan")))
    assert token_loss(poisoned, targets, weights).item() == loss.item()
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[weights == 0].abs().max() == 0


def test_a_batch_without_weight_has_loss_zero() -> None:
    assert (
        token_loss(torch.randn(1, 2, 3), torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2)).item() == 0
    )


def test_balance_lengths_by_hand() -> None:
    weights = torch.tensor([[1.0, 1, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]])
    assert torch.equal(balance_lengths(weights, 0), weights)
    half = balance_lengths(weights, 0.5)
    assert half[0, 0].item() == pytest.approx(2**-0.5)
    assert half[1, 3].item() == pytest.approx(0.5)
    assert balance_lengths(weights, 1).sum(1).tolist() == pytest.approx([1, 1, 0])


def digits_and_more() -> Vocabulary:
    return Vocabulary.compose([Block("fold", ("1", "2")), Block("digit", tuple("0123456789"))])


def test_soft_digits_are_distributions_that_fall_with_distance() -> None:
    vocabulary = digits_and_more()
    table = soft_digits(vocabulary, 1.5)
    assert table is not None
    assert torch.allclose(table.sum(1), torch.ones(len(vocabulary)))
    first = len(vocabulary) - 10
    assert torch.equal(table[:first, :first], torch.eye(first))  # fold "1" is no digit
    four = table[first + 4, first:]
    assert four.argmax() == 4
    assert four[5] > four[6] > four[9] > 0
    assert four[5].item() / four[4].item() == pytest.approx(math.exp(-((1 / 1.5) ** 2) / 2), rel=1e-5)


def test_soft_targets_enter_the_loss() -> None:
    vocabulary = digits_and_more()
    table = soft_digits(vocabulary, 1.0)
    first, choices = len(vocabulary) - 10, len(vocabulary) + 3
    logits = torch.randn(1, 2, choices, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[first + 4, choices - 1]])
    logs = logits.log_softmax(-1)[0]
    assert table is not None
    expected = (-(table[first + 4] * logs[0, : len(vocabulary)]).sum() - logs[1, -1]) / 2
    assert token_loss(logits, targets, torch.ones(1, 2), table).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_no_width_or_no_digits_gives_one_hot_targets() -> None:
    assert soft_digits(digits_and_more(), 0) is None
    assert soft_digits(Vocabulary.compose([Block("fold", ("1",))]), 1) is None
