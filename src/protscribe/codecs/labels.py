"""Checks that codecs with named classes share: the list of labels, one label out of it, a cell that holds
several."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from protscribe.errors import LabelError, TaskError, Where, nearest
from protscribe.records import ProteinRecord
from protscribe.vocabulary import CONTROL_TEXTS

NONE = "<none>"
"""What a table's cell says where a set is known to be empty; an empty text says the same."""


def where(record: ProteinRecord | None, position: int | None = None) -> Where:
    """The place of a label error: the record and its line, where known."""
    if record is None:
        return Where(position=position)
    return Where(record=record.id, line=record.line, position=position)


def text_of(cell: Any, record: ProteinRecord | None = None) -> str:
    """A table's cell as label text: ``1``, ``1.0`` and ``True`` from typed columns become ``"1"``; text stays
    itself.

    Raises :class:`LabelError` ``label.nan`` for NaN, ``label.type`` for anything else that is neither text, a
    whole number nor a truth value.
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (numbers.Integral, np.bool_)):
        return str(int(cell))
    if isinstance(cell, numbers.Real) and math.isnan(cell):
        raise LabelError("label.nan", "the label is missing (NaN)", where(record))
    if isinstance(cell, numbers.Real) and math.isfinite(cell) and float(cell).is_integer():
        return str(int(float(cell)))
    raise LabelError("label.type", f"a label must be text or a whole number, got {cell!r}", where(record))


def members_of(cell: Any, separator: str, record: ProteinRecord | None = None) -> list[Any]:
    """The items of a cell that holds several: of a list, tuple, set or array, or of a text cut at
    ``separator``.

    ``""`` and ``"<none>"`` hold nothing. Raises :class:`LabelError` ``label.type`` for any other type and
    ``label.char`` for an item of a list that contains the separator.
    """
    if isinstance(cell, str):
        return cell.split(separator) if cell not in ("", NONE) else []
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        cell = cell.tolist()
    if not isinstance(cell, (list, tuple, set, frozenset)):
        raise LabelError(
            "label.type",
            f"expected a list, or a text with {separator!r} between items, got {cell!r}",
            where(record),
        )
    for item in cell:
        if isinstance(item, str) and separator in item:
            raise LabelError(
                "label.char", f"label {item!r} contains the separator {separator!r}", where(record)
            )
    return list(cell)


def check_texts(texts: Sequence[str], forbidden: Iterable[str] = ()) -> None:
    """Raise :class:`TaskError` unless ``texts`` are distinct texts, none of them reserved.

    ``task.classes``: not a text, or listed twice. ``task.reserved``: empty, a control symbol, ``<none>``, or
    with one of the ``forbidden`` characters in it.
    """
    if isinstance(texts, str):
        raise TaskError("task.classes", f"labels must be a list, got the text {texts!r}")
    for text in texts:
        if not isinstance(text, str):
            raise TaskError("task.classes", f"labels must be texts, got {text!r}: put it in quotes")
        if text in ("", NONE, *CONTROL_TEXTS):
            raise TaskError("task.reserved", f"{text!r} is reserved and cannot be a label")
        for character in forbidden:
            if character in text:
                raise TaskError(
                    "task.reserved", f"label {text!r} contains {character!r}, which separates labels"
                )
    if len(set(texts)) != len(texts):
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        raise TaskError("task.classes", f"labels are listed more than once: {repeated}")


def check_labels(labels: Sequence[str], values: Sequence[str] = (), forbidden: Iterable[str] = ()) -> None:
    """Raise :class:`TaskError` unless ``labels`` is empty (to be filled) or holds two or more distinct texts.

    ``task.classes``: fewer than two, repeated, or not one of the ``values`` each; ``task.reserved``: see
    :func:`check_texts`.
    """
    if not labels and not values:
        return
    check_texts(labels, forbidden)
    if len(labels) < 2:
        raise TaskError("task.classes", f"a task needs at least two labels, got {list(labels)}")
    if values:
        check_texts(values, forbidden)
        if len(values) != len(labels):
            raise TaskError(
                "task.classes", f"values must be one a label: {len(values)} for {len(labels)} labels"
            )


def check_bounds(least: int, most: int, available: int | None = None) -> None:
    """Raise :class:`TaskError` ``task.range`` unless ``0 <= least <= most <= available`` (``most`` 0: no
    bound)."""
    for name, value in (("least", least), ("most", most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise TaskError("task.range", f"{name} must be a whole number, 0 or more, got {value!r}")
    if most and least > most:
        raise TaskError("task.range", f"least must not exceed most, got least={least}, most={most}")
    if available is not None and least > available:
        raise TaskError("task.range", f"least={least}, but there are only {available} to choose from")


def check_separator(separator: str) -> None:
    """Raise :class:`TaskError` ``task.separator`` for an empty separator."""
    if not isinstance(separator, str) or not separator:
        raise TaskError(
            "task.separator", f"a separator must be a text of at least one character, got {separator!r}"
        )


def check_chain(chain: int) -> None:
    """Raise :class:`TaskError` ``task.chains`` unless ``chain`` is 1 or 2."""
    if isinstance(chain, bool) or chain not in (1, 2):
        raise TaskError("task.chains", f"chain must be 1 or 2, got {chain!r}")


def gather(texts: Iterable[str]) -> tuple[str, ...]:
    """The distinct texts of training data, sorted. Raises :class:`TaskError` ``task.classes`` for fewer than
    two."""
    found = tuple(sorted(set(texts)))
    if len(found) < 2:
        raise TaskError(
            "task.classes", f"a task needs at least two labels, the training data has {list(found)}"
        )
    return found


def known_label(text: str, labels: Sequence[str], values: Sequence[str], record: ProteinRecord) -> str:
    """The label that ``text`` names, or :class:`LabelError` ``label.unknown_class`` with the nearest known
    ones.

    ``text`` is never stripped or folded: ``"Nucleus "`` is not ``"Nucleus"``.
    """
    if not isinstance(text, str):
        raise LabelError("label.type", f"a label must be text, got {text!r}", where(record))
    if values:
        if text in values:
            return labels[values.index(text)]
        raise LabelError(
            "label.unknown_class", f"unknown class {text!r}; {nearest(text, values)}", where(record)
        )
    if text in labels:
        return text
    raise LabelError("label.unknown_class", f"unknown class {text!r}; {nearest(text, labels)}", where(record))
