"""Readers: what well-formed input gives, in every format, streamed; bad input is in tests/test_bad_inputs.py."""

import gzip
import io
import tracemalloc

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.alphabet import RESIDUES, Cleaning
from protscribe.data.files import lines_of, take_stamp
from protscribe.data.lengths import apply_length_policy
from protscribe.data.readers import read_records, records_from
from protscribe.data.reading import DEFAULTS, ReadOptions, SeenIds
from protscribe.errors import ConfigError, InputError, ProtscribeError, SequenceError
from protscribe.records import Failure, ProteinRecord


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_fasta(tmp_path):
    path = write(tmp_path / "a.fasta", ">sp|P1|X_Y a protein\nMKT\nAYI\n\n>2\nggj*\n")
    reading = read_records(path)
    assert list(reading) == [
        ProteinRecord("sp|P1|X_Y", ("MKTAYI",), line=1),
        ProteinRecord("2", ("GGX",), ordinal=1, line=5),
    ]
    assert reading.counts == {"records": 2, "lower_case": 3, "j": 1, "stop": 1}
    assert list(reading) == list(reading)
    assert reading.counts["records"] == 2


sequences = st.text(alphabet=RESIDUES, min_size=1, max_size=200)
ids = st.text(alphabet="abcXYZ019|_.-/,='\"", min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(ids, sequences, min_size=1, max_size=8),
    st.integers(1, 70),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_fasta_agrees_with_biopython(tmp_path_factory, proteins, width, end):
    blocks = []
    for id, sequence in proteins.items():
        parts = [sequence[start : start + width] for start in range(0, len(sequence), width)]
        blocks.append("\n".join([f">{id} some words", *parts]))
    text = "\n".join(blocks) + "\n"
    path = write(tmp_path_factory.mktemp("fasta") / "a.fasta", text.replace("\n", end))
    ours = {
        record.id: record.sequence for record in read_records(path, options=ReadOptions(nucleotides="accept"))
    }
    theirs = {record.id: str(record.seq) for record in SeqIO.parse(io.StringIO(text), "fasta")}
    assert ours == theirs == proteins


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab\r\n", max_size=40).map(str.encode), st.integers(1, 7))
def test_lines_end_as_universal_newlines_do_wherever_a_chunk_ends(content, size):
    class Trickle(io.RawIOBase):
        def __init__(self):
            self.left = content

        def readable(self):
            return True

        def read(self, wanted=-1):
            part, self.left = self.left[:size], self.left[size:]
            return part

    expected = io.StringIO(content.decode(), newline=None).read().split("\n")
    lines = [line.content.decode() for line in lines_of(Trickle(), max_line_bytes=100)]
    assert lines == (expected[:-1] if expected[-1] == "" else expected)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".csv.gz", ".txt"])
def test_tables_give_the_same_records(tmp_path, suffix):
    frame = pd.DataFrame(
        {
            "id": ["007", "1E5", "NA", 'a,"b"'],
            "sequence": ["NA", "MKT", "nan", "AC"],
            "organism": ["TRUE", "", "E. coli", "null"],
            "smiles": ["CCO", "", "C", "N"],
        }
    )
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix in (".tsv", ".txt") else ",")
    records = list(read_records(path))
    assert [record.id for record in records] == ["007", "1E5", "NA", 'a,"b"']
    assert [record.sequence for record in records] == ["NA", "MKT", "NAN", "AC"]
    assert [record.fields["organism"] for record in records] == ["TRUE", "", "E. coli", "null"]
    assert [record.molecule for record in records] == ["CCO", None, "C", "N"]
    assert [record.ordinal for record in records] == [0, 1, 2, 3]
    text = suffix != ".parquet"
    assert [record.line for record in records] == ([2, 3, 4, 5] if text else [None] * 4)
    again = list(records_from(frame))
    assert [(r.id, r.chains, r.fields) for r in again] == [(r.id, r.chains, r.fields) for r in records]


def test_columns_pairs_fields_and_row_numbers(tmp_path):
    path = write(tmp_path / "pairs.csv", "First,Second,Species,note\nMKT,GG,yeast,x\nAC,DE,human,y\n")
    columns = {"sequence_a": "First", "sequence_b": "Second", "organism": "Species"}
    records = list(read_records(path, columns=columns))
    assert [(r.id, r.chains) for r in records] == [("1", ("MKT", "GG")), ("2", ("AC", "DE"))]
    assert records[0].fields == {"organism": "yeast", "note": "x"}
    assert next(iter(read_records(path, columns=columns, fields=["organism"]))).fields == {
        "organism": "yeast"
    }
    single = {"sequence": "Second", "id": "First"}
    assert [(r.id, r.chains) for r in read_records(path, columns=single, chains=1)] == [
        ("MKT", ("GG",)),
        ("AC", ("DE",)),
    ]


def test_line_numbers_count_lines_inside_quotes(tmp_path):
    path = write(tmp_path / "a.csv", 'id,note,sequence\n1,"two\nlines",MK\n\n2,x,MK1\n')
    reading = read_records(path, on_error="collect")
    assert [record.line for record in reading] == [2]
    assert reading.failures[0].detail.startswith(
        f"{path}, line 5, row 2, record '2', column 'sequence', position 3"
    )


def test_parquet_types_and_folders(tmp_path):
    table = pa.table(
        {
            "id": pa.array([7, 8], pa.int64()),
            "sequence": pa.array(["MK", "GG"]).dictionary_encode(),
            "weight": pa.array([1.0, 2.5]),
            "ok": [True, False],
            "positions": [[1], [2]],
            "raw": pa.array([b"x", b"y"]),
        }
    )
    (tmp_path / "shards").mkdir()
    pq.write_table(table, tmp_path / "shards" / "0.parquet")
    pq.write_table(
        table.slice(0, 1).set_column(0, "id", pa.array([9], pa.int64())), tmp_path / "shards" / "1.parquet"
    )
    records = list(read_records(tmp_path / "shards"))
    assert [record.id for record in records] == ["7", "8", "9"]
    assert records[0].fields == {"weight": "1", "ok": "1", "raw": "x"}
    assert records[1].fields == {"weight": "2.5", "ok": "0", "raw": "y"}
    assert [record.ordinal for record in records] == [0, 1, 2]
    for kind in (pa.large_string(), pa.binary(), pa.string_view()):
        path = tmp_path / "other.parquet"
        pq.write_table(pa.table({"sequence": pa.array(["MK"], pa.string()).cast(kind)}), path)
        assert [record.chains for record in read_records(path)] == [("MK",)]


def test_records_from_python_objects():
    def chains(source, **keywords):
        return [(record.id, record.chains) for record in records_from(source, **keywords)]

    assert chains("mkt") == [("1", ("MKT",))]
    assert chains(["MK", "GG"]) == [("1", ("MK",)), ("2", ("GG",))]
    assert chains({"a": "MK", "b": ("GG", "AC")}) == [("a", ("MK",)), ("b", ("GG", "AC"))]
    assert chains(SeqRecord(Seq("MK"), id="x")) == [("x", ("MK",))]
    assert chains([SeqRecord(Seq("MK"), id="x"), SeqRecord(Seq("GG"), id="y")]) == [
        ("x", ("MK",)),
        ("y", ("GG",)),
    ]
    assert chains([{"id": "a", "sequence": "MK", "ligand": "ZN"}]) == [("a", ("MK",))]
    assert chains(sequence for sequence in ["MK"]) == [("1", ("MK",))]
    given = ProteinRecord("p", ("mk",), molecule="C", fields={"organism": "yeast"})
    (record,) = records_from([given])
    assert record == ProteinRecord("p", ("MK",), molecule="C", fields={"organism": "yeast"})
    assert next(iter(records_from(pd.DataFrame({"sequence": ["MK"], "id": [7]})))).id == "7"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (5, "input.type"),
        (b"MK", "input.type"),
        ([("a", "MK")], "input.type"),
        ({"id": "a", "sequence": "MK"}, "input.type"),
        ("proteins.fasta", "input.type"),
        ({"a": ("M", "K", "T")}, "input.chains"),
        ({"a": None}, "seq.empty"),
        ({"a": 5}, "seq.type"),
        (["MK", "M1"], "seq.char"),
        (pd.DataFrame({"sequence": ["MK", float("nan")]}), "seq.empty"),
        (pd.DataFrame({"sequence": [1]}), "table.type"),
        (pd.DataFrame({"seq": ["MK"]}), "table.missing_column"),
    ],
)
def test_objects_that_are_no_proteins(source, code):
    with pytest.raises(InputError) as caught:
        list(records_from(source))
    assert caught.value.code == code


def test_failures_are_collected_in_order(tmp_path):
    path = write(tmp_path / "a.fasta", ">a\nMK\n>b\nM1\n>c\nGG\n>d\n")
    reading = read_records(path, on_error="collect")
    assert [record.id for record in reading] == ["a", "c"]
    assert [(f.ordinal, f.id, f.code) for f in reading.failures] == [
        (1, "b", "seq.char"),
        (3, "d", "seq.empty"),
    ]
    assert [type(outcome) for outcome in reading.outcomes()] == [
        ProteinRecord,
        Failure,
        ProteinRecord,
        Failure,
    ]
    assert reading.counts == {"records": 2, "failures": 2}
    with pytest.raises(ConfigError):
        read_records(path, on_error="ignore")


def test_a_row_without_an_id_is_not_given_one(tmp_path):
    reading = read_records(write(tmp_path / "a.csv", "id,sequence\n,MK\nb,GG\n"), on_error="collect")
    assert [record.id for record in reading] == ["b"]
    assert [(failure.ordinal, failure.id, failure.code) for failure in reading.failures] == [
        (0, "", "id.empty")
    ]


def test_gaps_can_be_removed(tmp_path):
    path = write(tmp_path / "a.fasta", ">a\nM-K.\n")
    reading = read_records(path, options=ReadOptions(cleaning=Cleaning(degap=True)))
    assert next(iter(reading)).sequence == "MK"
    assert reading.counts["gap"] == 2


def test_repeated_ids_are_found_beyond_what_is_kept_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(SeenIds, "EXACT", 10)
    monkeypatch.setattr(SeenIds, "CAPACITY", 100)
    # So few bits that the filter is often wrong: its hits must be looked up, not believed.
    monkeypatch.setattr(SeenIds, "BITS", 1 << 11)
    path = write(tmp_path / "a.fasta", "".join(f">p{number}\nMK\n" for number in range(300)))
    assert len(list(read_records(path))) == 300
    with path.open("ab") as file:
        file.write(b">p150\nGG\n")
    with pytest.raises(SequenceError) as caught:
        list(read_records(path))
    assert caught.value.code == "id.duplicate"
    assert caught.value.where.line == 601
    assert "line 301" in caught.value.message


def peak(path, options=DEFAULTS):
    tracemalloc.start()
    count = sum(1 for _ in read_records(path, options=options, on_error="collect"))
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, size


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(SeenIds, "EXACT", 1_000)
    monkeypatch.setattr(SeenIds, "BITS", 1 << 20)
    line = b"ACDEFGHIKLMNPQRSTVWY" * 20 + b"\n"

    def fasta(name, count):
        with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
            for number in range(count):
                file.write(b">p%d\n" % number + line)
        return tmp_path / name

    few, many = peak(fasta("few.gz", 2_000)), peak(fasta("many.gz", 20_000))
    assert (few[0], many[0]) == (2_000, 20_000)
    assert many[1] < few[1] + (1 << 20)


def test_one_endless_line_is_read_past(tmp_path):
    path = tmp_path / "a.fasta.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b">a\n")
        for _ in range(64):
            file.write(b"A" * (1 << 20))
        file.write(b"\n>b\nMK\n")
    count, size = peak(path, ReadOptions(max_line_bytes=1 << 20))
    assert count == 1
    assert size < 8 << 20


def test_length_policies():
    record = ProteinRecord("a", ("MKTAY", "GG"))
    assert apply_length_policy(record, 5, "error") is record
    assert apply_length_policy(record, None, "error") is record
    assert apply_length_policy(record, 3, "window") is record
    assert apply_length_policy(record, 3, "full") is record
    cut = apply_length_policy(record, 3, "truncate")
    assert (cut.chains, cut.original_lengths) == (("MKT", "GG"), (5, 2))
    with pytest.raises(SequenceError) as caught:
        apply_length_policy(record, 3, "error")
    assert caught.value.code == "seq.too_long"
    with pytest.raises(ConfigError):
        apply_length_policy(record, 3, "crop")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b">", b"a", b"MK", b"\n", b"\r", b"*", b"-", b";", b" ", b"\x00", b"\xff", b"1", b'"', b",",
                                 b"sequence", b"id", b"\x1f\x8b", b"\xef\xbb\xbf", b"\t", b"@"]), max_size=30),
       st.sampled_from([".fasta", ".csv", ".tsv", ".parquet", ""]))  # fmt: skip
def test_any_bytes_give_records_or_our_errors(tmp_path_factory, parts, suffix):
    path = write(tmp_path_factory.mktemp("any") / f"a{suffix}", b"".join(parts))
    try:
        reading = read_records(path, on_error="collect")
        for record in reading:
            assert set(record.sequence) <= set(RESIDUES)
    except ProtscribeError:
        pass


def test_a_stamp_pins_the_file(tmp_path):
    path = write(tmp_path / "a.fasta", ">a\nMK\n")
    stamp = take_stamp(path)
    assert len(list(read_records(path, options=ReadOptions(stamp=stamp)))) == 1
    write(path, ">a\nMKT\n")
    with pytest.raises(InputError) as caught:
        list(read_records(path, options=ReadOptions(stamp=stamp)))
    assert caught.value.code == "input.changed"
