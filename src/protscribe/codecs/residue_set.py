"""A set of residues: modified sites, binding residues, cleavage sites."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from protscribe.codecs.labels import check_bounds, check_chain, check_separator, members_of, where
from protscribe.codecs.protocol import (
    Asks,
    Encoded,
    Evidence,
    Floats,
    Greedy,
    Inclusion,
    Marginals,
    Reading,
    Readout,
)
from protscribe.codecs.residues import check_length, residue_position
from protscribe.codecs.sets import check_count, choose, confidence
from protscribe.errors import LabelError, TaskError
from protscribe.grammar import Ascending, Positions, Repeat, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import POSITION_BLOCK, Block, Position, Symbol, Token

MARKS = Block("mark", ("out", "in"))
"""What is written at each residue where a set is not written as pointers."""


@dataclass(frozen=True)
class ResidueSet:
    """The answer is an ascending tuple of 1-based positions in ``chain`` (1 or 2).

    ``written`` says how: as ``"pointers"`` to the members, one after the other, which suits few sites in long proteins; or as
    ``"marks"``, one at each candidate, which suits sites that are many or lie together, such as interfaces, and candidates
    that are few. Marks are read in one pass, like labels of residues, and do not go with ``most``.

    ``candidates`` are the residue letters that may be members (``STY``); empty means any. At most ``most``
    members (0: no bound). A cell is a list of positions or a text with ``separator`` between them, in any
    order; where ``binary``, it is instead one ``0`` or ``1`` a residue. It is read from inclusion
    probabilities: the residues at or above the task's threshold.
    """

    kind: ClassVar[str] = "residue_set"
    asks: ClassVar[Asks] = "inclusion"
    block: ClassVar[str] = POSITION_BLOCK

    candidates: str = ""
    chain: int = 1
    most: int = 0
    binary: bool = False
    separator: str = ";"
    written: Literal["pointers", "marks"] = "pointers"

    def __post_init__(self) -> None:
        if self.written not in ("pointers", "marks"):
            raise TaskError("task.written", f"written must be pointers or marks, got {self.written!r}")
        if self.dense and self.most:
            raise TaskError("task.written", "each mark is read by itself: give no most with marks")
        check_chain(self.chain)
        check_bounds(0, self.most)
        check_separator(self.separator)
        letters = self.candidates
        if not isinstance(letters, str) or (
            letters and not (letters.isascii() and letters.isalpha() and letters.isupper())
        ):
            raise TaskError(
                "task.candidates",
                f"candidates must be upper-case residue letters such as STY, got {letters!r}",
            )

    @property
    def chains(self) -> int:
        return self.chain

    @property
    def dense(self) -> bool:
        return self.written == "marks"

    def blocks(self) -> tuple[Block, ...]:
        return (MARKS,) if self.dense else ()

    def fill(self, cells: Iterable[Any]) -> ResidueSet:
        return self

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> tuple[int, ...]:
        if self.binary:
            return self._checked(self._flagged(cell, record), record)
        items = members_of(cell, self.separator, record)
        return self._checked([residue_position(item, record, self.chain, base) for item in items], record)

    def _flagged(self, cell: Any, record: ProteinRecord) -> list[int]:
        flags = cell if isinstance(cell, str) else members_of(cell, self.separator, record)
        check_length(len(flags), record, self.chain, "flags")
        for position, flag in enumerate(flags, start=1):
            if flag not in ("0", "1", 0, 1):
                raise LabelError(
                    "label.char", f"expected 0 or 1 for each residue, got {flag!r}", where(record, position)
                )
        return [position for position, flag in enumerate(flags, start=1) if flag in ("1", 1)]

    def canonical(self, answer: Iterable[int], record: ProteinRecord) -> tuple[int, ...]:
        return tuple(sorted(set(answer)))

    def _checked(self, answer: Iterable[int], record: ProteinRecord) -> tuple[int, ...]:
        """The answer in its one spelling. Raises ``label.index``, ``label.residue`` or ``label.too_long``."""
        positions = self.canonical((residue_position(item, record, self.chain, 1) for item in answer), record)
        residues = record.chains[self.chain - 1]
        for position in positions:
            if self.candidates and residues[position - 1] not in self.candidates:
                raise LabelError(
                    "label.residue",
                    f"residue {position} is {residues[position - 1]}, the task allows only {self.candidates}: "
                    "is the numbering (base 0 or 1) or the sequence another one?",
                    where(record, position),
                )
        check_count(len(positions), 0, self.most, record, "residues")
        return positions

    def encode(self, answer: Iterable[int], record: ProteinRecord) -> Encoded:
        positions = self._checked(answer, record)
        if self.dense:
            out, within = MARKS.symbols()
            members = {position - 1 for position in positions}
            return Encoded.of(tuple(within if index in members else out for index in self.indices(record)))
        return Encoded.of(tuple(Position(self.chain - 1, position - 1) for position in positions))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> tuple[int, ...]:
        if self.dense:
            marks = [token.text for token in tokens if isinstance(token, Symbol)]
            marked = zip(self.indices(record), marks, strict=False)
            return tuple(index + 1 for index, mark in marked if mark == "in")
        return tuple(token.index + 1 for token in tokens if isinstance(token, Position))

    def indices(self, record: ProteinRecord) -> tuple[int, ...]:
        """The residues that may be members, 0-based."""
        residues = record.chains[self.chain - 1]
        if not self.candidates:
            return tuple(range(len(residues)))
        return tuple(index for index, residue in enumerate(residues) if residue in self.candidates)

    def grammar(self, record: ProteinRecord) -> Ascending | Repeat:
        if self.dense:
            count = len(self.indices(record))
            return Repeat(Symbols(MARKS.symbols()), count, count)
        indices = self.indices(record)
        return Ascending(Positions(self.chain - 1, indices), 0, self.most or len(indices))

    def inclusion(self, marginals: Marginals) -> Inclusion:
        """What the marks of one pass say of each candidate; exact, for nothing is drawn."""
        return Inclusion(marginals.probabilities[:, 1], None, None, Greedy((), 0.0))

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, Inclusion)
        indices = self.indices(record)
        chosen = choose(evidence.probabilities, readout.threshold, 0, self.most)
        score, meaning = confidence(evidence.probabilities, chosen)

        def by_residue(values: Floats) -> Floats:
            values_L: Floats = np.zeros(record.lengths[self.chain - 1])
            values_L[list(indices)] = values
            return values_L

        return Reading(
            value=tuple(indices[rank] + 1 for rank in chosen),
            score=score,
            score_meaning=meaning,
            probabilities=by_residue(evidence.probabilities),
            standard_error=None if evidence.standard_error is None else by_residue(evidence.standard_error),
            draws=evidence.draws,
        )
