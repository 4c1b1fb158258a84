"""Which answer each lane of a decode is writing: lanes whose answer has ended take the next one that waits.

A decode has K memories with R lanes each, ``B = K * R``, and writes J answers. Answers wait in the order of their memories;
whenever a lane's answer has ended, the lane takes the next answer of *its own* memory, so that keys and values of a memory
never move. All of that is tensor arithmetic of static shape on the device: the host never learns who finished when.

Shape legend: J answers (and one more row, where lanes without work write), B lanes, K memories, T columns of a text, n ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.generation.constraint import CompiledGrammars, State
from protscribe.nn.decoder import Decoder
from protscribe.transfer import upload


@dataclass(frozen=True)
class Prompts:
    """What is asked, one row each: ``tokens_BP`` with ``start_B`` real columns, and where dense answers are aligned.

    ``aligned_BU`` is the memory place of the residue that each answer token is about, -1 behind the last one and of answers
    that are not dense.
    """

    tokens_BP: Tensor
    start_B: Tensor
    aligned_BU: Tensor

    def pick(self, rows: Tensor) -> Prompts:
        """The prompts of chosen rows."""
        return Prompts(*(value[rows] for value in vars(self).values()))

    def repeat(self, times: int) -> Prompts:
        """Every row ``times`` times in a row."""
        return self.pick(torch.arange(len(self.start_B), device=self.start_B.device).repeat_interleave(times))

    def told_by(self, decoder: Decoder) -> Tensor | None:
        """What every column is told of these prompts, ``[B, D]``."""
        return decoder.told(self.tokens_BP, self.start_B)

    def aligned_along(self, step_BT: Tensor) -> Tensor:
        """The memory places aligned with answer tokens ``step_BT`` of every row, -1 for none."""
        last = self.aligned_BU.shape[1] - 1
        within_BT = (step_BT >= 0) & (step_BT <= last)
        return self.aligned_BU.gather(1, step_BT.clamp(0, last)).masked_fill(~within_BT, -1)

    def aligned_at(self, step: int) -> Tensor:
        """The memory place aligned with answer token ``step`` of every row, -1 for none."""
        return self.aligned_along(torch.full_like(self.start_B, step)[:, None])[:, 0]


@dataclass(frozen=True)
class Queue:
    """The J answers to be written: their texts, whose prompts and grammars they have, and who waits for which memory.

    ``text_JT`` begins with each answer's prompt and is written in place. ``uniform_JT`` holds a number in [0, 1) for every
    token that is drawn and a negative one for every token that is to be the most probable; ``None``: none is drawn. The
    answers of memory k are ``first_K[k]`` up to ``stop_K[k] - 1``, ``longest`` of them at most.
    """

    text_JT: Tensor
    question_J: Tensor
    uniform_JT: Tensor | None
    first_K: Tensor
    stop_K: Tensor
    longest: int

    @classmethod
    def of(
        cls,
        prompts: Prompts,
        question_of: Sequence[int],
        memory_of: Sequence[int],
        memories: int,
        columns: int,
        uniform_JT: Tensor | None,
    ) -> Queue:
        """A queue of texts of ``columns`` columns. ``memory_of`` ascends."""
        device = prompts.tokens_BP.device
        counts = np.bincount(memory_of, minlength=memories)
        stops_K = torch.from_numpy(counts.cumsum())
        # The last row is where lanes without work write: it has the prompt of some question, and nobody reads it.
        question_J = upload(torch.tensor([*question_of, question_of[-1]]), device)
        tokens_JP = prompts.tokens_BP[question_J]
        if uniform_JT is not None:
            uniform_JT = torch.cat([uniform_JT, uniform_JT[-1:]])
        return cls(
            torch.nn.functional.pad(tokens_JP, (0, columns - tokens_JP.shape[1])),
            question_J,
            uniform_JT,
            upload(stops_K - torch.from_numpy(counts), device),
            upload(stops_K, device),
            int(counts.max()),
        )

    @property
    def nobody(self) -> int:
        """The row of lanes without work."""
        return len(self.text_JT) - 1


class Found(NamedTuple):
    """What is known about answers beside their text, one row each.

    Sums over the tokens decided so far of ``log_probability`` (natural, renormalised over allowed choices), ``off_grammar``
    mass and 1 (``tokens``), and the hazards of ranks, ``inclusion_n``.
    """

    log_probability: Tensor
    off_grammar: Tensor
    tokens: Tensor
    inclusion_n: Tensor

    @classmethod
    def nothing(cls, rows: int, ranks: int, device: torch.device) -> Found:
        zero = torch.zeros(rows, device=device)
        return cls(zero, zero.clone(), zero.clone(), torch.zeros(rows, ranks, device=device))


class Lanes(NamedTuple):
    """Where the B lanes stand: the answer each writes, its next column, whether it has more to write, and its question's
    prompt and grammar. ``next_K`` is the first answer of each memory that nobody has taken; ``read_B`` and ``passes_B`` count
    the columns that stood and the passes that they took.
    """

    answer_B: Tensor
    column_B: Tensor
    live_B: Tensor
    registers: State
    found: Found
    next_K: Tensor
    read_B: Tensor
    passes_B: Tensor
    prompts: Prompts
    grammars: CompiledGrammars

    @classmethod
    def idle(cls, queue: Queue, each: int, prompts: Prompts, grammars: CompiledGrammars) -> Lanes:
        """``each`` lanes a memory that have taken no answer yet."""
        device = queue.text_JT.device
        answer_B = torch.full((len(queue.first_K) * each,), queue.nobody, device=device)
        mine = grammars.pick(queue.question_J[answer_B])
        return cls(
            answer_B,
            torch.zeros_like(answer_B),
            torch.zeros_like(answer_B, dtype=torch.bool),
            mine.start(),
            Found.nothing(len(answer_B), grammars.numbers_Bn.shape[1], device),
            queue.first_K,
            torch.zeros_like(answer_B),
            torch.zeros_like(answer_B),
            prompts.pick(queue.question_J[answer_B]),
            mine,
        )

    def progress(self) -> Tensor:
        """Lanes that have more to write, the furthest column, and the sums of ``read_B`` and ``passes_B``: what a host asks."""
        return torch.stack([self.live_B.sum(), self.column_B.max(), self.read_B.sum(), self.passes_B.sum()])

    def hand_over(self, done: Found) -> None:
        """Writes what is known about the answers in hand to their rows of ``done``."""
        for whole, lane in zip(done, self.found, strict=True):
            whole[self.answer_B] = lane

    def refilled(self, queue: Queue, prompts: Prompts, grammars: CompiledGrammars) -> Lanes:
        """Lanes that have nothing more to write take the next answers of their memories, as far as there are any."""
        memories = len(self.next_K)
        free_KR = ~self.live_B.view(memories, -1)
        next_KR = self.next_K[:, None] + free_KR.cumsum(dim=1) - 1
        fresh_KR = free_KR & (next_KR < queue.stop_K[:, None])
        taken_KR = torch.where(fresh_KR, next_KR, queue.nobody)
        answer_B = torch.where(self.live_B, self.answer_B, taken_KR.flatten())
        question_B = queue.question_J[answer_B]
        mine = grammars.pick(question_B)
        return Lanes(
            answer_B,
            torch.where(self.live_B, self.column_B, 0),
            self.live_B | fresh_KR.flatten(),
            self.registers.where(self.live_B, mine.start()),
            Found(*(value * self.live_B.view(-1, *[1] * (value.dim() - 1)) for value in self.found)),
            self.next_K + fresh_KR.sum(dim=1),
            self.read_B,
            self.passes_B,
            prompts.pick(question_B),
            mine,
        )
