"""A set of residue pairs: contacts within a chain, an interface between two."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from protscribe.codecs.labels import members_of, where
from protscribe.codecs.protocol import Asks, Draws, Encoded, Evidence, Greedy, Reading, Readout
from protscribe.codecs.residues import residue_position
from protscribe.codecs.sets import check_count, choose, confidence
from protscribe.errors import LabelError, TaskError
from protscribe.grammar import Pairs
from protscribe.records import ProteinRecord
from protscribe.vocabulary import POSITION_BLOCK, Block, Position, Token

Pair = tuple[int, int]

_WRITTEN = re.compile(r"(-?[0-9]{1,18})-(-?[0-9]{1,18})")


@dataclass(frozen=True)
class ResiduePairs:
    """The answer is an ascending tuple of pairs (i, j) of 1-based positions, each written as two pointers.

    Within chain 1, i and j lie at least ``separation`` residues apart and i < j; ``between`` two chains, i
    lies on chain 1 and j on chain 2. A protein has at most ``most_per_residue`` pairs for each residue of the
    chains in question. A cell is a list of pairs or a text such as ``1-5;2-9``. It is read from draws: the
    pairs whose frequency reaches the task's threshold.
    """

    kind: ClassVar[str] = "residue_pairs"
    dense: ClassVar[bool] = False
    asks: ClassVar[Asks] = "draws"
    block: ClassVar[str] = POSITION_BLOCK

    between: bool = False
    separation: int = 1
    most_per_residue: float = 4

    def __post_init__(self) -> None:
        if isinstance(self.separation, bool) or not isinstance(self.separation, int) or self.separation < 1:
            raise TaskError(
                "task.range", f"separation must be a whole number, 1 or more, got {self.separation!r}"
            )
        if self.between and self.separation != 1:
            raise TaskError("task.range", "separation belongs to pairs within one chain")
        if not 0 < self.most_per_residue < float("inf"):
            raise TaskError("task.range", f"most_per_residue must be above 0, got {self.most_per_residue}")

    @property
    def chains(self) -> int:
        return 2 if self.between else 1

    def blocks(self) -> tuple[Block, ...]:
        return ()

    def fill(self, cells: Iterable[Any]) -> ResiduePairs:
        return self

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> tuple[Pair, ...]:
        if isinstance(cell, np.ndarray):
            cell = cell.tolist()
        pairs = (self._pair(item, record, base) for item in members_of(cell, ";", record))
        return self._checked(pairs, record)

    def _pair(self, item: Any, record: ProteinRecord, base: int) -> Pair:
        if isinstance(item, str):
            found = _WRITTEN.fullmatch(item.strip(" "))
            parts: tuple[Any, ...] = found.groups() if found else ()
        else:
            parts = tuple(item) if isinstance(item, (list, tuple, np.ndarray)) else ()
        if len(parts) != 2:
            raise LabelError(
                "label.type", f"expected a pair of positions such as 1-5, got {item!r}", where(record)
            )
        first = residue_position(parts[0], record, 1, base)
        second = residue_position(parts[1], record, self.chains, base)
        if not self.between and second - first < self.separation:
            raise LabelError(
                "label.pair",
                f"pair {first}-{second} (1-based): the second residue must lie at least {self.separation} after the first",
                where(record, first),
            )
        return first, second

    def canonical(self, answer: Iterable[Pair], record: ProteinRecord) -> tuple[Pair, ...]:
        return tuple(sorted({(first, second) for first, second in answer}))

    def _checked(self, answer: Iterable[Pair], record: ProteinRecord) -> tuple[Pair, ...]:
        """The answer in its one spelling. Raises ``label.type``, ``.index``, ``.pair`` or ``.too_long``."""
        pairs = self.canonical((self._pair(item, record, 1) for item in answer), record)
        # A bound of 0 would mean none to check_count; a protein always may have one pair.
        check_count(len(pairs), 0, self._most(record), record, "pairs")
        return pairs

    def _most(self, record: ProteinRecord) -> int:
        return max(1, int(self.most_per_residue * sum(record.lengths[: self.chains])))

    def encode(self, answer: Iterable[Pair], record: ProteinRecord) -> Encoded:
        column = self.chains - 1
        tokens: list[Token] = []
        for first, second in self._checked(answer, record):
            tokens += (Position(0, first - 1), Position(column, second - 1))
        return Encoded.of(tuple(tokens))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> tuple[Pair, ...]:
        positions = [token.index + 1 for token in tokens if isinstance(token, Position)]
        return tuple(zip(positions[0::2], positions[1::2], strict=True))

    def grammar(self, record: ProteinRecord) -> Pairs:
        column = self.chains - 1
        separation = 0 if self.between else self.separation
        return Pairs(0, record.lengths[0], column, record.lengths[column], separation, self._most(record))

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, Draws)
        if not evidence.answers:
            return Reading.of_greedy(self.decode(evidence.greedy.tokens, record), evidence.greedy)
        counts = Counter(pair for tokens in evidence.answers for pair in self.decode(tokens, record))
        pairs = sorted(counts)
        frequencies = np.array([counts[pair] for pair in pairs], dtype=np.float64) / len(evidence.answers)
        chosen = choose(frequencies, readout.threshold, 0, self._most(record))
        score, meaning = confidence(frequencies, chosen)
        return Reading(
            value=tuple(pairs[place] for place in chosen),
            score=score,
            score_meaning=meaning,
            probabilities=dict(zip(pairs, frequencies.tolist(), strict=True)),
            standard_error=dict(zip(pairs, evidence.standard_error(frequencies).tolist(), strict=True)),
            draws=len(evidence.answers),
        )
