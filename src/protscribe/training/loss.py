"""The loss: weighted cross-entropy of answer tokens, and what its weights may be.

Shape legend: B rows, T columns, V symbols, S = V + M choices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from protscribe.vocabulary import DIGIT_BLOCK, Vocabulary


def token_loss(
    logits_BTS: Tensor, targets_BT: Tensor, weights_BT: Tensor, soft_VV: Tensor | None = None
) -> Tensor:
    """``sum(weight * cross entropy) / sum(weight)`` in nats over all S choices, a scalar; 0 where no token
    has weight.

    ``logits_BTS`` may hold ``-inf`` at choices that do not exist for a row. ``soft_VV`` gives the target
    distribution of each symbol (see :func:`soft_digits`); pointers are always one-hot.
    """
    counted = weights_BT > 0
    weights = weights_BT[counted]
    losses = token_losses(logits_BTS[counted], targets_BT[counted], soft_VV)
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def token_losses(logits_nS: Tensor, targets_n: Tensor, soft_VV: Tensor | None = None) -> Tensor:
    """The cross-entropy ``[n]`` of each of n tokens."""
    losses = cross_entropy(logits_nS.float(), targets_n, reduction="none")
    if soft_VV is None:
        return losses
    symbols = soft_VV.shape[0]
    softened = targets_n < symbols
    softened = softened & (soft_VV.diagonal()[targets_n.clamp(max=symbols - 1)] < 1)
    if not softened.any():
        return losses
    logs_nV = log_softmax(logits_nS[softened].float(), dim=-1)[:, :symbols]
    return losses.masked_scatter(softened, -(soft_VV[targets_n[softened]] * logs_nV).sum(-1))


def balance_lengths(weights_BT: Tensor, power: float) -> Tensor:
    """Weights in which a row's tokens are divided by (number of its weighted tokens) ** ``power``.

    0 is the plain token loss, where an answer of 300 residues counts 150 times as much as a class; 1 makes
    every answer count the same, whatever its length. Applied to a collated batch, before :func:`token_loss`.
    """
    counts_B1 = (weights_BT > 0).sum(1, keepdim=True).clamp(min=1)
    return weights_BT / counts_B1.to(weights_BT.dtype) ** power


def soft_digits(vocabulary: Vocabulary, width: float) -> Tensor | None:
    """Target distributions ``[V, V]`` that know that digit 6 is nearer to 7 than 0 is; every other symbol
    stays one-hot.

    Digit d has target mass in proportion to ``exp(-(distance / width) ** 2 / 2)``; ``width`` is in digits,
    and 0 gives ``None``: one-hot targets. Soft targets help the greedy string; they widen the distribution
    that the mean and the interval are read from.
    """
    digits = [number for number, symbol in enumerate(vocabulary.symbols) if symbol.block == DIGIT_BLOCK]
    if width <= 0 or not digits:
        return None
    table = one_hot(torch.arange(len(vocabulary))).float()
    values = torch.tensor([float(vocabulary.symbols[number].text) for number in digits])
    nearness = torch.softmax(-(((values[:, None] - values[None]) / width) ** 2) / 2, dim=-1)
    table[torch.tensor(digits)[:, None], torch.tensor(digits)[None]] = nearness
    return table
