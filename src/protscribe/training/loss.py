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
    losses_BT = token_losses(logits_BTS, targets_BT, weights_BT > 0, soft_VV)
    return (weights_BT * losses_BT).sum() / weights_BT.sum().clamp(min=torch.finfo(weights_BT.dtype).tiny)


def token_losses(
    logits_BTS: Tensor, targets_BT: Tensor, counted_BT: Tensor, soft_VV: Tensor | None = None
) -> Tensor:
    """The cross-entropy ``[B, T]`` of each token, in nats; what stands at columns that are not counted has no influence.

    All columns are computed, since picking some would give a shape that depends on data, for which the host must wait.
    """
    logits_BTS = logits_BTS.float().masked_fill(~counted_BT[..., None], 0.0)
    losses_BT = cross_entropy(logits_BTS.transpose(1, 2), targets_BT, reduction="none")
    if soft_VV is None:
        return losses_BT
    symbols = soft_VV.shape[0]
    known_BT = targets_BT.clamp(max=symbols - 1)
    softened_BT = (targets_BT < symbols) & (soft_VV.diagonal()[known_BT] < 1)
    logs_BTV = log_softmax(logits_BTS, dim=-1)[..., :symbols]
    return torch.where(softened_BT, -(soft_VV[known_BT] * logs_BTV).sum(-1), losses_BT)


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
