"""Segment overlap against cases worked out by hand and against a second, slower reading of the definition."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.evaluation.measures.overlap import runs, segment_overlap


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ("HHHHCCCC", "HHHHCCCC", 1.0),
        # One residue at an end is allowed to stretches of four: (3 + 1) / 4 and (4 + 1) / 5, each times 4, of 8.
        ("HHHHCCCC", "HHHCCCCC", 1.0),
        # A helix in two pieces weighs twice: each end of C has 1; (5 + 2) / 10 and (3 + 1) / 10, times 10 each, of 22.
        ("CHHHHHHHHHHC", "CHHHHHCCHHHC", 13 / 22),
        # A true stretch without counterpart adds its length to the weight only. C: (4 + 2) / 8 times 4.
        ("HHHHCCCC", "CCCCCCCC", 3 / 8),
        ("HHHH", "CCCC", 0.0),
        # What is not scored parts stretches: H and C are each found whole, whatever stands between.
        ("HH--CC", "HHHHCC", 1.0),
        # 2 of 2 residues of the first H; the second H: (1 + 0) / 2 times 2, of 4: an allowance of at most 1 / 2 rounds to 0.
        ("HH-HH", "HHHHC", 3 / 4),
        ("HHH", [None, None, None], 0.0),
    ],
)
def test_value_by_hand(truth, predicted, expected):
    assert segment_overlap(truth, predicted, "-") == pytest.approx(expected)


def test_nothing_scored_is_undefined():
    assert math.isnan(segment_overlap("---", "HHH", "-"))


def test_runs_are_half_open():
    assert runs("HH-CCH", "-") == [("H", 0, 2), ("C", 3, 5), ("H", 5, 6)]


def slow(truth, predicted):
    """The sums of the paper's formula, stretch by stretch as sets of residues."""
    total = weight = 0
    for state in set(truth):
        mine, theirs = (
            [set(range(a, b)) for label, a, b in runs(text) if label == state] for text in (truth, predicted)
        )
        for one in mine:
            partners = [other for other in theirs if one & other]
            weight += len(one) * len(partners) if partners else len(one)
            for other in partners:
                minimum, maximum = len(one & other), len(one | other)
                allowed = min(maximum - minimum, minimum, len(one) // 2, len(other) // 2)
                total += (minimum + allowed) / maximum * len(one)
    return total / weight


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_as_the_formula_says(data):
    truth = data.draw(st.text("HEC", min_size=1, max_size=30))
    predicted = data.draw(st.text("HEC", min_size=len(truth), max_size=len(truth)))
    assert segment_overlap(truth, predicted) == pytest.approx(slow(truth, predicted))
    assert segment_overlap(truth, truth) == 1.0
