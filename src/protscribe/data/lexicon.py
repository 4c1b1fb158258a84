"""Tokens of answers as numbers a model reads, and back. Pure Python.

A symbol's number is its vocabulary id. A residue position is a *pointer*: number ``len(vocabulary) + i``
points at place ``i`` of the memory that the decoder attends to, where the chains of a record stand one after
the other. The setting ``positions="tokens"`` writes positions as the paper does (arXiv 2505.20589), one
vocabulary entry an index, for comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from protscribe.errors import LabelError, TaskError, Where
from protscribe.records import ProteinRecord
from protscribe.vocabulary import POSITION_BLOCK, Block, Position, Symbol, Token, Vocabulary

Positioning = Literal["pointers", "tokens"]


def position_block(most: int) -> Block:
    """The block of plain position tokens ``1`` .. ``most``."""
    return Block(POSITION_BLOCK, tuple(str(index + 1) for index in range(most)))


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary and how it writes positions."""

    vocabulary: Vocabulary
    positions: Positioning = "pointers"

    def __post_init__(self) -> None:
        if self.positions not in ("pointers", "tokens"):
            raise TaskError(
                "task.positions", f"positions must be 'pointers' or 'tokens', got {self.positions!r}"
            )

    def number(self, token: Token, record: ProteinRecord) -> int:
        """The number of one token in answers about this record."""
        if isinstance(token, Symbol):
            return self.vocabulary.id(token)
        if self.positions == "pointers":
            return len(self.vocabulary) + sum(record.lengths[: token.chain]) + token.index
        symbol = Symbol(POSITION_BLOCK, str(token.index + 1))
        if symbol not in self.vocabulary:
            raise LabelError(
                "label.too_long",
                "this position is beyond the last position token; use positions=pointers, which has no limit",
                Where(record=record.id, line=record.line, position=token.index + 1),
            )
        return self.vocabulary.id(symbol)

    def numbers(self, tokens: Iterable[Token], record: ProteinRecord) -> list[int]:
        return [self.number(token, record) for token in tokens]

    def token(self, number: int, record: ProteinRecord, chain: int = 0) -> Token:
        """The inverse of :meth:`number`. ``chain`` is the chain that a plain position token means."""
        if number < len(self.vocabulary):
            symbol = self.vocabulary.symbols[number]
            return Position(chain, int(symbol.text) - 1) if symbol.block == POSITION_BLOCK else symbol
        index = number - len(self.vocabulary)
        for place, length in enumerate(record.lengths):
            if index < length:
                return Position(place, index)
            index -= length
        raise AssertionError("a pointer beyond the last residue")

    def tokens(
        self, numbers: Sequence[int], record: ProteinRecord, chains: Sequence[int] = (0,)
    ) -> tuple[Token, ...]:
        """The tokens of an answer; ``chains`` cycles over the chains that plain position tokens mean."""
        return tuple(
            self.token(number, record, chains[place % len(chains)]) for place, number in enumerate(numbers)
        )
