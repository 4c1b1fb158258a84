import numpy as np
import pytest

from protscribe.codecs.labels import check_labels, gather, known_label, members_of, text_of
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",), line=7)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("Nucleus", "Nucleus"),
        ("", ""),
        (1, "1"),
        (1.0, "1"),
        (True, "1"),
        (np.int64(3), "3"),
        (np.float32(2), "2"),
        (np.bool_(False), "0"),
    ],
)
def test_cells_of_typed_columns_become_text(cell, text):
    assert text_of(cell) == text


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (float("nan"), "label.nan"),
        (np.float32("nan"), "label.nan"),
        (None, "label.type"),
        (1.5, "label.type"),
        (float("inf"), "label.type"),
        (b"yes", "label.type"),
        (["yes"], "label.type"),
    ],
)
def test_other_cells_are_errors_that_name_the_record(cell, code):
    with pytest.raises(LabelError) as raised:
        text_of(cell, RECORD)
    assert raised.value.code == code
    assert raised.value.where.record == "P1"
    assert raised.value.where.line == 7


@pytest.mark.parametrize(
    "cell", [["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], dtype=object), "a;b"]
)
def test_several_labels_come_as_a_list_or_as_text(cell):
    assert members_of(cell, ";") == ["a", "b"]


@pytest.mark.parametrize("cell", ["", "<none>", [], np.array([])])
def test_nothing_is_said_outright(cell):
    assert members_of(cell, ";") == []


@pytest.mark.parametrize(
    ("cell", "code"),
    [(None, "label.type"), (3, "label.type"), (np.zeros((2, 2)), "label.type"), (["a;b"], "label.char")],
)
def test_cells_that_hold_no_labels_are_errors(cell, code):
    with pytest.raises(LabelError) as raised:
        members_of(cell, ";", RECORD)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("labels", "values", "code"),
    [
        (("a",), (), "task.classes"),
        (("a", "b", "a"), (), "task.classes"),
        ((False, True), (), "task.classes"),
        ("ab", (), "task.classes"),
        (("a", "b"), ("0",), "task.classes"),
        (("a", "b"), ("0", "0"), "task.classes"),
        ((), ("0", "1"), "task.classes"),
        (("a", "<eos>"), (), "task.reserved"),
        (("a", ""), (), "task.reserved"),
        (("a", "<none>"), (), "task.reserved"),
        (("a", "b;c"), (), "task.reserved"),
    ],
)
def test_lists_of_labels_that_no_task_can_have(labels, values, code):
    with pytest.raises(TaskError) as raised:
        check_labels(labels, values, ";")
    assert raised.value.code == code


def test_labels_from_data_are_sorted_and_at_least_two():
    assert gather(["b", "a", "b"]) == ("a", "b")
    with pytest.raises(TaskError) as raised:
        gather(["a", "a"])
    assert raised.value.code == "task.classes"


@pytest.mark.parametrize("text", ["nucleus", "Nucleus ", "Nucleos"])
def test_an_unknown_class_is_never_repaired_but_the_nearest_is_named(text):
    with pytest.raises(LabelError, match=r"did you mean 'Nucleus'\?") as raised:
        known_label(text, ("Nucleus", "Cytoplasm"), (), RECORD)
    assert raised.value.code == "label.unknown_class"
    assert raised.value.where.record == "P1"


def test_values_stand_for_labels():
    assert known_label("1", ("no", "yes"), ("0", "1"), RECORD) == "yes"
    with pytest.raises(LabelError):
        known_label("yes", ("no", "yes"), ("0", "1"), RECORD)
