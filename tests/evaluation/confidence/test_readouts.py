"""Readouts chosen on validation data: the best threshold, statistic and way, and ties."""

from types import SimpleNamespace

import numpy as np
import pytest

from protscribe.codecs.protocol import DigitTree, Draws, First, Greedy, Inclusion, Readout
from protscribe.data.examples import Example
from protscribe.evaluation.confidence.readouts import (
    THRESHOLDS,
    best_of,
    candidate_readouts,
    choose_readouts,
    score_evidence,
)
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Position
from tests.evaluation.toys import TASKS, task


class Oracle:
    """Answers every question from a table, and counts the questions."""

    def __init__(self, entry, risk, greedy=None):
        self.tasks = {entry.name: entry}
        self.evidence_of = {"risk": risk, "greedy": greedy}
        self.asked = 0

    def evidence(self, records, task, way="risk"):
        self.asked += len(records)
        return [SimpleNamespace(evidence=found) for found in self.evidence_of[way][: len(records)]]


def included(*chances, greedy=()):
    tokens = tuple(Position(0, position - 1) for position in greedy)
    return Inclusion(np.array(chances), np.zeros(len(chances)), 4, Greedy(tokens, -1.0))


def asked(count, sequence="SAYST"):
    return [ProteinRecord(f"p{place}", (sequence,)) for place in range(count)]


SITES = task("sites", kind="residue_set")


def test_threshold_of_rare_sites():
    """Sites at 0.2 among others at 0.05: 0.5, the threshold of least wrong residues, would find none."""
    risk = [included(0.2, 0.05, 0.05, 0.2, 0.05), included(0.05, 0.05, 0.2, 0.05, 0.05)]
    examples = [Example(record, answer) for record, answer in zip(asked(2), [(1, 4), (3,)], strict=True)]
    oracle = Oracle(SITES, risk)
    chosen = choose_readouts(oracle, {"sites": examples})["sites"]
    assert 0.05 < chosen.threshold <= 0.2
    assert oracle.asked == 2
    metric = "site_f1"
    assert score_evidence(SITES, examples, risk, chosen, [metric])[metric] == 1.0
    assert score_evidence(SITES, examples, risk, Readout(), [metric])[metric] == 0.0


def test_of_equal_thresholds_the_one_nearest_to_a_half():
    risk = [included(0.9, 0.1, 0.1, 0.1, 0.1)]
    chosen = choose_readouts(Oracle(SITES, risk), {"sites": [Example(asked(1)[0], (1,))]})["sites"]
    assert chosen.threshold == 0.5


def test_a_ranked_main_metric_leaves_the_choice_to_the_next_one():
    entry = task("sites", kind="residue_set", metrics=["site_average_precision", "site_f1"])
    risk = [included(0.2, 0.05, 0.05, 0.05, 0.05)]
    chosen = choose_readouts(Oracle(entry, risk), {"sites": [Example(asked(1)[0], (1,))]})["sites"]
    assert chosen.threshold < 0.25


@pytest.mark.parametrize(("metric", "statistic"), [("rmse", "mean"), ("mae", "median")])
def test_statistic_of_numbers(metric, statistic):
    """A digit is 0 (chance 0.6) or 9 (0.4), and comes out so: the mean has less squared, the median less absolute error."""
    entry = task("t", kind="number", low=0, high=9, step=1, depth=1, metrics=[metric])
    tree = DigitTree.of_leading(np.array([0.6, *[0.0] * 8, 0.4]), most=9, places=1)
    examples = [
        Example(record, answer) for record, answer in zip(asked(10), [0.0] * 6 + [9.0] * 4, strict=True)
    ]
    chosen = choose_readouts(Oracle(entry, [tree] * 10), {"t": examples})["t"]
    assert chosen.statistic == statistic


def test_pairs_are_read_at_the_best_frequency():
    entry = TASKS["near"]

    def draw(*pairs):
        return tuple(Position(0, place - 1) for pair in pairs for place in pair)

    answers = (draw((1, 3)), draw((1, 3), (2, 5)), draw((2, 4)), draw())
    risk = [Draws(answers, Greedy(draw(), -1.0))]
    examples = [Example(asked(1)[0], ((1, 3), (2, 4)))]
    chosen = choose_readouts(Oracle(entry, risk), {"near": examples})["near"]
    # Frequencies: 1-3 a half, 2-4 and 2-5 a quarter. All three: 2 of 3 right, better than 1-3 alone.
    assert chosen.threshold <= 0.25


def test_greedy_only_where_it_is_asked_for_and_better():
    risk = [included(0.9, 0.9, 0.1, 0.1, 0.1)]
    greedy = [Greedy((Position(0, 0),), -1.0)]
    examples = {"sites": [Example(asked(1)[0], (1,))]}
    assert choose_readouts(Oracle(SITES, risk, greedy), examples)["sites"].way == "risk"
    chosen = choose_readouts(Oracle(SITES, risk, greedy), examples, ways=("risk", "greedy"))
    assert chosen["sites"].way == "greedy"
    good = [included(0.9, 0.1, 0.1, 0.1, 0.1)]
    both = choose_readouts(Oracle(SITES, good, greedy), examples, ways=("risk", "greedy"))
    assert both["sites"].way == "risk"


def test_limit_and_tasks_without_examples():
    oracle = Oracle(TASKS["rich_in_k"], [First(np.array([0.4, 0.6]))] * 30)
    examples = [Example(record, "yes") for record in asked(30)]
    assert choose_readouts(oracle, {"rich_in_k": examples}, limit=7) == {"rich_in_k": Readout()}
    assert oracle.asked == 7
    assert choose_readouts(oracle, {"rich_in_k": []}) == {"rich_in_k": Readout()}
    assert oracle.asked == 7


def test_candidates_by_kind():
    assert [readout.threshold for readout in candidate_readouts(TASKS["letters"])] == list(THRESHOLDS)
    assert all(0 < threshold < 1 for threshold in THRESHOLDS)
    assert len(candidate_readouts(TASKS["share_of_k"])) == 2
    for name in ("rich_in_k", "charged", "verdict", "halves"):
        assert candidate_readouts(TASKS[name]) == [Readout()]


def test_undefined_values_lose():
    trials = [(Readout(threshold=0.5), float("nan")), (Readout(threshold=0.1), 0.0)]
    assert best_of(SITES, trials).threshold == 0.1
    lower_is_better = task("t", kind="number", low=0, high=9, step=1, metrics=["mae"])
    assert best_of(lower_is_better, [(Readout(level=0.5), 2.0), (Readout(level=0.6), 1.0)]).level == 0.6
