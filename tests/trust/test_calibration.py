"""The map of a task on every kind of evidence: what it keeps, what it moves, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.codecs.protocol import DigitTree, Draws, First, Greedy, Inclusion, Marginals
from protscribe.trust import Calibration, Trust
from protscribe.trust.calibration import calibrate, logit

SLOPES = st.floats(0.05, 20)
OFFSETS = st.floats(-5, 5)
SHARES = st.lists(st.floats(1e-6, 1), min_size=2, max_size=8).map(lambda row: np.array(row) / sum(row))


@given(SHARES)
def test_the_map_of_nothing_known_changes_nothing(shares):
    tree = DigitTree(np.arange(len(shares)), np.arange(len(shares)), shares)
    for evidence in (First(shares), Marginals(np.stack([shares, shares[::-1]])), tree):
        found = calibrate(evidence, Calibration()).probabilities
        assert found == pytest.approx(evidence.probabilities, abs=1e-8)


@given(SHARES, SLOPES)
def test_a_temperature_keeps_the_order_of_classes(shares, slope):
    found = calibrate(First(shares), Calibration(slope)).probabilities
    assert found.sum() == pytest.approx(1)
    assert (np.diff(found[np.argsort(shares)]) >= -1e-15).all()
    if slope >= 1:
        assert found.max() >= shares.max() - 1e-12


def test_of_two_classes_it_is_the_logistic_map():
    shares = np.array([0.2, 0.8])
    found = calibrate(First(shares), Calibration(0.5)).probabilities
    assert found[1] == pytest.approx(1 / (1 + np.exp(-0.5 * np.log(4))))


def test_marginals_are_mapped_row_by_row():
    table = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = calibrate(Marginals(table), Calibration(2.0)).probabilities
    assert found == pytest.approx(table**2 / (table**2).sum(axis=1, keepdims=True))


@given(SHARES, SLOPES, OFFSETS)
def test_members_keep_their_order_and_their_errors_follow(chances, slope, offset):
    fit = Calibration(slope, offset)
    before = Inclusion(chances, np.full(len(chances), 1e-7), 4, Greedy((), 0.0))
    after = calibrate(before, fit)
    assert (np.diff(after.probabilities[np.argsort(chances)]) >= 0).all()
    assert after.greedy is before.greedy
    inside = np.clip(chances, 1e-5, 1 - 1e-5)
    steepness = (fit.of_member(inside + 1e-8) - fit.of_member(inside - 1e-8)) / 2e-8
    errors = calibrate(Inclusion(inside, np.ones(len(chances)), 4, before.greedy), fit).standard_error
    assert errors == pytest.approx(steepness, rel=1e-2, abs=1e-4)


def test_impossible_and_certain_members_stay_finite():
    found = calibrate(Inclusion(np.array([0.0, 1.0]), None, None, Greedy((), 0.0)), Calibration(1.5, 2.0))
    assert np.isfinite(found.probabilities).all()
    assert found.probabilities[0] < 1e-6 < 1 - 1e-6 < found.probabilities[1]
    assert found.standard_error is None


@given(SHARES, SLOPES, OFFSETS)
def test_numbers_keep_a_distribution_and_its_quantiles_move(chances, slope, offset):
    fit = Calibration(slope, offset)
    tree = DigitTree(np.arange(len(chances)), np.arange(len(chances)), chances)
    found = calibrate(tree, fit).probabilities
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    below = np.cumsum(chances)[:-1]
    assert np.cumsum(found)[:-1] == pytest.approx(fit.of_member(below), abs=1e-9)


def test_what_is_greedy_or_drawn_stays_as_it_is():
    greedy = Greedy((), -1.0)
    for evidence in (greedy, Draws(((),), greedy)):
        assert calibrate(evidence, Calibration(3.0, 1.0)) is evidence
        assert Trust().calibrated(evidence) is evidence


def test_a_threshold_goes_through_the_same_map():
    fit = Calibration(0.7, -1.2)
    assert logit(fit.of_member(np.array(0.05))) == pytest.approx(0.7 * logit(np.array(0.05)) - 1.2)
    assert Calibration(0.5).temperature == 2


@pytest.mark.parametrize(
    "plain",
    [
        {"slope": 0.0}, {"slope": -1.0}, {"slope": float("nan")}, {"slope": 1e9}, {"offset": float("inf")},
        {"offset": 1e9}, {"slope": "1"}, {"slope": True}, {"rows": -1}, {"rows": 2.5}, {"rows": True}, {"temperature": 1.0},
    ],
)  # fmt: skip
def test_a_map_that_nobody_fitted_is_refused(plain):
    with pytest.raises((ValueError, TypeError)):
        Calibration.from_plain(plain)


def test_plain_data_and_back():
    trust = Trust(Calibration(1.25, -0.5, 40))
    assert Trust.from_plain(trust.to_plain()) == trust
    assert trust.to_plain() == {"calibration": {"slope": 1.25, "offset": -0.5, "rows": 40}}
    assert not Trust()
    with pytest.raises(ValueError, match="did you mean 'conformal'"):
        Trust.from_plain({"conformel": {}})
