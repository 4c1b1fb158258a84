"""One pass over an input before anything is asked: is it sound, how much is it, and where can it be cut?

Repeated ids, damaged compression and files of another kind are found here, before a device is used. Memory does not grow with
the input: of records that were passed, marks at regular distances are all that is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from protscribe.data.files import STDIN, format_of, open_bytes
from protscribe.data.reading import Part, ReadOptions
from protscribe.errors import ConfigError, InputError, Where
from protscribe.records import Failure, ProteinRecord

MARKS = 16_384
"""Marks that are kept, at most twice as many."""
RECORD_COST = 64
"""What a record costs beside its residues, in residues, where shards are cut to equal cost."""
_MODULUS = 1 << 128
_CHUNK = 1 << 22
_MARKED = 8
"""Bytes within which a line shows whether it is a header, a byte order mark included."""
_HEADER = re.compile(rb"^(?:\xef\xbb\xbf)?>", re.MULTILINE)


class Mark(NamedTuple):
    """What stands before the record ``ordinal``: the cost of it, and the sum of its digests."""

    ordinal: int
    cost: int
    digest: int


class Cut(NamedTuple):
    """One shard of an input: its records, and the digest by which they are known again."""

    part: Part
    digest: str


@dataclass
class Survey:
    """What an input holds. ``lengths`` counts chains by residues, ``rejected`` records that cannot be read by code,
    ``changed`` what readers changed while cleaning."""

    records: int = 0
    residues: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    changed: dict[str, int] = field(default_factory=dict)
    digest: int = 0
    marks: list[Mark] = field(default_factory=list)
    step: int = 1

    def add(self, outcome: ProteinRecord | Failure) -> None:
        if self.records % self.step == 0:
            self._mark()
        if isinstance(outcome, Failure):
            self.rejected[outcome.code] += 1
        else:
            for length in outcome.lengths:
                self.residues += length
                self.lengths[length] += 1
        self.digest = (self.digest + digest_of(outcome)) % _MODULUS
        self.records += 1

    @property
    def cost(self) -> int:
        return self.residues + RECORD_COST * self.records

    def _mark(self) -> None:
        if len(self.marks) >= 2 * MARKS:
            self.marks = self.marks[::2]
            self.step *= 2
            if self.records % self.step:
                return
        self.marks.append(Mark(self.records, self.cost, self.digest))

    def cuts(self, shards: int) -> list[tuple[int, int, str]]:
        """First record, the one after the last, and digest of so many shards of about equal cost; some may be empty."""
        marks = [*self.marks, Mark(self.records, self.cost, self.digest)]
        bounds, place = [marks[0]], 0
        for shard in range(1, shards):
            wanted = self.cost * shard / shards
            while place < len(marks) - 1 and marks[place].cost < wanted:
                place += 1
            # Of the two marks around the wanted place, the nearer one.
            near = (
                place - 1 if place and wanted - marks[place - 1].cost < marks[place].cost - wanted else place
            )
            bounds.append(max(marks[near], bounds[-1]))
        bounds.append(marks[-1])
        return [
            (one.ordinal, other.ordinal, f"{(other.digest - one.digest) % _MODULUS:032x}")
            for one, other in pairwise(bounds)
        ]


def digest_of(outcome: ProteinRecord | Failure) -> int:
    """A number that stands for all that a record says; sums of them stand for several."""
    if isinstance(outcome, Failure):
        parts: tuple[Any, ...] = (outcome.id, outcome.code)
    else:
        fields = outcome.fields.items() if outcome.fields else ()
        parts = (outcome.id, *outcome.chains, outcome.molecule, *fields)
    text = f"{outcome.ordinal}\0{parts}" if len(parts) > 3 else "\0".join(map(str, (outcome.ordinal, *parts)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def take_survey(outcomes: Iterator[ProteinRecord | Failure]) -> Survey:
    """Reads everything. Raises what reading does."""
    survey = Survey()
    for outcome in outcomes:
        survey.add(outcome)
    return survey


def cut(path: str, survey: Survey, shards: int, options: ReadOptions) -> list[Cut]:
    """The shards of an input that was surveyed, with where each begins in FASTA.

    Raises :class:`~protscribe.errors.InputError` ``input.changed``.
    """
    bounds = survey.cuts(shards)
    places = _places(path, [first for first, _, _ in bounds], survey.records, options)
    return [
        Cut(Part(first, stop, *place), digest)
        for (first, stop, digest), place in zip(bounds, places, strict=True)
    ]


def check_input(path: str) -> None:
    """Raises :class:`~protscribe.errors.ConfigError` for an input that cannot be read twice."""
    if path == STDIN:
        raise ConfigError(
            "config.value",
            "standard input cannot be read again after an interruption; write it to a file first",
        )


def _places(path: str, ordinals: list[int], records: int, options: ReadOptions) -> list[tuple[int, int]]:
    """For each of these records, ascending, how many bytes and lines stand before it; (0, 0) where that is of no use."""
    nothing = [(0, 0)] * len(ordinals)
    if Path(path).is_dir():
        return nothing
    limit = options.max_decompressed_bytes
    with open_bytes(path, max_bytes=limit, stamp=options.stamp) as stream:
        if (options.format or format_of(path, stream.peek())) != "fasta":
            return nothing
        places, wanted, seen, offset, lines = [], 0, 0, 0, 0
        for block, begins in _blocks(stream):
            found = [match.start() for match in _HEADER.finditer(block) if begins or match.start()]
            while wanted < len(ordinals) and ordinals[wanted] < seen + len(found):
                start = found[ordinals[wanted] - seen]
                places.append((offset + start, lines + block.count(b"\n", 0, start)))
                wanted += 1
            seen, offset, lines = seen + len(found), offset + len(block), lines + block.count(b"\n")
    if seen != records:
        raise InputError(
            "input.changed", f"{records} records became {seen} while they were counted", Where(file=path)
        )
    return places + [(0, 0)] * (len(ordinals) - len(places))


def _blocks(stream: Any) -> Iterator[tuple[bytes, bool]]:
    """The content in blocks that end with a line, or within a very long one; whether each begins with a line."""
    rest, begins = b"", True
    while chunk := stream.read(_CHUNK):
        chunk = rest + chunk
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, len(chunk) - 1)) + 1
        whole = end > 0
        if not whole and len(chunk) < _MARKED:
            rest = chunk
            continue
        # A return at the very end may be half of a line end.
        end = end or len(chunk) - 1
        yield _with_newlines(chunk[:end]), begins
        rest, begins = chunk[end:], whole
    if rest:
        yield _with_newlines(rest), begins


def _with_newlines(block: bytes) -> bytes:
    """All line ends as newlines, nothing moved."""
    return block.replace(b"\r\n", b" \n").replace(b"\r", b"\n") if b"\r" in block else block
