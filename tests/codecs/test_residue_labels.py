import time

import numpy as np
import pytest

from protscribe.codecs.protocol import Marginals, Readout
from protscribe.codecs.residue_labels import ResidueLabels
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))
CUT = ProteinRecord("P1", ("MKTAY",), original_lengths=(8,))
STRUCTURE = ResidueLabels("HEC", block="structure")


@pytest.mark.parametrize("cell", ["HHEEC", list("HHEEC"), np.array(list("HHEEC"))])
def test_labels_come_as_text_or_as_a_list(cell):
    assert STRUCTURE.parse(cell, RECORD) == "HHEEC"


def test_numbers_in_a_list_are_labels_too():
    assert ResidueLabels("01", block="b").parse([0, 1, 1, 0, True], RECORD) == "01101"


@pytest.mark.parametrize("mask", ["01110", [0, 1, 1, 1, 0], np.array([False, True, True, True, False])])
def test_masked_residues_are_unscored(mask):
    answer = STRUCTURE.parse(("HHEEC", mask), RECORD)
    assert answer == "-HEE-"
    encoded = STRUCTURE.encode(answer, RECORD)
    assert encoded.weights == (0, 1, 1, 1, 0)
    assert [token.text for token in encoded.tokens] == list("HHEEH")
    assert STRUCTURE.canonical(answer, RECORD) == "HHEEH"


def test_a_list_of_two_is_two_residues_and_a_tuple_of_two_is_labels_with_a_mask():
    two = ProteinRecord("two", ("MK",))
    assert STRUCTURE.parse(["H", "E"], two) == "HE"
    assert STRUCTURE.parse(("HE", "10"), two) == "H-"


def test_the_second_chain_has_labels_of_its_own():
    codec = ResidueLabels("HEC", chain=2, block="b")
    assert codec.chains == 2
    assert codec.parse("HEC", ProteinRecord("pair", ("MKTAY", "GSG"))) == "HEC"


@pytest.mark.parametrize(
    ("record", "cell", "code", "hint"),
    [
        (RECORD, "HHEE", "label.length", "4 labels for 5 residues"),
        (RECORD, "HHEECC", "label.length", "6 labels for 5 residues"),
        (CUT, "HHEECCCC", "label.length", "cut from 8"),
        (RECORD, ("HHEEC", "0111"), "label.length", "4 mask values for 5 residues"),
        (RECORD, ("HHEEC", "01x11"), "label.char", "position 3"),
        (RECORD, "HHXEC", "label.unknown_class", "position 3"),
        (RECORD, "HHhEC", "label.unknown_class", "position 3"),
        (RECORD, ["H", "H", "E", "E", "CC"], "label.type", "position 5"),
        (RECORD, None, "label.type", "None"),
        (RECORD, 5, "label.type", "5"),
    ],
)
def test_bad_labels(record, cell, code, hint):
    with pytest.raises(LabelError) as raised:
        STRUCTURE.parse(cell, record)
    assert raised.value.code == code
    assert hint in str(raised.value)
    assert raised.value.where.record == "P1"


def test_without_an_unscored_character_a_mask_is_an_error():
    with pytest.raises(LabelError):
        ResidueLabels("HE", unscored="", block="b").parse(("HHEEH", "01111"), RECORD)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"labels": ("H", "EE")}, "task.classes"),
        ({"labels": "HH"}, "task.classes"),
        ({"labels": "H-"}, "task.reserved"),
        ({"labels": "HE", "unscored": "--"}, "task.reserved"),
        ({"labels": "HE", "chain": 3}, "task.chains"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        ResidueLabels(**values, block="b")
    assert raised.value.code == code


def test_open_labels_are_the_scored_ones_of_training_data():
    assert ResidueLabels(block="b").fill(["HC-", list("EC"), ("TTC", "001")]).labels == ("C", "E", "H")


def test_each_residue_gets_its_most_probable_label():
    chances = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    reading = STRUCTURE.read(Marginals(chances), RECORD, Readout())
    assert reading.value == "HECHC"
    assert reading.score == pytest.approx((0.6 + 0.5 + 1.0 + 0.4 + 0.4) / 5)
    assert reading.probabilities[1] == {"H": 0.2, "E": 0.5, "C": 0.3}


def test_long_proteins_are_fast():
    record = ProteinRecord("long", ("A" * 1000,))
    begin = time.process_time()
    for _ in range(500):
        encoded = STRUCTURE.encode(STRUCTURE.parse("HEC-" * 250, record), record)
        STRUCTURE.grammar(record)
    assert time.process_time() - begin < 2
    assert len(encoded.tokens) == 1000
