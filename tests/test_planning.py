"""Batches under a budget."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.errors import ConfigError
from protscribe.planning import ANSWERS, Unit, answer_tokens, check_budget, merge_equal, plan
from protscribe.records import ProteinRecord
from tests.small import TASKS


def padded(length):
    return -(-length // 8) * 8


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 90), min_size=1, max_size=2), st.integers(1, 500)), max_size=40
    ),
    st.integers(1, 400),
)
def test_every_unit_stands_in_one_batch_within_the_budget(shapes, budget):
    units = []
    for place, (lengths, tokens) in enumerate(shapes):
        unit = Unit(ProteinRecord(str(place), tuple("M" * length for length in lengths)))
        unit.add(place, None, "inclusion", tokens)
        units.append(unit)
    batches = list(plan(units, budget))
    assert sorted(unit.record.id for batch in batches for unit in batch) == sorted(
        unit.record.id for unit in units
    )
    for batch in batches:
        chains = sum(len(unit.record.chains) for unit in batch)
        longest = max(padded(max(unit.record.lengths)) for unit in batch)
        tokens = sum(unit.tokens["inclusion"] for unit in batch)
        assert len(batch) == 1 or (chains * longest <= budget and tokens <= ANSWERS * budget)
    for batch, following in pairwise(batches):
        both = [*batch, following[0]]
        chains = sum(len(unit.record.chains) for unit in both)
        longest = max(padded(max(unit.record.lengths)) for unit in both)
        # As full as the budget allows.
        assert chains * longest > budget or sum(unit.tokens["inclusion"] for unit in both) > ANSWERS * budget


def test_sampled_answers_cost_their_draws():
    record = ProteinRecord("a", ("MSTYMSTYMK",))
    assert answer_tokens(TASKS["place"], record, greedy=False) == ("first", 1)
    assert answer_tokens(TASKS["fold"], record, greedy=False) == ("marginals", 11)
    assert answer_tokens(TASKS["sites"], record, greedy=False) == ("inclusion", 7)
    assert answer_tokens(TASKS["sites"], record, greedy=True) == ("greedy", 7)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "8"])
def test_a_budget_is_a_whole_number(wrong):
    with pytest.raises(ConfigError):
        check_budget(wrong)


def test_equal_proteins_make_one_unit_and_equal_questions_are_asked_once():
    def unit(id, chain, questions):
        return Unit(ProteinRecord(id, (chain,)), list(questions.items()), Counter(first=1))

    units = [
        unit("a", "MKT", {0: "x", 1: "y"}),
        unit("b", "MST", {2: "x"}),
        unit("c", "MKT", {3: "x", 4: "z"}),
        unit("d", "MKT", {5: "x"}),
        unit("e", "MAA", {}),
    ]
    merged, alike = merge_equal(units, key=str)
    assert [one.questions for one in merged] == [[(0, "x"), (1, "y"), (4, "z")], [(2, "x")]]
    assert alike == {0: [(3, "x"), (5, "x")]}
    assert merged[0].tokens == Counter(first=2)
