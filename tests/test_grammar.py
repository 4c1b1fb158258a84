"""The reference interpreter: by hand on small cases, and against sets of answers that are listed without it."""

import random
from itertools import combinations, pairwise, product

import pytest

from protscribe.grammar import (
    Ascending,
    Digits,
    Pairs,
    Positions,
    Repeat,
    Segments,
    Symbols,
    accepts,
    allowed,
)
from protscribe.vocabulary import Block, Position, Symbol
from tests.laws.walks import every_answer

A, B, C, D = (Symbol("letters", text) for text in "abcd")
LETTERS = Symbols((A, B, C, D))
DIGITS = Symbols(Block("digit", tuple("0123456789")).symbols())
TERNARY = Symbols(DIGITS.symbols[:3])
#          a     c
#         b      d
CHAINS = (-1, 0, -1, 2)
#          a
#       b    d
#       c
TREE = (-1, 0, 1, 0)


def digit(text):
    return tuple(DIGITS.symbols[int(character)] for character in text)


def at(*indices, chain=0):
    return tuple(Position(chain, index) for index in indices)


def repeats(domain, low, high):
    return {answer for count in range(low, high + 1) for answer in product(domain, repeat=count)}


def subsets(domain, low, high):
    return {answer for count in range(low, high + 1) for answer in combinations(domain, count)}


def closed_subsets(domain, parents, low, high, inner=None):
    """Subsets with every node's parent, counted by their nodes without a child; all of those must be leaves if asked."""
    kept = set()
    for ranks in subsets(range(len(domain)), 0, len(domain)):
        closed = all(parents[rank] in (-1, *ranks) for rank in ranks)
        tips = [rank for rank in ranks if rank not in {parents[other] for other in ranks}]
        if closed and low <= len(tips) <= high and not (inner and any(inner[tip] for tip in tips)):
            kept.add(tuple(domain[rank] for rank in ranks))
    return kept


def numbers(digits, bound):
    return {
        tuple(digits[place] for place in places)
        for places in product(range(len(digits)), repeat=len(bound))
        if places <= bound
    }


def coverings(labels, length, high, chain=0):
    kept = set()
    for count in range(1, min(high, length) + 1):
        for ends in combinations(range(length - 1), count - 1):
            for names in product(labels, repeat=count):
                if all(one != other for one, other in pairwise(names)):
                    pointers = at(*ends, length - 1, chain=chain)
                    kept.add(tuple(token for pair in zip(names, pointers, strict=True) for token in pair))
    return kept


def pair_sets(cells, high, column_chain=0):
    return {
        tuple(token for i, j in chosen for token in (Position(0, i), Position(column_chain, j)))
        for chosen in subsets(sorted(cells), 0, min(high, len(cells)))
    }


TRIANGLE = {(i, j) for i in range(4) for j in range(4) if j - i >= 1}
WIDE_TRIANGLE = {(i, j) for i in range(5) for j in range(5) if j - i >= 3}
RECTANGLE = set(product(range(2), range(3)))
INNER = tuple(rank in TREE for rank in range(4))
INNER_CHAINS = (True, False, True, False)

LANGUAGES = {
    "one of": (Repeat(LETTERS, 1, 1), repeats(LETTERS.symbols, 1, 1)),
    "exactly three": (Repeat(LETTERS, 3, 3), repeats(LETTERS.symbols, 3, 3)),
    "up to two": (Repeat(LETTERS, 0, 2), repeats(LETTERS.symbols, 0, 2)),
    "any subset": (Ascending(LETTERS, 0, 4), subsets(LETTERS.symbols, 0, 4)),
    "two or three": (Ascending(LETTERS, 2, 3), subsets(LETTERS.symbols, 2, 3)),
    "all four": (Ascending(LETTERS, 4, 4), subsets(LETTERS.symbols, 4, 4)),
    "nothing": (Ascending(LETTERS, 0, 0), {()}),
    "residues": (Ascending(Positions(1, (0, 3, 4)), 0, 2), subsets(at(0, 3, 4, chain=1), 0, 2)),
    "no residues": (Ascending(Positions(0, ()), 0, 0), {()}),
    "no residues, any number": (Ascending(Positions(0, ()), 0, 5), {()}),
    "chains to the leaf": (
        Ascending(LETTERS, 0, 4, CHAINS, INNER_CHAINS),
        closed_subsets(LETTERS.symbols, CHAINS, 0, 4, INNER_CHAINS),
    ),
    "chains, partial": (Ascending(LETTERS, 1, 4, CHAINS), closed_subsets(LETTERS.symbols, CHAINS, 1, 4)),
    "tree to the leaf": (
        Ascending(LETTERS, 1, 2, TREE, INNER),
        closed_subsets(LETTERS.symbols, TREE, 1, 2, INNER),
    ),
    "one leaf": (Ascending(LETTERS, 1, 1, TREE, INNER), closed_subsets(LETTERS.symbols, TREE, 1, 1, INNER)),
    "tree, partial": (Ascending(LETTERS, 0, 2, TREE), closed_subsets(LETTERS.symbols, TREE, 0, 2)),
    "one node": (Ascending(LETTERS, 0, 1, TREE), closed_subsets(LETTERS.symbols, TREE, 0, 1)),
    "up to 207": (Digits(DIGITS, (2, 0, 7)), numbers(DIGITS.symbols, (2, 0, 7))),
    "up to 9": (Digits(DIGITS, (9,)), numbers(DIGITS.symbols, (9,))),
    "base three": (Digits(TERNARY, (1, 2, 0)), numbers(TERNARY.symbols, (1, 2, 0))),
    "segments": (Segments(Symbols((A, B)), 0, 5, 5), coverings((A, B), 5, 5)),
    "two segments": (Segments(LETTERS, 1, 4, 2), coverings(LETTERS.symbols, 4, 2, chain=1)),
    "one segment": (Segments(LETTERS, 0, 3, 1), coverings(LETTERS.symbols, 3, 1)),
    "one residue": (Segments(LETTERS, 0, 1, 7), coverings(LETTERS.symbols, 1, 7)),
    "contacts": (Pairs(0, 4, 0, 4, 1, 99), pair_sets(TRIANGLE, 99)),
    "few contacts": (Pairs(0, 4, 0, 4, 1, 2), pair_sets(TRIANGLE, 2)),
    "distant contacts": (Pairs(0, 5, 0, 5, 3, 99), pair_sets(WIDE_TRIANGLE, 99)),
    "too short for contacts": (Pairs(0, 3, 0, 3, 3, 99), {()}),
    "interface": (Pairs(0, 2, 1, 3, 0, 99), pair_sets(RECTANGLE, 99, column_chain=1)),
    "no pairs": (Pairs(0, 2, 1, 3, 0, 0), {()}),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_walk_through_allowed_finds_exactly_the_answers_each_once(name):
    grammar, expected = LANGUAGES[name]
    found = every_answer(grammar)
    assert len(found) == len(set(found)), "one answer, one spelling"
    assert set(found) == expected


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_bound_on_length_is_reached(name):
    grammar, expected = LANGUAGES[name]
    assert max(map(len, expected)) == grammar.longest


@pytest.mark.parametrize("name", LANGUAGES)
def test_accepts_tells_answers_from_other_strings(name):
    grammar, expected = LANGUAGES[name]
    tokens = sorted({token for answer in expected for token in answer} | {A, Position(0, 0)}, key=repr)
    chooser = random.Random(name)
    strings = [tuple(chooser.choices(tokens, k=chooser.randint(0, grammar.longest + 1))) for _ in range(200)]
    for string in [*strings, *sorted(expected)[:100]]:
        assert accepts(grammar, string) == (string in expected)


def test_a_number_stays_below_its_bound_digit_by_digit():
    grammar = Digits(DIGITS, (2, 0, 7))
    assert allowed(grammar, ()).tokens == digit("012")
    assert allowed(grammar, digit("2")).tokens == digit("0")
    assert allowed(grammar, digit("20")).tokens == digit("01234567")
    assert allowed(grammar, digit("1")).tokens == DIGITS.symbols
    assert allowed(grammar, digit("19")).tokens == DIGITS.symbols
    assert not allowed(grammar, digit("19")).end
    assert allowed(grammar, digit("199")) == ((), True)


def test_a_set_keeps_room_for_the_members_it_still_owes():
    grammar = Ascending(LETTERS, 3, 4)
    assert allowed(grammar, ()) == ((A, B), False)
    assert allowed(grammar, (B,)) == ((C,), False)
    assert allowed(grammar, (B, C)) == ((D,), False)
    assert allowed(grammar, (B, C, D)) == ((), True)


def test_a_path_goes_on_below_an_inner_node():
    grammar = Ascending(LETTERS, 1, 4, TREE, INNER)
    assert allowed(grammar, ()) == ((A,), False)
    assert allowed(grammar, (A,)) == ((B, D), False)
    assert allowed(grammar, (A, B)) == ((C,), False)
    assert allowed(grammar, (A, B, C)) == ((D,), True)


def test_a_full_answer_may_finish_its_branch_but_begin_no_other():
    grammar = Ascending(LETTERS, 0, 1, TREE)
    assert allowed(grammar, (A,)) == ((B, D), True)
    assert allowed(grammar, (A, B)) == ((C,), True)


def test_segments_meet_without_gap_and_the_last_one_reaches_the_end():
    grammar = Segments(LETTERS, 0, 4, 2)
    assert allowed(grammar, ()) == (LETTERS.symbols, False)
    assert allowed(grammar, (A,)) == (at(0, 1, 2, 3), False)
    assert allowed(grammar, (A, *at(1))) == ((B, C, D), False)
    assert allowed(grammar, (A, *at(1), B)) == (at(3), False)
    assert allowed(grammar, (A, *at(3))) == ((), True)


def test_pairs_ascend_and_skip_a_row_whose_columns_are_used_up():
    grammar = Pairs(0, 4, 0, 4, 2, 9)
    assert allowed(grammar, ()) == (at(0, 1), True)
    assert allowed(grammar, at(0)) == (at(2, 3), False)
    assert allowed(grammar, at(0, 2)) == (at(0, 1), True)
    assert allowed(grammar, at(0, 2, 0)) == (at(3), False)
    assert allowed(grammar, at(0, 3)) == (at(1), True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Repeat(LETTERS, 2, 1),
        lambda: Ascending(LETTERS, 5, 9),
        lambda: Ascending(LETTERS, 2, 3, TREE),
        lambda: Ascending(LETTERS, 0, 3, (-1, 2, 1, 0)),
        lambda: Digits(TERNARY, (3,)),
        lambda: Digits(TERNARY, ()),
        lambda: Segments(Symbols((A,)), 0, 3, 1),
        lambda: Pairs(0, 3, 0, 3, 0, 1),
        lambda: Pairs(0, 3, 1, 3, 1, 1),
    ],
)
def test_a_grammar_that_could_not_hold_is_refused(build):
    with pytest.raises(AssertionError):
        build()
