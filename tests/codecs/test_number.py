import numpy as np
import pytest

from protscribe.codecs.number import Number
from protscribe.codecs.protocol import DigitTree, Readout
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))
STABILITY = Number(-2.0, 6.0, 0.01)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1.5", 1.5), ("-2", -2.0), (" 1e-2 ", 0.01), (3, 3.0), (np.float32(0.5), 0.5), (np.int64(6), 6.0)],
)
def test_numbers_come_as_numbers_or_text(cell, value):
    assert STABILITY.parse(cell, RECORD) == value


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (float("nan"), "label.nan"),
        ("nan", "label.nan"),
        (float("inf"), "label.not_finite"),
        ("1e400", "label.not_finite"),
        ("-inf", "label.not_finite"),
        (10**400, "label.not_finite"),
        (6.001, "label.range"),
        ("-3", "label.range"),
        ("1,5", "label.type"),
        ("", "label.type"),
        ("1_0", "label.type"),
        ("\uff11", "label.type"),
        (True, "label.type"),
        (np.bool_(True), "label.type"),
        (None, "label.type"),
        ([1.0], "label.type"),
    ],
)
def test_bad_labels(cell, code):
    with pytest.raises(LabelError) as raised:
        STABILITY.parse(cell, RECORD)
    assert raised.value.code == code
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    "values",
    [
        {"low": 1, "high": 1, "step": 0.1},
        {"low": 0, "high": float("inf"), "step": 0.1},
        {"low": 0, "high": 1, "step": 0},
        {"low": 0, "high": 1, "step": 2},
        {"low": 0, "high": 1, "step": 0.1, "depth": 0},
    ],
)
def test_bad_definitions(values):
    with pytest.raises(TaskError) as raised:
        Number(**values)
    assert raised.value.code == "task.range"


def test_the_count_of_steps_is_written_in_digits_of_fixed_number():
    assert [token.text for token in STABILITY.encode(-1.93, RECORD).tokens] == ["0", "0", "7"]
    assert [token.text for token in STABILITY.encode(6.0, RECORD).tokens] == ["8", "0", "0"]


def test_a_range_that_steps_do_not_divide_ends_at_its_high_end():
    codec = Number(0.0, 1.0, 0.35)
    assert [codec.canonical(value, RECORD) for value in (0.0, 0.3, 0.8, 0.9, 1.0)] == [
        0.0,
        0.35,
        0.7,
        1.0,
        1.0,
    ]


def test_mean_median_and_interval_of_a_distribution():
    codec = Number(0.0, 9.0, 1.0, depth=1)
    chances = np.array([0.5, 0, 0, 0, 0, 0, 0, 0.1, 0, 0.4])
    mean = codec.read(DigitTree.of_leading(chances, codec.most, codec.places), RECORD, Readout(level=0.8))
    assert mean.value == pytest.approx(4.3)
    assert (mean.lower, mean.upper, mean.interval_level) == (0.0, 9.0, 0.8)
    assert (
        codec.read(
            DigitTree.of_leading(chances, codec.most, codec.places), RECORD, Readout(statistic="median")
        ).value
        == 0.0
    )
    assert (
        codec.read(DigitTree.of_leading(chances, codec.most, codec.places), RECORD, Readout(level=0.1)).upper
        == 7.0
    )


def test_digits_below_the_depth_that_is_read_widen_the_interval():
    codec = Number(0.0, 999.0, 1.0, depth=1)
    chances = np.zeros(10)
    chances[3] = 1
    reading = codec.read(DigitTree.of_leading(chances, codec.most, codec.places), RECORD, Readout())
    assert (reading.lower, reading.value, reading.upper) == (300.0, 349.5, 399.0)
