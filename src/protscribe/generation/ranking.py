"""From a batch of questions to ranked answers of each: found by beam search or drawn, or given and judged.

Shape legend: Q questions, B rows, T answer columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import Greedy
from protscribe.data.batch import Batch
from protscribe.data.lexicon import Lexicon
from protscribe.generation.beam import beam_search
from protscribe.generation.candidates import score_answers
from protscribe.generation.group import Group, even_out, group_questions, stages_of
from protscribe.generation.samples import sample
from protscribe.generation.sampling import uniforms
from protscribe.generation.settings import Beam, Sample, Search
from protscribe.generation.writing import FREE, Writing
from protscribe.nn.decoder import Decoder, Memory
from protscribe.nn.model import Scribe
from protscribe.transfer import read_back, upload
from protscribe.vocabulary import Token

Tokens = tuple[Token, ...]


@dataclass(frozen=True)
class Ranked:
    """Distinct answers of one question, best first, each with its natural log probability; ``scores`` are what ranked them."""

    answers: tuple[Greedy, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, found: Iterable[tuple[float, Tokens, float]], most: int) -> Ranked:
        """The best of (score, tokens, log probability); an answer that was found twice counts once."""
        distinct = {tokens: (score, log) for score, tokens, log in found}
        best = sorted(distinct.items(), key=lambda item: -item[1][0])[:most]
        return cls(
            tuple(Greedy(tokens, log) for tokens, (_, log) in best),
            tuple(score for _, (score, _) in best),
        )


@torch.inference_mode()
def search_answers(
    model: Scribe,
    lexicon: Lexicon,
    batch: Batch,
    search: Search,
    count: int,
    beginnings: Sequence[Tokens],
    memory: Memory | None = None,
) -> list[Ranked]:
    """``count`` distinct answers, or as many as were found, of every question of ``batch``, in its order.

    ``beginnings`` are, for each question, the tokens that its answers must begin with, as its grammar allows; probabilities
    are then those given the beginning. ``memory`` is what ``model.remember(batch)`` gave, where that is known. The model must
    be in eval mode; chains are encoded once.
    """
    found: list[Ranked | None] = [None] * len(batch.questions)
    for decoder, group, places in _groups(model, lexicon, batch, memory):
        forced_QT = _forced(group, [beginnings[place] for place in places])
        if isinstance(search, Beam):
            ranked = _beamed(decoder, group, search.at_least(count), count, forced_QT)
        else:
            ranked = _drawn(decoder, group, search.at_least(count), count, forced_QT)
        for place, one in zip(places, ranked, strict=True):
            found[place] = one
    return [one for one in found if one is not None]


@torch.inference_mode()
def judge_answers(
    model: Scribe,
    lexicon: Lexicon,
    batch: Batch,
    answers: Sequence[Sequence[Tokens]],
    memory: Memory | None = None,
) -> list[Ranked]:
    """The given answers of every question of ``batch``, most probable first. ``memory`` as in :func:`search_answers`."""
    found: list[Ranked | None] = [None] * len(batch.questions)
    for decoder, group, places in _groups(model, lexicon, batch, memory):
        given = [answers[place] for place in places]
        logs = score_answers(decoder, group, given)
        for place, tokens, log_n in zip(places, given, logs, strict=True):
            told = zip(log_n.tolist(), tokens, log_n.tolist(), strict=True)
            found[place] = Ranked.of(told, len(tokens))
    return [one for one in found if one is not None]


def _groups(
    model: Scribe, lexicon: Lexicon, batch: Batch, memory: Memory | None
) -> Iterable[tuple[Decoder, Group, list[int]]]:
    """Questions whose answers are about equally long are written together, with the decoder of their stage."""
    memory = model.decoder.project(model.remember(batch) if memory is None else memory)
    stages = stages_of(lexicon, batch.questions)
    alike: dict[tuple[int, int], list[int]] = {}
    for place, question in enumerate(batch.questions):
        longest = question.task.codec.grammar(question.record).longest
        alike.setdefault((max(longest, 8).bit_length(), stages[place]), []).append(place)
    for (_, stage), places in alike.items():
        rows = even_out(places, batch.memory_of)
        group = group_questions(lexicon.at_stage(stage), batch, memory, rows)
        yield model.decoder.at_stage(stage), group, rows


def _forced(group: Group, beginnings: Sequence[Tokens]) -> Tensor | None:
    most = max(map(len, beginnings))
    if not most:
        return None
    forced = np.full((len(beginnings), most), FREE, dtype=np.int64)
    for row, (question, tokens) in enumerate(zip(group.questions, beginnings, strict=True)):
        forced[row, : len(tokens)] = group.lexicon.numbers(tokens, question.record)
    return upload(torch.from_numpy(forced), group.prompts.start_B.device)


def _beamed(
    decoder: Decoder, group: Group, search: Beam, most: int, forced_QT: Tensor | None
) -> Iterable[Ranked]:
    pool = beam_search(decoder, group.memory, group.prompts, group.grammars, search, most, forced_QT)
    choices_QWT, lengths_QW, log_QW, score_QW = read_back("decoded", *(one.flatten(1, 2) for one in pool))
    for row in range(len(group.questions)):
        yield Ranked.of(
            (
                (
                    float(score_QW[row, place]),
                    group.tokens(row, choices_QWT[row, place, : lengths_QW[row, place]].tolist()),
                    float(log_QW[row, place]),
                )
                for place in np.flatnonzero(np.isfinite(log_QW[row]))
            ),
            most,
        )


def _drawn(
    decoder: Decoder, group: Group, search: Sample, most: int, forced_QT: Tensor | None
) -> Iterable[Ranked]:
    draws, device = search.draws, group.prompts.start_B.device
    numbers = uniforms(group.questions, search.seed, group.grammars.longest + 1, draws)
    writing = Writing(
        decoder,
        group.memory,
        group.prompts.repeat(draws),
        group.grammars.repeat(draws),
        None if forced_QT is None else forced_QT.repeat_interleave(draws, dim=0),
    )
    drawn = sample(writing, search, upload(torch.from_numpy(numbers), device))
    choices_BT, lengths_B, log_B = read_back("decoded", *drawn)
    for row in range(len(group.questions)):
        yield Ranked.of(
            (
                (
                    float(log_B[at]),
                    group.tokens(row, choices_BT[at, : lengths_B[at]].tolist()),
                    float(log_B[at]),
                )
                for at in range(row * draws, (row + 1) * draws)
            ),
            most,
        )
