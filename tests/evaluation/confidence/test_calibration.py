"""Calibration errors against slow versions and known answers, and maps that find what data were made with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.codecs.protocol import DigitTree, First, Greedy, Inclusion, Marginals
from protscribe.data.examples import Example
from protscribe.errors import ConfigError
from protscribe.evaluation.confidence.calibration import (
    LEAST_ROWS,
    calibration_scores,
    events_of,
    fit_calibration,
    has_events,
    reliability,
)
from protscribe.records import ProteinRecord
from protscribe.trust import Calibration
from protscribe.trust.calibration import calibrate, logit, sigmoid
from tests.evaluation.toys import TASKS, task

EVENTS = st.lists(
    st.tuples(st.sampled_from(np.linspace(0, 1, 11).tolist()), st.booleans()), min_size=1, max_size=80
)


@given(EVENTS, st.integers(1, 20))
def test_bins_hold_every_event_once_and_equal_confidences_together(events, bins):
    confidence, happened = (np.array(column, dtype=float) for column in zip(*events, strict=True))
    found = reliability(confidence, happened, bins)
    assert found.counts.sum() == len(events)
    assert len(found.counts) <= bins
    assert found.counts @ found.accuracy == pytest.approx(happened.sum())
    assert found.counts @ found.confidence == pytest.approx(confidence.sum())
    assert (found.edges[1:, 0] > found.edges[:-1, 1]).all()
    slow = 0.0
    for (low, high), size in zip(found.edges, found.counts, strict=True):
        inside = [(said, so) for said, so in events if low <= said <= high]
        assert len(inside) == size
        slow += abs(np.mean([said for said, _ in inside]) - np.mean([so for _, so in inside])) * len(inside)
    assert found.ece == pytest.approx(slow / len(events))


def test_bins_of_equal_mass_hold_equally_many():
    confidence = np.random.default_rng(0).random(1500)
    assert reliability(confidence, np.ones(1500)).counts.tolist() == [100] * 15


def test_of_perfect_probabilities_the_plain_error_is_chance_and_the_debiased_one_below():
    generator = np.random.default_rng(1)
    plain, debiased, chance = [], [], []
    for _ in range(200):
        confidence = generator.uniform(0.5, 1, 300)
        found = reliability(confidence, (generator.random(300) < confidence).astype(float))
        plain.append(found.ece)
        debiased.append(found.ece_debiased)
        chance.append(found.chance)
    assert np.mean(plain) == pytest.approx(np.mean(chance), rel=0.05)
    assert np.mean(debiased) < 0.7 * np.mean(plain)


def test_of_wrong_probabilities_both_find_how_wrong():
    generator = np.random.default_rng(2)
    confidence = generator.uniform(0.7, 0.9, 30_000)
    found = reliability(confidence, (generator.random(30_000) < confidence - 0.2).astype(float))
    assert found.ece == pytest.approx(0.2, abs=0.01)
    assert found.ece_debiased == pytest.approx(0.2, abs=0.01)


def test_no_events_and_unequal_ones_are_an_error():
    for confidence, happened in ((np.zeros(0), np.zeros(0)), (np.ones(2), np.ones(3))):
        with pytest.raises(ConfigError, match="an outcome an event"):
            reliability(confidence, happened)


# Events


def rows(count, sequence="SAYST"):
    return [ProteinRecord(f"p{place}", (sequence,), ordinal=place) for place in range(count)]


def test_events_of_classes():
    (record,) = rows(1)
    found = events_of(TASKS["rich_in_k"], [Example(record, "no")], [First(np.array([0.25, 0.75]))])
    assert found.confidence == pytest.approx([0.75])
    assert found.happened.tolist() == [0]
    assert found.loss == pytest.approx([-np.log(0.25)])
    assert found.brier == pytest.approx([2 * 0.75**2])


def test_events_of_residues_leave_out_what_is_not_scored():
    (record,) = rows(1, "KAE")
    table = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    found = events_of(TASKS["charged"], [Example(record, "c-n")], [Marginals(table)])
    assert found.confidence == pytest.approx([0.9, 0.6])
    assert found.happened.tolist() == [1, 0]


def test_events_of_sites_are_the_candidates():
    (record,) = rows(1, "SAYST")
    chances = Inclusion(np.array([0.1, 0.8, 0.2, 0.3]), None, None, Greedy((), 0.0))
    found = events_of(TASKS["tyrosines"], [Example(record, (3,))], [chances])
    assert found.happened.tolist() == [0, 1, 0, 0]
    assert found.brier == pytest.approx([0.01, 0.04, 0.04, 0.09])
    assert found.loss.sum() == pytest.approx(-np.log([0.9, 0.8, 0.8, 0.7]).sum())


def test_events_of_paths_are_the_nodes():
    (record,) = rows(1)
    tree = TASKS["tree"]
    names = [token.text for token in tree.codec.grammar(record).domain.tokens()]
    evidence = Inclusion(np.linspace(0.1, 0.9, len(names)), None, None, Greedy((), 0.0))
    found = events_of(tree, [Example(record, ("1.2",))], [evidence])
    assert [name for name, held in zip(names, found.happened, strict=True) if held] == ["1", "1.2"]


# Fitting


def made(name, slope, offset, count, seed=0):
    """Truths drawn from probabilities, and evidence whose logits are those of the truth through the inverse map."""
    entry, generator = TASKS[name], np.random.default_rng(seed)
    examples, evidence = [], []
    for record in rows(count, "SAYSTTYSAK"):
        true = generator.uniform(0.02, 0.98, 10)
        said = sigmoid((logit(true) - offset) / slope)
        happened = generator.random(10) < true
        if name == "rich_in_k":
            examples.append(Example(record, "yes" if happened[0] else "no"))
            evidence.append(First(np.array([1 - said[0], said[0]])))
        elif name == "charged":
            examples.append(Example(record, "".join("cn"[int(one)] for one in happened)))
            evidence.append(Marginals(np.stack([1 - said, said], axis=1)))
        else:
            members = tuple(int(place) + 1 for place in np.flatnonzero(happened))
            examples.append(Example(record, members))
            evidence.append(Inclusion(said, None, None, Greedy((), 0.0)))
    return entry, examples, evidence


@pytest.mark.parametrize(
    ("name", "slope", "offset", "count"),
    [("rich_in_k", 0.4, 0.0, 3000), ("charged", 2.5, 0.0, 300), ("k_sites", 0.6, 1.5, 300)],
)
def test_the_map_that_data_were_made_with_is_found(name, slope, offset, count):
    entry, examples, evidence = made(name, slope, offset, count)
    found = fit_calibration(entry, examples, evidence)
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.offset == pytest.approx(offset, abs=0.15)
    assert found.rows == count
    before = calibration_scores(entry, examples, evidence)
    after = calibration_scores(entry, examples, [calibrate(one, found) for one in evidence])
    assert after.loss < before.loss
    assert after.brier < before.brier
    assert after.ece_debiased < 0.3 * before.ece_debiased
    assert (after.proteins, after.events) == (count, len(after.reliability.counts) and before.events)


def test_numbers_get_their_spread_and_their_bias_right():
    entry, generator = TASKS["share_of_k"], np.random.default_rng(4)
    steps = np.arange(101)
    examples, evidence = [], []
    for record in rows(400):
        centre = generator.uniform(30, 70)
        truth = int(np.clip(round(generator.normal(centre + 5, 8)), 0, 100))
        weights = np.exp(-(((steps - centre) / 3) ** 2) / 2) + 1e-9
        examples.append(Example(record, truth / 100))
        evidence.append(DigitTree(steps, steps, weights / weights.sum()))

    def inside(trees):
        """How many truths lie in the central half of their distribution, and on which side of its middle."""
        below = [
            np.cumsum(tree.probabilities)[round(100 * e.answer)]
            for e, tree in zip(examples, trees, strict=True)
        ]
        return np.mean([0.25 <= one <= 0.75 for one in below]), np.mean([one > 0.5 for one in below])

    found = fit_calibration(entry, examples, evidence)
    assert inside(evidence)[0] < 0.3
    assert inside(evidence)[1] > 0.65
    held, above = inside([calibrate(one, found) for one in evidence])
    assert held == pytest.approx(0.5, abs=0.08)
    assert above == pytest.approx(0.5, abs=0.08)


def test_answers_that_are_all_right_leave_the_map_finite():
    examples = [Example(record, "no") for record in rows(LEAST_ROWS)]
    found = fit_calibration(TASKS["rich_in_k"], examples, [First(np.array([0.9, 0.1]))] * LEAST_ROWS)
    assert 1 < found.slope < 10


def test_too_few_rows_and_texts_fit_nothing():
    examples = [Example(record, "no") for record in rows(LEAST_ROWS - 1)]
    assert (
        fit_calibration(TASKS["rich_in_k"], examples, [First(np.array([0.9, 0.1]))] * len(examples)) is None
    )
    assert fit_calibration(TASKS["copy"], examples * 5, []) is None
    bare = task("bare", kind="residue_set", candidates="W")
    none = [Example(record, ()) for record in rows(20)]
    empty = Inclusion(np.zeros(0), None, None, Greedy((), 0.0))
    assert fit_calibration(bare, none, [empty] * 20) is None
    assert [has_events(TASKS[name]) for name in ("tree", "charged", "share_of_k", "near")] == [
        True,
        True,
        False,
        False,
    ]


def test_the_fit_is_the_best_of_its_neighbours():
    entry, examples, evidence = made("k_sites", 0.7, -0.5, 60)
    found = fit_calibration(entry, examples, evidence)

    def cost(slope, offset):
        mapped = [calibrate(one, Calibration(slope, offset)) for one in evidence]
        prior = np.log(slope) ** 2 / 2 + offset**2 / 8
        return events_of(entry, examples, mapped).loss.sum() + prior

    best = cost(found.slope, found.offset)
    for slope, offset in ((1.02, 0), (0.98, 0), (1, 0.02), (1, -0.02)):
        assert best <= cost(found.slope * slope, found.offset + offset) + 1e-6
