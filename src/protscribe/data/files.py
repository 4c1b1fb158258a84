"""Opening input files: what kind a file is, and its lines, in bounded memory.

Compression is told by a file's first bytes, never by its name. Nothing here knows what a protein is.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from protscribe.errors import InputError, SequenceError, TableError, Where

Format = Literal["fasta", "csv", "tsv", "parquet"]

STDIN = "-"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 1 << 18
_HEAD = 1 << 16

SUFFIXES: dict[str, Format] = {
    ".fasta": "fasta", ".fa": "fasta", ".faa": "fasta", ".fas": "fasta", ".fsa": "fasta", ".pep": "fasta",
    ".mpfa": "fasta", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
"""Which format a file's last suffix (before ``.gz``) means."""

_WIDE_TEXT = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_COMPRESSIONS = {
    b"\x28\xb5\x2f\xfd": "Zstandard", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7-Zip",
}  # fmt: skip
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_FOREIGN = {
    b"CLUSTAL": "a Clustal alignment", b"MUSCLE": "a Clustal alignment", b"# STOCKHOLM": "a Stockholm alignment",
    b"#": "an alignment (A3M or the like)", b"LOCUS ": "a GenBank file",
    b"ID   ": "a UniProt or EMBL flat file", b"HEADER ": "a PDB file", b"ATOM  ": "a PDB file",
    b"REMARK ": "a PDB file", b"data_": "an mmCIF file", b"{": "JSON", b"[": "JSON",
    b"<": "an HTML or XML page, perhaps an error page of a download", b"%PDF": "a PDF", b"##gff": "GFF",
}  # fmt: skip


@dataclass(frozen=True)
class Stamp:
    """What a file was when it was looked at: size in bytes, time of change in nanoseconds, inode."""

    size: int
    changed: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


def take_stamp(path: str | Path) -> Stamp:
    """The :class:`Stamp` of a file, to be held against it later. Raises as :func:`open_bytes` does."""
    return Stamp.of(_status(str(path)))


def _status(path: str) -> os.stat_result:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("input.not_found", "there is no such file", Where(file=path)) from None
    except (OSError, ValueError) as error:
        raise InputError("input.unreadable", f"cannot be looked at: {error}", Where(file=path)) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise InputError(
            "input.not_regular", f"this is {kind}; give a file (or '-' for standard input)", Where(file=path)
        )
    return status


def _check_stamp(path: str, before: Stamp, status: os.stat_result) -> None:
    if Stamp.of(status) != before:
        raise InputError("input.changed", "the file changed while it was used; run again", Where(file=path))


@contextmanager
def open_bytes(
    path: str | Path, *, max_bytes: int, stamp: Stamp | None = None, offset: int = 0
) -> Iterator[io.BufferedReader]:
    """A file's content as a buffered stream of bytes, decompressed where it is gzip; ``"-"`` is standard input.

    ``stamp`` is held against the file before reading, and the file against itself afterwards
    (``input.changed``). The stream begins ``offset`` bytes into the decompressed content. At most ``max_bytes`` of
    decompressed content are read (``gzip.too_large``). Raises
    :class:`~protscribe.errors.InputError` with ``input.not_found``, ``input.not_regular``,
    ``input.unreadable``, ``input.compression``, ``text.encoding`` or, while reading, ``gzip.truncated`` and
    ``gzip.corrupt``.
    """
    name = str(path)
    if name == STDIN:
        with _decompressed(sys.stdin.buffer, "standard input", max_bytes, 0) as content:
            yield content
        return
    before = Stamp.of(_status(name))
    if stamp is not None and stamp != before:
        raise InputError(
            "input.changed", "the file is not what it was when the work was planned", Where(file=name)
        )
    try:
        raw = open(name, "rb")  # noqa: SIM115 (closed below; only opening may fail here)
    except OSError as error:
        raise InputError(
            "input.unreadable", f"cannot be opened: {error.strerror}", Where(file=name)
        ) from None
    with raw:
        with _decompressed(raw, name, max_bytes, offset) as content:
            yield content
        with suppress(FileNotFoundError):
            _check_stamp(name, before, os.fstat(raw.fileno()))
            _check_stamp(name, before, os.stat(name))


@contextmanager
def _decompressed(raw: BinaryIO, name: str, max_bytes: int, offset: int) -> Iterator[io.BufferedReader]:
    peeked = _Peeked(raw)
    if not peeked.head.startswith(b"\x1f\x8b"):
        _refuse_foreign_bytes(peeked.head, name)
        if offset:
            raw.seek(offset)
            peeked = _Peeked(raw)
        yield io.BufferedReader(peeked, _CHUNK)
        return
    members = gzip.GzipFile(fileobj=io.BufferedReader(peeked, _CHUNK))
    with members:
        inner = _Peeked(_Guarded(members, name, max_bytes))
        if inner.head.startswith(b"\x1f\x8b"):
            raise InputError("input.compression", "compressed twice; decompress it once", Where(file=name))
        _refuse_foreign_bytes(inner.head, name)
        content: io.BufferedReader = io.BufferedReader(inner, _CHUNK)
        while offset and (skipped := content.read(min(offset, _CHUNK))):
            offset -= len(skipped)
        yield content


class _Peeked(io.RawIOBase):
    """A stream whose first bytes, ``head``, have been looked at."""

    def __init__(self, stream: io.RawIOBase | BinaryIO) -> None:
        self.stream = stream
        head = b""
        while len(head) < _HEAD and (more := stream.read(_HEAD - len(head))):
            head += more
        self.head = head
        self._left = memoryview(head)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._left[: len(buffer)] if self._left else self.stream.read(len(buffer)) or b""
        self._left = self._left[len(buffer) :]
        buffer[: len(content)] = content
        return len(content)


class _Guarded(io.RawIOBase):
    """A gzip stream whose troubles are ours, and whose length has a limit."""

    def __init__(self, members: gzip.GzipFile, name: str, max_bytes: int) -> None:
        self.members, self.name, self.left = members, name, max_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        where = Where(file=self.name)
        try:
            content = self.members.read1(size if size > 0 else _CHUNK)
        except EOFError:
            raise InputError("gzip.truncated", "the gzip file ends too early; get it again", where) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError("gzip.corrupt", f"the gzip file is damaged: {error}", where) from None
        self.left -= len(content)
        if self.left < 0:
            raise InputError("gzip.too_large", "more content than max_decompressed_bytes allows", where)
        return content


def _refuse_foreign_bytes(head: bytes, name: str) -> None:
    where = Where(file=name)
    if head.startswith(_WIDE_TEXT):
        raise InputError("text.encoding", "the text is UTF-16 or UTF-32; save it as UTF-8", where)
    if head.startswith((b"ARROW1", b"FEA1")):
        hint = "this is an Arrow or Feather file; write it as Parquet (dataset.to_parquet(...))"
        raise InputError("input.format", hint, where)
    tabular = SUFFIXES.get(suffix_of(name)) in ("csv", "tsv") or suffix_of(name) in (".xlsx", ".xls", ".ods")
    if tabular and head.startswith((b"PK\x03\x04", _OLD_EXCEL)):
        raise TableError("table.format", "this is a spreadsheet, not text; save it as CSV", where)
    if tabular and head.startswith(b"PAR1"):
        raise TableError("table.format", "this is Parquet; give the file the suffix .parquet", where)
    for magic, compression in _COMPRESSIONS.items():
        if head.startswith(magic):
            raise InputError(
                "input.compression", f"{compression} is not read; decompress it, or use gzip", where
            )


def is_table(name: str) -> bool:
    """Whether a source's name is a table file's: it ends in ``.csv``, ``.tsv``, ``.parquet`` or the like."""
    return SUFFIXES.get(suffix_of(name), "fasta") != "fasta"


def suffix_of(name: str) -> str:
    """The suffix that says what a file is, in lower case, a ``.gz`` after it left aside."""
    path = Path(name)
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def format_of(path: str | Path, head: bytes) -> Format:
    """What a file is: by its suffix, else by how its (decompressed) content begins; FASTA where both are silent."""
    known = SUFFIXES.get(suffix_of(str(path)))
    if known:
        return known
    if head.startswith(b"PAR1"):
        return "parquet"
    first = head.removeprefix(BYTE_ORDER_MARK).split(b"\n", 1)[0].rstrip(b"\r")
    for delimiter, kind in ((b"\t", "tsv"), (b",", "csv")):
        cells = [cell.strip(b'"') for cell in first.split(delimiter)]
        if b"sequence" in cells or b"sequence_a" in cells:
            return "tsv" if kind == "tsv" else "csv"
    return "fasta"


def refuse_foreign_text(first: bytes, where: Where) -> None:
    """Raise for a first line of text that is no FASTA, with a guess what it is instead."""
    if first.startswith(b"@"):
        hint = "this is FASTQ (reads, nucleotides); this library reads protein FASTA"
        raise SequenceError("fasta.is_fastq", hint, where)
    for start in sorted(_FOREIGN, key=len, reverse=True):
        if first.startswith(start):
            raise SequenceError("fasta.format", f"this is no FASTA; it looks like {_FOREIGN[start]}", where)


class Line(NamedTuple):
    """One line: its 1-based number, its bytes without line end, and whether only its beginning is here."""

    number: int
    content: bytes
    cut: bool


def lines_of(stream: io.BufferedReader, *, max_line_bytes: int) -> Iterator[Line]:
    r"""The lines of a stream; ``\n``, ``\r\n`` and ``\r`` all end a line; a byte order mark at the start goes.

    Of a line longer than ``max_line_bytes`` only that much is kept, and ``cut`` is set; the rest is read past.
    """
    number, pending, cut, after_return = 0, b"", False, False
    chunk = stream.read(_CHUNK).removeprefix(BYTE_ORDER_MARK)
    while chunk:
        if after_return:
            chunk = chunk.removeprefix(b"\n")
        after_return = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = chunk.split(b"\n")
        if not cut:
            pending += first
            if len(pending) > max_line_bytes:
                pending, cut = pending[:max_line_bytes], True
        for following in others:
            number += 1
            yield Line(number, pending, cut)
            pending, cut = following[:max_line_bytes], len(following) > max_line_bytes
        chunk = stream.read(_CHUNK)
    if pending:
        yield Line(number + 1, pending, cut)
