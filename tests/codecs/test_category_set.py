import numpy as np
import pytest

from protscribe.codecs.category_set import CategorySet
from protscribe.codecs.protocol import Greedy, Inclusion, Readout
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))
PLACES = CategorySet(("nucleus", "cytoplasm", "membrane"), block="place")


def inclusion(*chances):
    return Inclusion(np.array(chances), np.zeros(len(chances)), 1, Greedy((), 0.0))


@pytest.mark.parametrize(
    "cell",
    [
        "membrane;nucleus",
        ["membrane", "nucleus", "membrane"],
        np.array(["nucleus", "membrane"]),
        {"nucleus", "membrane"},
    ],
)
def test_order_and_repeats_mean_nothing(cell):
    assert PLACES.parse(cell, RECORD) == ("nucleus", "membrane")


def test_the_separator_is_declared():
    codec = CategorySet(("a;b", "c"), separator="|", block="b")
    assert codec.parse("c|a;b", RECORD) == ("a;b", "c")


def test_values_stand_for_labels_in_tables():
    codec = CategorySet(("no", "yes"), values=("0", "1"), block="b")
    assert codec.parse("1;0", RECORD) == ("no", "yes")
    assert codec.parse([1], RECORD) == ("yes",)


def test_open_labels_are_taken_from_training_data():
    assert CategorySet(block="b").fill([["b", "a"], "c;a", ""]).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("codec", "cell", "code"),
    [
        (PLACES, "nucleus; membrane", "label.unknown_class"),
        (PLACES, "Nucleus", "label.unknown_class"),
        (PLACES, ["nucleus;membrane"], "label.char"),
        (PLACES, None, "label.type"),
        (PLACES, [None], "label.type"),
        (PLACES, [float("nan")], "label.nan"),
        (CategorySet(("a", "b"), least=1, block="b"), "", "label.too_short"),
        (CategorySet(("a", "b", "c"), most=2, block="b"), "a;b;c", "label.too_long"),
    ],
)
def test_bad_labels(codec, cell, code):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, RECORD)
    assert raised.value.code == code
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    ("answer", "code"), [(("x",), "label.unknown_class"), (("nucleus", 3), "label.type")]
)
def test_an_answer_of_other_labels_is_not_encoded(answer, code):
    with pytest.raises(LabelError) as raised:
        PLACES.encode(answer, RECORD)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"labels": ("a", "b;c")}, "task.reserved"),
        ({"labels": ("a",)}, "task.classes"),
        ({"labels": ("a", "b"), "least": 3}, "task.range"),
        ({"labels": ("a", "b"), "least": 2, "most": 1}, "task.range"),
        ({"labels": ("a", "b"), "most": -1}, "task.range"),
        ({"separator": ""}, "task.separator"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        CategorySet(**values, block="b")
    assert raised.value.code == code


def test_the_threshold_decides_who_is_in():
    evidence = inclusion(0.3, 0.6, 0.45)
    assert PLACES.read(evidence, RECORD, Readout()).value == ("cytoplasm",)
    reading = PLACES.read(evidence, RECORD, Readout(threshold=0.4))
    assert reading.value == ("cytoplasm", "membrane")
    assert reading.score == pytest.approx(0.525)
    assert reading.probabilities == {"nucleus": 0.3, "cytoplasm": 0.6, "membrane": 0.45}


def test_none_chosen_is_as_sure_as_the_likeliest_is_unlikely():
    reading = PLACES.read(inclusion(0.3, 0.1, 0.2), RECORD, Readout())
    assert reading.value == ()
    assert reading.score == pytest.approx(0.7)


def test_bounds_hold_whatever_the_threshold():
    evidence = inclusion(0.3, 0.9, 0.8)
    codec = CategorySet(("a", "b", "c"), least=1, most=1, block="b")
    assert codec.read(evidence, RECORD, Readout(threshold=0.99)).value == ("b",)
    assert codec.read(evidence, RECORD, Readout(threshold=0.0)).value == ("b",)
