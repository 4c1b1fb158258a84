"""Which known proteins stand behind an answer: those whose votes weigh most (``docs/decisions/0021``).

A cosine says that the encoder sees two proteins alike, not that they are related, nor that what is true of one is true of the
other: it is where to look next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protscribe.data.lengths import apply_length_policy
from protscribe.errors import ConfigError, Where
from protscribe.inquiry import Inquiry
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.trust.neighbours import Neighbours, compared_residues, of_residues, prompt_of

MOST = 5
"""So many known proteins are told of each answer, unless said otherwise."""


@dataclass(frozen=True)
class Known:
    """One known protein, or one residue of one, that votes on an answer.

    ``name``: the id of its record, of a residue with letter and 1-based position behind it (``"P12345 Y57"``); ``""`` where the
    bundle holds no names. ``answer``: what is true of it, as a prediction's value; of a residue whether it is a site.
    ``cosine`` (-1..1): how near its whitened state is. ``weight`` (0..1): its share of all votes. ``position``: the 1-based
    residue of the asked protein on which it votes, ``None`` where proteins are compared as wholes.
    """

    name: str
    answer: Any
    cosine: float
    weight: float
    position: int | None = None


def nearest_known(
    inquiry: Inquiry,
    record: ProteinRecord,
    task: Task,
    most: int = MOST,
    positions: Sequence[int] | None = None,
) -> tuple[Known, ...]:
    """The ``most`` known proteins whose votes on ``task`` about ``record`` weigh most, heaviest first; of a set of residues
    those of each candidate at the 1-based ``positions`` (``None``: of all), one position after the other.

    Empty for a task without neighbours and where none was asked under the record's conditions. Raises
    :class:`~protscribe.errors.ConfigError` ``config.value`` for ``most`` below 1 and a position that is no candidate, and what
    :meth:`~protscribe.predictor.Predictor.predict` raises for a record that cannot be asked.
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigError("config.value", f"most must be a whole number, at least 1, got {most!r}")
    near = inquiry.neighbours.get(task.name)
    if near is None:
        return ()
    record = apply_length_policy(record, inquiry.limit, inquiry.settings.long)
    states_RF = inquiry.compared([record], task)
    wanted: list[int | None] = [None]
    if of_residues(task):
        candidates = [index + 1 for index in compared_residues(task, record)]
        wanted = list(candidates if positions is None else positions)
        if odd := [position for position in wanted if position not in candidates]:
            raise ConfigError(
                "config.value",
                f"task {task.name!r}: residue {odd[0]} is no candidate, so none votes on it",
                Where(record=record.id),
            )
        states_RF = states_RF[[candidates.index(position) for position in wanted if position is not None]]
    prompts = [prompt_of(task, record)] * len(wanted)
    voices = near.nearest(states_RF, prompts, most)
    return tuple(
        Known(_name(near, one.number), _answer(near, task, one.number), one.cosine, one.weight, position)
        for position, heard in zip(wanted, voices, strict=True)
        for one in heard
    )


def _name(near: Neighbours, number: int) -> str:
    return near.names[number] if near.names else ""


_ANY = ProteinRecord("", ("M",))
"""The domain of answers about whole proteins is the same for every protein."""


def _answer(near: Neighbours, task: Task, number: int) -> Any:
    members = near.members_of(number)
    if of_residues(task):
        return bool(members)
    codec: Any = task.codec
    symbols = codec.grammar(_ANY).domain.tokens()
    return codec.decode(tuple(symbols[rank] for rank in members), _ANY)
