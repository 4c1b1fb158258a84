"""What every reader shares: options, the stream of records with its failures and counts, and checks across
records.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from protscribe.alphabet import CLEANING, Cleaning, clean, looks_nucleotide
from protscribe.data.files import Format, Stamp
from protscribe.errors import ConfigError, ProtscribeError, SequenceError, Where
from protscribe.records import Failure, ProteinRecord

log = logging.getLogger(__name__)

OnError = Literal["raise", "collect"]


@dataclass(frozen=True)
class ReadOptions:
    """How input is read. Limits are what keeps memory bounded; a record beyond one is rejected, never cut.

    ``format`` overrides what suffix and content say, ``delimiter`` the comma of CSV and the tab of TSV.
    ``id_policy`` is ``"error"`` (``id.duplicate``) or ``"ordinal"``: records may share an id and are told
    apart by their ordinal. ``nucleotides="accept"`` lets input pass that looks like DNA or RNA.
    ``allow_empty`` lets a file without records pass. ``stamp`` is what the file was when the work was planned
    (:func:`protscribe.data.files.take_stamp`).
    """

    format: Format | None = None
    delimiter: str | None = None
    cleaning: Cleaning = CLEANING
    id_policy: Literal["error", "ordinal"] = "error"
    nucleotides: Literal["reject", "accept"] = "reject"
    allow_empty: bool = False
    max_residues: int = 100_000
    max_line_bytes: int = 4 << 20
    max_header_bytes: int = 256 << 10
    max_decompressed_bytes: int = 1 << 38
    stamp: Stamp | None = None

    def __post_init__(self) -> None:
        for name, choices in (
            ("format", (None, "fasta", "csv", "tsv", "parquet")),
            ("id_policy", ("error", "ordinal")),
            ("nucleotides", ("reject", "accept")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    "config.value", f"{name} must be one of {choices}, got {getattr(self, name)!r}"
                )
        for name in ("max_residues", "max_line_bytes", "max_header_bytes", "max_decompressed_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError("config.value", f"{name} must be at least 1, got {getattr(self, name)}")


DEFAULTS = ReadOptions()


@dataclass(frozen=True)
class Part:
    """A stretch of an input: the records ``first`` to ``stop`` (0-based, ``stop`` not among them).

    Of FASTA, ``offset`` is where the first of them begins, in bytes of the decompressed content, and ``lines`` how many
    lines stand before it; what is before is then not parsed. What concerns a whole input (repeated ids, nucleotides) is not
    looked for in a part.
    """

    first: int
    stop: int
    offset: int = 0
    lines: int = 0


class Rejected(NamedTuple):
    """One record that cannot be used, and why."""

    error: ProtscribeError
    ordinal: int
    id: str
    line: int | None = None


Parsed = ProteinRecord | Rejected
Counts = Counter[str]
Parse = Callable[[Counts], Iterator[Parsed]]


class Reading:
    """Records as they are read. Iterate it for the records; ``failures`` and ``counts`` fill while you do.

    With ``on_error="raise"`` the first bad record raises; with ``"collect"`` it becomes a
    :class:`~protscribe.records.Failure` in ``failures`` and reading goes on. What concerns a whole file (no header, a
    damaged gzip, a duplicated id) always raises. ``counts`` says what was changed while cleaning
    (``lower_case``, ``stop``, ``blank``, ``j``, ``gap``, in characters; ``header_encoding``,
    ``looks_nucleotide``, in records) and how many ``records`` and ``failures`` there were. Iterating again
    reads again.
    """

    def __init__(
        self,
        parse: Parse,
        *,
        on_error: OnError = "raise",
        options: ReadOptions = DEFAULTS,
        file: str | None = None,
        again: bool = True,
    ) -> None:
        if on_error not in ("raise", "collect"):
            raise ConfigError("config.value", f"on_error must be 'raise' or 'collect', got {on_error!r}")
        self.on_error = on_error
        self.options = options
        self.file = file
        self.failures: list[Failure] = []
        self.counts: Counts = Counter()
        self._parse = parse
        self._again = again

    def __iter__(self) -> Iterator[ProteinRecord]:
        self.failures = []
        for outcome in self.outcomes():
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
            else:
                yield outcome

    def outcomes(self) -> Iterator[ProteinRecord | Failure]:
        """Records and failures together, in input order; ``failures`` stays empty, so memory does not grow."""
        self.counts = Counter()
        parsed = self._parse(self.counts)
        if self.options.id_policy == "error":
            parsed = self._without_duplicates(parsed)
        if self.options.nucleotides == "reject":
            parsed = _screen_nucleotides(parsed, self.counts, self.file)
        for outcome in parsed:
            if isinstance(outcome, ProteinRecord):
                self.counts["records"] += 1
                yield outcome
            elif self.on_error == "raise":
                raise outcome.error
            else:
                self.counts["failures"] += 1
                yield Failure.of(outcome.error, outcome.ordinal, outcome.id)

    def _without_duplicates(self, parsed: Iterator[Parsed]) -> Iterator[Parsed]:
        seen = SeenIds(self._find_again if self._again else None)
        for outcome in parsed:
            if outcome.id:
                place = outcome.line or outcome.ordinal + 1
                first = seen.add(outcome.id, outcome.ordinal, place)
                if first is not None:
                    what = "line" if outcome.line else "row"
                    message = (
                        f"the id {outcome.id!r} of {what} {place} stands already in {what} {first}; make ids unique, "
                        "or set id_policy=ordinal to tell rows apart by their order"
                    )
                    where = Where(self.file, outcome.line, None if outcome.line else place, outcome.id)
                    raise SequenceError("id.duplicate", message, where)
            yield outcome

    def _find_again(self, id: str, before: int) -> int | None:
        """The place of the first record with this id, looked for in the input itself."""
        for outcome in self._parse(Counter()):
            if outcome.ordinal >= before:
                return None
            if outcome.id == id:
                return outcome.line or outcome.ordinal + 1
        return None


class SeenIds:
    """Finds a repeated id among any number of them, exactly, in a few bytes an id.

    The first ``EXACT`` ids are kept. After that a Bloom filter says which ids *may* have occurred, and for those few
    ``find_again`` looks into the input. Without ``find_again`` (standard input) all ids are kept.
    """

    EXACT = 100_000
    BITS = 1 << 28
    CAPACITY = 10_000_000
    PROBES = 10

    def __init__(self, find_again: Callable[[str, int], int | None] | None = None) -> None:
        self._find_again = find_again
        self._places: dict[str, int] = {}
        self._filters: list[bytearray] = []
        self._in_last = 0

    def add(self, id: str, ordinal: int, place: int) -> int | None:
        """Note an id; the place of its first occurrence if there was one."""
        if not self._filters:
            first = self._places.setdefault(id, place)
            if first != place:
                return first
            if self._find_again is not None and len(self._places) > self.EXACT:
                self._start_filter()
                for known in self._places:
                    self._mark(self._probes(known))
                self._places = {}
            return None
        probes = self._probes(id)
        maybe = any(all(bits[probe >> 3] >> (probe & 7) & 1 for probe in probes) for bits in self._filters)
        if maybe and self._find_again is not None:
            found = self._find_again(id, ordinal)
            if found is not None:
                return found
        self._mark(probes)
        return None

    def _start_filter(self) -> None:
        self._filters.append(bytearray(self.BITS >> 3))
        self._in_last = 0

    def _probes(self, id: str) -> list[int]:
        digest = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        start, stride = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
        return [(start + turn * stride) % self.BITS for turn in range(self.PROBES)]

    def _mark(self, probes: list[int]) -> None:
        if self._in_last >= self.CAPACITY:
            self._start_filter()
        bits = self._filters[-1]
        for probe in probes:
            bits[probe >> 3] |= 1 << (probe & 7)
        self._in_last += 1


_SCREENED_RECORDS = 100
_SCREENED_RESIDUES = 1_000_000


def _screen_nucleotides(parsed: Iterator[Parsed], counts: Counts, file: str | None) -> Iterator[Parsed]:
    """Refuse input most of whose first records look like DNA or RNA; count such records later on."""
    first: list[Parsed] = []
    residues = alike = proteins = 0
    for outcome in parsed:
        first.append(outcome)
        if isinstance(outcome, ProteinRecord):
            proteins += 1
            residues += len(outcome.sequence)
            alike += looks_nucleotide(outcome.sequence)
        if len(first) >= _SCREENED_RECORDS or residues >= _SCREENED_RESIDUES:
            break
    if alike > proteins / 2:
        message = (
            f"{alike} of the first {proteins} sequences look like DNA or RNA; translate them, "
            "or set nucleotides=accept if they are proteins"
        )
        raise SequenceError("seq.looks_nucleotide", message, Where(file=file))
    counts["looks_nucleotide"] += alike
    yield from first
    for outcome in parsed:
        if isinstance(outcome, ProteinRecord) and looks_nucleotide(outcome.sequence):
            counts["looks_nucleotide"] += 1
        yield outcome
    if counts["looks_nucleotide"]:
        log.warning("seq.looks_nucleotide: %d sequences look like DNA or RNA", counts["looks_nucleotide"])
    else:
        del counts["looks_nucleotide"]


def clean_chain(text: str, options: ReadOptions, counts: Counts, where: Where) -> str:
    """One chain under the options' cleaning and length limit; what was changed goes into ``counts``."""
    cleaned = clean(text, policy=options.cleaning, where=where)
    if len(cleaned.sequence) > options.max_residues:
        raise too_long(len(cleaned.sequence), options.max_residues, where)
    if cleaned.counts:
        counts.update(cleaned.counts)
    return cleaned.sequence


def too_long(length: int | str, limit: int, where: Where) -> SequenceError:
    message = f"{length} residues, and at most {limit} are read; raise max_residues or split the protein"
    return SequenceError("seq.too_long", message, where)


def check_id(id: str, options: ReadOptions, where: Where) -> None:
    """Raise ``id.too_long``, or ``id.char`` for a control character. An id is text, never a path."""
    if len(id) > options.max_header_bytes:
        short = Where(where.file, where.line, where.row, id[:60] + "...")
        raise SequenceError("id.too_long", f"an id of {len(id)} characters", short)
    if not id.isprintable():
        strange = next((character for character in id if ord(character) < 32 or ord(character) == 127), None)
        if strange is not None:
            raise SequenceError("id.char", f"the id has the control character U+{ord(strange):04X}", where)
