"""Tokens of answers as numbers a model reads, and back. Pure Python.

A symbol's number is its vocabulary id. A residue position is a *pointer*: number ``len(vocabulary) + i``
points at place ``i`` of the memory that the decoder attends to, where the chains of a record stand one after
the other. The setting ``positions="tokens"`` writes positions as the paper does (arXiv 2505.20589), one
vocabulary entry an index, for comparison.

A model that was grown by new symbols alone answers each old task with the vocabulary it had before: the *stage* of
that task. What was appended since can then change neither its scores nor the order in which they are summed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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
    """A vocabulary and how it writes positions.

    ``stages`` are earlier sizes of the vocabulary, ascending, at each of which everything learnt so far was fixed and
    only symbols were added.
    """

    vocabulary: Vocabulary
    positions: Positioning = "pointers"
    stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bounds = (0, *self.stages, len(self.vocabulary))
        if any(first >= second for first, second in itertools.pairwise(bounds)):
            raise TaskError(
                "task.stages", f"stages must ascend and be shorter than the vocabulary, got {self.stages}"
            )
        if self.positions not in ("pointers", "tokens"):
            raise TaskError(
                "task.positions", f"positions must be 'pointers' or 'tokens', got {self.positions!r}"
            )

    def extend(self, blocks: Iterable[Block], *, staged: bool = False) -> Lexicon:
        """This lexicon with the missing symbols of ``blocks`` appended.

        ``staged``: nothing but the new symbols will be learnt, so that the present size is a stage from now on.
        Otherwise there are no stages any more: what they promised has been unlearnt.
        """
        vocabulary = self.vocabulary.extend(blocks)
        if not staged:
            return replace(self, vocabulary=vocabulary, stages=())
        added = len(vocabulary) > len(self.vocabulary)
        return replace(
            self, vocabulary=vocabulary, stages=(*self.stages, len(self.vocabulary)) if added else self.stages
        )

    def stage_of(self, symbols: Iterable[Symbol]) -> int:
        """The size of the earliest vocabulary that holds all of ``symbols``."""
        if not self.stages:
            return len(self.vocabulary)
        last = max(self.vocabulary.ids(symbols), default=-1)
        return next((size for size in self.stages if last < size), len(self.vocabulary))

    def at_stage(self, size: int) -> Lexicon:
        """The lexicon of the first ``size`` symbols, which must be a stage or all."""
        return self if size == len(self.vocabulary) else self._earlier[size]

    @cached_property
    def _earlier(self) -> dict[int, Lexicon]:
        return {
            size: Lexicon(Vocabulary(self.vocabulary.symbols[:size]), self.positions) for size in self.stages
        }

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
