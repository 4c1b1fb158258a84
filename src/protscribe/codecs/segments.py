"""A protein cut into labelled stretches: signal peptide and mature chain, membrane topology, domains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from protscribe import grammar as grammars
from protscribe.codecs.labels import (
    check_bounds,
    check_chain,
    check_labels,
    gather,
    known_label,
    members_of,
    where,
)
from protscribe.codecs.protocol import (
    Asks,
    Draws,
    Encoded,
    Evidence,
    Floats,
    Greedy,
    Marginals,
    Reading,
    Readout,
)
from protscribe.codecs.residues import check_length, cut_note, residue_position
from protscribe.codecs.sets import check_count
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Position, Symbol, Token

_WRITTEN = re.compile(r"(?P<label>.+):(?P<start>-?[0-9]{1,18})-(?P<end>-?[0-9]{1,18})", re.DOTALL)


class Segment(NamedTuple):
    """Residues ``start`` to ``end`` (1-based, both included) carry ``label``."""

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class Segments:
    """The answer is a tuple of :class:`Segment` that cover ``chain`` (1 or 2) without gap, neighbours
    labelled apart.

    ``labels`` are at least two distinct texts without ``:`` and ``;``; empty means: taken from the training
    data. At most ``most`` segments (0: no bound). A cell is a text such as ``signal:1-22;mature:23-310``; a
    list of (label, start, end) or (label, end); or, where all labels are single characters, one character a
    residue.

    ``written`` says how: as ``"pointers"``, each segment as its label and a pointer to its last residue, read
    from draws; or as ``"labels"``, one at each residue, read in one pass. Labels go without ``most``. Both are
    read as the segments of least expected number of wrong residues.
    """

    kind: ClassVar[str] = "segments"

    labels: tuple[str, ...] = ()
    chain: int = 1
    most: int = 0
    block: str = ""
    written: Literal["pointers", "labels"] = "pointers"

    def __post_init__(self) -> None:
        if self.written not in ("pointers", "labels"):
            raise TaskError("task.written", f"written must be pointers or labels, got {self.written!r}")
        if self.dense and self.most:
            raise TaskError(
                "task.written", "labels stand at every residue and bound no segments: leave most at 0"
            )
        check_labels(self.labels, forbidden=(":", ";"))
        check_chain(self.chain)
        check_bounds(0, self.most)

    @property
    def dense(self) -> bool:
        return self.written == "labels"

    @property
    def asks(self) -> Asks:
        return "marginals" if self.dense else "draws"

    @property
    def chains(self) -> int:
        return self.chain

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self.labels),)

    def fill(self, cells: Iterable[Any]) -> Segments:
        if self.labels:
            return self
        labels: set[str] = set()
        for cell in cells:
            labels.update(
                cell
                if isinstance(cell, str) and ":" not in cell
                else (item[0] for item in _items(cell, None))
            )
        return replace(self, labels=gather(labels))

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> tuple[Segment, ...]:
        if isinstance(cell, str) and ":" not in cell and all(len(label) == 1 for label in self.labels):
            check_length(len(cell), record, self.chain)
            labels = [self._known(label, record, position) for position, label in enumerate(cell, start=1)]
            return self._checked(_runs(labels), record)
        segments: list[Segment] = []
        for label, *ends in _items(cell, record):
            positions = [residue_position(end, record, self.chain, base) for end in ends]
            start = positions[0] if len(positions) == 2 else (segments[-1].end + 1 if segments else 1)
            segments.append(Segment(label, start, positions[-1]))
        return self._checked(segments, record)

    def _known(self, label: str, record: ProteinRecord, position: int) -> str:
        if label in self.labels:
            return label
        try:
            return known_label(label, self.labels, (), record)
        except LabelError as error:
            raise LabelError(error.code, error.message, where(record, position)) from None

    def canonical(self, answer: Iterable[Segment], record: ProteinRecord) -> tuple[Segment, ...]:
        merged: list[Segment] = []
        for label, start, end in answer:
            if merged and merged[-1].label == label:
                merged[-1] = Segment(label, merged[-1].start, end)
            else:
                merged.append(Segment(label, start, end))
        return tuple(merged)

    def _checked(self, answer: Iterable[Segment], record: ProteinRecord) -> tuple[Segment, ...]:
        """The answer in its one spelling. Raises ``label.unknown_class``, ``.index``, ``.length`` or
        ``.too_long``."""
        before = 0
        kept = tuple(answer)
        for label, start, end in kept:
            known_label(label, self.labels, (), record)
            residue_position(end, record, self.chain, 1)
            if start != before + 1 or end < start:
                raise LabelError(
                    "label.index",
                    f"segment {label}:{start}-{end} (1-based) must begin at {before + 1}, one after the segment before "
                    "it, and end no earlier than it begins",
                    where(record, start),
                )
            before = end
        if before != record.lengths[self.chain - 1]:
            raise LabelError(
                "label.length",
                f"the segments end at {before}, chain {self.chain} has {record.lengths[self.chain - 1]} residues"
                f"{cut_note(record, self.chain)}: they must cover all of it",
                where(record),
            )
        merged = self.canonical(kept, record)
        check_count(len(merged), 1, self.most, record, "segments")
        return merged

    def encode(self, answer: Iterable[Segment], record: ProteinRecord) -> Encoded:
        segments = self._checked(answer, record)
        if self.dense:
            return Encoded.of(tuple(Symbol(self.block, label) for label in painted(segments)))
        tokens: list[Token] = []
        for label, _, end in segments:
            tokens += (Symbol(self.block, label), Position(self.chain - 1, end - 1))
        return Encoded.of(tuple(tokens))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> tuple[Segment, ...]:
        if self.dense:
            return tuple(_runs([token.text for token in tokens if isinstance(token, Symbol)]))
        segments: list[Segment] = []
        for symbol, last in zip(tokens[0::2], tokens[1::2], strict=True):
            assert isinstance(symbol, Symbol)
            assert isinstance(last, Position)
            segments.append(Segment(symbol.text, segments[-1].end + 1 if segments else 1, last.index + 1))
        return tuple(segments)

    @cached_property
    def _domain(self) -> grammars.Symbols:
        return grammars.Symbols(self.blocks()[0].symbols())

    def grammar(self, record: ProteinRecord) -> grammars.Segments | grammars.Repeat:
        length = record.lengths[self.chain - 1]
        if self.dense:
            return grammars.Repeat(self._domain, length, length)
        return grammars.Segments(self._domain, self.chain - 1, length, self.most or length)

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        error_Ln, draws = None, None
        if isinstance(evidence, Marginals):
            occupancy_Ln = evidence.probabilities
        else:
            assert isinstance(evidence, Draws)
            drawn = [self.decode(tokens, record) for tokens in evidence.answers or (evidence.greedy.tokens,)]
            occupancy_Ln = self._occupancy(drawn, record.lengths[self.chain - 1])
            error_Ln, draws = evidence.standard_error(occupancy_Ln), len(evidence.answers)
        best_L = occupancy_Ln.argmax(axis=1)
        if self.most and 1 + np.count_nonzero(np.diff(best_L)) > self.most:
            best_L = _best_path(occupancy_Ln, self.most)
        return Reading(
            value=tuple(_runs([self.labels[rank] for rank in best_L])),
            score=float(np.clip(occupancy_Ln[np.arange(len(best_L)), best_L].mean(), 0, 1)),
            score_meaning="mean probability of the label, over residues",
            probabilities=self._by_residue(occupancy_Ln),
            standard_error=None if error_Ln is None else self._by_residue(error_Ln),
            draws=draws,
        )

    def _by_residue(self, values_Ln: Floats) -> tuple[dict[str, float], ...]:
        return tuple(dict(zip(self.labels, row, strict=True)) for row in values_Ln.tolist())

    def _occupancy(self, drawn: Sequence[tuple[Segment, ...]], length: int) -> Floats:
        """How often each residue carries each label."""
        ranks = {label: rank for rank, label in enumerate(self.labels)}
        counts_Ln = np.zeros((length, len(self.labels)))
        for segments in drawn:
            for label, start, end in segments:
                counts_Ln[start - 1 : end, ranks[label]] += 1
        occupancy_Ln: Floats = counts_Ln / len(drawn)
        return occupancy_Ln


def _items(cell: Any, record: ProteinRecord | None) -> list[tuple[Any, ...]]:
    """(label, start, end) or (label, end) of each segment, as written. Raises ``label.type``."""
    items: list[tuple[Any, ...]] = []
    for item in members_of(cell, ";", record):
        if isinstance(item, str):
            found = _WRITTEN.fullmatch(item)
            parts = found.groups() if found else ()
        else:
            parts = tuple(item) if isinstance(item, (list, tuple, np.ndarray)) else ()
        if len(parts) not in (2, 3) or not isinstance(parts[0], str):
            raise LabelError(
                "label.type", f"expected a segment such as signal:1-22, got {item!r}", where(record)
            )
        items.append(parts)
    return items


def painted(segments: Iterable[tuple[str, int, int]]) -> list[str]:
    """The label of each residue under segments that follow each other."""
    return [label for label, start, end in segments for _ in range(start, end + 1)]


def _runs(labels: Sequence[str]) -> list[Segment]:
    """The stretches of equal labels."""
    ends = [place for place in range(1, len(labels)) if labels[place] != labels[place - 1]] + [len(labels)]
    starts = [0, *ends[:-1]]
    return [Segment(labels[start], start + 1, end) for start, end in zip(starts, ends, strict=True)]


def _best_path(occupancy_Ln: Floats, most: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The label of each residue that has the greatest sum of occupancies with at most ``most`` segments, by
    dynamic programming.

    ``sums_kn`` is the greatest sum up to a residue with k + 1 segments so far, the last one labelled n.
    """
    length, size = occupancy_Ln.shape
    sums_kn = np.full((most, size), -np.inf)
    sums_kn[0] = occupancy_Ln[0]
    switched_Lkn = np.zeros((length, most, size), dtype=bool)
    source_Lk = np.zeros((length, most), dtype=np.intp)
    for place in range(1, length):
        # Switching to the same label is never better than staying, so the best label to come from needs no care.
        switch_kn = np.full_like(sums_kn, -np.inf)
        switch_kn[1:] = sums_kn.max(axis=1)[:-1, None]
        source_Lk[place, 1:] = sums_kn.argmax(axis=1)[:-1]
        switched_Lkn[place] = switch_kn > sums_kn
        sums_kn = np.maximum(sums_kn, switch_kn) + occupancy_Ln[place]
    count, label = np.unravel_index(int(sums_kn.argmax()), sums_kn.shape)
    path = np.empty(length, dtype=np.intp)
    for place in range(length - 1, -1, -1):
        path[place] = label
        if switched_Lkn[place, count, label]:
            label, count = source_Lk[place, count], count - 1
    return path
