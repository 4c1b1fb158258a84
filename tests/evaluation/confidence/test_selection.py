"""Answering less and asking a larger model: curves against slow versions, and thresholds that keep what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.codecs.protocol import Reading
from protscribe.errors import ConfigError
from protscribe.evaluation.confidence.selection import (
    cascade_curve,
    risk_coverage,
    threshold_for_accuracy,
    worth,
)
from protscribe.evaluation.rivals.majority import predicted
from tests.evaluation.toys import TASKS, examples

PROTEINS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)),
    min_size=1,
    max_size=40,
)


def columns(rows):
    return (np.array(column) for column in zip(*rows, strict=True))


@given(PROTEINS)
def test_the_curve_is_what_is_left_above_each_threshold(rows):
    confidence, loss, _ = columns(rows)
    curve = risk_coverage(confidence, loss)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(loss.mean())
    for threshold, share, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        given_ = confidence >= threshold
        assert share == pytest.approx(given_.mean())
        assert risk == pytest.approx(loss[given_].mean())
    assert 0 <= curve.area <= 1


def test_the_area_of_an_order_that_is_right_and_of_none():
    loss = np.array([0, 0, 0, 1])
    assert risk_coverage(np.array([0.9, 0.8, 0.7, 0.1]), loss).area == pytest.approx(0.25 / 4)
    assert risk_coverage(np.array([0.1, 0.7, 0.8, 0.9]), loss).area == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )
    assert risk_coverage(np.full(4, 0.5), loss).area == pytest.approx(0.25)


@given(PROTEINS, st.sampled_from([0.5, 0.8, 1.0]))
def test_the_lowest_threshold_of_a_target_accuracy(rows, target):
    confidence, loss, _ = columns(rows)
    right = (loss == 0).astype(float)
    slow = [at for at in np.unique(confidence) if right[confidence >= at].mean() >= target - 1e-12]
    assert threshold_for_accuracy(confidence, right, target) == (min(slow) if slow else None)


def test_a_promised_accuracy_is_kept_by_fresh_proteins():
    """95% sure: of many draws, at most about 5% give a threshold at which fresh answers are worse than promised."""
    generator = np.random.default_rng(0)
    broken = found = 0
    for _ in range(300):
        confidence = generator.random(200)
        at = threshold_for_accuracy(confidence, generator.random(200) < 0.5 + confidence / 2, 0.85, sure=0.95)
        if at is not None:
            found += 1
            # The true accuracy above a threshold: the mean of 0.5 + c / 2 for c uniform between it and 1.
            broken += 0.5 + (1 + at) / 4 < 0.85
    assert found > 100
    assert broken / 300 <= 0.05
    assert threshold_for_accuracy(np.full(5, 0.9), np.ones(5), 0.9, sure=0.95) is None


@given(PROTEINS)
def test_a_cascade_costs_and_is_worth_what_counting_says(rows):
    confidence, small, large = columns(rows)
    cost = np.linspace(1, 2, len(rows))
    curve = cascade_curve(confidence, small, large, small_cost=1.0, large_cost=10 * cost)
    for place, threshold in enumerate(curve.thresholds):
        sent = confidence < threshold
        assert curve.escalated[place] == pytest.approx(sent.mean())
        assert curve.cost[place] == pytest.approx((1 + np.where(sent, 10 * cost, 0)).mean())
        assert curve.quality[place] == pytest.approx(np.where(sent, large, small).mean())
    assert (curve.escalated[0], curve.escalated[-1]) == (0, 1)
    best = curve.cheapest(curve.quality.max())
    assert best in curve.thresholds
    assert curve.cheapest(2.0) is None


@pytest.mark.parametrize("name", [name for name in TASKS if name != "equal"])
def test_a_true_answer_is_worth_one_and_a_missing_one_nothing(name):
    task, found = TASKS[name], examples(name, 6)
    records = [example.record for example in found]
    truths = [example.answer for example in found]
    reading = [
        Reading(task.codec.canonical(truth, record), 1.0, "")
        for truth, record in zip(truths, records, strict=True)
    ]
    predictions = [predicted(task, record, one, "risk") for record, one in zip(records, reading, strict=True)]
    assert worth(task, truths, predictions, records) == pytest.approx(1)
    assert worth(task, truths, [None] * 6, records) == pytest.approx(0)


def test_what_is_half_right_is_worth_half():
    def value(name, truth, said, sequence_of=0):
        task, example = TASKS[name], examples(name, 1)[sequence_of]
        prediction = predicted(task, example.record, Reading(said, 1.0, ""), "risk")
        return worth(task, [truth], [prediction], [example.record])[0]

    assert value("letters", ("k", "s"), ("k",)) == 0.5
    assert value("k_sites", (1, 2), (2, 3)) == 0.5
    assert value("share_of_k", 0.25, 0.75) == 0.5
    assert value("rich_in_k", "no", "yes") == 0
    length = len(examples("charged", 1)[0].record.sequence)
    assert value("charged", "c-" + "n" * (length - 2), "n" * length) == pytest.approx(
        (length - 2) / (length - 1)
    )


def test_unequal_lengths_are_an_error():
    for call in (
        lambda: risk_coverage(np.ones(2), np.ones(3)),
        lambda: cascade_curve(np.ones(2), np.ones(2), np.ones(3), small_cost=1, large_cost=2),
        lambda: risk_coverage(np.ones(0), np.ones(0)),
    ):
        with pytest.raises(ConfigError, match="for every protein"):
            call()
