"""When a model that knows a task is trained on it again: the same task, more of it, or another one. Pure Python.

Labels and condition values may be appended, since that moves no symbol and respells no answer. Everything else that
decides how an answer is written or read is fixed once weights have been trained for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protscribe.errors import TaskError
from protscribe.task import Task

WORDS = ("name", "title", "description", "reference", "metrics")
"""What a task says about itself and how it is judged; no weight depends on it, so that the new words are taken."""
APPENDED = ("labels", "values", "paths", "alphabet")
"""Lists of a codec that may become longer at their ends."""
SHOWN = 6


def extend_task(known: Task, asked: Task, filled: Task) -> Task:
    """The task that a model which knows ``known`` is trained on.

    ``asked`` is its definition now, ``filled`` the same with what it leaves open taken from the data. Open labels and
    condition values are the known ones, then those that are new, sorted. A list that is written out must be the known
    one, or begin with it. Raises :class:`~protscribe.errors.TaskError` ``task.changed`` with every difference.
    """
    plain, was, now = filled.to_plain(), known.to_plain(), asked.to_plain()
    differences = [
        f"{key} was {was[key]!r}, is {plain[key]!r}"
        for key in plain
        if key not in (*WORDS, "codec", "conditions") and was[key] != plain[key]
    ]
    codec = dict(plain["codec"])
    for key in {**was["codec"], **codec}:
        before, after = was["codec"].get(key), codec.get(key)
        if key in APPENDED and before and after:
            codec[key] = _longer(before, after, is_open=not now["codec"][key])
            if codec[key] is None:
                differences.append(f"{key} {_difference(before, after)}")
        elif before != after:
            differences.append(f"{key} of its answers was {before!r}, is {after!r}")
    conditions, more = _conditions(was["conditions"], now["conditions"], plain["conditions"])
    differences += more
    if differences:
        raise TaskError(
            "task.changed",
            f"the bundle's task {known.name!r} is another one: {'; '.join(differences)}. Labels may be added at the end; "
            "give a changed task another name",
        )
    return Task.from_plain(plain | {"codec": codec, "conditions": conditions})


def added_labels(before: Task, after: Task) -> tuple[str, ...]:
    """The labels, condition values and other texts that a task has gained, written as ``block:text``."""
    known = {symbol for block in before.blocks() for symbol in block.symbols()}
    return tuple(
        f"{symbol.block}:{symbol.text}"
        for block in after.blocks()
        for symbol in block.symbols()
        if symbol not in known
    )


def _longer(before: Sequence[str], after: Sequence[str], *, is_open: bool) -> list[str] | None:
    """The known texts and the new ones behind them; ``None`` where that is not what was asked for."""
    if is_open:
        return [*before, *(text for text in after if text not in before)]
    return list(after) if list(after[: len(before)]) == list(before) else None


def _conditions(
    was: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], filled: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    fields = [[condition["field"] for condition in conditions] for conditions in (was, filled)]
    if fields[0] != fields[1]:
        return [], [f"its conditions were {fields[0]}, are {fields[1]}"]
    found, differences = [], []
    for before, asked, after in zip(was, now, filled, strict=True):
        values = _longer(before["values"], after["values"], is_open=not asked["values"])
        if values is None:
            differences.append(
                f"values of {before['field']} {_difference(before['values'], after['values'])}"
            )
        if before["required"] != after["required"]:
            differences.append(
                f"required of {before['field']} was {before['required']}, is {after['required']}"
            )
        found.append({**after, "values": values})
    return found, differences


def _difference(before: Sequence[str], after: Sequence[str]) -> str:
    """How a list is not the known one with more at its end."""
    parts = []
    for word, texts in (
        ("lack", [text for text in before if text not in after]),
        ("add", [text for text in after if text not in before]),
    ):
        if texts:
            parts.append(f"{word} {', '.join(texts[:SHOWN])}{', ...' if len(texts) > SHOWN else ''}")
    return " and ".join(parts) or "stand in another order"
