"""Whole answers drawn from the model, constrained and batched.

All draws of all questions about a memory stand next to each other and share it.

Shape legend: B rows (questions * draws), S choices, T answer columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from protscribe.generation.pace import CHECK_EVERY
from protscribe.generation.sampling import draw, sharpen
from protscribe.generation.settings import Sample
from protscribe.generation.writing import Writing
from protscribe.transfer import is_true
from protscribe.vocabulary import EOS, PAD


class Drawn(NamedTuple):
    """Drawn answers: choices (padded), tokens without the end, and natural log probability under the model itself."""

    choices_BT: Tensor
    lengths_B: Tensor
    log_B: Tensor


def sample(writing: Writing, settings: Sample, uniform_BT: Tensor) -> Drawn:
    """One answer a row, to its end. The loop asks the device nothing, except, every few steps, whether all rows have ended."""
    rows, device = len(uniform_BT), uniform_BT.device
    ended_B = torch.zeros(rows, dtype=torch.bool, device=device)
    log_B = torch.zeros(rows, device=device)
    choices_BT = torch.full((rows, writing.steps), PAD, dtype=torch.long, device=device)
    for step in range(writing.steps):
        log_BS = writing.legal().log_BS
        bold_BS = sharpen(log_BS, settings.temperature, settings.top_k, settings.top_p)
        choice_B = draw(bold_BS, uniform_BT[:, step])
        log_B = log_B + torch.where(ended_B, 0.0, log_BS.gather(1, choice_B[:, None])[:, 0])
        ended_B = ended_B | (choice_B == EOS)
        choices_BT[:, step] = torch.where(ended_B, PAD, choice_B)
        if step + 1 == writing.steps:
            break
        if step % CHECK_EVERY == CHECK_EVERY - 1 and is_true("finished", ended_B.all()):
            break
        writing.write(choice_B, ended_B)
    return Drawn(choices_BT, (choices_BT != PAD).sum(dim=-1), log_B)
