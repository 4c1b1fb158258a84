"""Classes in a hierarchy, several paths a protein: EC numbers, structural classifications, taxonomies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from protscribe.codecs.labels import (
    check_bounds,
    check_separator,
    check_texts,
    gather,
    members_of,
    text_of,
    where,
)
from protscribe.codecs.protocol import (
    Asks,
    Encoded,
    Evidence,
    Floats,
    Greedy,
    Inclusion,
    Integers,
    Reading,
    Readout,
)
from protscribe.codecs.sets import check_count, choose, confidence
from protscribe.errors import LabelError, TaskError, nearest
from protscribe.grammar import Ascending, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Symbol, Token

OPEN = "-"
"""A level that is not given, as in the EC number ``1.1.-.-``."""


@dataclass(frozen=True)
class CategoryPath:
    """The answer is a set of nodes of a tree of classes, each written out from the top: a tuple of ``str``.

    ``paths`` are the known leaves, levels joined by ``separator`` (``"1.1.1.1"``); empty means: taken from
    the training data. Every prefix of a path is a node with a symbol of its own (``"1"``, ``"1.1"``, ...); an
    answer writes the nodes above its own ones in preorder, so that paths which share a beginning share its
    symbols. An answer holds the most specific nodes in preorder (levels that are numbers ordered as numbers);
    a node above another one is part of that one. It has ``least`` (0 or 1) to ``most`` nodes. Unless
    ``partial``, every node is a leaf. A cell is a list of paths or a text with ``delimiter`` between them;
    trailing ``-`` levels are dropped. It is read from inclusion probabilities, made consistent: no node above
    its parent.
    """

    kind: ClassVar[str] = "category_path"
    dense: ClassVar[bool] = False
    chains: ClassVar[int] = 1
    asks: ClassVar[Asks] = "inclusion"

    paths: tuple[str, ...] = ()
    separator: str = "."
    delimiter: str = ";"
    least: int = 1
    most: int = 8
    partial: bool = False
    block: str = ""

    def __post_init__(self) -> None:
        check_separator(self.separator)
        check_separator(self.delimiter)
        check_texts(self.paths, (self.delimiter,))
        check_bounds(self.least, self.most)
        if self.least > 1:
            raise TaskError("task.range", f"least must be 0 or 1 for paths, got {self.least}")
        for path in self.paths:
            levels = path.split(self.separator)
            if "" in levels or OPEN in levels:
                raise TaskError("task.classes", f"path {path!r} has an empty or open level")
        if self.paths and len(self._nodes) < 2:
            raise TaskError("task.classes", f"a task needs at least two nodes, got {list(self._nodes)}")

    @cached_property
    def _nodes(self) -> tuple[str, ...]:
        """Every node, in preorder, as the text of its whole path."""
        levels = (tuple(path.split(self.separator)) for path in self.paths)
        nodes = {path[:depth] for path in levels for depth in range(1, len(path) + 1)}
        return tuple(
            self.separator.join(node) for node in sorted(nodes, key=lambda node: tuple(map(_level_key, node)))
        )

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {node: rank for rank, node in enumerate(self._nodes)}

    @cached_property
    def _parents(self) -> tuple[int, ...]:
        return tuple(self._ranks.get(node.rpartition(self.separator)[0], -1) for node in self._nodes)

    @cached_property
    def _inner(self) -> tuple[bool, ...]:
        above = set(self._parents)
        return tuple(rank in above for rank in range(len(self._nodes)))

    @cached_property
    def _symbols(self) -> tuple[Symbol, ...]:
        return self.blocks()[0].symbols()

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, self._nodes),)

    def fill(self, cells: Iterable[Any]) -> CategoryPath:
        if self.paths:
            return self
        items = (text_of(item) for cell in cells for item in members_of(cell, self.delimiter))
        # An open path names no leaf: where answers must reach one, it must not become one.
        known = (node for text in items if (node := self._trimmed(text)) and (self.partial or node == text))
        return replace(self, paths=gather(known))

    def _trimmed(self, text: str) -> str:
        levels = text.split(self.separator)
        while levels and levels[-1] == OPEN:
            levels.pop()
        return self.separator.join(levels)

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> tuple[str, ...]:
        texts = [text_of(item, record) for item in members_of(cell, self.delimiter, record)]
        return self._specific(self._closed(texts, record))

    def canonical(self, answer: tuple[str, ...], record: ProteinRecord) -> tuple[str, ...]:
        return self._specific(self._closed(answer, record))

    def _rank(self, text: str, record: ProteinRecord) -> int:
        """The rank of the node that a text names, or ``label.unknown_class`` with the nearest ones beside
        it."""
        if not isinstance(text, str):
            raise LabelError("label.type", f"a path must be text, got {text!r}", where(record))
        node = self._trimmed(text)
        rank = self._ranks.get(node)
        if rank is None:
            above = node
            while above and above not in self._ranks:
                above = above.rpartition(self.separator)[0]
            beside = [self._nodes[child] for child in self._children[self._ranks.get(above, -1)]]
            raise LabelError(
                "label.unknown_class", f"unknown path {text!r}; {nearest(node, beside)}", where(record)
            )
        if self._inner[rank] and not self.partial:
            raise LabelError(
                "label.unknown_class",
                f"path {text!r} stops above the leaves, which this task does not allow (partial: false)",
                where(record),
            )
        return rank

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {rank: [] for rank in range(-1, len(self._nodes))}
        for rank, parent in enumerate(self._parents):
            children[parent].append(rank)
        return children

    def _closed(self, answer: Sequence[str], record: ProteinRecord) -> list[int]:
        """The ranks of an answer's nodes and of all above them, ascending. Raises for too few or too many
        branches."""
        closed = self._with_ancestors(self._rank(text, record) for text in answer)
        check_count(len(self._specific(closed)), self.least, self.most, record, "paths")
        return closed

    def _with_ancestors(self, ranks: Iterable[int]) -> list[int]:
        closed = set()
        for rank in ranks:
            while rank >= 0 and rank not in closed:
                closed.add(rank)
                rank = self._parents[rank]
        return sorted(closed)

    def _specific(self, closed: Sequence[int]) -> tuple[str, ...]:
        """The nodes of a closed set that have none below them: those that the next one, in preorder, does not
        continue."""
        following = (*closed[1:], -1)
        return tuple(
            self._nodes[rank]
            for rank, after in zip(closed, following, strict=False)
            if after < 0 or self._parents[after] != rank
        )

    def encode(self, answer: tuple[str, ...], record: ProteinRecord) -> Encoded:
        return Encoded.of(tuple(self._symbols[rank] for rank in self._closed(answer, record)))

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> tuple[str, ...]:
        return self._specific([self._ranks[token.text] for token in tokens if isinstance(token, Symbol)])

    def grammar(self, record: ProteinRecord) -> Ascending:
        return self._grammar

    @cached_property
    def _grammar(self) -> Ascending:
        inner = () if self.partial else self._inner
        return Ascending(
            Symbols(self._symbols), self.least, self.most or len(self._nodes), self._parents, inner
        )

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, Inclusion)
        chances = self._consistent(evidence.probabilities)
        chosen = self._choose(chances, readout.threshold)
        score, meaning = confidence(chances, chosen)
        return Reading(
            value=self._specific(self._with_ancestors(chosen)),
            score=score,
            score_meaning=meaning,
            probabilities=self._by_node(chances),
            standard_error=None
            if evidence.standard_error is None
            else self._by_node(evidence.standard_error),
            draws=evidence.draws,
        )

    def _by_node(self, values: Floats) -> dict[str, float]:
        return dict(zip(self._nodes, values.tolist(), strict=True))

    def _consistent(self, probabilities: Floats) -> Floats:
        chances = np.array(probabilities, dtype=np.float64)
        for ranks, parents in self._levels:
            chances[ranks] = np.minimum(chances[ranks], chances[parents])
        return chances

    @cached_property
    def _levels(self) -> tuple[tuple[Integers, Integers], ...]:
        """Of each depth below the topmost, downward: the ranks of its nodes, and those of their parents."""
        parents = np.array(self._parents, dtype=np.int64)
        depths = np.array([node.count(self.separator) for node in self._nodes])
        levels = (np.flatnonzero(depths == depth) for depth in range(1, int(depths.max()) + 1))
        return tuple((ranks, parents[ranks]) for ranks in levels)

    @cached_property
    def _leaves(self) -> Integers:
        return np.flatnonzero(~np.array(self._inner))

    def _choose(self, chances: Floats, threshold: float) -> list[int]:
        """The most specific nodes to answer with, by rank. Consistent chances make those above a threshold
        closed upward.

        Where none reaches the threshold but one is owed: the likeliest leaf, or, where answers may be
        partial, the likeliest root, because each level that follows would add more expected error.
        """
        if self.partial:
            above = chances >= threshold
            below = {self._parents[rank] for rank in np.flatnonzero(above)}
            candidates = np.array(
                [rank for rank in np.flatnonzero(above).tolist() if rank not in below] or self._children[-1]
            )
        else:
            candidates = self._leaves
        places = choose(chances[candidates], threshold, self.least, self.most)
        found: list[int] = candidates[places].tolist()
        return found


def _level_key(level: str) -> tuple[int, int, str, str]:
    """Numbers before other texts and by value: level 2 before level 10 before level n1."""
    if level.isascii() and level.isdigit():
        digits = level.lstrip("0")
        return (0, len(digits), digits, level)
    return (1, 0, level, level)
