"""Beginnings that answers are given: from what a person writes to tokens, checked against the grammar place by place.

A beginning is written as the task's answers are, or as a list of its parts:

==================  ============================================================================================
kind                a beginning
==================  ============================================================================================
category            the class: ``"membrane"``
category_set        labels in the task's order: ``"p;r"`` or ``["p", "r"]``; those before the last that are not named are out
category_path       a path, which may stop above a leaf: ``"3.4"``; several: ``["1.1.1.1", "3.4"]``
number              leading digits of the count of steps above the task's lowest value, as text: ``"04"``
residue_labels      the labels of the first residues: ``"HHH"``
residue_set         1-based positions: ``[5, 9]`` or ``"5;9"``; residues before the last that are not named are out
segments            the first segments: ``"signal:1-22"``; of the last one its label alone will do: ``"signal:1-22;mature"``
residue_pairs       the first pairs: ``"1-5;2-9"``
sequence            the first tokens: ``"MKT"``, with spaces between tokens of several characters
==================  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from protscribe.errors import LabelError, Where, nearest
from protscribe.grammar import allowed
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Position, Token

Prefix = str | Sequence[Any]


def prefix_tokens(task: Task, prefix: Prefix | None, record: ProteinRecord) -> tuple[Token, ...]:
    """The tokens that answers to ``task`` about ``record`` must begin with.

    Raises :class:`~protscribe.errors.LabelError` ``label.prefix``, naming the place and what would be allowed there.
    """
    if prefix is None:
        return ()
    grammar = task.codec.grammar(record)
    tokens: list[Token] = []
    for word in _words(task, prefix):
        following = allowed(grammar, tokens).tokens
        # A node that is on the way to another one has been written with the first.
        if task.codec.kind == "category_path" and any(_text(token) == word for token in tokens):
            continue
        found = next((token for token in following if _text(token) == word), None)
        if found is None:
            raise _misfit(task, record, word, tokens, following)
        tokens.append(found)
    return tuple(tokens)


def _words(task: Task, prefix: Prefix) -> Iterable[str]:
    """The texts of a beginning's tokens, one by one."""
    kind, codec = task.codec.kind, task.codec
    if isinstance(prefix, str) or not isinstance(prefix, Sequence):
        prefix = str(prefix)
        items: Sequence[Any] = _cut(kind, codec, prefix)
    else:
        items = prefix
    for item in items:
        if kind == "category_path":
            levels = str(item).split(codec.separator)  # type: ignore[attr-defined]
            while levels and levels[-1] in ("", "-"):
                levels.pop()
            yield from (codec.separator.join(levels[:depth]) for depth in range(1, len(levels) + 1))  # type: ignore[attr-defined]
        elif kind == "segments":
            yield from _segment(item)
        elif kind == "residue_pairs":
            yield from (str(item).split("-") if isinstance(item, (str, int)) else map(str, item))
        else:
            yield str(item)


def _cut(kind: str, codec: Any, text: str) -> Sequence[str]:
    if not text:
        return []
    if kind in ("residue_labels", "number"):
        return text
    if kind == "sequence":
        return text if all(len(token) == 1 for token in codec.alphabet) else text.split(" ")
    if kind == "category":
        return [text]
    separators = {"category_path": "delimiter", "category_set": "separator", "residue_set": "separator"}
    return text.split(getattr(codec, separators[kind]) if kind in separators else ";")


def _segment(item: Any) -> Iterable[str]:
    """``label:start-end``, ``label``, or (label, end) or (label, start, end)."""
    if isinstance(item, str):
        label, colon, span = item.partition(":")
        return (label, span.rpartition("-")[2]) if colon else (label,)
    parts = [str(part) for part in item]
    return (parts[0], parts[-1]) if len(parts) > 1 else parts


def _text(token: Token) -> str:
    return str(token.index + 1) if isinstance(token, Position) else token.text


def _misfit(
    task: Task, record: ProteinRecord, word: str, before: Sequence[Token], following: Sequence[Token]
) -> LabelError:
    if not following:
        allowed_here = "the answer must end there"
    elif isinstance(following[0], Position):
        allowed_here = f"allowed are {_positions(following)}"
    else:
        allowed_here = nearest(word, map(_text, following)).replace("known:", "allowed:")
    done = f"after {' '.join(map(_text, before))!r}" if before else "at the beginning"
    message = f"the prefix cannot go on with {word!r} {done}: place {len(before) + 1} of an answer to task {task.name!r}; "
    where = Where(record=record.id, line=record.line)
    return LabelError("label.prefix", message + allowed_here, where)


def _positions(tokens: Sequence[Token], most: int = 8) -> str:
    """Runs of 1-based positions: ``position 3, 5 to 9``."""
    runs: list[list[int]] = []
    for position in (token.index + 1 for token in tokens if isinstance(token, Position)):
        if runs and runs[-1][1] == position - 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:most]]
    return "positions " + ", ".join(shown) + (", ..." if len(runs) > most else "")
