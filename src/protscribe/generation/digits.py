"""The distribution of a number, digit by digit.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, W digits,
n ranks or bins.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import DigitTree
from protscribe.data.collate import Question
from protscribe.generation.group import Answered, Asking, Group
from protscribe.generation.search import renormalise
from protscribe.nn.decoder import Decoder
from protscribe.transfer import read_back
from protscribe.vocabulary import PAD


def digits_of(question: Question) -> tuple[int, int]:
    """How many leading digits a number's readout follows in full, and how many there are."""
    codec = question.task.codec
    return int(codec.read_depth), int(codec.places)  # type: ignore[attr-defined]


def number_trees(decoder: Decoder, group: Group, settings: Asking) -> list[Answered]:
    """A number's distribution: all prefixes of its leading digits side by side, then the likeliest ones further.

    One pass serves the leading digits, each further digit takes one more, over ``settings.prefixes`` prefixes
    a question.
    """
    depth, places = digits_of(group.questions[0])
    base, rows = group.grammars.numbers_Bn.shape[1], len(group.questions)
    device = group.prompts.tokens_BP.device
    value_BR = torch.arange(base ** (depth - 1), device=device).expand(rows, -1)
    bins: list[_Bins] = []
    off_B = torch.zeros(rows, device=device)
    for length in range(depth, places + 1):
        if bins:
            frontier = bins[-1]
            kept_BR = frontier.log_Bn.topk(min(settings.prefixes, frontier.log_Bn.shape[1]), dim=1).indices
            value_BR = frontier.value_Bn.gather(1, kept_BR)
            bins[-1] = _Bins(frontier.value_Bn, frontier.log_Bn.scatter(1, kept_BR, float("-inf")))
        log_BRn, more_B = _next_digits(decoder, group, value_BR, length - 1)
        off_B = off_B + more_B
        longer_BRn = value_BR[..., None] * base + torch.arange(base, device=device)
        bins.append(_Bins(longer_BRn.flatten(1), log_BRn.flatten(1)))
    mosts = [question.task.codec.most for question in group.questions]  # type: ignore[attr-defined]
    spans = [base ** (places - length) for length in range(depth, places + 1)]
    off, *found = read_back("digits", off_B / (places - depth + 1), *itertools.chain.from_iterable(bins))
    values, chances = found[::2], [np.exp(log.astype(np.float64)) for log in found[1::2]]
    return [
        Answered(
            _tree([(v[row], c[row]) for v, c in zip(values, chances, strict=True)], spans, mosts[row]),
            float(off[row]),
        )
        for row in range(rows)
    ]


class _Bins(NamedTuple):
    """Prefixes of one length, read as numbers, and the log probability of each."""

    value_Bn: Tensor
    log_Bn: Tensor


def _next_digits(decoder: Decoder, group: Group, value_BR: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Log probability ``[B, R, base]`` of each prefix of ``length`` digits followed by each digit, and what
    was off the grammar.

    ``value_BR`` holds the prefixes read as numbers. The mass ``[B]`` is that of the last digit, weighted by
    the prefixes' probability.
    """
    questions, prefixes = value_BR.shape
    base = group.grammars.numbers_Bn.shape[1]
    places = base ** torch.arange(length - 1, -1, -1, device=value_BR.device)
    ranks_BW = (value_BR.reshape(-1, 1) // places) % base
    prompts, grammars = group.prompts.repeat(prefixes), group.grammars.repeat(prefixes)
    device = value_BR.device
    rows_B = torch.arange(questions * prefixes, device=device)
    forced_BW = grammars.numbers_Bn.gather(1, ranks_BW)
    tokens_BT = torch.nn.functional.pad(prompts.tokens_BP, (0, length), value=PAD)
    tokens_BT = tokens_BT.scatter(
        1, prompts.start_B[:, None] + torch.arange(length, device=device), forced_BW
    )
    told_BD = prompts.told_by(decoder)
    states_BTD = decoder(tokens_BT, torch.full_like(tokens_BT, -1), group.memory, told_BD=told_BD)
    registers, reached_B = grammars.start(), torch.zeros(questions * prefixes, device=device)
    for level in range(length + 1):
        state_B1D = states_BTD[rows_B, prompts.start_B - 1 + level][:, None]
        legal = renormalise(decoder.choices(state_B1D, group.memory)[:, 0], grammars.allowed(registers))
        log_Bn = legal.log_BS.gather(1, grammars.numbers_Bn)
        if level < length:
            reached_B = reached_B + log_Bn.gather(1, ranks_BW[:, level : level + 1])[:, 0]
            registers = grammars.advance(registers, forced_BW[:, level])
    # A prefix that the grammar forbids has log probability -inf; what follows it may be undefined and counts nothing.
    possible_B = torch.isfinite(reached_B)
    joint_Bn = torch.where(possible_B[:, None], reached_B[:, None] + log_Bn, float("-inf"))
    off_B = torch.where(possible_B, reached_B.exp() * legal.off_grammar_B, 0.0)
    return joint_Bn.view(questions, prefixes, base), off_B.view(questions, prefixes).sum(1)


def _tree(found: list[tuple[np.ndarray, np.ndarray]], spans: list[int], most: int) -> DigitTree:
    """The bins of every length, those that cannot be or were followed further left out, in ascending order."""
    first = np.concatenate([value * span for (value, _), span in zip(found, spans, strict=True)])
    last = np.concatenate([value * span + span - 1 for (value, _), span in zip(found, spans, strict=True)])
    chances = np.concatenate([chance for _, chance in found])
    order = np.argsort(first, kind="stable")
    order = order[chances[order] > 0]
    return DigitTree(first[order], np.minimum(last[order], most), chances[order] / chances[order].sum())
