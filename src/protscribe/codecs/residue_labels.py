"""One label a residue: secondary structure, disorder, burial, topology."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from protscribe.codecs.labels import check_chain, check_labels, gather, text_of, where
from protscribe.codecs.protocol import Asks, Encoded, Evidence, Greedy, Marginals, Reading, Readout
from protscribe.codecs.residues import check_length
from protscribe.errors import LabelError, TaskError, nearest
from protscribe.grammar import Repeat, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Symbol, Token


@dataclass(frozen=True)
class ResidueLabels:
    """The answer is a ``str`` with one of the single-character ``labels`` for each residue of ``chain`` (1 or
    2).

    ``labels`` is a list, or one text (``HEC``); empty means: taken from the training data. ``unscored`` is a
    further character that true answers may hold where the label is not known: those residues carry no weight
    in training, and no answer of the model holds it; ``""`` allows none. A cell is a text or a list with one
    label a residue, or a tuple (labels, mask) whose mask has ``0`` where the label is not to be scored. It is
    read residue by residue, as the most probable label of its marginal.
    """

    kind: ClassVar[str] = "residue_labels"
    dense: ClassVar[bool] = True
    asks: ClassVar[Asks] = "marginals"

    labels: tuple[str, ...] = ()
    unscored: str = "-"
    chain: int = 1
    block: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        check_labels(self.labels)
        check_chain(self.chain)
        for label in self.labels:
            if len(label) != 1:
                raise TaskError(
                    "task.classes", f"labels of residues must be single characters, got {label!r}"
                )
        if len(self.unscored) > 1 or self.unscored in self.labels:
            raise TaskError(
                "task.reserved",
                f"unscored must be '' or one character that is no label, got {self.unscored!r}",
            )

    @property
    def chains(self) -> int:
        return self.chain

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self.labels),)

    def fill(self, cells: Iterable[Any]) -> ResidueLabels:
        if self.labels:
            return self
        found = {label for cell in cells for label in _scored(cell)} - {self.unscored}
        return replace(self, labels=gather(found))

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> str:
        labels, mask = _parts(cell)
        text = _text(labels, record)
        check_length(len(text), record, self.chain)
        return self._checked(
            text if mask is None else self._masked(text, _text(mask, record), record), record
        )

    def _masked(self, text: str, mask: str, record: ProteinRecord) -> str:
        check_length(len(mask), record, self.chain, "mask values")
        if not self.unscored:
            raise LabelError("label.type", "the task has no character for unscored residues", where(record))
        for position, scored in enumerate(mask, start=1):
            if scored not in "01":
                raise LabelError(
                    "label.char", f"a mask holds 0 and 1 only, got {scored!r}", where(record, position)
                )
        return "".join(
            label if scored == "1" else self.unscored for label, scored in zip(text, mask, strict=True)
        )

    @cached_property
    def _table(self) -> dict[str, Symbol]:
        """The symbol of each character that a true answer may hold; unscored residues are written as the
        first label."""
        table = {label: Symbol(self.block, label) for label in self.labels}
        return table | {self.unscored: table[self.labels[0]]} if self.unscored else table

    def _checked(self, answer: str, record: ProteinRecord) -> str:
        if not isinstance(answer, str):
            raise LabelError("label.type", f"labels of residues must be text, got {answer!r}", where(record))
        check_length(len(answer), record, self.chain)
        if not self._table.keys() >= set(answer):
            position, label = next((i, c) for i, c in enumerate(answer, start=1) if c not in self._table)
            raise LabelError(
                "label.unknown_class",
                f"unknown class {label!r}; {nearest(label, self.labels)}",
                where(record, position),
            )
        return answer

    def canonical(self, answer: str, record: ProteinRecord) -> str:
        return answer.replace(self.unscored, self.labels[0]) if self.unscored else answer

    def encode(self, answer: str, record: ProteinRecord) -> Encoded:
        tokens = tuple(map(self._table.__getitem__, self._checked(answer, record)))
        if not self.unscored or self.unscored not in answer:
            return Encoded.of(tokens)
        return Encoded(tokens, tuple(0.0 if label == self.unscored else 1.0 for label in answer))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> str:
        return "".join([token.text for token in tokens if isinstance(token, Symbol)])

    @cached_property
    def _domain(self) -> Symbols:
        return Symbols(self.blocks()[0].symbols())

    def grammar(self, record: ProteinRecord) -> Repeat:
        length = record.lengths[self.chain - 1]
        return Repeat(self._domain, length, length)

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, Marginals)
        chances_Ln = evidence.probabilities
        return Reading(
            value="".join(self.labels[best] for best in chances_Ln.argmax(axis=1)),
            score=float(np.clip(chances_Ln.max(axis=1).mean(), 0, 1)),
            score_meaning="mean probability of the label, over residues",
            probabilities=tuple(dict(zip(self.labels, row, strict=True)) for row in chances_Ln.tolist()),
        )


def _parts(cell: Any) -> tuple[Any, Any]:
    """Labels and mask (or ``None``) of a cell. Only a tuple is such a pair: a list of two holds two
    residues."""
    return cell if isinstance(cell, tuple) and len(cell) == 2 else (cell, None)


def _text(cell: Any, record: ProteinRecord | None) -> str:
    """One character a residue, from a text, a list or an array."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        cell = cell.tolist()
    if not isinstance(cell, list):
        raise LabelError(
            "label.type", f"expected one label a residue as text or a list, got {cell!r}", where(record)
        )
    items = [text_of(item, record) for item in cell]
    for position, item in enumerate(items, start=1):
        if len(item) != 1:
            raise LabelError(
                "label.type", f"a label of a residue is one character, got {item!r}", where(record, position)
            )
    return "".join(items)


def _scored(cell: Any) -> set[str]:
    """The labels that occur in a cell of training data, those behind a mask left out."""
    labels, mask = _parts(cell)
    text = _text(labels, None)
    if mask is None:
        return set(text)
    return {label for label, scored in zip(text, _text(mask, None), strict=False) if scored == "1"}
