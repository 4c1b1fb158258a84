"""Checks that codecs with residue positions share: whole numbers, their base, and the end of the chain.

Positions are 1-based in answers and messages; cells count from ``base`` (0 or 1); an ``index`` is always
0-based.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from typing import Any

from protscribe.codecs.labels import where
from protscribe.errors import LabelError
from protscribe.records import ProteinRecord

_WHOLE = re.compile(r"-?[0-9]{1,18}")


def whole_number(cell: Any, record: ProteinRecord) -> int:
    """A whole number from a cell: an integer, or decimal digits as text. Raises ``label.type`` for anything
    else."""
    if isinstance(cell, numbers.Integral) and not isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, str) and _WHOLE.fullmatch(cell.strip(" ")):
        return int(cell)
    raise LabelError("label.type", f"a position must be a whole number, got {cell!r}", where(record))


def residue_position(cell: Any, record: ProteinRecord, chain: int, base: int) -> int:
    """The 1-based position in 1-based ``chain`` that a cell names, counting from ``base``.

    Raises :class:`LabelError` ``label.type`` for what is no whole number, ``label.index`` for one outside the
    chain.
    """
    number = whole_number(cell, record)
    length = record.lengths[chain - 1]
    if not 0 <= number - base < length:
        raise LabelError(
            "label.index",
            f"position {number} ({base}-based) lies outside {base}..{length - 1 + base}, the residues of chain {chain}"
            f"{cut_note(record, chain)}",
            where(record),
        )
    return number - base + 1


def cut_note(record: ProteinRecord, chain: int) -> str:
    """A tail for messages where the chain was truncated: a label beyond the cut cannot be kept."""
    before = record.original_lengths[chain - 1] if record.original_lengths else record.lengths[chain - 1]
    return f" (cut from {before})" if before != record.lengths[chain - 1] else ""


def aligned_indices(codec: Any, record: ProteinRecord) -> Sequence[int]:
    """The residues that the tokens of a dense answer are about, in order: 0-based in their chain. All, unless the codec knows
    candidates."""
    indices = getattr(codec, "indices", None)
    found: Sequence[int] = (
        range(record.lengths[getattr(codec, "chain", 1) - 1]) if indices is None else indices(record)
    )
    return found


def check_length(count: int, record: ProteinRecord, chain: int, what: str = "labels") -> None:
    """Raise :class:`LabelError` ``label.length``, with both numbers, unless there is one label a residue."""
    length = record.lengths[chain - 1]
    if count != length:
        raise LabelError(
            "label.length",
            f"{count} {what} for {length} residues of chain {chain}{cut_note(record, chain)}: give one a residue",
            where(record),
        )
