"""Beginnings as people write them, for every kind of answer, and what is said of those that cannot be."""

import pytest

from protscribe.codecs import KINDS
from protscribe.errors import LabelError
from protscribe.grammar import allowed
from protscribe.prefix import prefix_tokens
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Position
from tests.generation.tiny import task

RECORD = ProteinRecord("a", ("MKTAYISSYTAK",), line=7)
TASKS = {
    "category": task("place", kind="category", labels=["inside", "membrane"]),
    "category_set": task("acts", kind="category_set", labels=list("pqrs")),
    "category_path": task(
        "ec", kind="category_path", paths=["1.1.1.1", "3.4.1.1", "3.4.2.1", "3.5.1.1"], most=3
    ),
    "number": task("melting", kind="number", low=0, high=90.5, step=0.1),
    "residue_labels": task("fold", kind="residue_labels", labels=list("HEC")),
    "residue_set": task("sites", kind="residue_set", candidates="STY"),
    "segments": task("parts", kind="segments", labels=["signal", "mature"], most=4),
    "residue_pairs": task("contacts", kind="residue_pairs", separation=3),
    "sequence": task("word", kind="sequence", alphabet=["ab", "cd"], length="free", most=4),
}


def texts(kind, prefix):
    tokens = prefix_tokens(TASKS[kind], prefix, RECORD)
    return [token.index + 1 if isinstance(token, Position) else token.text for token in tokens]


GOOD = [
    ("category", "membrane", ["membrane"]),
    ("category", ["membrane"], ["membrane"]),
    ("category_set", "p;r", ["p", "r"]),
    ("category_set", ["q"], ["q"]),
    ("category_path", "3.4", ["3", "3.4"]),
    ("category_path", "3.4.-.-", ["3", "3.4"]),
    ("category_path", ["3", "3.4"], ["3", "3.4"]),
    ("category_path", ["1.1.1.1", "3.4"], ["1", "1.1", "1.1.1", "1.1.1.1", "3", "3.4"]),
    ("category_path", ["3.4.1.1", "3.4.2"], ["3", "3.4", "3.4.1", "3.4.1.1", "3.4.2"]),
    ("number", "04", ["0", "4"]),
    ("number", ["9", "0", "5"], ["9", "0", "5"]),
    ("residue_labels", "HHE", ["H", "H", "E"]),
    ("residue_set", [5, 8], [5, 8]),
    ("residue_set", "5;8", [5, 8]),
    ("segments", "signal:1-4", ["signal", 4]),
    ("segments", "signal:1-4;mature", ["signal", 4, "mature"]),
    ("segments", [("signal", 1, 4), ("mature", 9), ("signal",)], ["signal", 4, "mature", 9, "signal"]),
    ("residue_pairs", "1-5;2", [1, 5, 2]),
    ("residue_pairs", [(1, 5), (2, 9)], [1, 5, 2, 9]),
    ("sequence", "ab cd", ["ab", "cd"]),
    ("sequence", ["cd"], ["cd"]),
]


def test_every_kind_has_a_beginning():
    assert {kind for kind, _, _ in GOOD} == set(TASKS) == set(KINDS)


@pytest.mark.parametrize(("kind", "prefix", "expected"), GOOD)
def test_what_people_write_is_read(kind, prefix, expected):
    assert texts(kind, prefix) == expected
    tokens = prefix_tokens(TASKS[kind], prefix, RECORD)
    grammar = TASKS[kind].codec.grammar(RECORD)
    following = allowed(grammar, tokens)
    assert following.tokens or following.end


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("prefix", [None, "", []])
def test_no_beginning_is_one(kind, prefix):
    assert texts(kind, prefix) == []


@pytest.mark.parametrize(
    ("kind", "prefix", "said"),
    [
        ("category", "membrain", ["place 1", "did you mean 'membrane'", "allowed: inside, membrane"]),
        ("category", ["inside", "inside"], ["after 'inside'", "place 2", "must end"]),
        ("category_set", "r;p", ["after 'r'", "place 2", "allowed: s"]),
        ("category_path", "3.7", ["after '3'", "place 2", "allowed: 3.4, 3.5"]),
        ("number", "95", ["after '9'", "place 2", "allowed: 0"]),
        ("residue_labels", "HHX", ["after 'H H'", "place 3", "allowed: C, E, H"]),
        ("residue_labels", "H" * 13, ["place 13", "must end"]),
        ("residue_set", [1], ["at the beginning", "positions 3, 5, 7 to 10"]),
        ("residue_set", [8, 5], ["after '8'", "positions 9 to 10"]),
        ("segments", "signal:1-4;signal", ["after 'signal 4'", "allowed: mature"]),
        ("segments", "signal:1-40", ["'40'", "positions 1 to 12"]),
        ("residue_pairs", "1-2", ["after '1'", "positions 4 to 12"]),
        ("sequence", "ab xy", ["after 'ab'", "allowed: ab, cd"]),
    ],
)
def test_what_cannot_be_is_named_with_what_could(kind, prefix, said):
    with pytest.raises(LabelError) as caught:
        prefix_tokens(TASKS[kind], prefix, RECORD)
    assert caught.value.code == "label.prefix"
    assert str(caught.value).startswith("line 7, record 'a'")
    for part in said:
        assert part in str(caught.value)
