"""One class out of several: solubility, fold, interacts or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from protscribe.codecs.labels import check_labels, gather, known_label, text_of
from protscribe.codecs.protocol import Asks, Encoded, Evidence, First, Greedy, Reading, Readout
from protscribe.grammar import Repeat, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Symbol, Token


@dataclass(frozen=True)
class Category:
    """The answer is one of ``labels`` (a ``str``), written as one symbol and read as the most probable class.

    ``labels`` are at least two distinct texts; empty means: taken from the training data. ``values``
    optionally gives, for each label, the text that stands for it in tables (``labels: ["no", "yes"]``,
    ``values: ["0", "1"]``).
    """

    kind: ClassVar[str] = "category"
    dense: ClassVar[bool] = False
    chains: ClassVar[int] = 1
    asks: ClassVar[Asks] = "first"

    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    block: str = ""

    def __post_init__(self) -> None:
        check_labels(self.labels, self.values)

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self.labels),)

    def fill(self, cells: Iterable[Any]) -> Category:
        if self.labels:
            return self
        return replace(self, labels=gather(text_of(cell) for cell in cells))

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> str:
        return known_label(text_of(cell, record), self.labels, self.values, record)

    def canonical(self, answer: str, record: ProteinRecord) -> str:
        return answer

    def encode(self, answer: str, record: ProteinRecord) -> Encoded:
        return Encoded.of((Symbol(self.block, known_label(answer, self.labels, (), record)),))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> str:
        (token,) = tokens
        assert isinstance(token, Symbol)
        return token.text

    def grammar(self, record: ProteinRecord) -> Repeat:
        return self._grammar

    @cached_property
    def _grammar(self) -> Repeat:
        return Repeat(Symbols(self.blocks()[0].symbols()), 1, 1)

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, First)
        best = int(evidence.probabilities.argmax())
        return Reading(
            value=self.labels[best],
            score=float(evidence.probabilities[best]),
            score_meaning="probability of the class",
            probabilities=dict(zip(self.labels, map(float, evidence.probabilities), strict=True)),
        )
