"""Metrics against cases worked out by hand, the oracle law, what is missing, and the bootstrap's coverage."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protscribe.codecs.protocol import Readout
from protscribe.codecs.segments import Segment
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.metrics import (
    DEFAULTS,
    METRICS,
    better,
    collect,
    evaluate_task,
    interval,
    metrics_of,
    resample,
)
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task
from tests.laws.evidence import evidence_of
from tests.laws.examples import EXAMPLES, STRATEGIES


def make_task(codec, **keys):
    if isinstance(codec, dict):
        return Task.from_plain({"name": "task", "title": "a task", "codec": codec, **keys})
    return Task("task", "a task", codec, **{"chains": codec.chains, **keys})


def say(value, record=None, **keys):
    record = record or ProteinRecord("p", ("MKTSYAYSTK",))
    return Prediction(record.id, "task", "kind", value, 1.0, "certain", record, **keys)


def records(count, sequence="MKTSYAYSTK"):
    return [ProteinRecord(f"p{place}", (sequence,)) for place in range(count)]


def scores_of(codec, truths, values, metrics=(), sequence="MKTSYAYSTK", probabilities=None):
    task = make_task(codec)
    rows = records(len(truths), sequence)
    chances = probabilities or [None] * len(truths)
    predictions = [
        None if value is None else say(value, row, probabilities=chance)
        for value, row, chance in zip(values, rows, chances, strict=True)
    ]
    return evaluate_task(task, truths, predictions, rows, metrics=metrics or METRICS_OF[task.codec.kind])


METRICS_OF = {
    kind: tuple(name for name, metric in METRICS.items() if kind in metric.kinds) for kind in DEFAULTS
}

TWO = {"kind": "category", "labels": ["no", "yes"]}
THREE = {"kind": "category", "labels": ["a", "b", "c"]}
SETS = {"kind": "category_set", "labels": ["a", "b", "c"]}
PATHS = {"kind": "category_path", "paths": ["1.1.1", "1.1.2", "1.2.1", "2.1.1"]}
NUMBER = {"kind": "number", "low": 0, "high": 10, "step": 0.1}
LABELS = {"kind": "residue_labels", "labels": ["H", "E"]}
SITES = {"kind": "residue_set", "candidates": "STY"}
SEGMENTS = {"kind": "segments", "labels": ["s", "m"]}
PAIRS = {"kind": "residue_pairs", "separation": 1}
TEXT = {"kind": "sequence", "alphabet": ["x", "y"], "length": "free", "most": 6}


@pytest.mark.parametrize(
    ("codec", "truths", "values", "expected"),
    [
        # Of 4: 3 right. F1 of no: 2*1/(2*1+1+0) = 2/3, of yes: 2*2/(2*2+0+1) = 4/5.
        (
            TWO,
            ["no", "no", "yes", "yes"],
            ["no", "yes", "yes", "yes"],
            {
                "accuracy": 0.75,
                "macro_f1": (2 / 3 + 4 / 5) / 2,
                "balanced_accuracy": 0.75,
                "mcc": 1 / math.sqrt(3),
            },
        ),
        # c is never true, but called once: it counts in the mean of F1, not in the mean of recall.
        (
            THREE,
            ["a", "a", "b", "b"],
            ["a", "a", "b", "c"],
            {"accuracy": 0.75, "macro_f1": (1 + 2 / 3 + 0) / 3, "balanced_accuracy": 0.75},
        ),
        # Right a; missed b; false c; both empty agree.
        (
            SETS,
            [("a", "b"), ()],
            [("a", "c"), ()],
            {"micro_f1": 0.5, "macro_f1_labels": 1 / 3, "jaccard": (1 / 3 + 1) / 2, "exact_match": 0.5},
        ),
        (
            PATHS,
            [("1.1.1",), ("2.1.1",)],
            [("1.1.2",), ("2.1.1",)],
            # The nodes 1 and 1.1 above are right in the first: precision and recall (2/3 + 1) / 2.
            {"micro_f1": 0.5, "exact_match": 0.5, "fmax": 5 / 6},
        ),
        (
            NUMBER,
            [1.0, 2.0, 3.0, 4.0],
            [1.0, 3.0, 2.0, 4.0],
            {"spearman": 0.8, "pearson": 0.8, "mae": 0.5, "rmse": math.sqrt(0.5)},
        ),
        # Six scored residues, four right; H: 3 right, 1 missed, 1 false; E: 1 right, 1 false, 1 missed.
        (
            LABELS,
            ["HHHHEE----"],
            ["HHHEEHHHHH"],
            {"q_accuracy": 4 / 6, "residue_macro_f1": (6 / 8 + 2 / 4) / 2, "residue_mcc": (3 * 1 - 1) / 8},
        ),
        # 6 candidates (3 T, 4 S, 5 Y, 7 Y, 8 S, 9 T): 1 right, 1 missed, 2 false, 2 rightly left alone.
        (
            SITES,
            [(3, 4)],
            [(4, 5, 9)],
            {"site_f1": 2 / 5, "site_mcc": (1 * 2 - 2 * 1) / math.sqrt(3 * 2 * 4 * 3), "exact_match": 0.0},
        ),
        (
            SEGMENTS,
            [(Segment("s", 1, 3), Segment("m", 4, 10)), (Segment("m", 1, 10),)],
            [(Segment("s", 1, 5), Segment("m", 6, 10)), (Segment("m", 1, 10),)],
            {"segment_accuracy": 18 / 20, "boundary_accuracy": 0.0, "exact_match": 0.5},
        ),
        (
            PAIRS,
            [((1, 5), (2, 6))],
            [((1, 5), (3, 7), (4, 8))],
            {"pair_f1": 2 / 5, "pair_precision": 1 / 3},
        ),
        # Longer of the two texts: 4 places, 2 right; then 2 places, one of them beyond the answer.
        (TEXT, ["xyx", "xy"], ["xyyx", "x"], {"token_accuracy": 3 / 6, "exact_match": 0.0}),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else None,
)
def test_value_by_hand(codec, truths, values, expected):
    found = scores_of(codec, truths, values, tuple(expected))
    assert dict(found) == pytest.approx(expected)
    assert (found.count, found.missing) == (len(truths), 0)


def test_ranking_by_hand():
    """Ranked: yes no yes no no. Of 6 pairs (yes, no), 5 are in order; the precision is 1 and 2/3 at the two yes."""
    chances = [{"no": 1 - p, "yes": p} for p in (0.9, 0.6, 0.5, 0.1, 0.05)]
    found = scores_of(
        TWO,
        ["yes", "no", "yes", "no", "no"],
        ["yes", "yes", "no", "no", "no"],
        ("auroc", "average_precision"),
        probabilities=chances,
    )
    assert dict(found) == pytest.approx({"auroc": 5 / 6, "average_precision": (1 + 2 / 3) / 2})


def test_ranking_of_several_classes_is_the_mean_over_one_against_rest():
    chances = [
        {"a": 0.6, "b": 0.3, "c": 0.1},
        {"a": 0.5, "b": 0.4, "c": 0.1},
        {"a": 0.2, "b": 0.2, "c": 0.6},
    ]
    found = scores_of(THREE, ["a", "b", "a"], ["a", "a", "c"], ("auroc",), probabilities=chances)
    # a: one of 2 pairs in order; b: both; c is never true and cannot be judged.
    assert found["auroc"] == pytest.approx((1 / 2 + 1) / 2)


def test_site_ranking_by_hand():
    chances = np.array([0.99, 0, 0.9, 0.8, 0.7, 0, 0.1, 0.1, 0.1, 0])
    found = scores_of(SITES, [(3, 5)], [(3,)], ("site_average_precision",), probabilities=[chances])
    # Residue 1 is no candidate: its probability counts nothing. Ranked: 3 (true), 4 (false), 5 (true).
    assert found["site_average_precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_fmax_by_hand():
    chances = [
        {
            "1": 0.9,
            "1.1": 0.8,
            "1.1.1": 0.6,
            "1.1.2": 0.2,
            "1.2": 0.1,
            "1.2.1": 0.1,
            "2": 0.1,
            "2.1": 0,
            "2.1.1": 0,
        },
        {
            "1": 0.6,
            "1.1": 0.6,
            "1.1.1": 0.6,
            "1.1.2": 0,
            "1.2": 0,
            "1.2.1": 0,
            "2": 0.4,
            "2.1": 0.4,
            "2.1.1": 0.4,
        },
    ]
    found = scores_of(
        PATHS, [("1.1.1",), ("2.1.1",)], [("1.1.1",), ("1.1.1",)], ("fmax",), probabilities=chances
    )
    # Best at 0.4: precision (1 + 3/6) / 2, recall 1.
    assert found["fmax"] == pytest.approx(2 * 0.75 / 1.75)


def certain(codec, record, answer):
    """The prediction of a model that is certain of ``answer``."""
    tokens = codec.encode(answer, record).tokens
    reading = codec.read(evidence_of(codec, record, {tokens: 1}), record, Readout())
    return say(reading.value, record, probabilities=reading.probabilities)


def assert_best(scores):
    for name, value in scores.items():
        # A truth of one class, or numbers that do not vary, cannot tell good from bad.
        assert math.isnan(value) or value == pytest.approx(METRICS[name].best, abs=1e-9), name


@pytest.mark.parametrize("kind", EXAMPLES)
def test_oracle_on_examples(kind):
    told = set()
    for codec, record, answers in EXAMPLES[kind]:
        task = make_task(codec)
        # Unscored residues stay unscored; every other truth in its one spelling.
        truths = [
            answer if kind == "residue_labels" else codec.canonical(answer, record) for answer in answers
        ]
        predictions = [certain(codec, record, answer) for answer in answers]
        found = evaluate_task(task, truths, predictions, [record] * len(answers), metrics=METRICS_OF[kind])
        assert_best(found)
        told |= {name for name, value in found.items() if not math.isnan(value)}
    assert told == set(METRICS_OF[kind])


@pytest.mark.parametrize("kind", STRATEGIES)
def test_oracle_on_drawn_answers(kind):
    @given(STRATEGIES[kind])
    @settings(max_examples=25, deadline=None)
    def check(case):
        codec, record, answer = case
        truth = answer if kind == "residue_labels" else codec.canonical(answer, record)
        prediction = say(codec.canonical(answer, record), record)
        assert_best(
            evaluate_task(make_task(codec), [truth], [prediction], [record], metrics=METRICS_OF[kind])
        )

    check()


RIGHT = {
    "category": (TWO, ["no", "yes", "yes", "no"]),
    "category_set": (SETS, [("a",), ("b",), (), ("a", "c")]),
    "category_path": (PATHS, [("1.1.1",), ("1.1.2",), ("2.1.1",), ("1.1.1", "2.1.1")]),
    "number": (NUMBER, [1.0, 2.0, 9.0, 5.0]),
    "residue_labels": (LABELS, ["HHHHHEEEEE", "EEEEEHHHHH", "HHHHH-----", "EEEEE-----"]),
    "residue_set": (SITES, [(3, 4), (5,), (), (7, 8)]),
    "segments": (
        SEGMENTS,
        [(Segment("s", 1, 3), Segment("m", 4, 10)), (Segment("m", 1, 10),), (Segment("s", 1, 10),)],
    ),
    "residue_pairs": (PAIRS, [((1, 5),), (), ((2, 8), (3, 9))]),
    "sequence": (TEXT, ["xyx", "yy", "x"]),
}


OF_MEMBERS_ONLY = ("site_recall", "pair_recall", "protein_auroc", "protein_average_precision")
"""Metrics that a protein without any true residue has no part in."""


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("as_failure", [False, True])
def test_missing_is_wrong_and_stays_in_the_denominator(kind, as_failure):
    codec, truths = RIGHT[kind]
    right = scores_of(codec, truths, truths)
    assert_best(right)
    gone = Failure(0, "p0", "seq.too_long", "too long") if as_failure else None
    for place in range(len(truths)):
        task, rows = make_task(codec), records(len(truths))
        predictions = [say(truth, row) for truth, row in zip(truths, rows, strict=True)]
        predictions[place] = gone
        found = evaluate_task(task, truths, predictions, rows, metrics=METRICS_OF[kind])
        assert (found.count, found.missing) == (len(truths), 1)
        for name, value in found.items():
            if name in OF_MEMBERS_ONLY and not truths[place]:
                assert value == right[name]
            else:
                assert better(name)(right[name], value), (name, place, value)


def test_nothing_but_missing_answers():
    for codec, truths in RIGHT.values():
        for name, value in scores_of(codec, truths, [None] * len(truths)).items():
            # With three of four proteins true, the worst ranking of a label still has (1/2 + 2/3 + 3/4) / 3.
            worst = 0.64 if name == "macro_average_precision" else 0.5
            assert (value <= worst) if METRICS[name].higher else (value > 5), name


def test_missing_number_lies_at_the_far_end():
    found = scores_of(NUMBER, [1.0, 9.0], [None, 9.0], ("mae",))
    assert found["mae"] == pytest.approx((10.0 - 1.0) / 2)


def test_every_kind_has_metrics_and_a_main_one():
    assert set(DEFAULTS) == set(EXAMPLES)
    for kind, names in DEFAULTS.items():
        assert set(names) <= set(METRICS_OF[kind])
    assert metrics_of(make_task(TWO, metrics=["mcc", "auroc"])) == ("mcc", "auroc")
    assert metrics_of(make_task(TWO)) == DEFAULTS["category"]


def test_unknown_or_unfitting_metric():
    with pytest.raises(TaskError, match="did you mean 'accuracy'") as caught:
        metrics_of(make_task(TWO, metrics=["acuracy"]))
    assert caught.value.code == "task.metric"
    with pytest.raises(TaskError, match="kind 'category'"):
        metrics_of(make_task(TWO, metrics=["rmse"]))


def test_one_answer_a_protein():
    with pytest.raises(ConfigError) as caught:
        evaluate_task(make_task(TWO), ["no"], [], records(1))
    assert caught.value.code == "evaluation.length"


def test_better_knows_the_direction():
    assert better("accuracy")(0.9, 0.8)
    assert better("rmse")(0.8, 0.9)
    assert better("rmse")(0.8, math.nan)
    assert not better("accuracy")(math.nan, 0.1)


def test_values_weigh_proteins_like_copies():
    """A judge with copies gives what the metric gives on rows that are really repeated."""
    generator = np.random.default_rng(3)
    for kind, (codec, truths) in RIGHT.items():
        task, rows = make_task(codec), records(len(truths))
        predictions = [say(truth, row) for truth, row in zip(truths, rows[::-1], strict=True)][::-1]
        predictions = [dataclasses.replace(p, record=row) for p, row in zip(predictions, rows, strict=True)]
        answers = collect(task, truths, predictions, rows)
        copies = generator.integers(0, 4, len(truths))
        copies[0] += 1
        places = np.repeat(np.arange(len(truths)), copies)
        for name in METRICS_OF[kind]:
            repeated = [[column[place] for place in places] for column in (truths, predictions, rows)]
            expected = evaluate_task(task, *repeated, metrics=[name])[name]
            judge = METRICS[name].prepare(answers)
            assert judge(copies) == pytest.approx(expected, nan_ok=True), (name, copies)
            draws = np.stack([copies, np.ones_like(copies), np.zeros_like(copies)])
            assert judge.many(draws) == pytest.approx(
                np.array([expected, judge(draws[1]), judge(draws[2])]), nan_ok=True
            ), (name, copies)


def test_interval_of_a_share_is_the_binomial_one():
    generator = np.random.default_rng(0)
    count = 200
    right = generator.random(count) < 0.7
    answers = collect(
        make_task(TWO), ["yes"] * count, [say("yes" if good else "no") for good in right], records(count)
    )
    found = interval("accuracy", answers, resamples=2000, seed=1)
    lower, upper = stats.binom.interval(0.95, count, right.mean())
    assert found.value == pytest.approx(right.mean())
    assert (found.lower, found.upper) == pytest.approx((lower / count, upper / count), abs=0.012)
    assert interval("accuracy", answers, resamples=50, seed=1) == interval(
        "accuracy", answers, resamples=50, seed=1
    )


def test_interval_covers_the_true_value():
    """Of a mean: absolute errors uniform in 0..1, whose mean is 0.5."""
    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(100):
        predictions = [say(error) for error in generator.random(60)]
        answers = collect(make_task(NUMBER), [0.0] * 60, predictions, records(60))
        found = interval("mae", answers, resamples=100, seed=trial)
        covered += found.lower <= 0.5 <= found.upper
    # 95 expected; below 86 or at 100 would be a chance of less than 1 in 100.
    assert 86 <= covered < 100


def test_interval_resamples_proteins_and_not_residues():
    """Residues of a protein agree: with 10 proteins the interval is that of 10 coins, however long they are."""
    truths = ["H" * 10] * 10
    predictions = [say("H" * 10)] * 5 + [say("E" * 10)] * 5
    answers = collect(make_task(LABELS), truths, predictions, records(10))
    found = interval("q_accuracy", answers, resamples=1000)
    assert found.value == 0.5
    assert (found.lower, found.upper) == pytest.approx((0.2, 0.8), abs=0.05)


def test_difference_is_paired():
    truths = ["yes", "no"] * 30
    right = [say(truth) for truth in truths]
    ours = resample("accuracy", collect(make_task(TWO), truths, right, records(60)), resamples=500)
    same = collect(make_task(TWO), truths, [say("yes")] * 60, records(60))
    other = resample("accuracy", same, resamples=500)
    assert ours.above(ours).interval()[:3] == (0, 0, 0)
    gap = ours.above(other).interval()
    assert gap.value == 0.5
    assert 0.3 < gap.lower < 0.5 < gap.upper < 0.7


def test_undefined_where_the_rows_cannot_tell():
    assert math.isnan(scores_of(TWO, ["yes"], ["yes"], ("mcc",))["mcc"])
    assert math.isnan(scores_of(NUMBER, [1.0, 1.0], [1.0, 2.0], ("spearman",))["spearman"])
    assert scores_of(NUMBER, [1.0, 3.0], [2.0, 2.0], ("spearman",))["spearman"] == 0
    answers = collect(make_task(TWO), ["yes"], [say("yes")], records(1))
    assert math.isnan(interval("mcc", answers, resamples=10).lower)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_site_f1_is_the_pooled_one(calls):
    """Two ways to the same number: of one long protein, and of many short ones."""
    sequence = "S" * len(calls)
    truth = tuple(place for place, (true, _) in enumerate(calls, start=1) if true)
    value = tuple(place for place, (_, called) in enumerate(calls, start=1) if called)
    whole = scores_of(SITES, [truth], [value], ("site_f1",), sequence)["site_f1"]
    apart = scores_of(
        SITES,
        [(1,) if true else () for true, _ in calls],
        [(1,) if called else () for _, called in calls],
        ("site_f1",),
        "S",
    )["site_f1"]
    assert whole == pytest.approx(apart)
