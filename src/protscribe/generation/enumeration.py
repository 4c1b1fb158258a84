"""Small answer spaces, known exactly: every answer is followed, and nothing is drawn.

Shape legend: Q questions, R rows a question, T answer columns, N beginnings of answers, n ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from protscribe.codecs.protocol import Floats, Greedy, Inclusion, Integers
from protscribe.generation.candidates import Told, follow_answers
from protscribe.generation.group import Answered, Group
from protscribe.grammar import Ascending, Grammar, allowed
from protscribe.nn.decoder import Decoder
from protscribe.vocabulary import Token

MOST_ANSWERS = 512
"""Answers of a space that is enumerated, at most."""
FOLLOWED = 1.5
"""Rows that are followed in one pass in about the time in which one is drawn step by step (``benchmarks/enumeration.py``): a
space that needs no more is enumerated."""


@dataclass(frozen=True)
class Space:
    """All beginnings of all answers of a small set grammar, as a tree, and the rows in which they are followed.

    ``rows`` are token strings of which none begins another and one of which passes each beginning. Beginning i stands in row
    ``row_N[i]``, after ``length_N[i]`` tokens, is made of the ranks that ``members_Nn[i]`` marks, and is continued by the
    beginnings ``children[i]``. Beginning 0 is the empty one.
    """

    rows: tuple[tuple[Token, ...], ...]
    histories: tuple[tuple[Token, ...], ...]
    row_N: Integers
    length_N: Integers
    members_Nn: Floats
    children: tuple[tuple[int, ...], ...]


def space_of(grammar: Grammar, most: int = MOST_ANSWERS) -> Space | None:
    """The answers of a grammar of sets; ``None`` for other forms, and where there are more than ``most``."""
    if not isinstance(grammar, Ascending):
        return None
    size = len(grammar.domain.tokens())
    counts = range(grammar.low, min(grammar.high, size) + 1)
    if size > most or (not grammar.parents and sum(comb(size, count) for count in counts) > most):
        return None
    return _explore(grammar, most)


@lru_cache(maxsize=512)
def _explore(grammar: Ascending, most: int) -> Space | None:
    histories: list[tuple[Token, ...]] = [()]
    children: list[list[int]] = [[]]
    answers = place = 0
    while place < len(histories):
        tokens, end = allowed(grammar, histories[place])
        answers += end
        if answers > most:
            return None
        for token in tokens:
            children[place].append(len(histories))
            histories.append((*histories[place], token))
            children.append([])
        place += 1
    rows = [history for history, after in zip(histories, children, strict=True) if not after]
    place_of = {row[:length]: (at, length) for at, row in enumerate(rows) for length in range(len(row) + 1)}
    members = np.zeros((len(histories), len(grammar.ranks)))
    for place, history in enumerate(histories):
        members[place, [grammar.ranks[token] for token in history]] = 1
    row_N, length_N = np.array([place_of[history] for history in histories], dtype=np.int64).T
    return Space(tuple(rows), tuple(histories), row_N, length_N, members, tuple(map(tuple, children)))


def rows_to_follow(grammar: Grammar, drawn: int | None) -> int | None:
    """In how many rows a grammar's answers are enumerated; ``None`` where they cannot be, or where drawing ``drawn`` rows
    takes less time.
    """
    space = space_of(grammar)
    if space is None or (drawn is not None and len(space.rows) > FOLLOWED * drawn):
        return None
    return len(space.rows)


def enumerate_inclusion(decoder: Decoder, group: Group) -> list[Answered]:
    """The exact probability that the answer contains each member of a small domain."""
    spaces = [space for grammar in group.plain_grammars if (space := space_of(grammar)) is not None]
    told = follow_answers(decoder, group, [space.rows for space in spaces])
    return [_inclusion(space, told, place) for place, space in enumerate(spaces)]


def _inclusion(space: Space, told: Told, question: int) -> Answered:
    log_RT, end_RT = told.log_QRT[question], told.end_QRT[question]
    before_RT = np.pad(np.cumsum(log_RT, axis=1), ((0, 0), (1, 0)))
    ended_N = np.exp(before_RT[space.row_N, space.length_N] + end_RT[space.row_N, space.length_N])
    # What single precision leaves over or lacks would make a sure member likelier than sure.
    chances_n = np.minimum(ended_N @ space.members_Nn / ended_N.sum(), 1.0)
    greedy, off = _greedy(space, told, question)
    return Answered(Inclusion(chances_n, None, None, greedy), off)


def _greedy(space: Space, told: Told, question: int) -> tuple[Greedy, float]:
    """The token by token most probable answer, and the mean off-grammar mass along it."""
    place, total, off = 0, 0.0, []
    while True:
        row, length = space.row_N[place], space.length_N[place]
        off.append(told.off_QRT[question, row, length])
        best, going_on = told.end_QRT[question, row, length], None
        for child in space.children[place]:
            step = told.log_QRT[question, space.row_N[child], length]
            if step > best:
                best, going_on = step, child
        total += best
        if going_on is None:
            return Greedy(space.histories[place], float(total)), float(np.mean(off))
        place = going_on
