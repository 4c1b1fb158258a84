import numpy as np
import pytest

from protscribe.codecs.protocol import Greedy, Inclusion, Marginals, Readout
from protscribe.codecs.residue_set import MARKS, ResidueSet
from protscribe.codecs.residues import aligned_indices
from protscribe.errors import LabelError, TaskError
from protscribe.grammar import Positions
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Position

RECORD = ProteinRecord("P1", ("MSTAYS",))
CUT = ProteinRecord("P1", ("MSTAYS",), original_lengths=(90,))
PHOSPHO = ResidueSet("STY")
BINARY = ResidueSet(binary=True)


@pytest.mark.parametrize("cell", [[2, 6], (6, 2, 2), np.array([6, 2]), "6;2", "2; 6"])
def test_positions_come_in_any_order_and_once_or_more(cell):
    assert PHOSPHO.parse(cell, RECORD) == (2, 6)


def test_a_table_may_count_from_zero():
    assert PHOSPHO.parse([1, 5], RECORD, base=0) == (2, 6)
    assert PHOSPHO.encode((2, 6), RECORD).tokens == (Position(0, 1), Position(0, 5))


@pytest.mark.parametrize(
    "cell", ["010001", [0, 1, 0, 0, 0, 1], np.array([False, True, False, False, False, True])]
)
def test_flags_give_one_digit_a_residue(cell):
    assert BINARY.parse(cell, RECORD, base=0) == (2, 6)


@pytest.mark.parametrize("cell", ["", "<none>", [], np.array([], dtype=int)])
def test_a_protein_may_have_no_site(cell):
    assert PHOSPHO.parse(cell, RECORD) == ()


@pytest.mark.parametrize(
    ("codec", "record", "cell", "base", "code", "hint"),
    [
        (PHOSPHO, RECORD, [0], 1, "label.index", "1-based"),
        (PHOSPHO, RECORD, [7], 1, "label.index", "outside 1..6"),
        (PHOSPHO, RECORD, [6], 0, "label.index", "outside 0..5"),
        (PHOSPHO, RECORD, "-1", 0, "label.index", "0-based"),
        (PHOSPHO, CUT, [70], 1, "label.index", "cut from 90"),
        (PHOSPHO, RECORD, [4], 1, "label.residue", "residue 4 is A"),
        (PHOSPHO, RECORD, ["two"], 1, "label.type", "'two'"),
        (PHOSPHO, RECORD, [2.0], 1, "label.type", "2.0"),
        (PHOSPHO, RECORD, [True], 1, "label.type", "True"),
        (PHOSPHO, RECORD, None, 1, "label.type", "None"),
        (PHOSPHO, RECORD, ["2;3"], 1, "label.char", "separator"),
        (ResidueSet(most=1), RECORD, [1, 2], 1, "label.too_long", "allows 1"),
        (BINARY, RECORD, "01000", 1, "label.length", "5 flags for 6 residues"),
        (BINARY, RECORD, "01002-", 1, "label.char", "position 5"),
        (BINARY, RECORD, None, 1, "label.type", "None"),
    ],
)
def test_bad_labels(codec, record, cell, base, code, hint):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, record, base)
    assert raised.value.code == code
    assert hint in str(raised.value)
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    ("answer", "code"), [((4,), "label.residue"), ((0,), "label.index"), ((7,), "label.index")]
)
def test_an_answer_that_does_not_fit_is_not_encoded(answer, code):
    with pytest.raises(LabelError) as raised:
        PHOSPHO.encode(answer, RECORD)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"candidates": "S T"}, "task.candidates"),
        ({"candidates": "sty"}, "task.candidates"),
        ({"candidates": ("S", "T")}, "task.candidates"),
        ({"chain": 0}, "task.chains"),
        ({"most": -1}, "task.range"),
        ({"written": "words"}, "task.written"),
        ({"written": "marks", "most": 2}, "task.written"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        ResidueSet(**values)
    assert raised.value.code == code


def test_marks_stand_at_every_residue():
    codec = ResidueSet(written="marks")
    record = ProteinRecord("p", ("MKTA",))
    tokens = codec.encode((2, 4), record).tokens
    assert [token.text for token in tokens] == ["out", "in", "out", "in"]
    assert codec.decode(tokens, record) == (2, 4)
    assert codec.blocks() == (MARKS,)
    assert codec.dense
    assert not ResidueSet().dense
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    reading = codec.read(codec.inclusion(Marginals(chances)), record, Readout(threshold=0.4))
    assert reading.value == (2, 3, 4)
    assert reading.draws is None
    np.testing.assert_array_equal(reading.probabilities, chances[:, 1])


def test_marks_of_candidates_skip_all_other_residues():
    codec = ResidueSet("STY", written="marks")
    tokens = codec.encode((2, 6), RECORD).tokens
    assert [token.text for token in tokens] == ["in", "out", "out", "in"]
    assert codec.decode(tokens, RECORD) == (2, 6)
    assert list(aligned_indices(codec, RECORD)) == [1, 2, 4, 5]
    assert list(aligned_indices(ResidueSet(written="marks"), RECORD)) == [0, 1, 2, 3, 4, 5]
    chances = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    reading = codec.read(codec.inclusion(Marginals(chances)), RECORD, Readout())
    assert reading.value == (2, 5)
    assert reading.probabilities.tolist() == [0, 0.9, 0.2, 0, 0.6, 0.1]
    with pytest.raises(LabelError):
        codec.encode((1,), RECORD)
    nobody = ProteinRecord("P1", ("MAAA",))
    assert codec.encode((), nobody).tokens == ()
    assert codec.read(codec.inclusion(Marginals(np.zeros((0, 2)))), nobody, Readout()).value == ()


def test_only_candidates_can_be_written():
    assert PHOSPHO.grammar(RECORD).domain == Positions(0, (1, 2, 4, 5))
    assert ResidueSet("K", chain=2).grammar(ProteinRecord("pair", ("MK", "KAK"))).domain == Positions(
        1, (0, 2)
    )


def test_probabilities_are_one_a_residue_and_none_where_none_can_be():
    evidence = Inclusion(np.array([0.9, 0.2, 0.6, 0.1]), np.zeros(4), 8, Greedy((), 0.0))
    reading = PHOSPHO.read(evidence, RECORD, Readout())
    assert reading.value == (2, 5)
    assert reading.probabilities.tolist() == [0, 0.9, 0.2, 0, 0.6, 0.1]
    assert reading.score == pytest.approx(0.75)


def test_a_protein_without_candidates_has_no_site():
    record = ProteinRecord("P1", ("MAAA",))
    evidence = Inclusion(np.zeros(0), np.zeros(0), 8, Greedy((), 0.0))
    reading = PHOSPHO.read(evidence, record, Readout())
    assert reading.value == ()
    assert reading.probabilities.tolist() == [0, 0, 0, 0]
    assert reading.score == 1
