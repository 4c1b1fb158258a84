"""True answers that a task cannot write: classes that training has not shown, more labels than an answer may hold.

Such a row is asked and judged like any other, and what cannot be written is missed. Only a label that means nothing, or a
sequence that cannot be read, takes a row out of a test; how many do is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from protscribe.codecs.protocol import Codec
from protscribe.errors import LabelError
from protscribe.records import ProteinRecord

LABELLED = ("category", "category_set", "category_path", "residue_labels", "segments")
"""Kinds of answer that are written in a task's own classes."""

UNWRITTEN = ("label.unknown_class", "label.too_long")
"""What is said about a label that reads well and has no place in the task's vocabulary or its bounds."""


def parse_truth(codec: Codec) -> Callable[[Any, ProteinRecord, int], Any]:
    """:meth:`Codec.parse` that lets classes pass which the task does not know, and more labels than its answers hold.

    They stay as the table writes them. Everything else that is wrong with a label raises
    :class:`~protscribe.errors.LabelError` as before.
    """

    def parse(cell: Any, record: ProteinRecord, base: int = 1) -> Any:
        try:
            return codec.parse(cell, record, base)
        except LabelError as error:
            if codec.kind not in LABELLED or error.code not in UNWRITTEN or _is_blank(cell):
                raise
        return _named(codec, _widened(codec, cell).parse(cell, record, base))

    return parse


def _is_blank(cell: Any) -> bool:
    return isinstance(cell, str) and not cell.strip()


def _widened(codec: Any, cell: Any) -> Codec:
    """The same kind of answer with the classes of this cell for its own."""
    if codec.kind == "category_path":
        return replace(codec, paths=(), partial=True, most=0).fill([cell, list(codec.paths[:2])])  # type: ignore[no-any-return]
    if codec.kind == "category_set":
        values = list((codec.values or codec.labels)[:2])
        return replace(codec, labels=(), values=(), most=0).fill([cell, values])  # type: ignore[no-any-return]
    if codec.kind == "category":
        return replace(codec, labels=(), values=()).fill([cell, *(codec.values or codec.labels)[:2]])  # type: ignore[no-any-return]
    if codec.kind == "segments":
        known = [(label, 1, 1) for label in codec.labels]
        return replace(codec, labels=(), most=0).fill([cell, known])  # type: ignore[no-any-return]
    return replace(codec, labels=()).fill([cell, "".join(codec.labels)])  # type: ignore[no-any-return]


def _named(codec: Any, answer: Any) -> Any:
    """An answer in the labels that stand for a table's values."""
    if not getattr(codec, "values", ()):
        return answer
    labels = dict(zip(codec.values, codec.labels, strict=True))
    if codec.kind == "category":
        return labels.get(answer, answer)
    return tuple(labels.get(member, member) for member in answer)


def is_written(codec: Codec, truth: Any, record: ProteinRecord) -> bool:
    """Whether the task's vocabulary and bounds allow a true answer."""
    if codec.kind not in LABELLED:
        return True
    try:
        codec.encode(truth, record)
    except LabelError:
        return False
    return True
