"""Answers that are given: their exact probabilities by teacher forcing, all of them in one pass that shares the memory.

Shape legend: Q questions, R rows a question, B = Q * R rows, S choices, T answer columns, P prompt columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.generation.constraint import CompiledGrammars
from protscribe.generation.group import Group
from protscribe.generation.lanes import Prompts
from protscribe.generation.search import renormalise
from protscribe.nn.decoder import Decoder, Memory
from protscribe.transfer import read_back, upload
from protscribe.vocabulary import EOS, PAD, Token


class Followed(NamedTuple):
    """Given rows of choices, followed: natural logs, renormalised over the allowed choices of each step.

    ``log_BT`` of each given choice after those before it, ``end_BT`` of the end in its place, and ``off_BT`` the probability
    that was put on forbidden choices there. Column t comes after t tokens; what lies beyond a row's own tokens (and, of
    ``end_BT`` and ``off_BT``, beyond the end after them) means nothing.
    """

    log_BT: Tensor
    end_BT: Tensor
    off_BT: Tensor


def follow(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    grammars: CompiledGrammars,
    forced_BT: Tensor,
    lengths_B: Tensor,
) -> Followed:
    """Teacher forcing of allowed choices ``forced_BT`` (padded), ``lengths_B`` of them: one pass of the decoder.

    Scores of one column at a time are at hand, never those of all.
    """
    most, prompt_columns = forced_BT.shape[1], prompts.tokens_BP.shape[1]
    device = forced_BT.device
    columns_T = torch.arange(prompt_columns + most, device=device)
    answer_BT = prompts.start_B[:, None] + torch.arange(most, device=device)
    tokens_BT = torch.nn.functional.pad(prompts.tokens_BP, (0, most), value=PAD)
    tokens_BT = tokens_BT.scatter(1, answer_BT, forced_BT)
    step_BT = columns_T - (prompts.start_B - 1)[:, None]
    states_BTD = decoder(tokens_BT, prompts.aligned_along(step_BT), memory, told_BD=prompts.told_by(decoder))
    registers = grammars.start()
    log, end, off = [], [], []
    for step in range(most + 1):
        column_B11 = (prompts.start_B - 1 + step)[:, None, None].expand(-1, 1, states_BTD.shape[-1])
        scores_BS = decoder.choices(states_BTD.gather(1, column_B11), memory)[:, 0]
        legal = renormalise(scores_BS, grammars.allowed(registers))
        end.append(legal.log_BS[:, EOS])
        off.append(legal.off_grammar_B)
        if step == most:
            break
        choice_B = forced_BT[:, step]
        log.append(legal.log_BS.gather(1, choice_B[:, None])[:, 0])
        going_on_B = step < lengths_B
        advanced = grammars.advance(registers, choice_B)
        registers = advanced.where(going_on_B, registers)
    nothing_B1 = torch.zeros(len(forced_BT), 0, device=device)
    return Followed(torch.stack(log, 1) if log else nothing_B1, torch.stack(end, 1), torch.stack(off, 1))


class Told(NamedTuple):
    """:class:`Followed` on the host, ``[Q, R, T]``, float64."""

    log_QRT: np.ndarray
    end_QRT: np.ndarray
    off_QRT: np.ndarray

    def answer(self, question: int, row: int, length: int) -> float:
        """The natural log probability of a whole answer, its end included."""
        return float(self.log_QRT[question, row, :length].sum() + self.end_QRT[question, row, length])


def follow_answers(decoder: Decoder, group: Group, answers: Sequence[Sequence[Sequence[Token]]]) -> Told:
    """Follows the answers of each question of a group, in one pass. Questions with fewer answers are filled up."""
    rows_each = max(1, *map(len, answers))
    most = max((len(tokens) for given in answers for tokens in given), default=0)
    forced = np.full((len(answers), rows_each, most), PAD, dtype=np.int64)
    lengths = np.zeros((len(answers), rows_each), dtype=np.int64)
    for place, (question, given) in enumerate(zip(group.questions, answers, strict=True)):
        for row, tokens in enumerate(given):
            forced[place, row, : len(tokens)] = group.lexicon.numbers(tokens, question.record)
            lengths[place, row] = len(tokens)
    device = group.prompts.tokens_BP.device
    followed = follow(
        decoder,
        group.memory,
        group.prompts.repeat(rows_each),
        group.grammars.repeat(rows_each),
        upload(torch.from_numpy(forced.reshape(len(answers) * rows_each, most)), device),
        upload(torch.from_numpy(lengths.reshape(-1)), device),
    )
    arrays = read_back("followed", *followed)
    log, end, off = (
        array.astype(np.float64).reshape(len(answers), rows_each, array.shape[1]) for array in arrays
    )
    return Told(log, end, off)


def score_answers(
    decoder: Decoder, group: Group, answers: Sequence[Sequence[Sequence[Token]]]
) -> list[np.ndarray]:
    """The natural log probability of each given answer of each question, renormalised over the allowed tokens of every step."""
    told = follow_answers(decoder, group, answers)
    return [
        np.array([told.answer(place, row, len(tokens)) for row, tokens in enumerate(given)])
        for place, given in enumerate(answers)
    ]
