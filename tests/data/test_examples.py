"""Sources read: labelled tables as examples, and questions made about proteins; bad labels are in tests/test_bad_inputs.py."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protscribe.catalogue import read_task
from protscribe.data.examples import (
    MadeExamples,
    as_list,
    fill_task,
    pick,
    read_examples,
    read_source,
    records_of,
)
from protscribe.data.lengths import apply_length_policy
from protscribe.data.makers import occurrences
from protscribe.data.source import Source
from protscribe.errors import LabelError, ProtscribeError, TableError, TaskError
from protscribe.records import ProteinRecord
from protscribe.task import Task

BINARY = {"kind": "category", "labels": ["no", "yes"], "values": ["0", "1"]}
SPLITS = {"train": ["train"], "validation": ["valid"], "test": ["test"]}


def task(codec, **others):
    return Task.from_plain({"name": "t", "title": "T", "codec": codec, **others})


def source(path="a.csv", **others):
    return Source.from_plain({"name": "s", "path": path, "task": "t", **others})


def write(folder, text, name="a.csv"):
    (folder / name).write_text(text)


def code(call):
    with pytest.raises(ProtscribeError) as caught:
        call()
    return caught.value.code


@pytest.fixture
def table(tmp_path):
    lines = ["protein,seq,y,set"]
    lines += [f"p{row},{'MK' + 'A' * row},{row % 2},{'train' if row < 8 else 'test'}" for row in range(10)]
    write(tmp_path, "\n".join(lines) + "\n")
    return tmp_path


COLUMNS = {"id": "protein", "sequence": "seq", "label": "y", "split": "set"}


def test_columns_and_splits(table):
    given = source(columns=COLUMNS, splits={"train": ["train"], "test": "test"})
    train, test = (read_source(given, task(BINARY), split, root=table) for split in ("train", "test"))
    assert [example.record.id for example in train] == [f"p{row}" for row in range(8)]
    assert test[1].record == ProteinRecord("p9", ("MKAAAAAAAAA",), ordinal=9, line=11)
    assert [example.answer for example in test] == ["no", "yes"]
    assert read_source(given, task(BINARY), "validation", root=table) == []


def test_a_table_without_splits_is_all_training(table):
    given = source(columns={**COLUMNS, "split": "set"})
    assert len(read_source(given, task(BINARY), "train", root=table)) == 10
    assert read_source(given, task(BINARY), "test", root=table) == []


def test_filter_and_limit(table):
    given = source(columns=COLUMNS, splits=SPLITS, where={"y": 1})
    assert {example.answer for example in read_source(given, task(BINARY), "train", root=table)} == {"yes"}
    few = source(columns=COLUMNS, splits=SPLITS, limit=3, seed=1)
    first, again = (read_source(few, task(BINARY), "train", root=table) for _ in range(2))
    assert first == again
    assert len(first) == 3
    ordinals = [example.record.ordinal for example in first]
    assert ordinals == sorted(ordinals)
    drawn = {
        tuple(e.record.ordinal for e in read_source(source(columns=COLUMNS, splits=SPLITS, limit=3, seed=seed),
                                                    task(BINARY), "train", root=table))
        for seed in range(8)
    }  # fmt: skip
    assert len(drawn) > 3


def test_parquet_and_text_tables_agree(tmp_path):
    frame = pa.table(
        {
            "id": ["a", "b", "c"],
            "sequence": ["MKTAY", "GG", "MKTAY"],
            "label": [[0, 4], [], [2]],
            "ok": [True, False, True],
            "split": ["train", "train", "test"],
        }
    )
    pq.write_table(frame, tmp_path / "a.parquet")
    write(
        tmp_path,
        "id,sequence,label,ok,split\na,MKTAY,0;4,True,train\nb,GG,,False,train\nc,MKTAY,2,True,test\n",
    )
    sites = task({"kind": "residue_set"})
    for where, expected in (({}, [(1, 5), ()]), ({"ok": True}, [(1, 5)])):
        for path in ("a.parquet", "a.csv"):
            given = source(path, base=0, splits={"train": ["train"], "test": ["test"]}, where=where)
            assert [
                example.answer for example in read_source(given, sites, "train", root=tmp_path)
            ] == expected
            (test,) = read_source(given, sites, "test", root=tmp_path)
            assert (test.record.id, test.record.ordinal, test.answer) == ("c", 2, (3,))


def test_many_batches_of_parquet_keep_row_numbers(tmp_path):
    count = 5_000
    numbers = list(range(count))
    frame = {
        "sequence": ["M" + "K" * (n % 7) for n in numbers],
        "label": numbers,
        "split": [str(n % 3) for n in numbers],
    }
    pq.write_table(pa.table(frame), tmp_path / "a.parquet", row_group_size=700)
    number = task({"kind": "number", "low": 0, "high": count, "step": 1})
    given = source("a.parquet", splits={"train": [0, 1], "test": "2"})
    train = read_source(given, number, "train", root=tmp_path)
    test = read_source(given, number, "test", root=tmp_path)
    assert [example.answer for example in test] == numbers[2::3]
    assert all(example.record.ordinal == example.answer for example in (*train, *test))
    assert all(
        example.record.sequence == "M" + "K" * (int(example.answer) % 7) for example in (*train, *test)
    )
    assert len(train) + len(test) == count


def test_equal_proteins_share_their_text(tmp_path):
    write(
        tmp_path, "sequence_a,sequence_b,label\n" + "".join(f"MKTAY,{'GGG' + 'A' * n},1\n" for n in range(4))
    )
    examples = read_source(source(), task(BINARY, chains=2), "train", root=tmp_path)
    assert len({id(example.record.chains[0]) for example in examples}) == 1
    assert [example.record.id for example in examples] == ["1", "2", "3", "4"]


def test_open_labels_and_conditions_come_from_all_training_rows(tmp_path):
    write(
        tmp_path, "sequence,label,org,split\nMK,b,yeast,train\nGG,a,human,train\nAA,b,,train\nCC,z,dog,test\n"
    )
    given = source(columns={"organism": "org"}, splits={"train": ["train"], "test": ["test"]}, limit=1)
    filled = fill_task(task({"kind": "category"}, conditions=[{"field": "organism"}]), [given], root=tmp_path)
    assert filled.codec.labels == ("a", "b")
    assert filled.conditions[0].values == ("human", "yeast")
    unlimited = source(columns={"organism": "org"}, splits={"train": ["train"], "test": ["test"]})
    assert read_source(unlimited, filled, "train", root=tmp_path)[0].record.fields == {"organism": "yeast"}
    with pytest.raises(LabelError) as caught:
        read_source(unlimited, filled, "test", root=tmp_path)
    assert caught.value.code == "label.unknown_class"
    assert (caught.value.where.row, caught.value.where.line, caught.value.where.column) == (4, 5, "label")
    other = Source("o", "none.csv", "other")
    assert (
        fill_task(
            task({"kind": "category"}, conditions=[{"field": "organism"}]), [other, given], root=tmp_path
        )
        == filled
    )


def test_labels_that_do_not_count(tmp_path):
    write(tmp_path, "sequence,label,mask\nMKT,HEC,101\nGG,HH,11\n")
    given = source(columns={"scored": "mask"})
    labels = fill_task(task({"kind": "residue_labels"}), [given], root=tmp_path)
    assert labels.codec.labels == ("C", "H")
    assert [example.answer for example in read_source(given, labels, "train", root=tmp_path)] == ["H-C", "HH"]


def test_molecules(tmp_path):
    write(tmp_path, "sequence,label,drug\nMKT,1,CCO\n")
    with_molecule = task(BINARY, molecule=True)
    (example,) = read_source(source(columns={"smiles": "drug"}), with_molecule, "train", root=tmp_path)
    assert example.record.molecule == "CCO"
    assert (
        code(lambda: read_source(source(), with_molecule, "train", root=tmp_path)) == "table.missing_column"
    )
    assert (
        read_source(source(columns={"smiles": "drug"}), task(BINARY), "train", root=tmp_path)[
            0
        ].record.molecule
        is None
    )


def test_long_proteins_meet_the_policy_before_their_labels(tmp_path):
    write(tmp_path, "id,sequence,label\na,MKTAY,1;4\nb,MKT,1\n")
    sites, failures = task({"kind": "residue_set"}), []
    examples = read_source(
        source(), sites, "train", root=tmp_path, on_error="collect", failures=failures,
        prepare=lambda record: apply_length_policy(record, 3, "truncate"),
    )  # fmt: skip
    assert [example.record.id for example in examples] == ["b"]
    assert [(failure.id, failure.code, failure.task) for failure in failures] == [("a", "label.index", "t")]
    assert (
        code(lambda: read_source(source(), sites, "train", root=tmp_path, on_error="collect"))
        == "config.value"
    )


def test_bad_rows_are_collected_with_their_row(tmp_path):
    write(tmp_path, "id,sequence,label\na,MK,1\nb,M1,1\nc,MK\nd,MK,2\ne,GG,0\n")
    failures = []
    examples = read_source(
        source(), task(BINARY), "train", root=tmp_path, on_error="collect", failures=failures
    )
    assert [example.record.id for example in examples] == ["a", "e"]
    assert [(f.ordinal, f.code) for f in failures] == [
        (1, "seq.char"),
        (2, "table.width"),
        (3, "label.unknown_class"),
    ]
    write(tmp_path, "id,sequence,label\na,MK,1\nc,MK\n")
    with pytest.raises(TableError) as caught:
        read_source(source(), task(BINARY), "train", root=tmp_path)
    assert (caught.value.where.row, caught.value.where.line) == (2, 3)


def test_columns_that_are_not_there(table):
    for columns in (
        {"sequence": "none"},
        {"label": "none"},
        {"split": "none"},
        {"id": "none"},
        {"scored": "none"},
    ):
        given = source(columns={**COLUMNS, **columns}, splits=SPLITS)
        assert (
            code(lambda given=given: read_source(given, task(BINARY), "train", root=table))
            == "table.missing_column"
        )
    conditioned = task(BINARY, conditions=[{"field": "organism"}])
    assert (
        code(lambda: read_source(source(columns=COLUMNS), conditioned, "train", root=table))
        == "table.missing_column"
    )
    no_splits = source(columns={key: COLUMNS[key] for key in ("sequence", "label")}, splits=SPLITS)
    assert code(lambda: read_source(no_splits, task(BINARY), "train", root=table)) == "table.missing_column"
    for other in ({"path": "none.csv"}, {"task": "other"}):
        with pytest.raises(ProtscribeError):
            read_source(source(**other), task(BINARY), "train", root=table)
    with pytest.raises(TaskError):
        read_source(source(columns=COLUMNS, where={"y": 5}), task(BINARY), "train", root=table)


DATA = os.environ.get("PROTSCRIBE_DATA")


@pytest.mark.skipif(not DATA, reason="PROTSCRIBE_DATA is not set")
def test_fifty_thousand_real_rows_in_seconds():
    number = task({"kind": "number", "low": -10, "high": 10, "step": 0.01})
    start = time.process_time()
    examples = read_source(source("tape_stability.parquet", splits=SPLITS), number, "train", root=Path(DATA))
    assert len(examples) > 50_000
    assert time.process_time() - start < 8


@pytest.mark.skipif(not DATA, reason="PROTSCRIBE_DATA is not set")
def test_real_sites_lie_on_the_residues_they_should():
    given = source("musitedeep_phospho_y.parquet", base=0, splits=SPLITS, columns={"label": "positions"})
    sites = task({"kind": "residue_set", "candidates": "Y"})
    examples = read_source(given, sites, "test", root=Path(DATA))
    assert examples
    assert all(
        example.record.sequence[position - 1] == "Y" for example in examples for position in example.answer
    )


# Labels that are made

FIND = {"kind": "find", "fields": ["residue"]}
WHERE = read_task("where_is_residue")
HIDDEN = read_task("restore_residues")
TABLE = "".join(
    [
        "id,seq,set\n",
        *(f"p{row},MKTAYIAKQR{'W' * row},{'train' if row < 6 else 'valid'}\n" for row in range(9)),
    ]
)
MADE = {
    "columns": {"sequence": "seq", "split": "set"},
    "splits": {"train": ["train"], "validation": ["valid"]},
}


def made(task_name="where_is_residue", make=FIND, path="a.csv", **others):
    return Source.from_plain({"name": "s", "path": path, "task": task_name, "make": make, **others})


def test_made_labels_need_no_column_of_labels(tmp_path):
    write(tmp_path, TABLE)
    for split, ids in (("train", range(6)), ("validation", range(6, 9))):
        examples = read_source(made(**MADE), WHERE, split, root=tmp_path)
        assert [example.record.id for example in examples] == [f"p{row}" for row in ids]
        for example in examples:
            letter = example.record.fields["residue"]
            assert example.answer == occurrences(example.record.sequence, [letter])
    assert read_source(made(**MADE), WHERE, "test", root=tmp_path) == []


def test_a_protein_is_asked_one_question_whatever_else_is_read(tmp_path):
    write(tmp_path, TABLE)
    every = {one.record.id: one for one in read_source(made(**MADE), WHERE, "train", root=tmp_path)}
    few = read_source(made(**MADE, limit=3), WHERE, "train", root=tmp_path)
    assert len(few) == 3
    assert all(one == every[one.record.id] for one in few)
    assert read_source(made(**MADE, seed=1), WHERE, "train", root=tmp_path) != list(every.values())


def test_in_training_a_protein_is_asked_what_its_key_says(tmp_path):
    write(tmp_path, TABLE)
    given = made("restore_residues", {"kind": "hide", "share": 0.5}, **MADE)
    examples = read_examples(given, HIDDEN, "train", root=tmp_path)
    assert isinstance(examples, MadeExamples)
    assert as_list(examples) == read_source(given, HIDDEN, "train", root=tmp_path)
    assert examples.draw(2, [0, 1, 2]) == examples.draw(2, [0, 1, 2])
    assert len({str(examples.draw(2, [0, epoch, 2])) for epoch in range(5)}) == 5
    assert [record.sequence for record in records_of(examples)] == [
        f"MKTAYIAKQR{'W' * row}" for row in range(6)
    ]
    assert records_of(pick(examples, [4, 0])) == [records_of(examples)[4], records_of(examples)[0]]


def test_proteins_of_a_fasta_file_are_all_training(tmp_path):
    write(tmp_path, "".join(f">p{row} about it\nMKTAY{'W' * row}\n" for row in range(8)), "a.faa")
    given = made(path="a.faa")
    examples = read_source(given, WHERE, "train", root=tmp_path)
    assert [example.record.id for example in examples] == [f"p{row}" for row in range(8)]
    assert read_source(given, WHERE, "validation", root=tmp_path) == []
    few = read_source(made(path="a.faa", limit=3), WHERE, "train", root=tmp_path)
    assert len(few) == 3
    assert all(one in examples for one in few)
    write(tmp_path, ">a\nMK1\n>b\nMKW\n>c\nMKTAYW\n", "b.fasta")
    failures = []
    kept = read_source(
        made(path="b.fasta"), WHERE, "train", root=tmp_path, on_error="collect", failures=failures,
        prepare=lambda record: apply_length_policy(record, 4, "error"),
    )  # fmt: skip
    assert [example.record.id for example in kept] == ["b"]
    assert [(failure.ordinal, failure.code) for failure in failures] == [(0, "seq.char"), (2, "seq.too_long")]
    assert code(lambda: read_source(made(path="b.fasta"), WHERE, "train", root=tmp_path)) == "seq.char"


def test_a_condition_that_is_not_made_is_read(tmp_path):
    write(tmp_path, "id,sequence,organism\na,MKTAY,yeast\nb,GGW,human\n")
    plain = WHERE.to_plain()
    both = Task.from_plain(
        plain | {"conditions": [*plain["conditions"], {"field": "organism", "values": ["yeast"]}]}
    )
    for example in read_source(made(), both, "train", root=tmp_path):
        assert set(example.record.fields) == {"residue", "organism"}


def test_made_labels_fill_no_vocabulary(tmp_path):
    assert fill_task(WHERE, [made()], root=tmp_path) == WHERE
    wrong = Task.from_plain(HIDDEN.to_plain() | {"codec": {"kind": "residue_labels"}})
    assert code(lambda: fill_task(wrong, [made("restore_residues", {"kind": "hide"})])) == "config.value"


def test_what_no_labels_can_be_made_from(tmp_path):
    write(tmp_path, TABLE)
    assert code(lambda: read_source(made(**MADE), HIDDEN, "train", root=tmp_path)) == "config.value"
    assert (
        code(lambda: read_source(made(columns={"split": "set"}), WHERE, "train", root=tmp_path))
        == "table.missing_column"
    )
    assert code(lambda: made(path="a.fasta", splits={"train": ["train"]})) == "config.value"
    assert code(lambda: made(make="find")) == "config.type"
    assert (
        code(lambda: read_source(source("a.fasta"), task(BINARY), "train", root=tmp_path))
        == "input.not_found"
    )
