"""Beam search and diverse beam search, constrained and batched: the most probable answers and their exact probabilities.

All beams of all questions about a memory stand next to each other, so that they share it; only the caches of their own
tokens move when beams do. The loop asks the device nothing, except, every few steps, whether all questions are done.

Shape legend: Q questions, G groups of a beam, W beginnings in a group, C = 2 W candidates, B = Q * G * W rows, S choices,
T answer columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from protscribe.generation.constraint import CompiledGrammars
from protscribe.generation.lanes import Prompts
from protscribe.generation.pace import CHECK_EVERY
from protscribe.generation.settings import Beam
from protscribe.generation.writing import Writing
from protscribe.nn.decoder import Decoder, Memory
from protscribe.transfer import is_true
from protscribe.vocabulary import EOS, PAD


class Pool(NamedTuple):
    """The best finished answers of each group: choices (padded), tokens without the end, natural log probability, and the
    score they are ranked by; ``-inf`` where there is none. Within a group no answer stands twice.
    """

    choices_QGWT: Tensor
    lengths_QGW: Tensor
    log_QGW: Tensor
    score_QGW: Tensor

    def with_more(self, more: Pool) -> Pool:
        """The best of both, as many as there are places."""
        both = [torch.cat(pair, dim=2) for pair in zip(self, more, strict=True)]
        best_QGW = both[3].topk(self.score_QGW.shape[2], dim=2).indices
        return Pool(_take(both[0], best_QGW), *(values.gather(2, best_QGW) for values in both[1:]))


class Picked(NamedTuple):
    """What a step chose, as numbers beam * S + choice inside a group: answers that end, and beginnings that go on."""

    ended_QGW: Tensor
    ends_QGW: Tensor
    kept_QGW: Tensor


def beam_search(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    grammars: CompiledGrammars,
    settings: Beam,
    most: int = 1,
    forced_QT: Tensor | None = None,
) -> Pool:
    """The best answers of every question (a row of ``prompts`` and ``grammars``), ``settings.width`` at most.

    The ``most`` best ones of each group are what this beam can find: the search of a question stops when no beginning can
    still enter them. A beam that is as wide as there are answers finds all; a beam of one is greedy. ``forced_QT`` are the
    choices that answers must begin with (see :class:`~protscribe.generation.writing.Writing`).
    """
    groups, width = settings.groups, settings.width // settings.groups
    forced_BT = None if forced_QT is None else forced_QT.repeat_interleave(settings.width, dim=0)
    writing = Writing(
        decoder, memory, prompts.repeat(settings.width), grammars.repeat(settings.width), forced_BT
    )
    shape, device = (len(prompts.start_B), groups, width), prompts.start_B.device
    log_QGW = torch.full(shape, float("-inf"), device=device)
    log_QGW[:, :, 0] = 0.0
    choices_QGWT = torch.full((*shape, writing.steps), PAD, dtype=torch.long, device=device)
    nothing = torch.full_like(log_QGW, float("-inf"))
    pool = Pool(choices_QGWT, torch.zeros(shape, dtype=torch.long, device=device), nothing, nothing)
    first_row_QG1 = torch.arange(log_QGW.numel(), device=device).view(shape)[:, :, :1]
    longest = normalisation(grammars.longest, settings.length_power)
    for step in range(writing.steps):
        log_BS = writing.legal().log_BS
        size = log_BS.shape[1]
        # Of a beginning that is no longer followed the distribution is undefined.
        total_QGWS = torch.where(
            torch.isfinite(log_QGW)[..., None],
            log_QGW[..., None] + log_BS.view(*shape, size),
            float("-inf"),
        )
        total_QGX = total_QGWS.flatten(2)
        picked = _pick(total_QGWS, settings.diversity)
        ended_log_QGW = torch.where(picked.ends_QGW, total_QGX.gather(2, picked.ended_QGW), float("-inf"))
        score_QGW = ended_log_QGW / normalisation(step, settings.length_power)
        ended = _take(choices_QGWT, picked.ended_QGW // size)
        pool = pool.with_more(Pool(ended, torch.full_like(picked.ended_QGW, step), ended_log_QGW, score_QGW))
        if step + 1 == writing.steps:
            break
        log_QGW = total_QGX.gather(2, picked.kept_QGW)
        # A score can only fall: what even the longest answer's normalisation cannot lift over the last place is done.
        last_QG1 = pool.score_QGW.topk(min(most, width), dim=2).values[..., -1:]
        log_QGW = torch.where(log_QGW / longest > last_QG1, log_QGW, float("-inf"))
        if step % CHECK_EVERY == CHECK_EVERY - 1 and is_true("finished", ~torch.isfinite(log_QGW).any()):
            break
        origin_QGW, choice_QGW = picked.kept_QGW // size, picked.kept_QGW % size
        choices_QGWT = _take(choices_QGWT, origin_QGW)
        choices_QGWT[..., step] = choice_QGW
        if width > 1:
            writing.rearrange((first_row_QG1 + origin_QGW).flatten())
        writing.write(choice_QGW.flatten(), ~torch.isfinite(log_QGW).flatten())
    return pool


def normalisation(tokens: int, length_power: float) -> float:
    """What the log probability of an answer of ``tokens`` tokens is divided by (Wu et al. 2016)."""
    return ((5 + tokens) / 6) ** length_power


def _pick(total_QGWS: Tensor, diversity: float) -> Picked:
    """Of each group the W most probable that go on, and those that end among its W most probable.

    An answer that ends further down is given up, as greedy decoding gives up an end that is not the most probable token. For
    each token that earlier groups follow at this place, a group sees its probability lowered.
    """
    _, groups, width, size = total_QGWS.shape
    taken_QS = torch.zeros_like(total_QGWS[:, 0, 0])
    ended, ends, kept = [], [], []
    for group in range(groups):
        total_QX = total_QGWS[:, group].flatten(1)
        wanted_QX = total_QX - diversity * taken_QS.repeat(1, width) if group else total_QX
        # At most W of them end, so W that go on are among 2 W.
        best_QC = wanted_QX.topk(2 * width, dim=1).indices
        is_end_QC = best_QC % size == EOS
        rank_C = torch.arange(2 * width, device=best_QC.device)
        going_on_QW = (rank_C + 2 * width * is_end_QC).argsort(dim=1)[:, :width]
        kept_QW = best_QC.gather(1, going_on_QW)
        ended.append(best_QC[:, :width])
        ends.append(is_end_QC[:, :width])
        kept.append(kept_QW)
        if group + 1 < groups:
            followed_QW = torch.isfinite(total_QX.gather(1, kept_QW)).to(taken_QS.dtype)
            taken_QS = taken_QS.scatter_add(1, kept_QW % size, followed_QW)
    return Picked(torch.stack(ended, 1), torch.stack(ends, 1), torch.stack(kept, 1))


def _take(values_QGWT: Tensor, places_QGW: Tensor) -> Tensor:
    """The rows of a group at ``places_QGW``."""
    return values_QGWT.gather(2, places_QGW[..., None].expand(-1, -1, -1, values_QGWT.shape[-1]))
