import numpy as np
import pytest

from protscribe.codecs.protocol import Draws, Greedy, Readout
from protscribe.codecs.residue_pairs import ResiduePairs
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Position

RECORD = ProteinRecord("P1", ("MSTAYSGGKL", "GSG"))
CUT = ProteinRecord("P1", ("MSTAYSGGKL",), original_lengths=(20,))
CONTACTS = ResiduePairs(separation=3)
INTERFACE = ResiduePairs(between=True)


@pytest.mark.parametrize(
    ("cell", "base"),
    [
        ("2-9;1-5;1-5", 1),
        ("0-4; 1-8", 0),
        ([(2, 9), (1, 5)], 1),
        ([[1, 5], [2, 9]], 1),
        (np.array([[1, 5], [2, 9]]), 1),
        (["1-5", "2-9"], 1),
    ],
)
def test_pairs_come_as_text_or_as_a_list(cell, base):
    assert CONTACTS.parse(cell, RECORD, base) == ((1, 5), (2, 9))


@pytest.mark.parametrize("cell", ["", "<none>", [], np.zeros((0, 2), int)])
def test_there_may_be_none(cell):
    assert CONTACTS.parse(cell, RECORD) == ()


def test_an_interface_joins_residues_of_two_chains():
    assert INTERFACE.chains == 2
    assert INTERFACE.parse("10-1;2-2", RECORD) == ((2, 2), (10, 1))
    assert INTERFACE.encode(((10, 1),), RECORD).tokens == (Position(0, 9), Position(1, 0))
    assert CONTACTS.chains == 1
    assert CONTACTS.encode(((1, 10),), RECORD).tokens == (Position(0, 0), Position(0, 9))


@pytest.mark.parametrize(
    ("codec", "record", "cell", "base", "code", "hint"),
    [
        (CONTACTS, RECORD, "3-3", 1, "label.pair", "3-3"),
        (CONTACTS, RECORD, "9-2", 1, "label.pair", "9-2"),
        (CONTACTS, RECORD, "1-3", 1, "label.pair", "at least 3 after"),
        (CONTACTS, RECORD, "0-5", 1, "label.index", "1-based"),
        (CONTACTS, RECORD, "1-11", 1, "label.index", "outside 1..10"),
        (CONTACTS, RECORD, "1-10", 0, "label.index", "outside 0..9"),
        (CONTACTS, CUT, "1-15", 1, "label.index", "cut from 20"),
        (INTERFACE, RECORD, "1-4", 1, "label.index", "chain 2"),
        (CONTACTS, RECORD, "1-5-7", 1, "label.type", "1-5-7"),
        (CONTACTS, RECORD, "1", 1, "label.type", "'1'"),
        (CONTACTS, RECORD, [(1, 5, 9)], 1, "label.type", "(1, 5, 9)"),
        (CONTACTS, RECORD, [3, 4], 1, "label.type", "3"),
        (CONTACTS, RECORD, [(1, 5.5)], 1, "label.type", "5.5"),
        (CONTACTS, RECORD, None, 1, "label.type", "None"),
        (ResiduePairs(most_per_residue=0.2), RECORD, "1-2;1-3;1-4", 1, "label.too_long", "allows 2"),
    ],
)
def test_bad_labels(codec, record, cell, base, code, hint):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, record, base)
    assert raised.value.code == code
    assert hint in str(raised.value)
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    "values",
    [{"separation": 0}, {"separation": 1.5}, {"between": True, "separation": 6}, {"most_per_residue": 0}],
)
def test_bad_definitions(values):
    with pytest.raises(TaskError) as raised:
        ResiduePairs(**values)
    assert raised.value.code == "task.range"


def draws(*answers):
    tokens = [CONTACTS.encode(CONTACTS.parse(answer, RECORD), RECORD).tokens for answer in answers]
    return Draws(tuple(tokens[1:]), Greedy(tokens[0], -0.5))


def test_pairs_that_most_draws_hold_are_members():
    evidence = draws("5-8", "1-5;2-9", "1-5", "1-5;3-8", "2-9")
    reading = CONTACTS.read(evidence, RECORD, Readout())
    assert reading.value == ((1, 5), (2, 9))
    assert reading.probabilities == {(1, 5): 0.75, (2, 9): 0.5, (3, 8): 0.25}
    assert reading.score == pytest.approx(0.625)
    assert CONTACTS.read(evidence, RECORD, Readout(threshold=0.6)).value == ((1, 5),)


def test_without_draws_the_greedy_answer_is_read():
    reading = CONTACTS.read(draws("5-8"), RECORD, Readout())
    assert reading.value == ((5, 8),)
    assert reading.score == pytest.approx(np.exp(-0.5))
