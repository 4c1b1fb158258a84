"""Classes, confusions and bands, by hand."""

import math

import pytest

from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.data.source import Source
from protscribe.errors import TableError
from protscribe.evaluation import bands as bands_module
from protscribe.evaluation.bands import find_bands, judge_bands
from protscribe.evaluation.breakdown import MOST, break_down
from protscribe.evaluation.leakage import audit_rows
from protscribe.evaluation.metrics import collect, resample
from protscribe.evaluation.units import column_values, find_units, numbered, proteins, searched_clusters
from protscribe.homology import can_search
from protscribe.records import ProteinRecord
from tests.evaluation.test_metrics import (
    LABELS,
    NUMBER,
    PATHS,
    SEGMENTS,
    SETS,
    THREE,
    make_task,
    records,
    say,
)


def collected(codec, truths, values):
    rows = records(len(truths))
    said = [None if value is None else say(value, row) for value, row in zip(values, rows, strict=True)]
    return collect(make_task(codec), truths, said, rows)


def test_classes_by_hand():
    found = break_down(collected(THREE, ["a", "a", "b", "new"], ["a", "b", None, "c"]))
    assert [(row.label, row.true, row.predicted, row.right) for row in found.classes] == [
        ("a", 2, 1, 1),
        ("b", 1, 1, 0),
        ("c", 0, 1, 0),
        ("new", 1, 0, 0),
    ]
    assert found.confusion == (("a", "a", 1), ("a", "b", 1), ("b", "<missing>", 1), ("new", "c", 1))
    first, _, third, _ = found.classes
    assert (first.precision, first.recall, first.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert math.isnan(third.recall)


@pytest.mark.parametrize(
    ("codec", "truths", "values", "classes"),
    [
        (SETS, [("a", "b"), ()], [("b", "c"), None], [("a", 1, 0, 0), ("b", 1, 1, 1), ("c", 0, 1, 0)]),
        (PATHS, [("1.1.1",), ("9.9.9",)], [("1.1.1",), ("2.1.1",)],
         [("1.1.1", 1, 1, 1), ("1.1.2", 0, 0, 0), ("1.2.1", 0, 0, 0), ("2.1.1", 0, 1, 0), ("9.9.9", 1, 0, 0)]),
        # What is not scored is not counted.
        (LABELS, ["HHHHE-----"], ["HHEEEEEEEE"], [("H", 4, 2, 2), ("E", 1, 3, 1)]),
        (SEGMENTS, [(Segment("s", 1, 3), Segment("m", 4, 10))], [(Segment("s", 1, 5), Segment("m", 6, 10))],
         [("s", 3, 5, 3), ("m", 7, 5, 5)]),
        (NUMBER, [1.0], [2.0], []),
    ],
)  # fmt: skip
def test_classes_of_every_kind(codec, truths, values, classes):
    found = break_down(collected(codec, truths, values))
    assert [(row.label, row.true, row.predicted, row.right) for row in found.classes] == classes


def test_of_many_classes_the_commonest_confusions():
    names = [f"c{place:03}" for place in range(MOST + 20)]
    codec = {"kind": "category", "labels": names}
    few = break_down(collected(codec, [names[0]] * 5, [names[2]] * 4 + names[:1]))
    assert [row.label for row in few.classes] == [names[0], names[2]]
    assert few.confusion == ((names[0], names[0], 1), (names[0], names[2], 4))
    many = break_down(collected(codec, names + [names[5]] * 3, names[1:] + names[:1] + [names[9]] * 3))
    assert len(many.classes) == len(names)
    assert len(many.confusion) == MOST
    assert many.confusion[0] == (names[5], names[9], 3)


def examples(answers, lengths=None):
    lengths = lengths or [10] * len(answers)
    return [
        Example(ProteinRecord(f"p{place}", ("M" * length,)), answer)
        for place, (answer, length) in enumerate(zip(answers, lengths, strict=True))
    ]


def test_bands_by_hand():
    train = examples(["a"] * 12 + ["b"])
    test = examples(["a", "b", "new", "a"], [14, 15, 29, 5000])
    found, left_out = find_bands(("length", "label_frequency"), train, test, "category")
    assert found["length"] == ["0-14", "15-29", "15-29", "1,600 or more"]
    assert found["label_frequency"] == ["10-99", "1-9", "0", "10-99"]
    assert left_out == []


def test_the_rarest_label_of_a_set_counts():
    train = examples([("a", "b"), ("a",), ("a",)])
    found, _ = find_bands(("label_frequency",), train, examples([("a", "b"), ("a",), ()]), "category_set")
    assert found["label_frequency"] == ["1-9", "1-9", None]
    assert find_bands(("label_frequency",), train, examples([1.0]), "number") == ({}, [])


def test_without_a_search_it_is_said(monkeypatch):
    monkeypatch.setattr(bands_module, "can_search", lambda: False)
    found, left_out = find_bands(("identity",), examples(["a"]), examples(["a"]), "category")
    assert found == {}
    assert "pip install 'protscribe[homology]'" in left_out[0]
    monkeypatch.setattr(bands_module, "can_search", lambda: True)
    assert "audit=true" in find_bands(("identity",), examples(["a"]), examples(["a"]), "category")[1][0]


@pytest.mark.skipif(not can_search(), reason="the extra homology is not installed")
def test_identity_to_training():
    known = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLG"
    other = "GSHMSLFDFFKNKGSAATATDRLKLILAKERTLNLPYMEEMRKEIIAVIQKYTKSSDIHFKTLDSNQSVETIEVEIILPR"
    train = [Example(ProteinRecord("k", (known,)), "a")]
    test = [
        Example(ProteinRecord(name, (chain,)), "a") for name, chain in (("same", known), ("other", other))
    ]
    audit = audit_rows([one.record.chains for one in test], [one.record.chains for one in train])
    found, _ = find_bands(("identity",), train, test, "category", audit)
    assert found["identity"] == [">50%", "<20%"]
    records = [one.record for one in test]
    assert searched_clusters([*records, records[0]]) == [0, 1, 0]


def test_bands_are_judged_apart():
    """The value and the interval of a band are those of its rows alone."""
    answers = collected(THREE, ["a", "b", "c", "a"] * 5, ["a", "b", "a", "c"] * 5)
    names = ["15-29", None, "0-14", "15-29"] * 5
    groups = list(range(20))
    judged = judge_bands(
        {"length": names}, "accuracy", {"protscribe": answers, "head": answers}, "protscribe",
        resamples=50, seed=1, level=0.9, groups=groups,
    )  # fmt: skip
    short, long = judged["length"]
    assert [(band.name, band.count) for band in (short, long)] == [("0-14", 5), ("15-29", 10)]
    assert short.methods == {"protscribe": 0.0, "head": 0.0}
    assert long.ours.value == long.methods["head"] == 0.5
    part = answers.rows([row for row, name in enumerate(names) if name == "15-29"])
    assert long.ours == resample("accuracy", part, resamples=50, seed=1).interval(0.9)


def test_rows_of_one_protein_are_one_unit():
    pairs = [ProteinRecord("x", ("A", "C")), ProteinRecord("y", ("C", "A")), ProteinRecord("z", ("A", "A"))]
    assert proteins(pairs) == [0, 0, 1]
    assert numbered("abca") == [0, 1, 2, 0]


def pairs_of(*chains):
    return [ProteinRecord(str(place), (one, other)) for place, (one, other) in enumerate(chains)]


def test_pairs_that_share_a_partner_are_drawn_with_it():
    ordered = make_task(THREE, chains=2)
    pairs = pairs_of(("A", "X"), ("C", "X"), ("D", "Y"), ("C", "Y"))
    assert find_units(ordered, pairs, None) == ([0, 0, 1, 1], "second partners, each with all of its pairs")
    swapped = pairs_of(*(pair.chains[::-1] for pair in pairs))
    assert find_units(ordered, swapped, None) == ([0, 0, 1, 1], "first partners, each with all of its pairs")
    # An asked-for column goes before.
    assert find_units(ordered, pairs, "host", ["a", "b", "a", "b"]) == ([0, 1, 0, 1], "clusters")


@pytest.mark.parametrize(
    ("chains", "symmetric"),
    [
        # Hardly shared, a single partner, and partners on both sides of a pair.
        ([("A", "X"), ("C", "X"), ("D", "Y")], False),
        ([("A", "X"), ("C", "X"), ("D", "X"), ("E", "X")], False),
        ([("A", "X"), ("C", "X"), ("D", "Y"), ("C", "Y")], True),
    ],
)
def test_pairs_that_are_drawn_as_pairs(chains, symmetric):
    task = make_task(THREE, chains=2, symmetric=symmetric)
    assert find_units(task, pairs_of(*chains), None) == (list(range(len(chains))), "proteins")


def test_a_column_of_clusters(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sequence,label,cluster40\nMK,a,7\nMV,b,8\n")
    assert column_values(Source("t", "t.csv", "t"), "cluster40", tmp_path) == {0: "7", 1: "8"}
    with pytest.raises(TableError) as caught:
        column_values(Source("t", "t.csv", "t"), "cluster", tmp_path)
    assert caught.value.code == "table.missing_column"
