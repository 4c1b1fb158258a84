import numpy as np
import pytest

from protscribe.codecs.category import Category
from protscribe.codecs.protocol import First, Readout
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))


def test_tables_may_use_other_texts_than_labels():
    codec = Category(("no", "yes"), ("0", "1"), "soluble")
    assert [codec.parse(cell, RECORD) for cell in ("1", 0, 1.0, True)] == ["yes", "no", "yes", "yes"]


def test_open_labels_are_taken_from_training_data_in_sorted_order():
    codec = Category(block="fold").fill([10, 2, "2", 1])
    assert codec.labels == ("1", "10", "2")
    assert codec.fill(["x"]) is codec
    with pytest.raises(TaskError):
        Category(block="fold").fill([])


@pytest.mark.parametrize(
    ("cell", "code"), [("2", "label.unknown_class"), (None, "label.type"), (float("nan"), "label.nan")]
)
def test_bad_labels(cell, code):
    with pytest.raises(LabelError) as raised:
        Category(("0", "1"), block="b").parse(cell, RECORD)
    assert raised.value.code == code
    assert raised.value.where.record == "P1"


def test_an_answer_that_is_no_label_is_not_encoded():
    with pytest.raises(LabelError) as raised:
        Category(("0", "1"), block="b").encode("2", RECORD)
    assert raised.value.code == "label.unknown_class"


def test_reading_gives_every_class_its_probability():
    reading = Category(("a", "b", "c"), block="b").read(First(np.array([0.2, 0.5, 0.3])), RECORD, Readout())
    assert reading.value == "b"
    assert reading.score == 0.5
    assert reading.probabilities == {"a": 0.2, "b": 0.5, "c": 0.3}
