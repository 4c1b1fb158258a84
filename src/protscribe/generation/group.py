"""Questions that need the same evidence, made ready to be asked together: memories, prompts, grammars.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, W digits,
n ranks or bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import Evidence
from protscribe.data.batch import Batch
from protscribe.data.collate import Question, places_of
from protscribe.data.lexicon import Lexicon
from protscribe.generation.constraint import CompiledGrammars, compile_grammars, domains_of
from protscribe.generation.lanes import Prompts
from protscribe.grammar import Grammar, Positions
from protscribe.nn.decoder import Memory
from protscribe.transfer import upload
from protscribe.vocabulary import Token


@dataclass(frozen=True)
class Asking:
    """How answers are sought. ``draws``: sampled prefixes or answers a question; ``seed``: of the samples;
    ``prefixes``: of a number's digits that are followed beyond the leading ones; ``nodes``: of a tree of classes that are
    followed at each level (see :mod:`protscribe.generation.paths`), 0 draws whole answers; ``rounds``: passes over an answer
    of one token a residue, of which the first sees none of it (see :mod:`protscribe.generation.dense`); ``exact``: whether
    sets of at most 512 possible answers are enumerated instead of drawn from: ``"cheap"`` where that takes no longer,
    ``"always"`` or ``"never"``. ``columns``: tokens of prompts and answers that are held at once while answers are written
    one after the other, which bounds the memory that takes; 0 is what suits the device. ``width``: columns a pass may read
    of the greedy answers that have one token a residue (see :func:`protscribe.generation.search.walk`).

    A question's samples depend on the seed, its task and its sequences, never on the batch it stands in.
    """

    draws: int = 16
    seed: int = 0
    prefixes: int = 16
    nodes: int = 64
    rounds: int = 1
    exact: Literal["cheap", "always", "never"] = "cheap"
    columns: int = 0
    width: int = 16


class Answered(NamedTuple):
    """The evidence of one question, and the mean probability that the model put on forbidden choices."""

    evidence: Evidence
    off_grammar: float


@dataclass(frozen=True)
class Group:
    """Questions that need the same evidence, in the order of their memories, and their grammars compiled.

    ``memory_of`` says which of the group's memories each question is about.
    """

    questions: tuple[Question, ...]
    plain_grammars: tuple[Grammar, ...]
    lexicon: Lexicon
    memory: Memory
    memory_of: tuple[int, ...]
    prompts: Prompts
    grammars: CompiledGrammars

    def tokens(self, row: int, numbers: Sequence[int]) -> tuple[Token, ...]:
        """An answer's tokens; the grammar says which chain a plain position token means."""
        domains = domains_of(self.plain_grammars[row])
        chains = [
            domain.chain if isinstance(domain, Positions) else 0 for domain in domains if domain is not None
        ]
        return self.lexicon.tokens(numbers, self.questions[row].record, chains or (0,))

    @property
    def sizes(self) -> list[int]:
        """The ranks of each row's first domain, known to the host."""
        return [len(domains_of(grammar)[0].tokens()) for grammar in self.plain_grammars]


def group_questions(lexicon: Lexicon, batch: Batch, memory: Memory, places: Sequence[int]) -> Group:
    """The questions at ``places`` of a batch, in the order of their memories. ``memory`` holds the batch's K memories."""
    questions = tuple(batch.questions[place] for place in places)
    plain = tuple(question.task.codec.grammar(question.record) for question in questions)
    choices = len(lexicon.vocabulary) + (memory.mask_KM.shape[1] if lexicon.positions == "pointers" else 0)
    device = batch.tokens_BT.device
    asked, memory_of = choose_memories(memory, [batch.memory_of[place] for place in places])

    def uploaded(numbers: Sequence[int]) -> Tensor:
        return upload(torch.tensor(numbers), device)

    rows = uploaded(list(places))
    start_B = batch.start_B[rows]
    width = max(len(question.task.conditions) for question in questions) + 2
    return Group(
        questions=questions,
        plain_grammars=plain,
        lexicon=lexicon,
        memory=asked,
        memory_of=tuple(memory_of),
        prompts=Prompts(
            batch.tokens_BT[rows, :width],
            start_B,
            upload(aligned_places(questions), device),
        ),
        grammars=compile_grammars(plain, lexicon, [q.record for q in questions], choices, device),
    )


def aligned_places(questions: Sequence[Question]) -> Tensor:
    """The memory place that each answer token of each question is about, ``[B, U]``; -1 for none."""
    places = [places_of(question) for question in questions]
    table = np.full((len(places), max(1, *map(len, places))), -1, dtype=np.int64)
    for row, found in enumerate(places):
        table[row, : len(found)] = found
    return torch.from_numpy(table)


def stages_of(lexicon: Lexicon, questions: Sequence[Question]) -> list[int]:
    """The size of the vocabulary that each question is asked with."""
    known: dict[str, int] = {}
    for task in (question.task for question in questions):
        if task.name not in known:
            symbols = (symbol for block in task.blocks() for symbol in block.symbols())
            known[task.name] = lexicon.stage_of(symbols)
    return [known[question.task.name] for question in questions]


def choose_memories(memory: Memory, memory_of: Sequence[int]) -> tuple[Memory, list[int]]:
    """The memories that are asked, and which of them each question asks. Nothing is copied where they are neighbours."""
    wanted = list(dict.fromkeys(memory_of))
    place_of = {place: at for at, place in enumerate(wanted)}
    if wanted == list(range(wanted[0], wanted[-1] + 1)):
        chosen = memory.span(wanted[0], wanted[-1] + 1)
    else:
        chosen = memory.pick(upload(torch.tensor(wanted), memory.mask_KM.device))
    return chosen, [place_of[place] for place in memory_of]


def even_out(places: Sequence[int], memory_of: Sequence[int]) -> list[int]:
    """The places in the order of their memories, as many of each memory: the last of one with fewer stands there again.

    A pass over one row a question needs equal groups; asking a question twice is cheaper than copying its memory.

    >>> even_out([0, 1, 2], memory_of=[0, 1, 0])
    [0, 2, 1, 1]
    """
    groups: dict[int, list[int]] = {}
    for place in places:
        groups.setdefault(memory_of[place], []).append(place)
    most = max(map(len, groups.values()))
    return [
        place
        for memory in sorted(groups)
        for place in groups[memory] + groups[memory][-1:] * (most - len(groups[memory]))
    ]
