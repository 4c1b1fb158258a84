"""Questions that need the same evidence, made ready to be asked together: memories, prompts, grammars.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, W digits,
n ranks or bins.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from protscribe.codecs.protocol import Evidence, Greedy
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.data.lexicon import Lexicon
from protscribe.generation.constraint import CompiledGrammars, compile_grammars, domains_of
from protscribe.generation.search import Decoded, Prompts
from protscribe.grammar import Grammar, Positions
from protscribe.nn.decoder import Memory
from protscribe.vocabulary import Token


@dataclass(frozen=True)
class Asking:
    """How answers are sought. ``draws``: sampled prefixes or answers a question; ``seed``: of the samples;
    ``prefixes``: of a number's digits that are followed beyond the leading ones.

    A question's samples depend on the seed, its task and its sequences, never on the batch it stands in.
    """

    draws: int = 16
    seed: int = 0
    prefixes: int = 16


class Answered(NamedTuple):
    """The evidence of one question, and the mean probability that the model put on forbidden choices."""

    evidence: Evidence
    off_grammar: float


@dataclass(frozen=True)
class Group:
    """Questions that need the same evidence, with their memories in equal groups and their grammars compiled."""

    questions: tuple[Question, ...]
    plain_grammars: tuple[Grammar, ...]
    lexicon: Lexicon
    memory: Memory
    prompts: Prompts
    grammars: CompiledGrammars

    def tokens(self, row: int, numbers: Sequence[int]) -> tuple[Token, ...]:
        """An answer's tokens; the grammar says which chain a plain position token means."""
        domains = domains_of(self.plain_grammars[row])
        chains = [
            domain.chain if isinstance(domain, Positions) else 0 for domain in domains if domain is not None
        ]
        return self.lexicon.tokens(numbers, self.questions[row].record, chains or (0,))

    def greedy(self, row: int, decoded: Decoded, at: int) -> Greedy:
        numbers = decoded.choices_BT[at, : int(decoded.lengths_B[at])].tolist()
        return Greedy(self.tokens(row, numbers), float(decoded.log_probability_B[at]))


def group_questions(lexicon: Lexicon, batch: Batch, memory: Memory, places: Sequence[int]) -> Group:
    """The questions at ``places`` of a batch. ``memory`` holds the batch's K memories."""
    questions = tuple(batch.questions[place] for place in places)
    rows = torch.tensor(list(places), device=batch.tokens_BT.device)
    plain = tuple(question.task.codec.grammar(question.record) for question in questions)
    choices = len(lexicon.vocabulary) + (memory.mask_KM.shape[1] if lexicon.positions == "pointers" else 0)
    aligned_from, aligned_count = [], []
    for question in questions:
        codec, record = question.task.codec, question.record
        chain = getattr(codec, "chain", 1) - 1
        aligned_from.append(sum(record.lengths[:chain]) if codec.dense else -1)
        aligned_count.append(record.lengths[chain] if codec.dense else 0)
    device = batch.tokens_BT.device
    start_B = batch.start_B[rows]
    width = max(len(question.task.conditions) for question in questions) + 2
    return Group(
        questions=questions,
        plain_grammars=plain,
        lexicon=lexicon,
        memory=arrange_memory(memory, [batch.memory_of[place] for place in places]),
        prompts=Prompts(
            batch.tokens_BT[rows, :width],
            start_B,
            torch.tensor(aligned_from, device=device),
            torch.tensor(aligned_count, device=device),
        ),
        grammars=compile_grammars(plain, lexicon, [q.record for q in questions], choices, device),
    )


def arrange_memory(memory: Memory, memory_of: Sequence[int]) -> Memory:
    """One memory a group of neighbouring rows where the groups are equal, else one a row (copied)."""
    groups = [(place, len(list(rows))) for place, rows in itertools.groupby(memory_of)]
    if len({count for _, count in groups}) > 1:
        groups = [(place, 1) for place in memory_of]
    wanted = [place for place, _ in groups]
    if wanted == list(range(len(memory.mask_KM))):
        return memory
    return memory.pick(torch.tensor(wanted, device=memory.mask_KM.device))
