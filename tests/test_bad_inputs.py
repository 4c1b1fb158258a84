"""Bad input: what each case gets, one test id a row of the table of cases that the project agreed on.

A row is a function decorated with ``@row(number)`` that makes the bad input in a folder of its own and checks the code, the
place, and that good neighbours survive. To add a row, write such a function and add its number to ``COVERED``.
"""

import gzip
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protscribe.alphabet import RESIDUES, Cleaning, residue_ids
from protscribe.catalogue import read_task, task_names
from protscribe.codecs import codec_from_plain
from protscribe.data.examples import fill_task, read_source, shared_sequences
from protscribe.data.lengths import apply_length_policy
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.readers import read_records, records_from
from protscribe.data.reading import ReadOptions
from protscribe.data.source import Source
from protscribe.documents import read_yaml
from protscribe.errors import ProtscribeError
from protscribe.grammar import accepts
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary

Check = Callable[..., None]
ROWS: dict[int, Check] = {}
COVERED = {*range(1, 79), *range(80, 97)}
"""Rows of readers, codecs, tasks and sources. 79 needs a bundle; from 97 on: configuration, checkpoints, output."""


def row(number: int) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        assert number not in ROWS, f"row {number} stands twice"
        ROWS[number] = check
        return check

    return register


@pytest.mark.parametrize("number", sorted(ROWS.keys() | COVERED), ids=lambda number: f"row-{number:03}")
def test_row(number, tmp_path, monkeypatch):
    check = ROWS[number]
    known = {"folder": tmp_path, "monkeypatch": monkeypatch}
    check(**{name: known[name] for name in check.__code__.co_varnames[: check.__code__.co_argcount]})


def test_the_rows_here_are_the_rows_covered():
    assert set(ROWS) == COVERED


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **options: Any) -> dict[str, str]:
    """What a good file gives."""
    return {record.id: record.sequence for record in read_records(path, options=ReadOptions(**options))}


def raises(code: str, call: Callable[[], Any]) -> ProtscribeError:
    with pytest.raises(ProtscribeError) as caught:
        call()
    assert caught.value.code == code, caught.value
    assert caught.value.exit_status == 2
    return caught.value


def fatal(path: Path, code: str, **options: Any) -> ProtscribeError:
    """The whole file is refused, whether errors are raised or collected."""
    read_all = {
        on_error: lambda on_error=on_error: list(
            read_records(path, on_error=on_error, options=ReadOptions(**options))
        )
        for on_error in ("raise", "collect")
    }
    raises(code, read_all["collect"])
    error = raises(code, read_all["raise"])
    assert error.where.file == str(path)
    return error


def rejected(
    path: Path, code: str, survivors: dict[str, str], position: int | None = None, **options: Any
) -> None:
    """One record is refused, with its place; the others survive."""
    error = raises(code, lambda: list(read_records(path, options=ReadOptions(**options))))
    assert error.where.file == str(path)
    assert error.where.line is not None or error.where.row is not None
    assert error.where.position == position
    reading = read_records(path, on_error="collect", options=ReadOptions(**options))
    assert {record.id: record.sequence for record in reading} == survivors
    assert [failure.code for failure in reading.failures] == [code]


def fasta(folder: Path, body: str | bytes) -> Path:
    """A record ``bad`` between two good ones."""
    body = body if isinstance(body, bytes) else body.encode()
    return write(folder, "a.fasta", b">first\nMKT\n>bad\n" + body + b"\n>last\nGG\n")


GOOD = {"first": "MKT", "last": "GG"}

# FASTA and sequences


@row(1)
def missing_or_not_a_file(folder):
    fatal(folder / "none.fasta", "input.not_found")
    fatal(folder, "input.not_regular")
    os.mkfifo(folder / "pipe")
    fatal(folder / "pipe", "input.not_regular")
    raises("input.unreadable", lambda: list(read_records("a\x00b")))


@row(2)
def permission_denied(folder, monkeypatch):
    path = write(folder, "a.fasta", ">a\nMK\n")
    path.chmod(0)
    if os.geteuid() == 0:
        # Root may read anything: look at the file as somebody else.
        for parent in [folder, *folder.parents[:2]]:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        fatal(path, "input.unreadable")
    finally:
        os.seteuid(os.getuid())


@row(3)
def nothing_in_the_file(folder):
    path = write(folder, "a.fasta", b"")
    fatal(path, "fasta.empty")
    assert read(path, allow_empty=True) == {}


@row(4)
def only_blanks(folder):
    fatal(write(folder, "a.fasta", " \n\n\t\r\n"), "fasta.empty")


@row(5)
def text_before_the_first_header(folder):
    assert fatal(write(folder, "a.fasta", "MKT\n>b\nGG\n"), "fasta.no_header").where.line == 1
    assert fatal(write(folder, "b.fasta", "\nMKT\n"), "fasta.no_header").where.line == 2


@row(6)
def blank_lines(folder):
    assert read(write(folder, "a.fasta", "\n\n>a\nMK\n\nTA\n\n>b\n\nGG\n")) == {"a": "MKTA", "b": "GG"}


@row(7)
def byte_order_mark(folder):
    assert read(write(folder, "a.fasta", "\ufeff>a\nMK\n\ufeff>b\nGG\n")) == {"a": "MK", "b": "GG"}
    rejected(fasta(folder, "\ufeffMK"), "seq.char", GOOD, position=1)


@row(8)
def wide_text(folder):
    for encoding in ("utf-16", "utf-32"):
        path = write(folder, "a.fasta", ">a\nMK\n".encode(encoding))
        assert "UTF-8" in fatal(path, "text.encoding").message


@row(9)
def lines_end_in_crlf(folder):
    assert read(write(folder, "a.fasta", ">a x\r\nMK\r\nTA\r\n>b\r\nGG\r\n")) == {"a": "MKTA", "b": "GG"}


@row(10)
def lines_end_in_cr(folder):
    assert read(write(folder, "a.fasta", ">a x\rMK\rTA\r>b\rGG")) == {"a": "MKTA", "b": "GG"}


@row(11)
def no_newline_at_the_end(folder):
    assert read(write(folder, "a.fasta", ">a\nMK")) == {"a": "MK"}


@row(12)
def header_without_id(folder):
    path = write(folder, "a.fasta", ">\nMK\n>last\nGG\n")
    rejected(path, "fasta.no_id", {"last": "GG"})
    rejected(write(folder, "a.fasta", "> \t\nMK\n>last\nGG\n"), "fasta.no_id", {"last": "GG"})


@row(13)
def blank_after_the_mark(folder):
    assert read(write(folder, "a.fasta", ">  a b\nMK\n")) == {"a": "MK"}


@row(14)
def header_only(folder):
    rejected(fasta(folder, ""), "seq.empty", GOOD)
    rejected(write(folder, "b.fasta", ">first\nMKT\n>bad"), "seq.empty", {"first": "MKT"})


@row(15)
def repeated_id(folder):
    path = write(folder, "a.fasta", ">a\nMK\n>b\nGG\n>a\nTT\n")
    error = fatal(path, "id.duplicate")
    assert error.where.line == 5
    assert "line 1" in error.message
    records = list(read_records(path, options=ReadOptions(id_policy="ordinal")))
    assert [(r.ordinal, r.id, r.sequence) for r in records] == [
        (0, "a", "MK"),
        (1, "b", "GG"),
        (2, "a", "TT"),
    ]


@row(16)
def repeated_id_and_sequence(folder):
    path = write(folder, "a.fasta", ">a\nMK\n>a\nMK\n")
    fatal(path, "id.duplicate")
    assert len(list(read_records(path, options=ReadOptions(id_policy="ordinal")))) == 2


@row(17)
def repeated_sequence(folder):
    assert read(write(folder, "a.fasta", ">a\nMK\n>b\nMK\n")) == {"a": "MK", "b": "MK"}


@row(18)
def lower_case(folder):
    path = fasta(folder, "mkt")
    reading = read_records(path)
    assert [record.sequence for record in reading] == ["MKT", "MKT", "GG"]
    assert reading.counts["lower_case"] == 3
    rejected(path, "seq.lower_case", GOOD, position=1, cleaning=Cleaning(soft_mask="reject"))


@row(19)
def mixed_case(folder):
    sequence = read(fasta(folder, "MKTayGG"))["bad"]
    assert sequence == "MKTAYGG"
    assert len(residue_ids(sequence)) == 7


@row(20)
def stop_at_the_end(folder):
    reading = read_records(fasta(folder, "MKT\n*"))
    assert [record.sequence for record in reading] == ["MKT", "MKT", "GG"]
    assert reading.counts["stop"] == 1


@row(21)
def stop_inside(folder):
    rejected(fasta(folder, "MK\nT*A"), "seq.stop_inside", GOOD, position=4)


@row(22)
def gaps(folder):
    rejected(fasta(folder, "MK-T"), "seq.gap", GOOD, position=3)
    rejected(fasta(folder, ".MKT"), "seq.gap", GOOD, position=1)
    assert read(fasta(folder, "M-K.T"), cleaning=Cleaning(degap=True))["bad"] == "MKT"


@row(23)
def unknown_residue(folder):
    assert read(fasta(folder, "MXK"))["bad"] == "MXK"


@row(24)
def rare_residues(folder):
    assert read(fasta(folder, "BZUO"))["bad"] == "BZUO"
    assert residue_ids("BZUO").tolist() == [RESIDUES.index(residue) for residue in "BZUO"]


@row(25)
def leucine_or_isoleucine(folder):
    reading = read_records(fasta(folder, "MJK"))
    assert [record.sequence for record in reading] == ["MKT", "MXK", "GG"]
    assert reading.counts["j"] == 1
    rejected(fasta(folder, "MJK"), "seq.char", GOOD, position=2, cleaning=Cleaning(j="reject"))


@row(26)
def digits(folder):
    rejected(fasta(folder, "1 mktay 61 gg"), "seq.char", GOOD, position=1)
    rejected(fasta(folder, "MK\nT7"), "seq.char", GOOD, position=4)


@row(27)
def blanks_inside_a_line(folder):
    reading = read_records(fasta(folder, "MK TA\tY "))
    assert [record.sequence for record in reading] == ["MKT", "MKTAY", "GG"]
    assert reading.counts["blank"] == 3


@row(28)
def control_bytes(folder):
    rejected(fasta(folder, b"MK\x00TA"), "seq.char", GOOD, position=3)
    rejected(fasta(folder, b"MK\x1a"), "seq.char", GOOD, position=3)


@row(29)
def letters_beyond_ascii(folder):
    for letter, code in (("Å", "U+00C5"), ("Ｍ", "U+FF2D"), ("А", "U+0410")):  # noqa: RUF001
        rejected(fasta(folder, f"MK{letter}"), "seq.char", GOOD, position=3)
        assert code in raises("seq.char", lambda: read(folder / "a.fasta")).message


@row(30)
def header_that_is_not_utf8(folder):
    reading = read_records(write(folder, "a.fasta", b">caf\xe9 x\nMK\n>b \xff\nGG\n"))
    assert [record.id for record in reading] == ["café", "b"]
    assert reading.counts["header_encoding"] == 2


@row(31)
def sequence_that_is_not_utf8(folder):
    rejected(fasta(folder, b"MK\xffT"), "seq.char", GOOD, position=3)


@row(32)
def control_tokens_as_text(folder):
    for token in ("<pad>", "<eos>", "<mask>", "<cls>", "<task>"):
        rejected(fasta(folder, f"MK{token}"), "seq.char", GOOD, position=3)


@row(33)
def semicolon_comment(folder):
    rejected(fasta(folder, "MK\n;TA\nTA"), "fasta.semicolon", GOOD)
    fatal(write(folder, "b.fasta", ";old style\n>a\nMK\n"), "fasta.semicolon")


@row(34)
def fastq(folder):
    fatal(write(folder, "a.fasta", "@read1\nACGT\n+\nIIII\n"), "fasta.is_fastq")


@row(35)
def other_formats(folder):
    for content, guess in (
        ("CLUSTAL W\n\na MK\n", "Clustal"), ("# STOCKHOLM 1.0\na MK\n", "Stockholm"), ("#A3M#\n>a\nMK\n", "A3M"),
        ("HEADER    X\n", "PDB"), ("LOCUS       X\n", "GenBank"), ('{"a": 1}', "JSON"), ("<!doctype html>\n", "HTML"),
    ):  # fmt: skip
        assert guess in fatal(write(folder, "a.fasta", content), "fasta.format").message
    fatal(write(folder, "a.a3m", ">a\nMK-t\n"), "fasta.format")


@row(36)
def nucleotides(folder):
    proteins = "".join(f">p{number}\nMKLVWHDE\n" for number in range(3))
    many = write(
        folder, "dna.fasta", "".join(f">g{number}\n{'ACGT' * 20}\n" for number in range(4)) + proteins
    )
    fatal(many, "seq.looks_nucleotide")
    assert len(read(many, nucleotides="accept")) == 7
    reading = read_records(write(folder, "one.fasta", f">g\n{'ACGUN' * 12}\n" + proteins))
    assert len(list(reading)) == 4
    assert reading.counts["looks_nucleotide"] == 1


@row(37)
def one_residue(folder):
    assert read(fasta(folder, "M"))["bad"] == "M"
    record = ProteinRecord("a", ("S",))
    for plain, answer in (
        ({"kind": "residue_set"}, (1,)), ({"kind": "residue_set"}, ()), ({"kind": "residue_labels", "labels": ["H", "C"]}, "H"),
        ({"kind": "residue_pairs"}, ()), ({"kind": "category", "labels": ["a", "b"]}, "b"),
        ({"kind": "sequence", "alphabet": ["a", "b"]}, "a"), ({"kind": "number", "low": 0, "high": 1, "step": 0.1}, 0.5),
    ):  # fmt: skip
        codec = task(plain).codec
        assert accepts(codec.grammar(record), codec.encode(answer, record).tokens)


@row(38)
def longer_than_the_encoder_reads():
    record = ProteinRecord("a", ("MKTAY",), line=3)
    error = raises("seq.too_long", lambda: apply_length_policy(record, 4, "error"))
    assert (error.where.record, error.where.line) == ("a", 3)
    cut = apply_length_policy(record, 4, "truncate")
    assert cut.original_lengths == (5,)
    raises("label.index", lambda: codec_from_plain({"kind": "residue_set"}).parse("5", cut))
    labels = codec_from_plain({"kind": "residue_labels", "labels": ["H", "C"], "block": "x"})
    raises("label.length", lambda: labels.parse("HHHHC", cut))


@row(39)
def ten_megabytes_of_one_protein(folder):
    line = b"ACDEFGHIKL" * 6 + b"\n"
    rejected(fasta(folder, line * 170_000), "seq.too_long", GOOD)
    rejected(fasta(folder, "MKTAY"), "seq.too_long", GOOD, max_residues=4)


@row(40)
def a_line_without_end(folder):
    rejected(fasta(folder, b"A" * 1_000), "line.too_long", GOOD, max_line_bytes=999)
    fatal(write(folder, "a.csv", b"id,sequence\na," + b"A" * 1_000), "line.too_long", max_line_bytes=999)


@row(41)
def many_records(folder):
    path = write(folder, "a.fasta", b"".join(b">p%d\nMK\n" % number for number in range(30_000)))
    stream = iter(read_records(path))
    assert next(stream).id == "p0"
    assert sum(1 for _ in stream) == 29_999


@row(42)
def a_header_of_a_megabyte(folder):
    path = write(folder, "a.fasta", b">first\nMKT\n>" + b"x" * 1_000_000 + b"\nMK\n>last\nGG\n")
    rejected(path, "id.too_long", GOOD)
    assert len(raises("id.too_long", lambda: read(path)).message) < 300


@row(43)
def odd_ids(folder):
    text = 'id,sequence\n../../etc/passwd,MK\n=cmd(),GG\n"a,b",AC\n"say ""x""",AD\n'
    assert list(read(write(folder, "a.csv", text))) == ["../../etc/passwd", "=cmd()", "a,b", 'say "x"']
    rejected(write(folder, "b.csv", 'id,sequence\n"a\nb",MK\nlast,GG\n'), "id.char", {"last": "GG"})
    rejected(write(folder, "a.fasta", b">a\x00b\nMK\n>last\nGG\n"), "id.char", {"last": "GG"})


@row(44)
def joined_headers(folder):
    assert read(write(folder, "a.fasta", b">WP_1.1 one\x01WP_2.1 two\nMK\n>WP_3\x01WP_4\nGG\n")) == {
        "WP_1.1": "MK",
        "WP_3": "GG",
    }


def packed(text: bytes = b">a\nMK\n>b\nGG\n") -> bytes:
    return gzip.compress(text)


@row(45)
def truncated_gzip(folder):
    content = gzip.compress(
        os.urandom(50_000).hex().encode().translate(bytes.maketrans(b"0123456789abcdef", b"ACDEFGHIKLMNPQRS"))
    )
    for cut in (5, 12, len(content) // 2, len(content) - 1):
        fatal(write(folder, "a.fasta.gz", content[:cut]), "gzip.truncated")
    path = write(folder, "b.fasta.gz", packed(b">a\nMK\n" + b">b\nGG\n" * 3)[:-8])
    stream = iter(read_records(path, options=ReadOptions(id_policy="ordinal", nucleotides="accept")))
    raises("gzip.truncated", lambda: list(stream))


@row(46)
def damaged_gzip(folder):
    content = bytearray(packed())
    content[-6] ^= 1
    fatal(write(folder, "a.fasta.gz", bytes(content)), "gzip.corrupt")
    fatal(write(folder, "b.fasta.gz", packed() + b"junk behind it"), "gzip.corrupt")


@row(47)
def gzip_of_several_members(folder):
    path = write(folder, "a.fasta.gz", packed(b">a\nM") + packed(b"K\n>b\n") + packed(b"GG\n"))
    assert read(path) == {"a": "MK", "b": "GG"}


@row(48)
def names_that_lie_about_compression(folder):
    assert read(write(folder, "a.fasta.gz", b">a\nMK\n")) == {"a": "MK"}
    assert read(write(folder, "b.fasta", packed())) == {"a": "MK", "b": "GG"}
    fatal(write(folder, "c.fasta.gz", gzip.compress(packed())), "input.compression")


@row(49)
def gzip_bomb(folder):
    path = write(folder, "a.fasta.gz", packed(b">a\n" + (b"A" * 59 + b"\n") * 200_000))
    assert path.stat().st_size < 100_000
    fatal(path, "gzip.too_large", max_decompressed_bytes=1_000_000)
    fatal(path, "seq.looks_nucleotide", max_residues=20_000_000)


@row(50)
def other_compressions(folder):
    for magic in (b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04"):
        fatal(write(folder, "a.fasta", magic + b"\x00" * 20), "input.compression")


@row(51)
def file_changes_while_it_is_read(folder):
    path = write(folder, "a.fasta", b"".join(b">p%d\nMKLVW\n" % number for number in range(1_000)))
    stream = iter(read_records(path))
    next(stream)
    with path.open("ab") as file:
        file.write(b">late\nMK\n")
    raises("input.changed", lambda: list(stream))


@row(52)
def standard_input(monkeypatch):
    for text, expected in (
        (b">a\nMK\n", {"a": "MK"}), (packed(), {"a": "MK", "b": "GG"}), (b"id,sequence\nx,MK\n", {"x": "MK"}),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert read(Path("-")) == expected


# Tables


@row(53)
def missing_column(folder):
    path = write(folder, "a.csv", "id,Sequence,label\na,MK,1\n")
    error = fatal(path, "table.missing_column")
    assert "'Sequence'" in error.message
    assert "id" in error.message
    raises("table.missing_column", lambda: list(read_records(path, columns={"sequence": "Seqence"})))


@row(54)
def duplicate_column(folder):
    fatal(write(folder, "a.csv", "id,sequence,id\na,MK,b\n"), "table.duplicate_column")


@row(55)
def no_header(folder):
    fatal(write(folder, "a.csv", "MKTAYIAKQR,1\nGGGGGGGGGG,0\n"), "table.no_header")
    fatal(write(folder, "b.csv", "prot1,MK,0.5\nprot2,GG,1.5\n"), "table.no_header")


@row(56)
def wrong_delimiter(folder):
    assert "';'" in fatal(write(folder, "a.csv", "id;sequence\na;MK\n"), "table.delimiter").message
    fatal(write(folder, "b.csv", "id\tsequence\na\tMK\n"), "table.delimiter")
    fatal(write(folder, "c.tsv", "id,sequence\na,MK\n"), "table.delimiter")
    assert read(folder / "a.csv", delimiter=";") == {"a": "MK"}


@row(57)
def row_too_long(folder):
    rejected(write(folder, "a.csv", "id,sequence\na,MK,x\nb,GG\n"), "table.width", {"b": "GG"})


@row(58)
def row_too_short(folder):
    rejected(write(folder, "a.csv", "id,sequence,x\na,MK\nb,GG,1\n"), "table.width", {"b": "GG"})


@row(59)
def unclosed_quote(folder):
    path = write(folder, "a.csv", 'id,sequence\na,MK\nb,"GG\nc,AA\nd,CC\n')
    assert fatal(path, "table.quote").where.line == 3
    fatal(write(folder, "b.csv", 'id,sequence\na,"M"K\n'), "table.quote")


@row(60)
def words_that_mean_nothing_elsewhere(folder):
    path = write(folder, "a.csv", "id,sequence\nNA,NA\nnull,AN\nNone,NK\nnan,NAN\n")
    assert read(path) == {"NA": "NA", "null": "AN", "None": "NK", "nan": "NAN"}


@row(61)
def ids_that_look_like_numbers(folder):
    path = write(folder, "a.csv", "id,sequence\n007,MK\n1E5,MK\nTRUE,MK\nSEPT2,MK\n1.0,MK\n")
    assert list(read(path)) == ["007", "1E5", "TRUE", "SEPT2", "1.0"]


@row(62)
def text_encodings_of_tables(folder):
    assert read(write(folder, "a.csv", "\ufeffid,sequence\r\na,MK\r\nb,GG\r\n")) == {"a": "MK", "b": "GG"}
    assert read(write(folder, "b.csv", "id,sequence\ra,MK\r")) == {"a": "MK"}
    reading = read_records(write(folder, "c.csv", b"id,sequence\ncaf\xe9,MK\n"))
    assert [record.id for record in reading] == ["café"]
    assert reading.counts["encoding"] == 1
    fatal(write(folder, "d.csv", "id,sequence\na,MK\n".encode("utf-16")), "text.encoding")


@row(63)
def empty_table(folder):
    fatal(write(folder, "a.csv", "id,sequence\n"), "table.empty")
    fatal(write(folder, "b.csv", ""), "table.empty")
    assert read(folder / "a.csv", allow_empty=True) == read(folder / "b.csv", allow_empty=True) == {}


@row(64)
def empty_sequence_cell(folder):
    rejected(write(folder, "a.csv", "id,sequence\na,\nb,GG\n"), "seq.empty", {"b": "GG"})
    pq.write_table(pa.table({"id": ["a", "b"], "sequence": [None, "GG"]}), folder / "a.parquet")
    rejected(folder / "a.parquet", "seq.empty", {"b": "GG"})
    raises("seq.empty", lambda: list(records_from(pd.DataFrame({"id": ["a"], "sequence": [None]}))))


@row(65)
def spreadsheet(folder):
    for name in ("a.csv", "a.xlsx"):
        fatal(write(folder, name, b"PK\x03\x04" + b"\x00" * 30), "table.format")


@row(66)
def formula_text(folder):
    record = next(iter(read_records(write(folder, "a.csv", "id,sequence,note\na,MK,=1+1\n"))))
    assert record.fields["note"] == "=1+1"


@row(67)
def broken_parquet(folder):
    pq.write_table(pa.table({"sequence": ["MK"] * 100}), folder / "a.parquet")
    content = (folder / "a.parquet").read_bytes()
    for part in (content[:-4], content[: len(content) // 2], content[:4], b""):
        fatal(write(folder, "b.parquet", part), "parquet.corrupt")
    # A name and a cell that claim to be text and are not.
    fatal(write(folder, "c.parquet", content.replace(b"sequence", b"sequenc\xf3")), "parquet.corrupt")
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"M\xff"]).buffers())
    pq.write_table(pa.table({"sequence": bad}), folder / "d.parquet")
    fatal(folder / "d.parquet", "parquet.corrupt")


@row(68)
def parquet_of_other_types(folder):
    pq.write_table(pa.table({"sequence": [1, 2]}), folder / "a.parquet")
    assert "int64" in fatal(folder / "a.parquet", "table.type").message
    pq.write_table(pa.table({"sequence": [["M", "K"]]}), folder / "b.parquet")
    fatal(folder / "b.parquet", "table.type")
    for kind in (pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"sequence": pa.array(["MK"]).cast(kind)}), folder / "c.parquet")
        assert read(folder / "c.parquet") == {"1": "MK"}


@row(69)
def parquet_without_rows(folder):
    schema = pa.schema([("sequence", pa.string())])
    with pq.ParquetWriter(folder / "a.parquet", schema):
        pass
    assert pq.ParquetFile(folder / "a.parquet").num_row_groups == 0
    fatal(folder / "a.parquet", "table.empty")


SITES = Task.from_plain({"name": "sites", "title": "Sites", "codec": {"kind": "residue_set"}})


@row(70)
def parquet_labels_of_another_type(folder):
    for cells in ([["3"]], [[1.5]], [[{"a": 1}]], [{"a": 1}]):
        pq.write_table(pa.table({"sequence": ["MKTAY"], "label": cells}), folder / "a.parquet")
        source = Source("s", "a.parquet", "sites")
        error = raises("table.type", lambda source=source: read_source(source, SITES, "train", root=folder))
        assert error.where.column == "label"


@row(71)
def one_huge_row_group(folder):
    pq.write_table(
        pa.table({"sequence": ["MKTAY" * 20] * 20_000}), folder / "a.parquet", row_group_size=20_000
    )
    assert pq.ParquetFile(folder / "a.parquet").num_row_groups == 1
    stream = iter(read_records(folder / "a.parquet"))
    assert next(stream).id == "1"
    assert sum(1 for _ in stream) == 19_999


@row(72)
def shards_that_differ(folder):
    pq.write_table(pa.table({"sequence": ["MK"], "n": [1]}), folder / "0.parquet")
    pq.write_table(pa.table({"sequence": ["MK"], "n": ["x"]}), folder / "1.parquet")
    error = raises("table.schema_mismatch", lambda: list(read_records(folder)))
    assert error.where.file == str(folder / "1.parquet")
    assert "0.parquet" in error.message


@row(73)
def arrow_files(folder):
    fatal(write(folder, "a.arrow", b"ARROW1\x00\x00"), "input.format")
    (folder / "dataset").mkdir()
    write(folder / "dataset", "data-00000.arrow", b"ARROW1")
    assert "Parquet" in fatal(folder / "dataset", "input.format").message


# Tasks and labels


def task(codec: dict[str, Any], **others: Any) -> Task:
    return Task.from_plain({"name": "t", "title": "T", "codec": codec, **others})


def label(codec: dict[str, Any], cell: Any, sequence: str = "MKTAY", base: int = 1) -> Any:
    return task(codec).codec.parse(cell, ProteinRecord("p", (sequence,), line=7), base)


def bad_label(code: str, codec: dict[str, Any], cell: Any, **others: Any) -> ProtscribeError:
    error = raises(code, lambda: label(codec, cell, **others))
    assert (error.where.record, error.where.line) == ("p", 7)
    return error


CLASSES = {"kind": "category", "labels": ["Nucleus", "Cytoplasm"]}
SEVERAL = {"kind": "category_set", "labels": ["Nucleus", "Cytoplasm"]}
NUMBER = {"kind": "number", "low": -10, "high": 10, "step": 0.01}


@row(74)
def unknown_task():
    mixture = Mixture({"solubilty": {"source": "x"}})
    error = raises("task.unknown", lambda: mixture.check_tasks(["solubility", "capsid"]))
    assert "did you mean 'solubility'" in error.message
    assert "did you mean 'solubility'" in raises("task.unknown", lambda: read_task("solubilty")).message


@row(75)
def two_tasks_of_one_name(folder):
    for part in ("a", "b"):
        (folder / "task" / part).mkdir(parents=True)
        write(folder / "task" / part, "mine.yaml", "name: mine\n")
    assert "mine" in raises("config.duplicate_key", lambda: task_names(folder)).message


@row(76)
def bad_classes():
    for labels in (["one"], ["a", "a"], ["a", "b", "a"]):
        raises("task.classes", lambda labels=labels: task({"kind": "category", "labels": labels}))
    raises("task.no_data", lambda: fill_task(task({"kind": "category"}), []))


@row(77)
def reserved_classes():
    for text in ("<eos>", "<pad>", "<mask>"):
        raises("task.reserved", lambda text=text: task({"kind": "category", "labels": ["a", text]}).blocks())


@row(78)
def tasks_that_share_class_names():
    one, other = (Task.from_plain({"name": name, "title": "", "codec": CLASSES}) for name in ("one", "other"))
    vocabulary = Vocabulary.compose([*one.blocks(), *other.blocks()])
    symbols = [block.symbols()[0] for item in (one, other) for block in item.codec.blocks()]
    assert symbols[0].text == symbols[1].text
    assert vocabulary.id(symbols[0]) != vocabulary.id(symbols[1])


@row(80)
def unknown_class():
    assert "Cytoplasm" in bad_label("label.unknown_class", CLASSES, "Golgi").message
    bad_label("label.unknown_class", SEVERAL, "Nucleus;Golgi")


@row(81)
def class_that_differs_by_case_or_blank():
    for cell in ("nucleus", "Nucleus ", " Nucleus"):
        assert "did you mean 'Nucleus'" in bad_label("label.unknown_class", CLASSES, cell).message


@row(82)
def sets_of_labels():
    assert label(SEVERAL, "Cytoplasm;Nucleus;Cytoplasm") == ("Nucleus", "Cytoplasm")
    assert label(SEVERAL, "") == label(SEVERAL, "<none>") == label(SEVERAL, []) == ()


@row(83)
def number_that_is_none(folder):
    bad_label("label.nan", NUMBER, "nan")
    bad_label("label.nan", NUMBER, float("nan"))
    pq.write_table(pa.table({"sequence": ["MK", "GG"], "label": [1.0, None]}), folder / "a.parquet")
    source = Source("s", "a.parquet", "t")
    error = raises("label.missing", lambda: read_source(source, task(NUMBER), "train", root=folder))
    assert (error.where.file, error.where.row) == (str(folder / "a.parquet"), 2)
    skipping = Source("s", "a.parquet", "t", missing="skip")
    assert [example.answer for example in read_source(skipping, task(NUMBER), "train", root=folder)] == [1.0]


@row(84)
def number_without_end():
    for cell in ("inf", "-inf", "1e400", float("inf")):
        bad_label("label.not_finite", NUMBER, cell)


@row(85)
def number_out_of_range():
    for cell in ("10.01", -11, 1e9):
        bad_label("label.range", NUMBER, cell)


@row(86)
def number_written_oddly():
    for cell in ("1,5", "", "one", True, [1.0], None):
        bad_label("label.type", NUMBER, cell)
    assert label(NUMBER, "1e-5") == 1e-5
    assert label(NUMBER, 3) == 3.0


@row(87)
def residue_labels_of_another_length():
    codec = {"kind": "residue_labels", "labels": ["H", "E", "C"]}
    error = bad_label("label.length", codec, "HEC")
    assert "3" in error.message
    assert "5" in error.message


@row(88)
def site_outside():
    for cell, base in (("0", 1), ("6", 1), ("-1", 1), ("5", 0), ("-1", 0), ([0], 1), ([5], 0)):
        error = bad_label("label.index", {"kind": "residue_set"}, cell, base=base)
        assert f"{base}-based" in error.message
    assert label({"kind": "residue_set"}, [0, 4], base=0) == label({"kind": "residue_set"}, "1;5") == (1, 5)


@row(89)
def site_on_a_forbidden_residue():
    error = bad_label("label.residue", {"kind": "residue_set", "candidates": "STY"}, "3;4")
    assert error.where.position == 4


@row(90)
def repeated_and_unsorted_sites():
    assert label({"kind": "residue_set"}, "5;1;5;2") == (1, 2, 5)


@row(91)
def pair_with_itself_or_backwards():
    for cell in ("3-3", "4-2", [[2, 2]]):
        bad_label("label.pair", {"kind": "residue_pairs"}, cell)


@row(92)
def label_with_the_separator():
    bad_label("label.char", SEVERAL, ["Nucleus;Cytoplasm"])
    raises("task.reserved", lambda: task({"kind": "category_set", "labels": ["a;b", "c"]}))


@row(93)
def label_longer_than_the_task_allows(folder):
    codec = {"kind": "residue_set", "most": 2}
    bad_label("label.too_long", codec, "1;2;3")
    path = write(folder, "a.csv", "id,sequence,label\np,MKTAY,1;2;3\n")
    error = raises(
        "label.too_long", lambda: read_source(Source("s", "a.csv", "t"), task(codec), "train", root=folder)
    )
    assert (error.where.file, error.where.row, error.where.line, error.where.record) == (str(path), 1, 2, "p")


@row(94)
def no_label_in_a_split(folder):
    write(folder, "a.csv", "sequence,label,split\nMK,Nucleus,train\nGG,,test\n")
    splits = {"train": ("train",), "validation": ("valid",), "test": ("test",)}
    source = Source("s", "a.csv", "t", splits=splits, missing="skip")
    assert len(read_source(source, task(CLASSES), "train", root=folder)) == 1
    for split in ("validation", "test"):
        raises("task.no_data", lambda split=split: read_source(source, task(CLASSES), split, root=folder))


@row(95)
def proteins_in_train_and_test():
    train = [ProteinRecord("a", ("MK",)), ProteinRecord("b", ("GG", "AC"))]
    test = [ProteinRecord("x", ("MK",)), ProteinRecord("y", ("AC", "GG")), ProteinRecord("z", ("MKT",))]
    assert shared_sequences(train, test) == 2
    assert shared_sequences(train, test[2:], strict=True) == 0
    raises("task.shared_sequences", lambda: shared_sequences(train, test, strict=True))


@row(96)
def weight_of_a_task():
    for weight in (0, -1, float("nan"), float("inf"), "1", True):
        raises("config.value", lambda weight=weight: Entry("t", "s", weight))
    assert read_yaml("weight: 1e-2")["weight"] == 0.01
