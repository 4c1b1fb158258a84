"""Questions that a protein answers about itself: labels made from the sequence, for self-supervision. Pure Python and numpy.

A maker belongs to a source, and so to a run; it never travels in a bundle. The task it makes labels for is one like any
other, with its own codec and conditions, and can be asked of any protein afterwards. What is made is a function of the
protein and of the generator that is handed in.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from protscribe.alphabet import RESIDUES, residue_ids
from protscribe.errors import ConfigError, nearest
from protscribe.records import ProteinRecord
from protscribe.task import Task

HIDDEN = "X"
"""What the encoder reads in place of a hidden residue: the letter of an unknown one."""


class Maker(Protocol):
    """One kind of made label. Implementations are frozen dataclasses of plain values, as they stand in a source's YAML."""

    kind: ClassVar[str]
    alters: ClassVar[bool]
    """Whether the protein that is asked about is another one than the record's."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The conditions that it fills in; no table needs them."""

    def check(self, task: Task) -> None:
        """Raise :class:`ConfigError` ``config.value`` for a task that it cannot make labels for."""

    def make(
        self, record: ProteinRecord, task: Task, draw: np.random.Generator, *, training: bool
    ) -> tuple[ProteinRecord, Any]:
        """The record as it is asked, and its answer. ``training`` may add what only practice needs, see :class:`Hide`."""


@dataclass(frozen=True)
class Find:
    """Where a residue, or a motif of neighbouring residues, occurs: the first positions of all its occurrences.

    ``fields`` are conditions of the task, one a place of the motif; their values are residue letters and, where a place may
    be left open, ``wildcard``. The motif is one of the protein's own, each different one as likely as another, with every place
    that may be open left open with probability ``wild``; with probability ``absent`` it is drawn blindly from all letters,
    so that the model also learns to find nothing. Occurrences may overlap, and open places at the motif's end need no
    residue. One field asks for all residues of a kind, as Prot2Token's (arXiv 2505.20589) 20 pre-training tasks do.
    """

    kind: ClassVar[str] = "find"
    alters: ClassVar[bool] = False

    fields: tuple[str, ...] = ()
    wildcard: str = "x"
    wild: float = 0.4
    absent: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))
        if not self.fields:
            raise ConfigError(
                "config.missing", "make: find needs fields, the conditions that spell the motif"
            )
        _check_share("wild", self.wild)
        _check_share("absent", self.absent)

    def check(self, task: Task) -> None:
        _check_kind(self.kind, task, "residue_set")
        values = {condition.field: condition.values for condition in task.conditions}
        for field in self.fields:
            if field not in values:
                raise ConfigError(
                    "config.value",
                    f"make: task {task.name!r} has no condition {field!r}; {nearest(field, values)}",
                )
            _check_letters(task, [value for value in values[field] if value != self.wildcard])

    def make(
        self, record: ProteinRecord, task: Task, draw: np.random.Generator, *, training: bool
    ) -> tuple[ProteinRecord, tuple[int, ...]]:
        motif = self._motif(record.sequence, task, draw)
        asked = replace(record, fields={**record.fields, **dict(zip(self.fields, motif, strict=True))})
        return asked, occurrences(record.sequence, motif, self.wildcard)

    def _motif(self, chain: str, task: Task, draw: np.random.Generator) -> list[str]:
        values = {condition.field: condition.values for condition in task.conditions}
        known = [tuple(value for value in values[field] if value != self.wildcard) for field in self.fields]
        width = len(self.fields)
        own = sorted({chain[start : start + width] for start in range(len(chain) - width + 1)})
        motif = list(own[draw.integers(len(own))]) if own else []
        askable = all(letter in letters for letter, letters in zip(motif, known, strict=False))
        if not motif or not askable or draw.random() < self.absent:
            motif = [letters[draw.integers(len(letters))] for letters in known]
        opened = draw.random(width) < self.wild
        return [
            self.wildcard if out and self.wildcard in values[field] else letter
            for out, field, letter in zip(opened, self.fields, motif, strict=True)
        ]


@dataclass(frozen=True)
class Hide:
    """What the hidden residues are: the encoder reads ``X`` in their place.

    Residues of the kinds in ``known`` stay; each other one is hidden with probability ``share``, at least one. ``known:
    KCYM`` with everything else hidden is partial peptide sequencing (Pham and others 2024, arXiv 2408.00892). The answer
    has a label for every residue, of which only the hidden ones count. In training a share ``copied`` of those in view
    counts too: a model that had never to name what it sees would not answer with the protein it was given.
    """

    kind: ClassVar[str] = "hide"
    alters: ClassVar[bool] = True
    fields: ClassVar[tuple[str, ...]] = ()

    known: str = ""
    share: float = 1.0
    copied: float = 0.1

    def __post_init__(self) -> None:
        for letter in self.known:
            if letter not in RESIDUES:
                raise ConfigError("config.value", f"make: known holds {letter!r}, which is no residue letter")
        _check_share("share", self.share)
        _check_share("copied", self.copied)

    def check(self, task: Task) -> None:
        codec: Any = task.codec
        _check_kind(self.kind, task, "residue_labels")
        _check_letters(task, codec.labels)
        if codec.chain != 1 or not codec.unscored:
            raise ConfigError(
                "config.value",
                f"make: task {task.name!r} must label chain 1 and have a character for unscored residues",
            )

    def make(
        self, record: ProteinRecord, task: Task, draw: np.random.Generator, *, training: bool
    ) -> tuple[ProteinRecord, str]:
        codec: Any = task.codec
        chain = np.frombuffer(record.sequence.encode("ascii"), dtype=np.uint8)
        ids = residue_ids(record.sequence)
        named = np.array([letter in codec.labels for letter in RESIDUES])[ids]
        open_ = named & ~np.array([letter in self.known for letter in RESIDUES])[ids]
        hidden = open_ & (draw.random(len(ids)) < self.share)
        if open_.any() and not hidden.any():
            hidden[draw.choice(np.flatnonzero(open_))] = True
        scored = hidden | (named & (draw.random(len(ids)) < self.copied)) if training else hidden
        shown = np.where(hidden, ord(HIDDEN), chain).astype(np.uint8)
        answer = np.where(scored, chain, ord(codec.unscored)).astype(np.uint8)
        asked = replace(record, chains=(shown.tobytes().decode("ascii"), *record.chains[1:]))
        return asked, answer.tobytes().decode("ascii")


MAKERS: dict[str, type[Any]] = {maker.kind: maker for maker in (Find, Hide)}


def occurrences(chain: str, motif: Sequence[str], wildcard: str = "x") -> tuple[int, ...]:
    """The 1-based first positions of a motif in a chain, overlapping ones included.

    >>> occurrences("NNTSNAT", ["N", "x", "T"])
    (1, 5)
    """
    letters = list(motif)
    while letters and letters[-1] == wildcard:
        letters.pop()
    pattern = "".join("." if letter == wildcard else re.escape(letter) for letter in letters)
    return tuple(found.start() + 1 for found in re.finditer(f"(?={pattern}).", chain))


def make_once(maker: Maker, record: ProteinRecord, task: Task, seed: int) -> tuple[ProteinRecord, Any]:
    """The one question that validation and tests ask of a record, a function of ``seed`` and of its place in the file."""
    return maker.make(record, task, np.random.default_rng([seed, record.ordinal, 7]), training=False)


def maker_from_plain(plain: Mapping[str, Any], origin: str = "make") -> Maker:
    """A maker from ``{"kind": ..., its keywords}``. Raises :class:`ConfigError` ``config.value``,
    ``config.unknown_key`` or ``config.type``.
    """
    values = dict(plain)
    kind = values.pop("kind", None)
    if kind not in MAKERS:
        raise ConfigError("config.value", f"{origin}: unknown kind {kind!r}; {nearest(str(kind), MAKERS)}")
    known = [field.name for field in dataclasses.fields(MAKERS[kind])]
    for key in values:
        if key not in known:
            raise ConfigError(
                "config.unknown_key", f"{origin}: unknown key {key!r}; {nearest(str(key), known)}"
            )
    for key in ("known", "wildcard"):
        if not isinstance(values.get(key, ""), str):
            raise ConfigError("config.type", f"{origin}: {key} must be text, got {values[key]!r}")
    if not isinstance(values.get("fields", ()), (list, tuple)):
        raise ConfigError("config.type", f"{origin}: fields must be a list, got {values['fields']!r}")
    maker: Maker = MAKERS[kind](**values)
    return maker


def maker_to_plain(maker: Maker) -> dict[str, Any]:
    """The inverse of :func:`maker_from_plain`."""
    plain = {"kind": maker.kind, **dataclasses.asdict(maker)}  # type: ignore[call-overload]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _check_share(name: str, value: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not 0 <= value <= 1:
        raise ConfigError("config.value", f"make: {name} must lie in 0..1, got {value!r}")


def _check_kind(kind: str, task: Task, needed: str) -> None:
    if task.codec.kind != needed:
        raise ConfigError(
            "config.value",
            f"make: {kind} makes answers of kind {needed!r}, and task {task.name!r} has answers of kind {task.codec.kind!r}",
        )


def _check_letters(task: Task, letters: Sequence[str]) -> None:
    wrong = [letter for letter in letters if len(letter) != 1 or letter not in RESIDUES]
    if wrong or not letters:
        raise ConfigError(
            "config.value",
            f"make: task {task.name!r} must spell out residue letters, got {', '.join(map(repr, wrong)) or 'none'}",
        )
