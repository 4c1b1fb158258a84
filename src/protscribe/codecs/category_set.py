"""Several classes out of a list: places in the cell, activities of a peptide, functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from protscribe.codecs.labels import (
    check_bounds,
    check_labels,
    check_separator,
    gather,
    known_label,
    members_of,
    text_of,
)
from protscribe.codecs.protocol import Asks, Encoded, Evidence, Floats, Greedy, Inclusion, Reading, Readout
from protscribe.codecs.sets import check_count, choose, confidence
from protscribe.grammar import Ascending, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Symbol, Token


@dataclass(frozen=True)
class CategorySet:
    """The answer is a subset of ``labels``: a tuple of ``str`` in declared order, one symbol each.

    It has ``least`` to ``most`` members (``most`` 0: no bound). ``labels`` are at least two distinct texts;
    empty means: taken from the training data. ``values`` optionally gives, for each label, the text that
    stands for it in tables. A cell is a list, or a text with ``separator`` between labels; order and repeats
    in it mean nothing; ``""`` and ``"<none>"`` are the empty set. It is read from inclusion probabilities:
    the members at or above the task's threshold.
    """

    kind: ClassVar[str] = "category_set"
    dense: ClassVar[bool] = False
    chains: ClassVar[int] = 1
    asks: ClassVar[Asks] = "inclusion"

    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    separator: str = ";"
    block: str = ""

    def __post_init__(self) -> None:
        check_separator(self.separator)
        check_labels(self.labels, self.values, (self.separator,))
        check_bounds(self.least, self.most, len(self.labels) or None)

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self.labels),)

    def fill(self, cells: Iterable[Any]) -> CategorySet:
        if self.labels:
            return self
        return replace(
            self, labels=gather(text_of(item) for cell in cells for item in members_of(cell, self.separator))
        )

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> tuple[str, ...]:
        texts = [text_of(item, record) for item in members_of(cell, self.separator, record)]
        if not self._named.keys() >= set(texts):
            for text in texts:
                known_label(text, self.labels, self.values, record)
        return self._checked(tuple(self._named[text] for text in texts), record)

    def canonical(self, answer: tuple[str, ...], record: ProteinRecord) -> tuple[str, ...]:
        return tuple(sorted(set(answer), key=self._ranks.__getitem__))

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {label: rank for rank, label in enumerate(self.labels)}

    @cached_property
    def _symbols(self) -> dict[str, Symbol]:
        return {label: Symbol(self.block, label) for label in self.labels}

    @cached_property
    def _named(self) -> dict[str, str]:
        """The label of each text that may stand in a table."""
        return dict(zip(self.values or self.labels, self.labels, strict=True))

    def _checked(self, answer: tuple[str, ...], record: ProteinRecord) -> tuple[str, ...]:
        if not self._ranks.keys() >= set(answer):
            for label in answer:
                known_label(label, self.labels, (), record)
        members = self.canonical(answer, record)
        check_count(len(members), self.least, self.most, record, "labels")
        return members

    def encode(self, answer: tuple[str, ...], record: ProteinRecord) -> Encoded:
        return Encoded.of(tuple(map(self._symbols.__getitem__, self._checked(answer, record))))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> tuple[str, ...]:
        return tuple(token.text for token in tokens if isinstance(token, Symbol))

    def grammar(self, record: ProteinRecord) -> Ascending:
        return self._grammar

    @cached_property
    def _grammar(self) -> Ascending:
        return Ascending(Symbols(self.blocks()[0].symbols()), self.least, self.most or len(self.labels))

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, Inclusion)
        chosen = choose(evidence.probabilities, readout.threshold, self.least, self.most)
        score, meaning = confidence(evidence.probabilities, chosen)
        return Reading(
            value=tuple(self.labels[rank] for rank in chosen),
            score=score,
            score_meaning=meaning,
            probabilities=self._by_label(evidence.probabilities),
            standard_error=None
            if evidence.standard_error is None
            else self._by_label(evidence.standard_error),
            draws=evidence.draws,
        )

    def _by_label(self, values: Floats) -> dict[str, float]:
        return dict(zip(self.labels, values.tolist(), strict=True))
