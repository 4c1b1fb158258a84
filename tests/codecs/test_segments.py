import numpy as np
import pytest

from protscribe.codecs.protocol import Draws, Greedy, Marginals, Readout
from protscribe.codecs.segments import Segment, Segments, _best_path
from protscribe.errors import LabelError, TaskError
from protscribe.records import ProteinRecord
from tests.laws.walks import every_answer

RECORD = ProteinRecord("P1", ("MSTAYSGGKL",))
CUT = ProteinRecord("P1", ("MSTAYSGGKL",), original_lengths=(20,))
TARGET = Segments(("signal", "mature"), block="target")
TOPOLOGY = Segments(("i", "M", "o"), block="topology")
ANSWER = (Segment("signal", 1, 4), Segment("mature", 5, 10))


@pytest.mark.parametrize(
    ("cell", "base"),
    [
        ("signal:1-4;mature:5-10", 1),
        ("signal:0-3;mature:4-9", 0),
        ([("signal", 1, 4), ("mature", 5, 10)], 1),
        ([["signal", 4], ["mature", 10]], 1),
        ([["signal", 3], ["mature", 9]], 0),
        ("signal:1-2;signal:3-4;mature:5-10", 1),
        (ANSWER, 1),
    ],
)
def test_segments_come_as_text_or_as_a_list(cell, base):
    assert TARGET.parse(cell, RECORD, base) == ANSWER


def test_single_characters_may_come_one_a_residue():
    assert TOPOLOGY.parse("iiMMMMoooo", RECORD) == (
        Segment("i", 1, 2),
        Segment("M", 3, 6),
        Segment("o", 7, 10),
    )
    assert TOPOLOGY.parse("i:1-10", RECORD) == (Segment("i", 1, 10),)


@pytest.mark.parametrize(
    ("codec", "record", "cell", "code", "hint"),
    [
        (TARGET, RECORD, "signal:1-4;other:5-10", "label.unknown_class", "known"),
        (TARGET, RECORD, "signal:1-4;mature:6-10", "label.index", "must begin at 5"),
        (TARGET, RECORD, "signal:1-4;mature:4-10", "label.index", "must begin at 5"),
        (TARGET, RECORD, "signal:2-10", "label.index", "must begin at 1"),
        (TARGET, RECORD, "signal:1-4;mature:5-11", "label.index", "11 (1-based)"),
        (TARGET, RECORD, "signal:0-10", "label.index", "0 (1-based)"),
        (TARGET, RECORD, [("signal", 4), ("mature", 2)], "label.index", "no earlier"),
        (TARGET, RECORD, "signal:1-4", "label.length", "end at 4"),
        (TARGET, RECORD, "", "label.length", "end at 0"),
        (TARGET, CUT, "signal:1-4;mature:5-20", "label.index", "cut from 20"),
        (TARGET, RECORD, "signal", "label.type", "signal:1-22"),
        (TARGET, RECORD, [("signal",)], "label.type", "signal:1-22"),
        (TARGET, RECORD, [("signal", "x")], "label.type", "whole number"),
        (TARGET, RECORD, None, "label.type", "None"),
        (TOPOLOGY, RECORD, "iiMMMMooo", "label.length", "9 labels for 10 residues"),
        (TOPOLOGY, RECORD, "iiMMXMoooo", "label.unknown_class", "position 5"),
        (Segments(("i", "M", "o"), most=2, block="b"), RECORD, "iiMMMMoooo", "label.too_long", "allows 2"),
    ],
)
def test_bad_labels(codec, record, cell, code, hint):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, record)
    assert raised.value.code == code
    assert hint in str(raised.value)
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"labels": ("a",)}, "task.classes"),
        ({"labels": ("a", "b:c")}, "task.reserved"),
        ({"labels": ("a", "b;c")}, "task.reserved"),
        ({"labels": ("a", "b"), "most": -2}, "task.range"),
        ({"labels": ("a", "b"), "chain": "1"}, "task.chains"),
        ({"labels": ("a", "b"), "written": "runs"}, "task.written"),
        ({"labels": ("a", "b"), "written": "labels", "most": 2}, "task.written"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        Segments(**values, block="b")
    assert raised.value.code == code


def test_open_labels_are_taken_from_training_data():
    codec = Segments(most=3, block="b")
    assert codec.fill(["signal:1-4;mature:5-10", [("mature", 10)]]) == Segments(
        ("mature", "signal"), most=3, block="b"
    )
    assert codec.fill(["iiMM", "oo"]).labels == ("M", "i", "o")


def draws(codec, *answers):
    tokens = [codec.encode(codec.parse(answer, RECORD), RECORD).tokens for answer in answers]
    return Draws(tuple(tokens[1:]), Greedy(tokens[0], -0.1))


def spell(answer):
    return "".join(label * (end - start + 1) for label, start, end in answer)


def test_every_residue_gets_the_label_that_most_draws_give_it():
    evidence = draws(TOPOLOGY, "i" * 10, "iiMMMMoooo", "iiiMMMMooo", "iMMMMMoooo")
    reading = TOPOLOGY.read(evidence, RECORD, Readout())
    assert spell(reading.value) == "iiMMMMoooo"
    assert reading.probabilities[2] == {"i": pytest.approx(1 / 3), "M": pytest.approx(2 / 3), "o": 0}
    assert reading.score == pytest.approx((1 + 2 / 3 + 2 / 3 + 1 + 1 + 1 + 2 / 3 + 1 + 1 + 1) / 10)


def test_labels_stand_at_every_residue_and_are_read_as_runs():
    codec = Segments(("i", "M", "o"), block="topology", written="labels")
    answer = codec.parse("i:1-2;M:3-6;o:7-10", RECORD)
    tokens = codec.encode(answer, RECORD).tokens
    assert "".join(token.text for token in tokens) == "iiMMMMoooo"
    assert codec.decode(tokens, RECORD) == answer
    assert (codec.dense, codec.asks) == (True, "marginals")
    assert (TOPOLOGY.dense, TOPOLOGY.asks) == (False, "draws")
    chances = np.tile([0.2, 0.3, 0.5], (10, 1))
    chances[:4] = [0.6, 0.3, 0.1]
    reading = codec.read(Marginals(chances), RECORD, Readout())
    assert reading.value == (Segment("i", 1, 4), Segment("o", 5, 10))
    assert reading.score == pytest.approx(0.54)
    assert reading.probabilities[9] == {"i": 0.2, "M": 0.3, "o": 0.5}
    assert (reading.draws, reading.standard_error) == (None, None)


def test_the_bound_on_segments_holds_where_the_residues_alone_would_break_it():
    codec = Segments(("i", "M", "o"), most=2, block="topology")
    answers = ("i" * 10, "iiiMMMMMMM", "iiiiiooooo", "MMMMMooooo")
    assert spell(TOPOLOGY.read(draws(TOPOLOGY, *answers), RECORD, Readout()).value) == "iiiMMooooo"
    reading = codec.read(draws(codec, *answers), RECORD, Readout())
    assert spell(reading.value) == "iiiiiooooo"
    assert reading.score == pytest.approx(0.6)


def test_without_draws_the_greedy_answer_is_read():
    assert spell(TOPOLOGY.read(draws(TOPOLOGY, "iiiiioooM" + "M"), RECORD, Readout()).value) == "iiiiioooMM"


def test_the_best_bounded_path_is_the_best_of_all_of_them():
    codec = Segments(("a", "b", "c"), most=3, block="b")
    generator = np.random.default_rng(3)
    record = ProteinRecord("six", ("MSTAYS",))
    spelled = [spell(codec.decode(tokens, record)) for tokens in every_answer(codec.grammar(record))]
    for _ in range(20):
        occupancy = generator.dirichlet([1, 1, 1], size=6)
        sums = [sum(occupancy[i, "abc".index(label)] for i, label in enumerate(text)) for text in spelled]
        best = "".join("abc"[rank] for rank in _best_path(occupancy, 3))
        assert best == spelled[int(np.argmax(sums))]
