"""Which letters are residues, their ids, and the one way a sequence is cleaned. Pure Python and numpy.

The alphabet is the 20 standard amino acids, then the letters that UniProt and ESM-2 (Lin et al. 2023) know as well:
X any, B Asx, Z Glx, U selenocysteine, O pyrrolysine. ``J`` (Leu or Ile) is read as X. Whatever is no residue is an error
with its place, never dropped: one residue is one id, so that every position that is predicted can be trusted.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protscribe.errors import ConfigError, SequenceError, Where

RESIDUES = "ACDEFGHIKLMNPQRSTVWYXBZUO"
"""All residue letters; the id of a residue is its index here (0..24)."""

PAD_RESIDUE = len(RESIDUES)
"""The id that pads a batch of sequences (25)."""

_NO_RESIDUE = 255
_RESIDUE_BYTES = RESIDUES.encode("ascii")
_IDS = bytes(RESIDUES.find(chr(code)) if chr(code) in RESIDUES else _NO_RESIDUE for code in range(256))
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_NUCLEOTIDES = b"ACGTUN"
_GAPS = "-."


@dataclass(frozen=True)
class Cleaning:
    """What is done about letters that have more than one reading.

    ``soft_mask`` is ``"upper"`` (lower case becomes upper case, counted) or ``"reject"`` (``seq.lower_case``). ``degap``
    removes ``-`` and ``.`` instead of rejecting them; positions then refer to the sequence without gaps. ``j`` is ``"x"``
    (read as X, counted) or ``"reject"`` (``seq.char``).
    """

    soft_mask: Literal["upper", "reject"] = "upper"
    degap: bool = False
    j: Literal["x", "reject"] = "x"

    def __post_init__(self) -> None:
        if self.soft_mask not in ("upper", "reject"):
            raise ConfigError(
                "config.value", f"soft_mask must be 'upper' or 'reject', got {self.soft_mask!r}"
            )
        if self.j not in ("x", "reject"):
            raise ConfigError("config.value", f"j must be 'x' or 'reject', got {self.j!r}")


CLEANING = Cleaning()
NOWHERE = Where()


@dataclass(frozen=True)
class Cleaned:
    """A sequence of residue letters only, and how many characters were changed to get there, by reason.

    The reasons are ``blank``, ``stop``, ``gap``, ``lower_case`` and ``j``; one that did not occur is not in ``counts``.
    """

    sequence: str
    counts: Mapping[str, int] = field(default_factory=dict)


def residue_ids(sequence: str) -> NDArray[np.uint8]:
    """The ids of a cleaned sequence, one a residue: uint8 in 0..24, shape [length].

    Raises :class:`~protscribe.errors.SequenceError` ``seq.char`` for any character that is no residue letter.
    """
    ids = np.frombuffer(sequence.encode("ascii", "replace").translate(_IDS), dtype=np.uint8)
    if ids.size and int(ids.max()) == _NO_RESIDUE:
        position = int(ids.argmax()) + 1
        raise SequenceError("seq.char", _strange(sequence[position - 1]), Where(position=position))
    return ids


def is_clean(text: str) -> bool:
    """Whether ``text`` is a non-empty run of residue letters."""
    return bool(text) and text.isascii() and not text.encode("ascii").translate(None, _RESIDUE_BYTES)


def clean(text: str, *, policy: Cleaning = CLEANING, where: Where = NOWHERE) -> Cleaned:
    """The residues of ``text``, under ``policy``.

    Spaces and tabs go, then one ``*`` at the end; lower case and ``J`` are read as ``policy`` says. Positions in errors are
    1-based and count the characters of ``text`` without its spaces and tabs. Raises
    :class:`~protscribe.errors.SequenceError` with ``seq.empty``, ``seq.stop_inside``, ``seq.gap``, ``seq.lower_case`` or
    ``seq.char``.
    """
    if is_clean(text):
        return Cleaned(text)
    counts: dict[str, int] = {}
    dense = text.replace(" ", "").replace("\t", "")
    _count(counts, "blank", len(text) - len(dense))
    if dense.endswith("*"):
        dense = dense[:-1]
        _count(counts, "stop", 1)
    _refuse_strangers(dense, policy, where)
    if policy.degap:
        kept = dense.replace("-", "").replace(".", "")
        _count(counts, "gap", len(dense) - len(kept))
        dense = kept
    upper = dense.translate(_UPPER)
    if upper != dense:
        _count(counts, "lower_case", sum(map(str.islower, dense)))
    _count(counts, "j", upper.count("J"))
    sequence = upper.replace("J", "X")
    if not sequence:
        raise SequenceError("seq.empty", "there is no residue in this sequence", where)
    return Cleaned(sequence, counts)


def _count(counts: dict[str, int], reason: str, number: int) -> None:
    if number:
        counts[reason] = number


def _refuse_strangers(dense: str, policy: Cleaning, where: Where) -> None:
    """Raise for the first character that no reading under ``policy`` turns into a residue."""
    known = set(RESIDUES)
    if policy.soft_mask == "upper":
        known |= set(RESIDUES.lower())
    if policy.j == "x":
        known |= set("Jj" if policy.soft_mask == "upper" else "J")
    if policy.degap:
        known |= set(_GAPS)
    if known.issuperset(dense):
        return
    index = next(place for place, character in enumerate(dense) if character not in known)
    character, place = dense[index], replace(where, position=index + 1)
    if character == "*":
        raise SequenceError(
            "seq.stop_inside", "a stop '*' inside the sequence; cut the sequence there or remove it", place
        )
    if character in _GAPS:
        raise SequenceError(
            "seq.gap", f"a gap {character!r}; remove gaps, or set degap=true to have them removed", place
        )
    if character.upper() in RESIDUES and character.isascii():
        raise SequenceError("seq.lower_case", f"lower case {character!r}, and soft_mask is 'reject'", place)
    raise SequenceError("seq.char", _strange(character), place)


def _strange(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"byte 0x{code - 0xDC00:02X}, which is not UTF-8 text, is no residue letter"
    shown = f" ({character!r})" if character.isprintable() else ""
    return f"U+{code:04X}{shown} is no residue letter; residues are {RESIDUES}"


def looks_nucleotide(sequence: str) -> bool:
    """Whether a sequence is probably DNA or RNA: 50 residues or more, at least 95% of them ``ACGTUN``."""
    if len(sequence) < 50:
        return False
    others = len(sequence.encode("ascii", "replace").translate(None, _NUCLEOTIDES))
    return others <= 0.05 * len(sequence)
