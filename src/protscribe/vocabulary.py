"""The shared vocabulary: named blocks of symbols, append-only, with a fingerprint. Pure Python.

A symbol is (block, text), so the fold ``7`` is never the digit ``7``. Growing a vocabulary never moves an id. A residue
position is no vocabulary entry: it is a :class:`Position`, a pointer to a residue, resolved against each protein.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from protscribe.errors import TaskError


class Symbol(NamedTuple):
    """One entry of the shared vocabulary."""

    block: str
    text: str


class Position(NamedTuple):
    """A pointer to one residue: 0-based ``index`` in 0-based ``chain``."""

    chain: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a position


Token = Symbol | Position
"""What an answer is written in."""

CONTROL = "control"
PAD, BOS, EOS, MASK = 0, 1, 2, 3
CONTROL_TEXTS = ("<pad>", "<bos>", "<eos>", "<mask>")
TASK_BLOCK = "task"
DIGIT_BLOCK = "digit"
POSITION_BLOCK = "position"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Block:
    """A named, ordered group of distinct texts, the unit in which codecs ask for symbols."""

    name: str
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.name or self.name == CONTROL:
            raise TaskError("task.reserved", f"{self.name!r} cannot be the name of a block")
        repeated = sorted(text for text, count in Counter(self.texts).items() if count > 1)
        if repeated:
            raise TaskError(
                "task.classes", f"block {self.name!r} lists more than once: {', '.join(repeated[:5])}"
            )
        for text in self.texts:
            if not text or text in CONTROL_TEXTS:
                raise TaskError("task.reserved", f"{text!r} cannot be a symbol of block {self.name!r}")

    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(Symbol(self.name, text) for text in self.texts)


@dataclass(frozen=True)
class Vocabulary:
    """Ordered, append-only symbols; an id is a place in this order.

    The first four ids are the control symbols ``<pad>``, ``<bos>``, ``<eos>`` and ``<mask>`` of every vocabulary.
    """

    symbols: tuple[Symbol, ...] = tuple(Symbol(CONTROL, text) for text in CONTROL_TEXTS)

    def __post_init__(self) -> None:
        assert self.symbols[: len(CONTROL_TEXTS)] == tuple(Symbol(CONTROL, text) for text in CONTROL_TEXTS)
        assert len(set(self.symbols)) == len(self.symbols), "a symbol stands in a vocabulary once"

    @cached_property
    def _ids(self) -> dict[Symbol, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def id(self, symbol: Symbol) -> int:
        """The id of a symbol. Raises :class:`TaskError` ``task.symbol`` for one that is not there."""
        found = self._ids.get(symbol)
        if found is None:
            raise TaskError(
                "task.symbol", f"{symbol.text!r} is no symbol of block {symbol.block!r} in this vocabulary"
            )
        return found

    def ids(self, symbols: Iterable[Symbol]) -> list[int]:
        return [self.id(symbol) for symbol in symbols]

    def block(self, name: str) -> Block:
        """The texts of one block, in the order they were added."""
        return Block(name, tuple(symbol.text for symbol in self.symbols if symbol.block == name))

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(symbol.block for symbol in self.symbols))

    def extend(self, blocks: Iterable[Block]) -> Vocabulary:
        """A vocabulary with every missing symbol of ``blocks`` appended; ids that exist stay as they are."""
        seen = dict.fromkeys(self.symbols)
        for block in blocks:
            seen.update(dict.fromkeys(block.symbols()))
        return Vocabulary(tuple(seen))

    @classmethod
    def compose(cls, blocks: Iterable[Block]) -> Vocabulary:
        """The vocabulary of ``blocks``, in the order given, after the control symbols."""
        return cls().extend(blocks)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ordered symbols, in hexadecimal: equal fingerprints mean equal ids."""
        return hashlib.sha256(json.dumps(self.symbols, ensure_ascii=True).encode()).hexdigest()

    def difference(self, other: Vocabulary) -> Difference:
        """What ``other`` has that this one lacks, lacks that this one has, and has at another id."""
        return Difference(
            added=tuple(symbol for symbol in other.symbols if symbol not in self),
            removed=tuple(symbol for symbol in self.symbols if symbol not in other),
            moved=tuple(s for s in self.symbols if s in other and other.id(s) != self.id(s)),
        )

    def to_json(self) -> list[list[str]]:
        return [list(symbol) for symbol in self.symbols]

    @classmethod
    def from_json(cls, rows: Sequence[Sequence[str]]) -> Vocabulary:
        return cls(tuple(Symbol(str(block), str(text)) for block, text in rows))


@dataclass(frozen=True)
class Difference:
    """How two vocabularies differ; falsy where they do not."""

    added: tuple[Symbol, ...]
    removed: tuple[Symbol, ...]
    moved: tuple[Symbol, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.moved)

    def __str__(self) -> str:
        parts = []
        for name in ("added", "removed", "moved"):
            symbols = getattr(self, name)
            if symbols:
                shown = ", ".join(f"{s.block}:{s.text}" for s in symbols[:5])
                parts.append(f"{len(symbols)} {name} ({shown}{', ...' if len(symbols) > 5 else ''})")
        return "; ".join(parts) or "no difference"
