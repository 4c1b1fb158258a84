"""Checks that codecs with named classes share: the list of labels, and one label out of it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from protscribe.errors import LabelError, TaskError, Where, nearest
from protscribe.records import ProteinRecord


def where(record: ProteinRecord, position: int | None = None) -> Where:
    """The place of a label error: the record and its line, where known."""
    return Where(record=record.id, line=record.line, position=position)


def text_of(cell: Any) -> str:
    """A table's cell as label text: ``1``, ``1.0`` and ``True`` from typed columns become ``"1"``; text stays itself.

    Raises :class:`LabelError` ``label.type`` for anything that is neither text, a whole number nor a truth value.
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, numbers.Integral):
        return str(int(cell))
    if isinstance(cell, numbers.Real) and math.isfinite(cell) and float(cell).is_integer():
        return str(int(cell))
    raise LabelError("label.type", f"a label must be text or a whole number, got {cell!r}")


def check_labels(labels: Sequence[str], values: Sequence[str] = ()) -> None:
    """Raise :class:`TaskError` ``task.classes`` unless ``labels`` is empty (to be filled) or two or more distinct texts."""
    if not labels and not values:
        return
    if len(labels) < 2:
        raise TaskError("task.classes", f"a task needs at least two labels, got {list(labels)}")
    if len(set(labels)) != len(labels):
        repeated = sorted({label for label in labels if list(labels).count(label) > 1})
        raise TaskError("task.classes", f"labels are listed more than once: {repeated}")
    if values and (len(values) != len(labels) or len(set(values)) != len(values)):
        raise TaskError("task.classes", f"values must be distinct and one a label: {len(values)} for {len(labels)} labels")


def known_label(text: str, labels: Sequence[str], values: Sequence[str], record: ProteinRecord) -> str:
    """The label that ``text`` names, or :class:`LabelError` ``label.unknown_class`` with the nearest known ones.

    ``text`` is never stripped or folded: ``"Nucleus "`` is not ``"Nucleus"``.
    """
    if values:
        if text in values:
            return labels[values.index(text)]
        raise LabelError("label.unknown_class", f"unknown class {text!r}; {nearest(text, values)}", where(record))
    if text in labels:
        return text
    raise LabelError("label.unknown_class", f"unknown class {text!r}; {nearest(text, labels)}", where(record))
