"""Guarantees: thresholds against the definition and a well-kept library, what they hold on data, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.codecs.protocol import Bin, Readout
from protscribe.errors import ConfigError
from protscribe.records import ProteinRecord
from protscribe.trust.conformal import (
    LEVELS,
    Conformal,
    Losses,
    check_coverage,
    family_of,
    guarantee,
    losses_of,
    threshold_for,
)
from tests.evaluation.toys import TASKS, answer, examples
from tests.laws.evidence import evidence_of

ONE = np.ones(1)


def single(*scores):
    return [Losses(np.array([score]), ONE) for score in scores]


def slow_threshold(losses, level):
    """The definition, by trying every score."""
    for at in sorted({float(score) for one in losses for score in one.scores}):
        lost = sum(
            weight
            for one in losses
            for score, weight in zip(one.scores, one.weights, strict=True)
            if score > at
        )
        if (lost + 1) / (len(losses) + 1) <= 1 - level + 1e-9:
            return at
    return None


PROTEINS = st.lists(
    st.lists(st.sampled_from([round(step / 20, 2) for step in range(21)]), min_size=1, max_size=4),
    min_size=1,
    max_size=25,
).map(lambda rows: [Losses(np.array(row), np.full(len(row), 1 / len(row))) for row in rows])


@given(PROTEINS, st.sampled_from(LEVELS))
def test_the_threshold_is_the_smallest_that_the_definition_allows(losses, level):
    assert threshold_for(losses, level) == slow_threshold(losses, level)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.5, 0.8, 0.9]))
def test_of_whole_proteins_it_is_the_usual_quantile(scores, level):
    """The ceil((n + 1) level)-th smallest score, as split conformal prediction has it."""
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    expected = sorted(scores)[rank - 1] if rank <= len(scores) else None
    assert threshold_for(single(*scores), level) == expected


def test_eight_rows_do_not_vouch_for_nine_tenths():
    scores = np.linspace(0.1, 0.9, 9)
    assert threshold_for(single(*scores[:8]), 0.9) is None
    assert threshold_for(single(*scores), 0.9) == 0.9
    kept = Conformal.of_losses(single(*scores))
    assert kept.levels[-1] == 0.9
    assert kept.threshold(0.85) == kept.threshold(0.9) == 0.9
    assert kept.threshold(0.905) is None
    assert Conformal.of_losses([]) is None


def test_between_two_levels_the_higher_one_counts():
    kept = Conformal.of_losses(single(*np.linspace(0, 1, 2000)))
    assert kept.levels == LEVELS
    assert kept.threshold(0.9001) == kept.threshold(0.91) > kept.threshold(0.9)


def test_sets_and_intervals_are_those_of_crepes():
    base = pytest.importorskip("crepes.base", reason="crepes, of the extra test, is not installed")
    generator = np.random.default_rng(3)
    scores = generator.random(157)
    classifier = base.ConformalClassifier().fit(scores, seed=0)
    regressor = base.ConformalRegressor().fit(scores)
    fresh = generator.random((200, 4))
    for level in (0.8, 0.9, 0.95):
        at = threshold_for(single(*scores), level)
        theirs = classifier.predict_set(fresh, confidence=level, smoothing=False)
        assert ((fresh <= at) == theirs.astype(bool)).all()
        lower, upper = regressor.predict_int(np.zeros(1), confidence=level)[0]
        assert (upper - lower) / 2 == pytest.approx(at)


# Kinds of answer


def noisy(task, example, generator, sharp=3):
    """Evidence of a model that is right more often than not: counts over the truth and the answers to other proteins."""
    others = [answer(task.name, example.record, place) for place in range(2)]
    counts = {task.codec.encode(example.answer, example.record).tokens: int(generator.integers(1, 2 + sharp))}
    for other in others:
        tokens = task.codec.encode(other, example.record).tokens
        counts[tokens] = counts.get(tokens, 0) + int(generator.integers(0, 3))
    return evidence_of(task.codec, example.record, counts)


GUARANTEED = [name for name, task in TASKS.items() if family_of(task) is not None and name != "near"]


def read(task, example, generator):
    record = task.arrange(example.record)
    return record, task.codec.read(noisy(task, example, generator), record, Readout())


def members(task, record, truth):
    """What of the truth can be missed, and whether a guarantee holds each, in plain words."""
    kind = task.codec.kind
    if kind in ("residue_labels", "segments"):
        painted = (
            truth
            if isinstance(truth, str)
            else [lab for lab, start, end in truth for _ in range(start, end + 1)]
        )
        return lambda value: [label in labels for label, labels in zip(painted, value, strict=True)]
    if kind == "number":
        return lambda value: [value[0] <= truth <= value[1]]
    if kind == "category":
        return lambda value: [truth in value]
    wanted = set(truth)
    if kind == "category_path":
        wanted = {".".join(node.split(".")[: depth + 1]) for node in truth for depth in range(2)}
    return lambda value: [one in value for one in wanted]


@pytest.mark.parametrize("name", GUARANTEED)
def test_what_the_threshold_takes_in_is_what_the_scores_say(name):
    """A truth is in the guarantee just where its score is within the threshold, and thresholds never shrink an answer."""
    task, generator = TASKS[name], np.random.default_rng(5)
    for example in examples(name, 12):
        record, reading = read(task, example, generator)
        losses = losses_of(task, record, reading, example.answer)
        held = members(task, record, example.answer)
        if losses is None:
            assert held(()) == []
            continue
        assert losses.weights.sum() == pytest.approx(1)
        for threshold in (0.0, 0.3, 0.6, 0.97, 1.0):
            found = guarantee(task, record, reading, Conformal(50, (0.9,), (threshold,)), 0.9)
            inside = losses.weights[losses.scores <= threshold + 1e-9].sum()
            assert np.mean(held(found.value)) == pytest.approx(inside)
            assert (found.level, found.rows) == (0.9, 50)
            assert "0.9" in found.meaning


@pytest.mark.parametrize("name", GUARANTEED)
def test_on_exchangeable_rows_no_less_is_covered_than_was_asked(name):
    """Averaged over many cuts, within what so many rows can scatter."""
    task, generator = TASKS[name], np.random.default_rng(7)
    losses = []
    for example in examples(name, 60, seed=3):
        record, reading = read(task, example, generator)
        losses.append(losses_of(task, record, reading, example.answer))
    losses = [one for one in losses if one is not None]
    covered = []
    for _ in range(200):
        order = generator.permutation(len(losses))
        fit, test = order[: len(order) // 2], order[len(order) // 2 :]
        at = Conformal.of_losses([losses[place] for place in fit]).threshold(0.8)
        covered.append(np.mean([losses[place].weights[losses[place].scores <= at].sum() for place in test]))
    assert np.mean(covered) >= 0.8 - 0.01


def test_a_number_is_held_by_the_middle_of_its_distribution():
    task = TASKS["share_of_k"]
    record = ProteinRecord("p", ("MKT",))
    bins = (Bin(0.0, 0.24, 0.25), Bin(0.25, 0.49, 0.25), Bin(0.5, 0.74, 0.25), Bin(0.75, 1.0, 0.25))
    reading = task.codec.read(
        evidence_of(task.codec, record, {task.codec.encode(0.5, record).tokens: 1}), record, Readout()
    )
    reading = type(reading)(0.5, 1.0, "", probabilities=bins)
    value = guarantee(task, record, reading, Conformal(99, (0.9,), (0.5,)), 0.9).value
    assert value == pytest.approx((0.245, 0.745), abs=1e-6)
    assert guarantee(task, record, reading, Conformal(99, (0.9,), (1.0,)), 0.9).value == (0.0, 1.0)
    assert losses_of(task, record, reading, 0.745).scores == pytest.approx([0.5])


def test_proteins_without_sites_promise_nothing_and_do_not_count():
    task = TASKS["k_sites"]
    record = ProteinRecord("p", ("AKA",))
    reading = task.codec.read(
        evidence_of(task.codec, record, {task.codec.encode((2,), record).tokens: 1}), record, Readout()
    )
    assert losses_of(task, record, reading, ()) is None


def test_pairs_that_are_never_drawn_cannot_be_promised():
    family = family_of(TASKS["near"])
    assert family.highest < 1
    rows = [Losses(np.array([1.0]), ONE)] * 5 + [Losses(np.array([0.2]), ONE)] * 95
    kept = Conformal.of_losses(rows, family.highest)
    assert kept.levels[-1] == 0.94
    assert Conformal.of_losses(rows).levels[-1] == 0.99


# What cannot be had


@pytest.mark.parametrize(
    ("name", "kept", "coverage", "code"),
    [
        ("rich_in_k", None, 0.9, "guarantee.none"),
        ("copy", None, 0.9, "guarantee.kind"),
        ("rich_in_k", Conformal(12, (0.5, 0.9), (0.1, 0.4)), 0.95, "guarantee.level"),
        ("rich_in_k", Conformal(12, (0.5, 0.9), (0.1, 0.4)), 1.0, "config.value"),
        ("rich_in_k", Conformal(12, (0.5, 0.9), (0.1, 0.4)), True, "config.value"),
        ("rich_in_k", Conformal(12, (0.5, 0.9), (0.1, 0.4)), "0.9", "config.value"),
    ],
)
def test_what_cannot_be_promised_says_what_to_do(name, kept, coverage, code):
    with pytest.raises(ConfigError) as caught:
        check_coverage(TASKS[name], kept, coverage)
    assert caught.value.code == code
    if code == "guarantee.level":
        assert "12 held-out proteins" in caught.value.message
        assert "at most 0.9" in caught.value.message


GOOD = {"rows": 12, "levels": [0.5, 0.9], "thresholds": [0.1, 0.4]}


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0}, {"rows": True}, {"levels": []}, {"levels": [0.5]}, {"levels": [0.9, 0.5]}, {"levels": [0.5, 1.0]},
        {"thresholds": [0.4, 0.1]}, {"thresholds": [0.1, 1.4]}, {"thresholds": [0.1, float("nan")]}, {"thresholds": [0.1, "1"]},
        {"scores": []}, {"levels": [round(step / 100, 3) for step in range(1, 90)], "thresholds": [0.5] * 89},
    ],
)  # fmt: skip
def test_thresholds_that_nobody_fitted_are_refused(change):
    assert Conformal.from_plain(GOOD).threshold(0.6) == 0.4
    with pytest.raises((ValueError, TypeError)):
        Conformal.from_plain(GOOD | change)
