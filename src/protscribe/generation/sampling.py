"""Sampling a step: one choice from a distribution, distributions made bolder, and the numbers that decide.

Shape legend: B rows (questions * draws), S choices, T answer columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from protscribe.data.collate import Question


def draw(log_BS: Tensor, uniform_B: Tensor) -> Tensor:
    """One choice a row by inversion of its cumulative distribution; ``uniform_B`` in [0, 1).

    One number a row decides, so that a draw depends neither on the batch nor on the device's random state.
    """
    below_BS = log_BS.exp().cumsum(dim=-1)
    total_B1 = below_BS[:, -1:]
    chosen_B = (below_BS <= uniform_B[:, None] * total_B1).sum(dim=-1)
    last_B = (below_BS < total_B1).sum(dim=-1)
    return torch.minimum(chosen_B, last_B)


def sharpen(log_BS: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """The distributions ``log_BS`` (natural logs, ``-inf`` where forbidden) made bolder, renormalised.

    First the temperature, then the ``top_k`` most probable choices (0: all), then the fewest of them that together reach
    ``top_p``. The most probable choice always stays. Shapes are static.
    """
    log_BS = (log_BS / temperature).log_softmax(dim=-1)
    if not top_k and top_p >= 1:
        return log_BS
    sorted_BS, order_BS = log_BS.sort(dim=-1, descending=True, stable=True)
    rank_S = torch.arange(log_BS.shape[-1], device=log_BS.device)
    kept_BS = (rank_S < (top_k or log_BS.shape[-1])).expand_as(log_BS)
    chances_BS = sorted_BS.masked_fill(~kept_BS, float("-inf")).softmax(dim=-1)
    # Nothing comes before the most probable choice, so it stays.
    kept_BS = kept_BS & (chances_BS.cumsum(dim=-1) - chances_BS < top_p)
    kept_BS = torch.zeros_like(kept_BS).scatter(1, order_BS, kept_BS)
    return log_BS.masked_fill(~kept_BS, float("-inf")).log_softmax(dim=-1)


def uniforms(questions: Sequence[Question], seed: int, steps: int, draws: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for every draw of every question, float32 ``[questions * draws, steps]``.

    A question's numbers depend on the seed, its task and its sequences, never on the batch it stands in.
    """
    drawn = np.empty((len(questions), draws, steps), dtype=np.float32)
    for place, (record, task, _) in enumerate(questions):
        text = "\0".join((task.name, *record.chains, record.molecule or ""))
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        # Step by step, so that a longer neighbour in the batch does not change the numbers of this row.
        drawn[place] = np.minimum(np.random.default_rng([seed, key]).random((steps, draws)), 1 - 1e-7).T
    return drawn.reshape(-1, steps)
