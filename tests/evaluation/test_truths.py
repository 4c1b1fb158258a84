"""Truths that a task cannot write: they pass, each as the table writes it, and every metric counts them as wrong."""

import pytest

from protscribe.codecs.segments import Segment
from protscribe.errors import LabelError
from protscribe.evaluation.metrics import METRICS, evaluate_task
from protscribe.evaluation.truths import is_written, parse_truth
from protscribe.records import ProteinRecord
from tests.evaluation.test_metrics import (
    LABELS,
    METRICS_OF,
    NUMBER,
    PATHS,
    SEGMENTS,
    SETS,
    SITES,
    THREE,
    make_task,
    say,
)

RECORD = ProteinRecord("p", ("MKTSYAYSTK",))
WITH_VALUES = {"kind": "category", "labels": ["no", "yes"], "values": ["0", "1"]}
SETS_OF_VALUES = {"kind": "category_set", "labels": ["a", "b"], "values": ["A1", "B1"]}

UNSEEN = [
    (THREE, "d", "d"),
    (WITH_VALUES, "2", "2"),
    (SETS, "a;new", ("a", "new")),
    (SETS_OF_VALUES, "B1;C1", ("b", "C1")),
    (PATHS, "1.1.1;3.1.1", ("1.1.1", "3.1.1")),
    (PATHS, "1.1.9", ("1.1.9",)),
    # A node above the leaves: no answer of this task, and yet a class.
    (PATHS, "1.1.-", ("1.1",)),
    (LABELS, "HHHHCCEEEE", "HHHHCCEEEE"),
    (SEGMENTS, "s:1-3;x:4-10", (Segment("s", 1, 3), Segment("x", 4, 10))),
    ({**SETS, "most": 1}, "a;b", ("a", "b")),
]


@pytest.mark.parametrize(("codec", "cell", "truth"), UNSEEN)
def test_unseen_labels_pass_as_they_are(codec, cell, truth):
    codec = make_task(codec).codec
    found = parse_truth(codec)(cell, RECORD)
    assert found == truth
    assert not is_written(codec, found, RECORD)
    with pytest.raises(LabelError):
        codec.parse(cell, RECORD)


@pytest.mark.parametrize(
    ("codec", "cell"),
    [(THREE, "b"), (WITH_VALUES, "1"), (SETS, "c;a"), (PATHS, ["1.2.1"]), (NUMBER, "3.5"), (SITES, "3;4")],
)
def test_what_can_be_written_is_read_as_ever(codec, cell):
    codec = make_task(codec).codec
    found = parse_truth(codec)(cell, RECORD)
    assert found == codec.parse(cell, RECORD)
    assert is_written(codec, found, RECORD)


@pytest.mark.parametrize(
    ("codec", "cell", "code"),
    [
        (THREE, "", "label.unknown_class"),
        (THREE, " ", "label.unknown_class"),
        (THREE, float("nan"), "label.nan"),
        (THREE, 1.5, "label.type"),
        (SETS, ["a;b"], "label.char"),
        (NUMBER, "high", "label.type"),
        (NUMBER, 99, "label.range"),
        (LABELS, "HHQ", "label.length"),
        (SITES, "1", "label.residue"),
        (SEGMENTS, "s:1-3;x:5-10", "label.index"),
    ],
)
def test_what_means_nothing_is_still_rejected(codec, cell, code):
    with pytest.raises(LabelError) as caught:
        parse_truth(make_task(codec).codec)(cell, RECORD)
    assert caught.value.code == code


GIVEN = {
    "category": (THREE, ["a", "b", "c", "a"], "d", "a"),
    "category_set": (SETS, [("a",), ("b",), ("a", "c"), ("b", "c")], ("new",), ("a",)),
    "category_path": (PATHS, [("1.1.1",), ("1.1.2",), ("2.1.1",), ("1.2.1",)], ("3.1.1",), ("1.1.1",)),
    "residue_labels": (LABELS, ["HHHHHEEEEE", "EEEEEHHHHH", "HEHEHEHEHE"], "CCCCCCCCCC", "HHHHHEEEEE"),
    "segments": (
        SEGMENTS,
        [(Segment("s", 1, 3), Segment("m", 4, 10)), (Segment("m", 1, 5), Segment("s", 6, 10))],
        (Segment("x", 1, 3), Segment("y", 4, 10)),
        (Segment("s", 1, 3), Segment("m", 4, 10)),
    ),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_an_unseen_label_is_a_miss_in_every_metric(kind):
    """All answers right, and one more row that nobody could answer: every metric falls."""
    codec, truths, unseen, said = GIVEN[kind]
    task = make_task(codec)
    chances = None
    if kind == "category":
        chances = [{label: float(label == truth) for label in "abc"} for truth in [*truths, said]]

    def judged(truths, values):
        rows = [ProteinRecord(f"p{place}", RECORD.chains) for place in range(len(truths))]
        told = chances or [None] * len(values)
        answers = [
            say(value, row, probabilities=p) for value, row, p in zip(values, rows, told, strict=False)
        ]
        return evaluate_task(task, truths, answers, rows, metrics=METRICS_OF[kind])

    right, found = judged(truths, truths), judged([*truths, unseen], [*truths, said])
    assert found.count == right.count + 1
    assert found.missing == 0
    for name, value in found.items():
        assert value < right[name] == METRICS[name].best, name
