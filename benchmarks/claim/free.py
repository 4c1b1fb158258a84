"""Greedy strings without a grammar: at every step the most probable of all symbols and pointers, whatever may come next.

What does not parse is a failure, and so counts as wrong. Shape legend: B questions, T columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from protscribe.codecs.protocol import Reading
from protscribe.data.collate import Collator, Question
from protscribe.data.examples import Example
from protscribe.grammar import accepts
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction
from protscribe.task import Task
from protscribe.vocabulary import EOS

SPARE, MOST = 8, 96
"""Tokens after which a string without an end is given up: beyond the true answer of a dense task, of another one at all."""


@torch.no_grad()
def free_strings(
    predictor: Predictor, task: Task, examples: Sequence[Example], rows: int = 8
) -> list[Prediction | Failure]:
    """Answers in the order of ``examples``; those that the grammar would not have allowed are failures ``malformed``."""
    model, lexicon = predictor.bundle.model.eval(), predictor.bundle.lexicon
    collate = Collator(lexicon)
    order = sorted(range(len(examples)), key=lambda place: sum(examples[place].record.lengths))
    found: list[Any] = [None] * len(examples)
    for first in range(0, len(order), rows):
        part = order[first : first + rows]
        # A dense answer says how many columns there are, and which residue each is about. Others are not looked at.
        dense = task.codec.dense
        batch = collate(
            [Question(examples[i].record, task, examples[i].answer if dense else None) for i in part]
        )
        for place, numbers in zip(part, _write(model, batch, SPARE if dense else MOST), strict=True):
            found[place] = _read(task, lexicon, examples[place], numbers)
    return found


def _write(model: Any, batch: Any, spare: int) -> list[list[int]]:
    """Numbers of each row's answer, without the end symbol; rows that have not ended are as long as the columns allow."""
    decoder, start = model.decoder, int(batch.start_B.max())
    rows, columns = batch.tokens_BT.shape
    memory = decoder.project(model.remember(batch)).pick(batch.memory_of_B)
    caches = decoder.caches(rows, columns + spare)
    told_BD = decoder.told(batch.tokens_BT, batch.start_B)
    tokens_BT: Tensor = batch.tokens_BT[:, :start]
    aligned_BT = torch.nn.functional.pad(batch.aligned_BT, (0, spare), value=-1)
    for column in range(start - 1, columns + spare - 1):
        seen = slice(0, start) if column == start - 1 else slice(column, column + 1)
        columns_BQ = torch.arange(columns + spare)[seen].expand(rows, -1)
        states = decoder(
            tokens_BT[:, seen],
            aligned_BT[:, seen],
            memory,
            columns_BQ,
            caches,
            told_BD=told_BD,
            seen=column + 1,
        )
        best_B1 = decoder.choices(states[:, -1:], memory)[:, 0].argmax(-1, keepdim=True)
        tokens_BT = torch.cat([tokens_BT, best_B1], dim=1)
        if bool((tokens_BT[:, start:] == EOS).any(1).all()):
            break
    written = [row[start:].tolist() for row in tokens_BT]
    return [row[: row.index(EOS)] if EOS in row else row for row in written]


def _read(task: Task, lexicon: Any, example: Example, numbers: list[int]) -> Prediction | Failure:
    record = task.arrange(example.record)
    try:
        tokens = lexicon.tokens(numbers, record)
        if accepts(task.codec.grammar(record), tokens):
            reading = Reading(task.codec.decode(tokens, record), 0.0, "not computed")
            return task.prediction(record, reading, readout="free")
    except AssertionError:
        # A pointer to a place behind the chain.
        pass
    return Failure(record.ordinal, record.id, "malformed", "the string is no answer of this task", task.name)
