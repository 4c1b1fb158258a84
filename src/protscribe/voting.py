"""From a batch's mean states to the votes of known proteins, beside what the decoder said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protscribe.generation.ahead import Encoded
from protscribe.generation.answering import Answered
from protscribe.transfer import read_back
from protscribe.trust.neighbours import Neighbours, prompt_of


def hear(
    neighbours: Mapping[str, Neighbours], encoded: Encoded, answers: Sequence[Answered]
) -> list[Answered]:
    """The answers of a batch with the votes of ``neighbours``, which are by task; those of other tasks as they are."""
    if encoded.pooled_KD is None:
        return list(answers)
    (pooled_KD,) = read_back("pooled", encoded.pooled_KD)
    batch, heard = encoded.batch, list(answers)
    by_task: dict[str, list[int]] = {}
    for place, question in enumerate(batch.questions):
        if question.task.name in neighbours:
            by_task.setdefault(question.task.name, []).append(place)
    for name, places in by_task.items():
        states_QD = pooled_KD[[batch.memory_of[place] for place in places]]
        asked = [batch.questions[place] for place in places]
        votes = neighbours[name].votes(
            states_QD, [prompt_of(question.task, question.record) for question in asked]
        )
        for place, votes_K in zip(places, votes, strict=True):
            heard[place] = answers[place]._replace(
                evidence=neighbours[name].mixed(answers[place].evidence, votes_K)
            )
    return heard
