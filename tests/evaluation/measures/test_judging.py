"""Sums over many resamples at once give what scikit-learn and scipy give on each; matching and hierarchies by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.codecs.segments import Segment
from protscribe.errors import TaskError
from protscribe.evaluation.answers import matched
from protscribe.evaluation.measures.hierarchy import Hierarchy, read_hierarchy
from protscribe.evaluation.metrics import METRICS, collect, evaluate_task, metric_of, resample
from protscribe.records import ProteinRecord
from tests.evaluation.test_metrics import (
    METRICS_OF,
    NUMBER,
    PATHS,
    SEGMENTS,
    SETS,
    SITES,
    make_task,
    records,
    say,
    scores_of,
)

LABELS = {"kind": "residue_labels", "labels": ["H", "E"]}
THREE = {"kind": "category", "labels": ["a", "b", "c"]}


def noisy(kind, generator, count=40):
    """Answers of one kind that are right about half of the time, some of them missing."""
    rows = records(count)
    codec = {"category": THREE, "category_set": SETS, "category_path": PATHS, "number": NUMBER, "residue_labels": LABELS,
             "residue_set": SITES, "segments": SEGMENTS}[kind]  # fmt: skip

    def draw():
        match kind:
            case "category":
                chances = generator.dirichlet(np.ones(3)).round(1)
                return "abc"[int(chances.argmax())], dict(zip("abc", chances, strict=True))
            case "category_set":
                chances = generator.random(3).round(1)
                return tuple(np.array(list("abc"))[chances >= 0.5]), dict(zip("abc", chances, strict=True))
            case "category_path":
                leaves = ["1.1.1", "1.1.2", "1.2.1", "2.1.1"]
                return tuple(sorted(generator.choice(leaves, generator.integers(1, 3), replace=False))), None
            case "number":
                return float(generator.integers(0, 5)), None
            case "residue_labels":
                return "".join(generator.choice(["H", "E"], 10)), None
            case "residue_set":
                chances = generator.random(10).round(1)
                return tuple(place for place in (3, 4, 5, 7, 8, 9) if chances[place - 1] > 0.6), chances
            case _:
                cut = int(generator.integers(1, 10))
                return (Segment("s", 1, cut), Segment("m", cut + 1, 10)), None

    truths, predictions = [], []
    for row in rows:
        (truth, _), (value, chances) = draw(), draw()
        truths.append(truth)
        right = generator.random() < 0.4
        said = say(truth if right else value, row, probabilities=None if right else chances)
        predictions.append(None if generator.random() < 0.1 else said)
    return collect(make_task(codec), truths, predictions, rows)


KINDS = ("category", "category_set", "category_path", "number", "residue_labels", "residue_set", "segments")


@pytest.mark.parametrize("kind", KINDS)
def test_many_resamples_at_once(kind):
    generator = np.random.default_rng(7)
    for _ in range(3):
        answers = noisy(kind, generator)
        draws = generator.multinomial(len(answers.truths), np.full(40, 1 / 40), size=8)
        draws[0] = 0
        draws[1, 3:] = 0
        for name in METRICS_OF[kind]:
            judge = METRICS[name].prepare(answers)
            expected = [judge(copies) for copies in draws]
            assert judge.many(draws) == pytest.approx(np.array(expected), nan_ok=True), name


@pytest.mark.parametrize("name", ["auroc", "average_precision", "macro_average_precision"])
def test_means_over_labels_are_those_of_scikit_learn(name):
    from sklearn import metrics as sk

    generator = np.random.default_rng(1)
    answers = noisy("category" if "macro" not in name else "category_set", generator)
    answers = collect(
        answers.task,
        answers.truths,
        [
            say("a", probabilities=dict(zip("abc", generator.random(3).round(1), strict=True)))
            for _ in answers.truths
        ],
        answers.records,
    )
    score = sk.roc_auc_score if name == "auroc" else sk.average_precision_score
    values = [
        score(
            [k in truth for truth in answers.truths], [said.probabilities[k] for said in answers.predictions]
        )
        for k in "abc"
    ]
    assert METRICS[name].prepare(answers)(np.ones(40, dtype=np.int64)) == pytest.approx(np.mean(values))


@given(st.lists(st.integers(1, 12), unique=True, max_size=5), st.lists(st.integers(1, 12), unique=True, max_size=5),
       st.integers(0, 3))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_matching_is_the_largest_one(wanted, found, most):
    """Against every way to pair them."""
    if len(wanted) > len(found):
        wanted, found = found, wanted
    best = max(
        sum(abs(one - other) <= most for one, other in zip(wanted, order, strict=True))
        for order in itertools.permutations(found, len(wanted))
    )
    assert matched(wanted, found, most) == matched(found, wanted, most) == best


@pytest.mark.parametrize(("most", "expected"), [(0, 0.0), (1, 2 / 3), (3, 2 / 3)])
def test_boundaries_within_by_hand(most, expected):
    """One boundary s to m of two is one residue off, the other not predicted; one m to s is found nowhere."""
    truth = (Segment("s", 1, 3), Segment("m", 4, 10))
    value = (Segment("s", 1, 4), Segment("m", 5, 8), Segment("s", 9, 10))
    found = scores_of(SEGMENTS, [truth], [value], (f"boundaries_within:{most}",))
    assert found[f"boundaries_within:{most}"] == pytest.approx(expected)


def test_sites_within_by_hand():
    """Of 3, 5 and 9 are 4, 8 called: 4 is one away from 3 (or 5), 8 from 9. A called one serves once."""
    found = scores_of(SITES, [(3, 5, 9)], [(4, 8)], ("sites_within:1", "sites_within:3", "site_f1"))
    assert dict(found) == pytest.approx({"sites_within:1": 4 / 5, "sites_within:3": 4 / 5, "site_f1": 0.0})


def test_levels_by_hand():
    found = scores_of(
        PATHS,
        [("1.1.1",), ("1.2.1",), ("1.1.1", "2.1.1")],
        [("1.1.2",), ("1.2.1",), ("1.1.1",)],
        tuple(f"level_accuracy:{depth}" for depth in (1, 2, 3)),
    )
    assert list(found.values()) == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_groups_are_averaged():
    """In one assay the order is right, in the other wrong; together they look well ordered."""
    task = make_task(NUMBER, conditions=[{"field": "assay", "values": ["x", "y"]}])
    rows = [ProteinRecord(f"p{i}", ("MK",), fields={"assay": "xy"[i // 3]}) for i in range(6)]
    truths = [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]
    answers = collect(
        task, truths, [say(v, r) for v, r in zip([1.0, 2.0, 3.0, 9.0, 8.0, 7.0], rows, strict=True)], rows
    )
    every = np.ones(6, dtype=np.int64)
    assert metric_of("spearman_by:assay", "number").prepare(answers)(every) == pytest.approx(0.0)
    assert metric_of("spearman", "number").prepare(answers)(every) > 0.7
    assert metric_of("mae_by:assay", "number").prepare(answers)(every) == pytest.approx((0 + 4 / 3) / 2)
    assert METRICS["rmse_by:assay"].in_unit
    draws = np.random.default_rng(0).integers(0, 3, (20, 6))
    for name in ("spearman_by:assay", "rmse_by:assay"):
        judge = METRICS[name].prepare(answers)
        assert judge.many(draws) == pytest.approx(np.array([judge(copies) for copies in draws]), nan_ok=True)


def test_groups_by_a_field_that_no_record_has():
    task = make_task(NUMBER, metrics=["spearman_by:assay"])
    with pytest.raises(TaskError, match="no record has the field 'assay'") as caught:
        evaluate_task(task, [1.0], [say(1.0)], records(1))
    assert caught.value.code == "task.metric"
    with pytest.raises(TaskError, match="no metric 'spearmn_by:assay'"):
        metric_of("spearmn_by:assay", "number")
    with pytest.raises(TaskError, match="no metric 'spearman_by'"):
        metric_of("spearman_by", "number")


DIAMOND = Hierarchy({"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ("root",)}).among("abcd")


def test_hierarchy_closes_sets_and_raises_probabilities():
    assert DIAMOND.closed(["d"]) == set("abcd")
    assert DIAMOND.closed(["b", "new"]) == {"a", "b", "new"}
    assert DIAMOND.raised({"a": 0.1, "b": 0.2, "c": 0.9, "d": 0.5}) == {
        "a": 0.9,
        "b": 0.5,
        "c": 0.9,
        "d": 0.5,
    }


def test_fmax_over_a_hierarchy():
    """Of d the truth, b is said: with what stands above both, 2 of 2 right and 2 of 4 found."""
    codec = {"kind": "category_set", "labels": list("abcd")}
    keys = ([("d",)], [say(("b",))], records(1))
    every = np.ones(1, dtype=np.int64)
    apart, joined = (
        METRICS["fmax"].prepare(collect(make_task(codec), *keys, hierarchy=hierarchy))(every)
        for hierarchy in (None, DIAMOND)
    )
    assert (apart, joined) == pytest.approx((0.0, 2 * 1 * 0.5 / 1.5))


def test_hierarchy_is_read_from_a_table(tmp_path):
    path = tmp_path / "graph.csv"
    path.write_text("parent,child,relation\na,b,is_a\na,c,is_a\nb,d,is_a\nc,d,part_of\n")
    assert read_hierarchy(path).closed(["d"]) == set("abcd")
    path.write_text("above,child\na,b\n")
    with pytest.raises(Exception, match="parent") as caught:
        read_hierarchy(path)
    assert caught.value.code == "table.missing_column"


def test_groups_are_drawn_whole():
    """Two clusters, one all right, one all wrong: resamples know the values 0, 1/2 and 1 only."""
    task = make_task({"kind": "category", "labels": ["no", "yes"]})
    answers = collect(task, ["yes"] * 20, [say("yes")] * 10 + [say("no")] * 10, records(20))
    found = resample("accuracy", answers, resamples=200, groups=[0] * 10 + [1] * 10)
    assert set(found.values_R) == {0.0, 0.5, 1.0}
    assert found.value == 0.5
    alone = resample("accuracy", answers, resamples=200, groups=list(range(20)))
    assert np.array_equal(alone.values_R, resample("accuracy", answers, resamples=200).values_R)
    assert not math.isnan(alone.interval().lower)
