"""What may come next: the closed set of answer grammars, and the slow, obvious interpreter that defines them.

A grammar is plain data about one answer for one protein. :func:`allowed` says, for a history of tokens, which tokens
may follow and whether the answer may end there; it is written for reading, keeps no state and knows no tensor.
``protscribe.generation.constraint`` runs the same five forms for a whole batch on a device, and a test holds the two
together at every step.

=============  =====================================================================  ===============================
form           the answers it accepts                                                 used by
=============  =====================================================================  ===============================
Repeat         ``low`` to ``high`` tokens of one domain, in any order                 category, residue_labels, sequence
Ascending      ``low`` to ``high`` branches of a forest, each node after its parent,  category_set, category_path,
               in one order; a flat domain is a forest of roots                       residue_set
Digits         exactly one number, most significant digit first, at most ``bound``    number
Segments       (label, end) pairs that cover 1..length, neighbours labelled apart     segments
Pairs          (row, column) pairs in increasing order, none twice                    residue_pairs
=============  =====================================================================  ===============================

No form has a dead end: wherever an answer may not end, some token may follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from protscribe.vocabulary import Position, Symbol, Token


@dataclass(frozen=True)
class Symbols:
    """An ordered domain of vocabulary symbols."""

    symbols: tuple[Symbol, ...]

    def tokens(self) -> tuple[Token, ...]:
        return self.symbols


@dataclass(frozen=True)
class Positions:
    """An ordered domain of residue pointers: the residues ``indices`` (0-based, ascending) of one chain."""

    chain: int
    indices: tuple[int, ...]

    def tokens(self) -> tuple[Token, ...]:
        return self._tokens

    @cached_property
    def _tokens(self) -> tuple[Token, ...]:
        return tuple(Position(self.chain, index) for index in self.indices)


Domain = Symbols | Positions


class _Ranked:
    """Mixin of forms with a main domain: the rank of each token, computed once."""

    domain: Domain

    @cached_property
    def ranks(self) -> dict[Token, int]:
        return {token: rank for rank, token in enumerate(self.domain.tokens())}


@dataclass(frozen=True)
class Repeat(_Ranked):
    """``low`` to ``high`` tokens of ``domain``, any order, repeats allowed."""

    domain: Domain
    low: int
    high: int

    def __post_init__(self) -> None:
        assert 0 <= self.low <= self.high
        assert self.low == 0 or self.domain.tokens()

    @property
    def longest(self) -> int:
        return self.high if self.domain.tokens() else 0


@dataclass(frozen=True)
class Ascending(_Ranked):
    """A set of nodes of a forest, written in the forest's preorder, every node after its parent.

    ``parents[rank]`` is the rank of a node's parent, or -1 for a root; empty means that every node is a root, which
    makes the form a plain ascending subset. ``inner[rank]`` marks nodes that an answer may not stop at: one of their
    children must follow at once. ``low`` and ``high`` bound the number of *branches*: a branch begins with each token
    that does not continue the token before it. In a forest with parents ``low`` is at most 1.
    """

    domain: Domain
    low: int
    high: int
    parents: tuple[int, ...] = ()
    inner: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        size = len(self.domain.tokens())
        assert 0 <= self.low <= min(self.high, size) or (size == 0 and self.low == 0)
        assert len(self.parents) in (0, size)
        assert len(self.inner) in (0, size)
        assert not self.parents or self.low <= 1
        assert all(parent < rank for rank, parent in enumerate(self.parents))

    def parent(self, rank: int) -> int:
        return self.parents[rank] if self.parents else -1

    def must_go_on(self, rank: int) -> bool:
        return bool(self.inner) and self.inner[rank]

    @cached_property
    def _depths(self) -> list[int]:
        """Of each node of a forest: how many nodes its path has."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 1)
        return depths

    @cached_property
    def depth(self) -> int:
        """The most nodes that one branch can have."""
        return max(self._depths, default=1)

    @cached_property
    def inner_nodes(self) -> tuple[int, ...]:
        """How many nodes of each level have children, from the top to the last but one."""
        above = Counter(self._depths[parent] for parent in set(self.parents) if parent >= 0)
        return tuple(above[level] for level in range(1, self.depth))

    @property
    def longest(self) -> int:
        return min(self.high * self.depth, len(self.domain.tokens()))


@dataclass(frozen=True)
class Digits:
    """One number of ``len(bound)`` digits, most significant first, at most ``bound``.

    ``digits`` are the symbols of 0, 1, ... in order; their count is the base.
    """

    digits: Symbols
    bound: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.bound
        assert all(0 <= digit < len(self.digits.symbols) for digit in self.bound)

    @property
    def longest(self) -> int:
        return len(self.bound)


@dataclass(frozen=True)
class Segments:
    """Pairs (label, end) that cover residues 0..length-1 of ``chain`` without gap; neighbours differ in label.

    At most ``high`` segments: the last one that is allowed must reach the end.
    """

    labels: Symbols
    chain: int
    length: int
    high: int

    def __post_init__(self) -> None:
        assert self.length >= 1
        assert self.high >= 1
        assert len(self.labels.symbols) >= 2

    @property
    def longest(self) -> int:
        return 2 * min(self.high, self.length)


@dataclass(frozen=True)
class Pairs:
    """Pairs (row, column) of residue pointers in lexicographically increasing order, at most ``high`` of them.

    Between two chains any row and column go together. Within one chain (``columns_chain == rows_chain``) the column
    lies at least ``separation`` residues after the row (``separation`` >= 1).
    """

    rows_chain: int
    rows: int
    columns_chain: int
    columns: int
    separation: int
    high: int

    def __post_init__(self) -> None:
        assert self.high >= 0
        assert self.separation >= 1 if self.rows_chain == self.columns_chain else self.separation == 0

    def first_column(self, row: int) -> int:
        return row + self.separation if self.separation else 0

    @property
    def last_row(self) -> int:
        """The last row that has a column; -1 where there is none."""
        if not self.columns:
            return -1
        return self.rows - 1 - self.separation if self.separation else self.rows - 1

    @property
    def longest(self) -> int:
        width = self.last_row + 1
        cells = width * (width + 1) // 2 if self.separation else width * self.columns
        return 2 * min(self.high, max(cells, 0))


Grammar = Repeat | Ascending | Digits | Segments | Pairs


class Next(NamedTuple):
    """What may follow a history: these tokens, and perhaps the end."""

    tokens: tuple[Token, ...]
    end: bool


def allowed(grammar: Grammar, history: Sequence[Token]) -> Next:
    """Which tokens may follow ``history``, in the order of the grammar's domains, and whether it may end there.

    ``history`` must itself be allowed. This is the definition of every grammar.
    """
    match grammar:
        case Repeat():
            return _after_repeat(grammar, history)
        case Ascending():
            return _after_ascending(grammar, history)
        case Digits():
            return _after_digits(grammar, history)
        case Segments():
            return _after_segments(grammar, history)
        case Pairs():
            return _after_pairs(grammar, history)


def _after_repeat(grammar: Repeat, history: Sequence[Token]) -> Next:
    count = len(history)
    return Next(grammar.domain.tokens() if count < grammar.high else (), count >= grammar.low)


def _after_ascending(grammar: Ascending, history: Sequence[Token]) -> Next:
    ranks = [grammar.ranks[token] for token in history]
    last = ranks[-1] if ranks else -1
    # The first token always begins a branch; any other begins one unless it is a child of the token before it.
    branches = len(ranks) - sum(grammar.parent(rank) == before for before, rank in pairwise(ranks))
    going_on = bool(ranks) and grammar.must_go_on(last)
    may_begin = branches < grammar.high and not going_on
    tokens = grammar.domain.tokens()
    # As many ranks must be left over as branches are still owed after this one.
    stop = len(tokens) - max(grammar.low - branches - 1, 0)
    if not grammar.parents:
        return Next(tokens[last + 1 : stop] if may_begin else (), branches >= grammar.low and not going_on)
    following = tuple(
        tokens[rank]
        for rank in range(last + 1, stop)
        if (may_begin and grammar.parents[rank] <= last) or (ranks and grammar.parents[rank] == last)
    )
    return Next(following, branches >= grammar.low and not going_on)


def _after_digits(grammar: Digits, history: Sequence[Token]) -> Next:
    place = len(history)
    if place == len(grammar.bound):
        return Next((), True)
    values = [grammar.digits.symbols.index(token) for token in history]
    at_bound = values == list(grammar.bound[:place])
    largest = grammar.bound[place] if at_bound else len(grammar.digits.symbols) - 1
    return Next(grammar.digits.symbols[: largest + 1], False)


def _after_segments(grammar: Segments, history: Sequence[Token]) -> Next:
    labels, ends = history[0::2], [token.index for token in history[1::2] if isinstance(token, Position)]
    covered = ends[-1] + 1 if ends else 0
    if len(labels) == len(ends):
        if covered == grammar.length:
            return Next((), True)
        return Next(tuple(s for s in grammar.labels.symbols if not labels or s != labels[-1]), False)
    first = grammar.length - 1 if len(labels) == grammar.high else covered
    return Next(tuple(Position(grammar.chain, index) for index in range(first, grammar.length)), False)


def _after_pairs(grammar: Pairs, history: Sequence[Token]) -> Next:
    indices = [token.index for token in history if isinstance(token, Position)]
    if len(indices) % 2 == 0:
        if len(indices) // 2 >= grammar.high:
            return Next((), True)
        first = 0
        if indices:
            row, column = indices[-2:]
            first = row if column < grammar.columns - 1 else row + 1
        return Next(
            tuple(Position(grammar.rows_chain, index) for index in range(first, grammar.last_row + 1)), True
        )
    row = indices[-1]
    first = grammar.first_column(row)
    if len(indices) >= 3 and indices[-3] == row:
        first = indices[-2] + 1
    return Next(
        tuple(Position(grammar.columns_chain, index) for index in range(first, grammar.columns)), False
    )


def accepts(grammar: Grammar, tokens: Sequence[Token]) -> bool:
    """Whether ``tokens`` is a complete answer of ``grammar``."""
    for place, token in enumerate(tokens):
        if token not in allowed(grammar, tokens[:place]).tokens:
            return False
    return allowed(grammar, tokens).end
