import time

import numpy as np
import pytest

from protscribe.codecs.category_path import CategoryPath
from protscribe.codecs.protocol import Greedy, Inclusion, Readout
from protscribe.errors import LabelError, TaskError
from protscribe.grammar import accepts
from protscribe.records import ProteinRecord

RECORD = ProteinRecord("P1", ("MKTAY",))
PATHS = ("10.1.1.1", "1.1.1.10", "1.1.1.2", "1.1.1.n1", "1.2.1.1")
ENZYME = CategoryPath(PATHS, block="ec")
PARTIAL = CategoryPath(PATHS, partial=True, least=0, block="ec")


def texts(codec, answer):
    return [token.text for token in codec.encode(answer, RECORD).tokens]


def inclusion(codec, **chances):
    """Chances by node, ``n1_2=0.3`` for node 1.2; nodes not named have none."""
    nodes = codec.blocks()[0].texts
    table = {name[1:].replace("_", "."): chance for name, chance in chances.items()}
    assert set(table) <= set(nodes)
    return Inclusion(
        np.array([table.get(node, 0.0) for node in nodes]), np.zeros(len(nodes)), 1, Greedy((), 0.0)
    )


def test_nodes_stand_in_preorder_with_numbers_ordered_as_numbers():
    assert ENZYME.blocks()[0].texts == (
        *("1", "1.1", "1.1.1", "1.1.1.2", "1.1.1.10", "1.1.1.n1", "1.2", "1.2.1", "1.2.1.1"),
        *("10", "10.1", "10.1.1", "10.1.1.1"),
    )


def test_paths_that_share_a_beginning_share_its_symbols():
    assert texts(ENZYME, ("1.1.1.10", "1.1.1.2")) == ["1", "1.1", "1.1.1", "1.1.1.2", "1.1.1.10"]


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("1.1.1.2", ("1.1.1.2",)),
        ("10.1.1.1;1.1.1.2;1.1.1.2", ("1.1.1.2", "10.1.1.1")),
        (["1.1.1.10", "1.1.1.2"], ("1.1.1.2", "1.1.1.10")),
        (np.array(["1.2.1.1"], dtype=object), ("1.2.1.1",)),
    ],
)
def test_cells_with_full_paths(cell, answer):
    assert ENZYME.parse(cell, RECORD) == answer


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("1.1.-.-", ("1.1",)),
        ("1.1", ("1.1",)),
        ("1.1.-.-;1.1.1.2", ("1.1.1.2",)),
        ("1;10.-.-.-", ("1", "10")),
        ("<none>", ()),
    ],
)
def test_cells_with_partial_paths(cell, answer):
    assert PARTIAL.parse(cell, RECORD) == answer


@pytest.mark.parametrize(
    ("codec", "cell", "code", "hint"),
    [
        (ENZYME, "1.1.1.3", "label.unknown_class", "1.1.1.2"),
        (ENZYME, "1.1.1.2 ", "label.unknown_class", "'1.1.1.2'"),
        (ENZYME, "4.1.1.1", "label.unknown_class", "known: 1, 10"),
        (ENZYME, "1.1.-.-", "label.unknown_class", "partial"),
        (PARTIAL, "1.-.1.2", "label.unknown_class", "1.1"),
        (PARTIAL, "-.-.-.-", "label.unknown_class", "known"),
        (ENZYME, "", "label.too_short", "at least 1"),
        (CategoryPath(PATHS, most=1, block="ec"), "1.1.1.2;10.1.1.1", "label.too_long", "allows 1"),
        (ENZYME, ["1.1.1.2;10.1.1.1"], "label.char", "separator"),
        (ENZYME, None, "label.type", "list"),
        (ENZYME, float("nan"), "label.type", "list"),
    ],
)
def test_bad_labels(codec, cell, code, hint):
    with pytest.raises(LabelError) as raised:
        codec.parse(cell, RECORD)
    assert raised.value.code == code
    assert hint in raised.value.message
    assert raised.value.where.record == "P1"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"paths": ("1",)}, "task.classes"),
        ({"paths": ("1.1", "1.1")}, "task.classes"),
        ({"paths": ("1..1", "1.2")}, "task.classes"),
        ({"paths": ("1.-", "1.2")}, "task.classes"),
        ({"paths": (1.1, 1.2)}, "task.classes"),
        ({"paths": ("1;2", "3")}, "task.reserved"),
        ({"paths": ("<eos>", "3")}, "task.reserved"),
        ({"paths": PATHS, "least": 2}, "task.range"),
        ({"separator": ""}, "task.separator"),
    ],
)
def test_bad_definitions(values, code):
    with pytest.raises(TaskError) as raised:
        CategoryPath(**values, block="ec")
    assert raised.value.code == code


def test_open_paths_are_taken_from_training_data_and_unfinished_ones_only_where_they_are_answers():
    cells = [["1.1.1.2", "3.5.-.-"], "2.1.1.1"]
    assert CategoryPath(block="ec").fill(cells).paths == ("1.1.1.2", "2.1.1.1")
    assert CategoryPath(partial=True, block="ec").fill(cells).paths == ("1.1.1.2", "2.1.1.1", "3.5")
    assert ENZYME.fill(cells) is ENZYME


def test_a_child_is_never_likelier_than_its_parent():
    evidence = inclusion(ENZYME, n1=0.9, n1_1=0.4, n1_1_1=0.8, n1_1_1_2=0.7)
    probabilities = ENZYME.read(evidence, RECORD, Readout()).probabilities
    assert [probabilities[node] for node in ("1", "1.1", "1.1.1", "1.1.1.2")] == [0.9, 0.4, 0.4, 0.4]


def test_inner_nodes_without_a_chosen_leaf_are_dropped_where_leaves_are_asked_for():
    chances = {
        "n1": 0.9,
        "n1_1": 0.9,
        "n1_1_1": 0.8,
        "n1_1_1_2": 0.6,
        "n1_2": 0.7,
        "n1_2_1": 0.6,
        "n1_2_1_1": 0.2,
    }
    assert ENZYME.read(inclusion(ENZYME, **chances), RECORD, Readout()).value == ("1.1.1.2",)
    assert PARTIAL.read(inclusion(PARTIAL, **chances), RECORD, Readout()).value == ("1.1.1.2", "1.2.1")


def test_the_likeliest_leaf_answers_where_none_passes_but_one_is_owed():
    chances = {
        "n1": 0.6,
        "n1_1": 0.4,
        "n1_1_1": 0.4,
        "n1_1_1_2": 0.3,
        "n1_1_1_10": 0.1,
        "n10": 0.2,
        "n10_1": 0.2,
    }
    assert ENZYME.read(inclusion(ENZYME, **chances), RECORD, Readout()).value == ("1.1.1.2",)
    none = CategoryPath(PATHS, least=0, block="ec")
    assert none.read(inclusion(none, **chances), RECORD, Readout()).value == ()


def test_the_likeliest_paths_stay_where_too_many_pass():
    codec = CategoryPath(PATHS, most=1, block="ec")
    chances = {"n1": 1, "n1_1": 1, "n1_1_1": 1, "n1_1_1_2": 0.6, "n1_1_1_10": 0.8, "n1_1_1_n1": 0.7}
    assert codec.read(inclusion(codec, **chances), RECORD, Readout()).value == ("1.1.1.10",)


def test_thousands_of_nodes_are_laid_out_once():
    paths = tuple(
        f"{a}.{b}.{c}.{d}" for a in range(7) for b in range(10) for c in range(4) for d in range(10)
    )
    codec = CategoryPath(paths, block="ec")
    generator = np.random.default_rng(0)
    begin = time.process_time()
    for first, second in generator.integers(len(paths), size=(2000, 2)):
        answer = (paths[first], paths[second])
        encoded = codec.encode(answer, RECORD)
        assert codec.decode(encoded.tokens, RECORD) == codec.canonical(answer, RECORD)
        grammar = codec.grammar(RECORD)
    assert time.process_time() - begin < 3
    assert grammar is codec.grammar(RECORD)
    assert accepts(grammar, encoded.tokens)
    assert grammar.longest == 4 * codec.most
