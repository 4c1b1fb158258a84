"""Answers of one token a residue, read side by side: in one pass with the whole answer masked, or in rounds that refine it.

A model that learns with part of every answer's prefix masked gives, in one pass, each residue's distribution whatever the
labels of the others are. Further rounds show it the labels it was most certain of, as masked iterative decoding does (MaskGIT,
Chang et al. 2022, https://arxiv.org/abs/2202.04200); the decoder is causal, so a shown label tells the residues behind it only.

Shape legend: B rows, P prompt columns, C columns of prompt and answer, T answer columns, S choices, n ranks of the domain.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from protscribe.codecs.protocol import Marginals
from protscribe.generation.group import Answered, Asking, Group
from protscribe.generation.lanes import Prompts
from protscribe.nn.decoder import Decoder, Memory
from protscribe.transfer import read_back, upload
from protscribe.vocabulary import MASK, PAD

SLICE_BYTES = 64 * 2**20
"""What the scores of rows asked side by side may take (float32): long answers must not make a peak of memory."""
SLICE_COLUMNS = 2048
"""Columns asked side by side on a CPU, whose caches then hold their states: measured 5 to 15% faster than 10,000."""


def marginals(decoder: Decoder, group: Group, settings: Asking) -> list[Answered]:
    """For each question of a group of dense ones, in the order of their memories, every residue's distribution over the domain.

    ``settings.rounds`` passes; 1 is one pass with the whole answer masked. With more, after each pass but the last the
    tokens that were most certain are fixed as they were most probable, ever more of them, and the next pass sees them in
    place of masks. A fixed residue keeps the distribution (and the off-grammar mass) of the pass that fixed it, so that its
    most probable token is the one the residues behind it were told; the others have those of the last pass. Either way it is
    the residue's own distribution given the tokens that were shown before it: none confirms itself.
    """
    lengths = [grammar.longest for grammar in group.plain_grammars]
    columns = group.prompts.tokens_BP.shape[1] + max(1, *lengths)
    slices = list(_slices(group.memory_of, _rows_at_once(columns, group)))
    asked: list[Tensor] = []
    for first, stop in slices:
        asked += _ask(
            decoder,
            group.memory.span(group.memory_of[first], group.memory_of[stop - 1] + 1),
            group.prompts.pick(torch.arange(first, stop, device=group.prompts.start_B.device)),
            group.grammars.numbers_Bn[first:stop],
            lengths[first:stop],
            settings.rounds,
        )
    found = read_back("marginals", *asked)
    by_row = [rows for pair in zip(found[::2], found[1::2], strict=True) for rows in zip(*pair, strict=True)]
    return [_answered(*of_row, *size) for of_row, *size in zip(by_row, lengths, group.sizes, strict=True)]


def _rows_at_once(columns: int, group: Group) -> int:
    most = SLICE_BYTES // (4 * group.grammars.ranks_BS.shape[1])
    if group.prompts.tokens_BP.device.type == "cpu":
        most = min(most, SLICE_COLUMNS)
    return max(1, most // columns)


def _slices(memory_of: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Where slices of at most ``most`` rows begin and stop: whole memories with as many rows each, or parts of a single one."""
    begin = 0
    for each, memories in itertools.groupby(Counter(memory_of).values()):
        end = begin + each * len(list(memories))
        whole = max(1, most // each) * each
        for first in range(begin, end, whole):
            stop = min(first + whole, end)
            yield from ((row, min(row + most, stop)) for row in range(first, stop, most))
        begin = end


def fixed_after(length: int, done: int, rounds: int) -> int:
    """How many of ``length`` tokens are fixed after pass ``done`` of ``rounds``: few at first, all after the last (a cosine).

    >>> [fixed_after(300, done, 4) for done in (1, 2, 3, 4)]
    [22, 87, 185, 300]
    """
    return length - math.ceil(length * math.cos(math.pi / 2 * done / rounds) - 1e-9)


def _ask(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    numbers_Bn: Tensor,
    lengths: Sequence[int],
    rounds: int,
) -> tuple[Tensor, Tensor]:
    """Chances ``[B, T, n]`` that sum to 1, and the mass ``[B, T]`` that the model had put on them."""
    # Of a protein without any candidate there is nothing to ask, but a column to compute.
    device, longest = numbers_Bn.device, max(1, *lengths)
    quotas = [[fixed_after(length, done, rounds) for length in lengths] for done in range(1, rounds)]
    lengths_B = upload(torch.tensor(lengths), device)
    within_BT = torch.arange(longest, device=device) < lengths_B[:, None]
    shown_BT = torch.full(within_BT.shape, MASK, device=device)
    fixed_BT = torch.zeros_like(within_BT)
    chances_BTn, mass_BT = _look(decoder, memory, prompts, numbers_Bn, shown_BT)
    for quota in quotas:
        quota_B = upload(torch.tensor(quota), device)
        sure_BT, ranks_BT = chances_BTn.max(dim=-1)
        sure_BT = sure_BT.masked_fill(fixed_BT, 2.0).masked_fill(~within_BT, -1.0)
        places_BT = sure_BT.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        fixed_BT = places_BT < quota_B[:, None]
        shown_BT = torch.where(fixed_BT, numbers_Bn.gather(1, ranks_BT), shown_BT)
        seen_BTn, seen_BT = _look(decoder, memory, prompts, numbers_Bn, shown_BT)
        chances_BTn = torch.where(fixed_BT[..., None], chances_BTn, seen_BTn)
        mass_BT = torch.where(fixed_BT, mass_BT, seen_BT)
    return chances_BTn, mass_BT


def _look(
    decoder: Decoder, memory: Memory, prompts: Prompts, numbers_Bn: Tensor, shown_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """One pass over prompts and the tokens (or masks) shown."""
    longest, prompt_columns = shown_BT.shape[1], prompts.tokens_BP.shape[1]
    columns_C = torch.arange(prompt_columns + longest - 1, device=shown_BT.device)
    # Column 0 of the answer is the prompt's last: it predicts the first token, and token t stands in column t + 1.
    step_BC = columns_C - (prompts.start_B - 1)[:, None]
    prompt_BC = pad(prompts.tokens_BP, (0, longest - 1), value=PAD)
    answer_BC = shown_BT.gather(1, (step_BC - 1).clamp(0, longest - 1))
    states_BCD = decoder(
        torch.where(step_BC > 0, answer_BC, prompt_BC),
        prompts.aligned_along(step_BC),
        memory,
        told_BD=prompts.told_by(decoder),
        pointing=False,
    )
    answer_BT = (prompts.start_B - 1)[:, None] + torch.arange(longest, device=shown_BT.device)
    states_BTD = states_BCD.gather(1, answer_BT[..., None].expand(-1, -1, states_BCD.shape[-1]))
    scores_BTS = decoder.choices(states_BTD, memory)
    numbers_BTn = numbers_Bn.clamp(min=0)[:, None].expand(-1, longest, -1)
    picked_BTn = scores_BTS.gather(2, numbers_BTn).masked_fill((numbers_Bn < 0)[:, None], float("-inf"))
    log_mass_BT = picked_BTn.logsumexp(dim=-1)
    mass_BT = (log_mass_BT - scores_BTS.logsumexp(dim=-1)).exp()
    return (picked_BTn - log_mass_BT[..., None]).exp(), mass_BT


def _answered(chances_Tn: np.ndarray, mass_T: np.ndarray, length: int, size: int) -> Answered:
    chances = chances_Tn[:length, :size].astype(np.float64)
    off = np.clip(1 - mass_T[:length].astype(np.float64), 0, 1)
    return Answered(
        Marginals(chances / chances.sum(axis=-1, keepdims=True)), float(off.mean()) if length else 0.0
    )
