"""A free string of symbols: 3Di structure letters, structure codes, a designed sequence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from protscribe.codecs.labels import check_bounds, check_labels, gather, members_of, text_of, where
from protscribe.codecs.protocol import Asks, Encoded, Evidence, Greedy, Marginals, Reading, Readout
from protscribe.codecs.residues import check_length
from protscribe.codecs.sets import check_count
from protscribe.errors import LabelError, TaskError, nearest
from protscribe.grammar import Repeat, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Symbol, Token

GAP = " "
"""What stands between tokens of more than one character."""


@dataclass(frozen=True)
class SequenceText:
    """The answer is a ``str`` over ``alphabet``: characters, or longer tokens with a space between them.

    ``alphabet`` is a list, or one text of characters; empty means: taken from the training data. ``length``
    is ``"residues"`` for one token a residue of chain 1, read as the most probable token of each marginal, or
    ``"free"`` for ``least`` to ``most`` tokens, read as the greedy string. A cell is a text, or a list of
    tokens.
    """

    kind: ClassVar[str] = "sequence"
    chains: ClassVar[int] = 1

    alphabet: tuple[str, ...] = ()
    length: Literal["residues", "free"] = "residues"
    least: int = 0
    most: int = 0
    block: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphabet", tuple(self.alphabet))
        check_labels(self.alphabet, forbidden=(GAP,))
        check_bounds(self.least, self.most)
        if self.length not in ("residues", "free"):
            raise TaskError("task.range", f"length must be 'residues' or 'free', got {self.length!r}")
        if self.length == "free" and self.most < 1:
            raise TaskError("task.range", f"a text of free length needs most >= 1, got {self.most}")
        if self.length == "residues" and (self.least or self.most):
            raise TaskError("task.range", "least and most belong to length: free")

    @property
    def dense(self) -> bool:
        return self.length == "residues"

    @property
    def asks(self) -> Asks:
        return "marginals" if self.dense else "greedy"

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self.alphabet),)

    def fill(self, cells: Iterable[Any]) -> SequenceText:
        if self.alphabet:
            return self
        kept = list(cells)
        spaced = any(isinstance(cell, str) and GAP in cell for cell in kept)
        tokens = (
            token
            for cell in kept
            for token in (cell if isinstance(cell, str) and not spaced else _items(cell, None))
        )
        return replace(self, alphabet=gather(tokens))

    @cached_property
    def _gap(self) -> str:
        return "" if all(len(token) == 1 for token in self.alphabet) else GAP

    @cached_property
    def _table(self) -> dict[str, Symbol]:
        return {token: Symbol(self.block, token) for token in self.alphabet}

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> str:
        tokens = self._split(cell) if isinstance(cell, str) else _items(cell, record)
        return self._gap.join(self._checked(tokens, record))

    def _split(self, text: str) -> list[str]:
        if not self._gap:
            return list(text)
        return text.split(GAP) if text else []

    def _checked(self, tokens: list[str], record: ProteinRecord) -> list[str]:
        if self.dense:
            check_length(len(tokens), record, 1, "tokens")
        else:
            check_count(len(tokens), self.least, self.most, record, "tokens")
        if not self._table.keys() >= set(tokens):
            position, token = next((i, t) for i, t in enumerate(tokens, start=1) if t not in self._table)
            raise LabelError(
                "label.char",
                f"{token!r} is not in the alphabet; {nearest(token, self.alphabet)}",
                where(record, position),
            )
        return tokens

    def canonical(self, answer: str, record: ProteinRecord) -> str:
        return answer

    def encode(self, answer: str, record: ProteinRecord) -> Encoded:
        if not isinstance(answer, str):
            raise LabelError("label.type", f"the answer must be text, got {answer!r}", where(record))
        return Encoded.of(tuple(map(self._table.__getitem__, self._checked(self._split(answer), record))))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> str:
        return self._gap.join([token.text for token in tokens if isinstance(token, Symbol)])

    @cached_property
    def _domain(self) -> Symbols:
        return Symbols(self.blocks()[0].symbols())

    def grammar(self, record: ProteinRecord) -> Repeat:
        if self.dense:
            return Repeat(self._domain, record.lengths[0], record.lengths[0])
        return Repeat(self._domain, self.least, self.most)

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            reading = Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
            return (
                reading
                if evidence.steps is None
                else replace(reading, probabilities=np.array(evidence.steps))
            )
        assert isinstance(evidence, Marginals)
        chances_Ln = evidence.probabilities
        best_L = chances_Ln.max(axis=1)
        return Reading(
            value=self._gap.join(self.alphabet[best] for best in chances_Ln.argmax(axis=1)),
            score=float(np.clip(best_L.mean(), 0, 1)),
            score_meaning="mean probability of the token, over residues",
            probabilities=best_L,
        )


def _items(cell: Any, record: ProteinRecord | None) -> list[str]:
    return [text_of(item, record) for item in members_of(cell, GAP, record)]
