"""From a batch of questions to the evidence that codecs read their answers from.

Questions are grouped by the evidence they need; each group is one or a few passes of the decoder over
memories that were encoded once for all of them.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, n ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from protscribe.codecs.protocol import First, Greedy, Marginals
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.data.lexicon import Lexicon
from protscribe.generation.candidates import follow_answers
from protscribe.generation.dense import marginals
from protscribe.generation.digits import digits_of, number_trees
from protscribe.generation.enumeration import enumerate_inclusion, rows_to_follow
from protscribe.generation.group import Answered, Asking, Group, even_out, group_questions, stages_of
from protscribe.generation.paths import inner_nodes, is_tree, path_inclusion
from protscribe.generation.search import prompt_inputs, renormalise
from protscribe.generation.written import DRAWN, write_answers
from protscribe.nn.decoder import Decoder, Memory
from protscribe.nn.model import Scribe
from protscribe.transfer import read_back

__all__ = ["Answered", "Asking", "answer"]

USUAL = 8
"""Tokens of an answer that may be long but seldom is: sets, sites, segments."""

Way = Literal["risk", "greedy", "traced"]


@torch.inference_mode()
def answer(
    model: Scribe,
    lexicon: Lexicon,
    batch: Batch,
    *,
    ways: Sequence[Way] | None = None,
    settings: Asking | None = None,
    memory: Memory | None = None,
) -> list[Answered]:
    """Evidence for every question of ``batch`` (built by a ``Collator`` from questions without answers), in
    its order.

    ``ways`` says, for each question, whether the codec's own evidence is wanted (``"risk"``, the default) or
    the greedy string, perhaps with the probability of each of its tokens (``"traced"``). Small sets are
    enumerated where that is no dearer than drawing. ``memory`` is what ``model.remember(batch)`` gave, where that was asked for
    ahead. The model must be in eval mode. Chains are encoded once, memories projected once, for all questions of the batch.
    """
    settings = settings or Asking()
    ways = ways or ["risk"] * len(batch.questions)
    memory = model.remember(batch) if memory is None else memory
    tokens = sum(
        _tokens(question, way, settings) for question, way in zip(batch.questions, ways, strict=True)
    )
    memory = model.decoder.project(memory, tokens // len(set(batch.memory_of)))
    stages = stages_of(lexicon, batch.questions)
    asked: dict[Need, list[int]] = {}
    for place, (question, way) in enumerate(zip(batch.questions, ways, strict=True)):
        need = _need(question, way, settings)._replace(stage=stages[place])
        asked.setdefault(need, []).append(place)
    found: list[Answered | None] = [None] * len(batch.questions)
    for need, places in asked.items():
        if need.way in ("written", "marginals"):
            rows = sorted(places, key=lambda place: batch.memory_of[place])
        else:
            rows = even_out(places, batch.memory_of)
        decoder = model.decoder.at_stage(need.stage)
        group = group_questions(lexicon.at_stage(need.stage), batch, memory, rows)
        if need.way == "written":
            kinds = [_kind(batch.questions[place], ways[place]) for place in rows]
            answers = write_answers(decoder, group, kinds, settings, need.size)
        else:
            answers = SEEKERS[need.way](decoder, group, settings)
        answers = [
            _as_asked(answered, batch.questions[place]) for place, answered in zip(rows, answers, strict=True)
        ]
        for place, answered in zip(rows, answers, strict=True):
            found[place] = answered
    return [answered for answered in found if answered is not None]


class Need(NamedTuple):
    """What questions must have in common to be asked in one go: the way, a size that is part of its shapes, the vocabulary."""

    way: str
    size: int = 0
    places: int = 0
    stage: int = 0


def _kind(question: Question, way: Way) -> str:
    codec = question.task.codec
    if way != "risk":
        return way
    # A mark at each residue says at once what is included.
    return "marginals" if codec.dense and codec.asks == "inclusion" else codec.asks


def _as_asked(answered: Answered, question: Question) -> Answered:
    """Marginals as the codec's own kind of evidence."""
    codec: Any = question.task.codec
    if isinstance(answered.evidence, Marginals) and codec.asks == "inclusion":
        return answered._replace(evidence=codec.inclusion(answered.evidence))
    return answered


def _tokens(question: Question, way: Way, settings: Asking) -> int:
    """About how many tokens are read to answer a question: what decides whether keys and values of its memory pay."""
    kind, codec = _kind(question, way), question.task.codec
    prompt = 2 + len(question.task.conditions)
    if kind == "first":
        return prompt
    grammar = codec.grammar(question.record)
    rows = {"digits": 2 * settings.prefixes, **dict.fromkeys(DRAWN, settings.draws + 1)}.get(kind, 1)
    if kind == "inclusion" and is_tree(grammar):
        rows += sum(min(width, settings.nodes) for width in inner_nodes([grammar]))
    return rows * (prompt + (grammar.longest if codec.dense else min(grammar.longest, USUAL)))


def _need(question: Question, way: Way, settings: Asking) -> Need:
    kind, codec = _kind(question, way), question.task.codec
    if kind == "digits":
        return Need("digits", *digits_of(question))
    if kind == "inclusion" and settings.exact != "never":
        drawn = settings.draws + 1 if settings.exact == "cheap" else None
        rows = rows_to_follow(codec.grammar(question.record), drawn)
        if rows is not None:
            return Need("enumeration", rows)
    if kind == "inclusion" and settings.nodes and is_tree(codec.grammar(question.record)):
        return Need("paths")
    if kind in ("greedy", *DRAWN):
        return Need("written", settings.width if codec.dense else 1)
    return Need(kind)


def _first(decoder: Decoder, group: Group, settings: Asking) -> list[Answered]:
    """The distribution of the first token: one pass over the prompts."""
    prompts = group.prompts
    states_BPD = decoder(*prompt_inputs(prompts), group.memory, told_BD=prompts.told_by(decoder))
    rows = torch.arange(len(group.questions), device=states_BPD.device)
    state_B1D = states_BPD[rows, prompts.start_B - 1][:, None]
    legal = renormalise(
        decoder.choices(state_B1D, group.memory)[:, 0], group.grammars.allowed(group.grammars.start())
    )
    chances_Bn = legal.log_BS.gather(1, group.grammars.numbers_Bn.clamp(min=0)).exp()
    chances, off = read_back("first", chances_Bn, legal.off_grammar_B)
    return [
        Answered(First(_sums_to_one(chances[row, :size].astype(np.float64))), float(off[row]))
        for row, size in enumerate(group.sizes)
    ]


def _sums_to_one(chances: np.ndarray) -> np.ndarray:
    return chances / chances.sum(axis=-1, keepdims=True)


def _traced(decoder: Decoder, group: Group, settings: Asking) -> list[Answered]:
    """The greedy string, with the probability of each token after those before it."""
    width = settings.width if all(question.task.codec.dense for question in group.questions) else 1
    answers = write_answers(decoder, group, ["greedy"] * len(group.questions), settings, width)
    greedy = [answered.evidence for answered in answers if isinstance(answered.evidence, Greedy)]
    told = follow_answers(decoder, group, [[one.tokens] for one in greedy])
    steps = [np.exp(told.log_QRT[row, 0, : len(one.tokens)]).tolist() for row, one in enumerate(greedy)]
    return [
        Answered(replace(one, steps=tuple(given)), answered.off_grammar)
        for one, given, answered in zip(greedy, steps, answers, strict=True)
    ]


SEEKERS: dict[str, Callable[[Decoder, Group, Asking], list[Answered]]] = {
    "first": _first,
    "marginals": marginals,
    "digits": number_trees,
    "enumeration": lambda decoder, group, settings: enumerate_inclusion(decoder, group),
    "traced": _traced,
    "paths": path_inclusion,
}
