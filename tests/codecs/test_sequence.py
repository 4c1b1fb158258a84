import numpy as np
import pytest

from protscribe.codecs.protocol import Marginals, Readout
from protscribe.codecs.sequence import SequenceText
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))
LETTERS = SequenceText("acdvp", block="3di")
CODES = SequenceText(("s1", "s2", "s30"), block="codes")
FREE = SequenceText("ACGU", length="free", least=2, most=6, block="b")


def test_one_token_a_residue_is_dense_and_free_text_is_not():
    assert (LETTERS.dense, LETTERS.asks) == (True, "marginals")
    assert (FREE.dense, FREE.asks) == (False, "greedy")


@pytest.mark.parametrize(
    ("codec", "cell", "answer"),
    [
        (LETTERS, "ddvpa", "ddvpa"),
        (LETTERS, list("ddvpa"), "ddvpa"),
        (CODES, "s1 s30 s2 s2 s1", "s1 s30 s2 s2 s1"),
        (CODES, np.array(["s1", "s30", "s2", "s2", "s1"]), "s1 s30 s2 s2 s1"),
        (SequenceText(("1", "12"), block="b"), [1, 12, 1, 1, 12], "1 12 1 1 12"),
        (FREE, "AC", "AC"),
    ],
)
def test_tokens_come_as_text_or_as_a_list(codec, cell, answer):
    assert codec.parse(cell, RECORD) == answer


@pytest.mark.parametrize(
    ("codec", "cell", "code", "hint"),
    [
        (LETTERS, "ddvp", "label.length", "4 tokens for 5 residues"),
        (LETTERS, "ddxpa", "label.char", "position 3"),
        (CODES, "s1 s30 s2 s3 s1", "label.char", "position 4"),
        (CODES, "s1  s2 s2 s1", "label.char", "position 2"),
        (CODES, ["s1 s2"], "label.char", "separator"),
        (FREE, "A", "label.too_short", "at least 2"),
        (FREE, "ACGUACG", "label.too_long", "allows 6"),
        (FREE, None, "label.type", "None"),
    ],
)
def test_bad_labels(codec, cell, code, hint):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, RECORD)
    assert raised.value.code == code
    assert hint in str(raised.value)
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"alphabet": "aa"}, "task.classes"),
        ({"alphabet": ("a b", "c")}, "task.reserved"),
        ({"alphabet": "ab", "length": "any"}, "task.range"),
        ({"alphabet": "ab", "length": "free"}, "task.range"),
        ({"alphabet": "ab", "length": "free", "least": 3, "most": 2}, "task.range"),
        ({"alphabet": "ab", "most": 2}, "task.range"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        SequenceText(**values, block="b")
    assert raised.value.code == code


def test_an_open_alphabet_is_taken_from_training_data():
    assert SequenceText(block="b").fill(["ba", "cb"]).alphabet == ("a", "b", "c")
    assert SequenceText(block="b").fill(["s2 s1", "s3"]).alphabet == ("s1", "s2", "s3")
    assert SequenceText(block="b").fill([["s2", "s1"]]).alphabet == ("s1", "s2")


def test_each_residue_gets_its_most_probable_token():
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    reading = CODES.read(Marginals(chances), RECORD, Readout())
    assert reading.value == "s1 s2 s30 s1 s30"
    assert reading.probabilities.tolist() == [0.6, 0.5, 1.0, 0.4, 0.4]
