"""From a batch's states to the votes of known proteins and residues, beside what the decoder said.

Shape legend: N chains, L residues (padded), F features, R compared rows: one a protein, or one a candidate residue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import Floats
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.generation.ahead import Encoded
from protscribe.generation.answering import Answered
from protscribe.nn.model import Scribe
from protscribe.transfer import read_back, upload
from protscribe.trust.neighbours import Neighbours, States, compared_residues, of_residues, prompt_of


def states_of(model: Scribe, batch: Batch, states_NLF: Tensor, tasks: Collection[str]) -> Tensor:
    """What is compared, ``[R, F]`` (float32): the mean states of questions of ``tasks`` about whole proteins, in their order,
    then of the others the states of each candidate residue. :func:`split_rows` tells which is whose."""
    whole: list[int] = []
    memories: list[int] = []
    places: list[int] = []
    for question, memory in zip(batch.questions, batch.memory_of, strict=True):
        if question.task.name not in tasks:
            continue
        if of_residues(question.task):
            indices = compared_residues(question.task, question.record)
            memories += [memory] * len(indices)
            places += indices
        else:
            whole.append(memory)
    parts = []
    if whole:
        parts.append(model.pooled(batch, states_NLF)[_index(whole, states_NLF)])
    if places:
        source_U = batch.source_KM[_index(memories, states_NLF), _index(places, states_NLF)]
        parts.append(states_NLF.flatten(0, 1)[source_U].float())
    return torch.cat(parts) if parts else states_NLF.new_zeros((0, states_NLF.shape[-1])).float()


def _index(places: Sequence[int], like: Tensor) -> Tensor:
    return upload(torch.tensor(places, dtype=torch.int64), like.device)


def split_rows(
    questions: Sequence[Question], tasks: Collection[str], states_RF: States
) -> Iterator[tuple[int, States]]:
    """The place of each question of ``tasks``, ascending, and its own rows of what :func:`states_of` gave."""
    counts = {
        place: len(compared_residues(question.task, question.record)) if of_residues(question.task) else -1
        for place, question in enumerate(questions)
        if question.task.name in tasks
    }
    first, residue = 0, sum(count < 0 for count in counts.values())
    for place, count in counts.items():
        if count < 0:
            yield place, states_RF[first : first + 1]
            first += 1
        else:
            yield place, states_RF[residue : residue + count]
            residue += count


def hear(
    neighbours: Mapping[str, Neighbours], encoded: Encoded, answers: Sequence[Answered]
) -> list[Answered]:
    """The answers of a batch with the votes of ``neighbours``, which are by task; those of other tasks as they are."""
    if encoded.compared_RF is None:
        return list(answers)
    heard, questions = list(answers), encoded.batch.questions
    (states_RF,) = read_back("compared", encoded.compared_RF)
    for place, states_UF in split_rows(questions, neighbours, states_RF):
        near, question = neighbours[questions[place].task.name], questions[place]
        votes = _votes(near, question, states_UF)
        heard[place] = answers[place]._replace(evidence=near.mixed(answers[place].evidence, votes))
    return heard


def _votes(near: Neighbours, question: Question, states_UF: States) -> Floats | None:
    """Of the symbols of an answer's domain, or of each candidate residue."""
    prompt = prompt_of(question.task, question.record)
    found: list[Any] = list(near.votes(states_UF, [prompt] * len(states_UF)))
    if not of_residues(question.task):
        return found[0]  # type: ignore[no-any-return]
    return None if not found or found[0] is None else np.concatenate(found)
