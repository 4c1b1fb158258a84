"""Protein FASTA, streamed. One record a header; nothing is joined, dropped or invented.

Biopython's parsers lose what stands before the first ``>``, keep no line numbers, remove blanks uncounted and
hold any line of any length, so the loop over lines is our own; a test holds it against ``Bio.SeqIO`` on
well-formed files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from protscribe.data.files import BYTE_ORDER_MARK, Line, lines_of, refuse_foreign_text, suffix_of
from protscribe.data.reading import (
    Counts,
    Parsed,
    Part,
    ReadOptions,
    Rejected,
    check_id,
    clean_chain,
    too_long,
)
from protscribe.errors import SequenceError, Where
from protscribe.records import ProteinRecord


def parse_fasta(
    stream: io.BufferedReader, file: str, options: ReadOptions, counts: Counts, part: Part | None = None
) -> Iterator[Parsed]:
    """The records of a FASTA stream, bad ones as :class:`~protscribe.data.reading.Rejected`.

    With a ``part``, the stream begins where that does, and its records alone are read.

    Raises :class:`~protscribe.errors.SequenceError` for what concerns the whole file: ``fasta.empty``,
    ``fasta.no_header``, ``fasta.is_fastq``, ``fasta.format``.
    """
    if suffix_of(file) in (".a3m", ".a2m", ".sto", ".aln"):
        raise SequenceError(
            "fasta.format", "this is an alignment; write its sequences as FASTA without gaps", Where(file)
        )
    entry: _Entry | None = None
    ordinal, lines, stop = (0, 0, None) if part is None else (part.first, part.lines, part.stop)
    for line in lines_of(stream, max_line_bytes=options.max_line_bytes):
        if lines:
            line = line._replace(number=line.number + lines)
        if line.content.startswith(BYTE_ORDER_MARK + b">"):
            # Joined files keep the mark of each part.
            line = line._replace(content=line.content.removeprefix(BYTE_ORDER_MARK))
        if line.content.startswith(b">"):
            if entry is not None:
                yield entry.finish(counts)
            if ordinal == stop:
                return
            entry = _Entry.begin(line, file, ordinal, options, counts)
            ordinal += 1
        elif entry is not None:
            entry.add(line)
        elif line.content.strip():
            _refuse_headless(line, file)
    if entry is not None:
        yield entry.finish(counts)
    elif not options.allow_empty:
        raise SequenceError("fasta.empty", "there is no record in this file", Where(file=file))


def _refuse_headless(line: Line, file: str) -> None:
    where = Where(file=file, line=line.number)
    first = line.content.lstrip()
    refuse_foreign_text(first, where)
    if first.startswith(b";"):
        raise SequenceError("fasta.semicolon", "a ';' comment; remove it, or begin headers with '>'", where)
    shown = first[:30].decode("ascii", "backslashreplace")
    raise SequenceError("fasta.no_header", f"expected a header such as '>my_protein', got {shown!r}", where)


@dataclass
class _Entry:
    """One record while its lines come in. The first error decides; what follows it is read past."""

    id: str
    ordinal: int
    where: Where
    options: ReadOptions
    error: SequenceError | None = None
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    blanks: int = 0

    @classmethod
    def begin(cls, line: Line, file: str, ordinal: int, options: ReadOptions, counts: Counts) -> _Entry:
        header = line.content[1:]
        tokens = header.split(None, 1)
        token = tokens[0].split(b"\x01", 1)[0] if tokens else b""
        where = Where(file=file, line=line.number)
        if line.cut or len(header) > options.max_header_bytes:
            start = token[:60].decode("utf-8", "replace")
            message = f"a header of more than {options.max_header_bytes} bytes; shorten it or raise max_header_bytes"
            return cls(start, ordinal, where, options, SequenceError("id.too_long", message, where))
        if not token:
            message = "'>' without an id; write one directly after it"
            return cls("", ordinal, where, options, SequenceError("fasta.no_id", message, where))
        if not header.isascii() and not _is_utf8(header):
            counts["header_encoding"] += 1
            id = token.decode("utf-8" if _is_utf8(token) else "latin-1")
        else:
            id = token.decode("utf-8")
        where = Where(file=file, line=line.number, record=id)
        entry = cls(id, ordinal, where, options)
        try:
            check_id(id, options, where)
        except SequenceError as error:
            entry.error = error
        return entry

    def add(self, line: Line) -> None:
        if self.error is not None:
            return
        if line.cut:
            message = f"a line of more than {self.options.max_line_bytes} bytes (max_line_bytes)"
            self._fail("line.too_long", message, line)
            return
        content = line.content
        if content.startswith(b";"):
            self._fail("fasta.semicolon", "a ';' comment inside a record; remove the line", line)
            return
        dense = content.translate(None, b" \t")
        self.blanks += len(content) - len(dense)
        self.size += len(dense)
        # A stop and gaps may still go, so this is the second, coarser of two checks of length.
        if self.size > 2 * self.options.max_residues + 1:
            limit = self.options.max_residues
            self.error = too_long(f"more than {limit}", limit, self.where)
            self.parts.clear()
            return
        self.parts.append(dense)

    def _fail(self, code: str, message: str, line: Line) -> None:
        self.error = SequenceError(code, message, Where(self.where.file, line.number, record=self.id))
        self.parts.clear()

    def finish(self, counts: Counts) -> Parsed:
        line = self.where.line
        try:
            if self.error is not None:
                raise self.error
            text = b"".join(self.parts).decode("utf-8", "surrogateescape")
            sequence = clean_chain(text, self.options, counts, self.where)
        except SequenceError as error:
            return Rejected(error, self.ordinal, self.id, line)
        if self.blanks:
            counts["blank"] += self.blanks
        return ProteinRecord(id=self.id, chains=(sequence,), ordinal=self.ordinal, line=line)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
