"""The files of one shard, and when it counts as done.

``shards/00003.parquet`` holds the answers, ``.rejected.csv`` beside it what got none, further formats stand beside it where
they were asked for, and ``00003.json``, written last, is the *seal*: it names every file with its size and SHA-256, the plan,
and what was counted. A shard is done when its seal fits its files and its plan; whatever else is there is written anew. All
files are written under hidden names, flushed to the disk and renamed, so that a kill leaves them complete or without a name.
Pure Python and
pyarrow: no torch.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from protscribe.bulk.plan import FORMAT, NEEDS, Plan
from protscribe.checkpoint.folder import flush
from protscribe.checkpoint.manifest import digest_file, read_sealed, seal
from protscribe.errors import CheckpointError
from protscribe.interruption import interruption
from protscribe.outputs.atomic import PARTIAL, PendingFile, reporting
from protscribe.outputs.files import FORMATS, REJECTED, Writer
from protscribe.outputs.tables import ParquetTable, Row, text_stream, wide_columns, wide_rows
from protscribe.records import Failure, Prediction, ProteinRecord

SHARDS = "shards"
PARQUET = ".parquet"
NAMES = re.compile(r"(\d{5})(\.[a-z0-9.]+)")


def name_of(shard: int) -> str:
    """What the files of a shard (0-based) begin with; people count from 1."""
    return f"{shard + 1:05d}"


@dataclass(frozen=True)
class Paths:
    """Where the files of a shard (0-based) of a folder stand."""

    folder: Path
    shard: int

    @property
    def home(self) -> Path:
        return self.folder / SHARDS

    def of(self, suffix: str) -> Path:
        return self.home / f"{name_of(self.shard)}{suffix}"

    @property
    def seal(self) -> Path:
        return self.of(".json")

    @property
    def rejected(self) -> Path:
        return self.of(".rejected.csv")

    @property
    def lock(self) -> Path:
        return self.home / f".{name_of(self.shard)}.lock"


@dataclass(frozen=True)
class Seal:
    """What a finished shard says of itself: the ``files`` with ``bytes`` and ``sha256``, and what was counted."""

    records: int
    rows: int
    answers: int
    rejected: int
    rejected_records: int
    residues: int
    files: Mapping[str, Mapping[str, Any]]
    changed: Mapping[str, int]


def sequence_digest(chains: Sequence[str]) -> str:
    """The GA4GH refget identifier of a sequence (``SQ.`` and a truncated SHA-512), of a pair both, joined by ``;``."""
    return ";".join(
        f"SQ.{base64.urlsafe_b64encode(hashlib.sha512(chain.encode()).digest()[:24]).decode()}"
        for chain in chains
    )


class ShardWriter:
    """The files of one shard while they are written. Use as a context: what is not committed is discarded.

    Outcomes come in the order of the input; :meth:`expect` says beforehand which records there are.
    """

    def __init__(self, folder: Path, plan: Plan, shard: int) -> None:
        self.paths, self.plan, self.shard = Paths(folder, shard), plan, shard
        self.records = self.residues = self.answers = self.rows = self.rejected = 0
        self._rejected_records = 0
        self._due: dict[int, tuple[int, str]] = {}
        self._last = self._last_rejected = -1
        self._open: list[tuple[PendingFile, Writer]] = []
        self._rejects: tuple[PendingFile, Any, Any] | None = None
        self._others: list[PendingFile] = []
        self._committed = False

    def __enter__(self) -> ShardWriter:
        try:
            for suffix in self.plan.formats:
                self._begin(suffix)
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if not self._committed:
            self.discard()

    def _begin(self, suffix: str) -> None:
        pending = self._pending(self.paths.of(suffix))
        with reporting(pending.path):
            opened = (
                self._parquet(pending.stream)
                if suffix == PARQUET
                else FORMATS[suffix](pending.stream, self.plan.asked)
            )
        self._open.append((pending, opened))

    def _pending(self, path: Path) -> PendingFile:
        with interruption().deferred():
            self._others.append(PendingFile(path))
        return self._others[-1]

    def _parquet(self, stream: BinaryIO) -> ParquetTable:
        columns = wide_columns(self.plan.asked)
        wide = wide_rows(columns)

        def rows(prediction: Prediction) -> Iterator[Row]:
            ordinal = prediction.record.ordinal
            for row in wide(prediction):
                self.rows += 1
                yield [ordinal, self._due[ordinal][1], *row]

        told = {
            "protscribe.plan": self.plan.digest,
            "protscribe.bundle": self.plan.bundle,
            "protscribe.shard": f"{self.shard + 1}/{len(self.plan.shards)}",
            "protscribe.version": self.plan.versions["protscribe"],
        }
        return ParquetTable(stream, ("ordinal", "sequence_digest", *columns), rows, told)

    # What goes in must come out

    def expect(self, outcome: ProteinRecord | Failure) -> None:
        """Notes a record that was read: so many outcomes of it must be written."""
        if isinstance(outcome, Failure):
            due = 1, ""
        else:
            self.residues += sum(outcome.lengths)
            due = (
                self.plan.expected(len(outcome.chains), outcome.molecule is not None),
                sequence_digest(outcome.chains),
            )
        self.records += 1
        self._due[outcome.ordinal] = due

    def write(self, outcome: Prediction | Failure) -> None:
        """Adds one answer to every file, or one rejected record to their list."""
        ordinal = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
        left, digest = self._due[ordinal]
        assert ordinal >= self._last, f"record {ordinal} was answered after record {self._last}"
        if isinstance(outcome, Failure):
            self._reject(outcome)
        else:
            for pending, writer in self._open:
                with reporting(pending.path):
                    writer.write(outcome)
            self.answers += 1
        if isinstance(outcome, Failure) and ordinal != self._last_rejected:
            self._rejected_records += 1
            self._last_rejected = ordinal
        self._last = ordinal
        if left > 1:
            self._due[ordinal] = left - 1, digest
        else:
            del self._due[ordinal]

    def _reject(self, failure: Failure) -> None:
        path = self.paths.rejected
        if self._rejects is None:
            pending = self._pending(path)
            with reporting(path):
                text = text_stream(pending.stream)
                table = csv.writer(text, lineterminator="\n")
                table.writerow(REJECTED)
            self._rejects = pending, text, table
        with reporting(path):
            detail = " ".join(failure.detail.splitlines())
            self._rejects[2].writerow([failure.ordinal, failure.id, failure.code, detail, failure.task or ""])
        self.rejected += 1

    # The end

    def commit(self, changed: Mapping[str, int]) -> Seal:
        """Puts every file in its place, the seal last.

        Raises :class:`~protscribe.errors.OutputError` ``output.write``. Records without an outcome, or with too many, are a bug
        and never committed.
        """
        wanted = self.plan.records(self.shard)
        assert not self._due, f"no outcome for the records {sorted(self._due)[:10]}"
        assert self.records == wanted, f"{self.records} records of {wanted}"
        for pending, writer in self._open:
            with reporting(pending.path):
                writer.close()
        files = [pending for pending, _ in self._open]
        if self._rejects is not None:
            pending, text, _ = self._rejects
            with reporting(pending.path):
                text.flush()
                text.detach()
            files.append(pending)
        for pending in files:
            pending.finish()
        listed = {pending.path.name: {"bytes": pending.bytes, "sha256": pending.sha256} for pending in files}
        sealed = Seal(
            records=self.records,
            rows=self.rows,
            answers=self.answers,
            rejected=self.rejected,
            rejected_records=self._rejected_records,
            residues=self.residues,
            files=listed,
            changed=dict(sorted(changed.items())),
        )
        last = self._pending(self.paths.seal)
        with reporting(last.path):
            last.stream.write(seal(self._content(sealed)))
        last.finish()
        for pending in files:
            pending.place()
        with reporting(self.paths.home):
            flush(self.paths.home)
        last.place()
        self._committed = True
        with reporting(self.paths.home):
            flush(self.paths.home)
        return sealed

    def _content(self, sealed: Seal) -> dict[str, Any]:
        part = self.plan.shards[self.shard].part
        return {
            "format": FORMAT, "needs_library": NEEDS, "plan": self.plan.digest, "bundle": self.plan.bundle,
            "versions": dict(self.plan.versions), "shard": self.shard + 1, "of": len(self.plan.shards),
            "first": part.first, "stop": part.stop, **vars(sealed),
        }  # fmt: skip

    def discard(self) -> None:
        """Leaves nothing of what was not committed."""
        for _, writer in self._open:
            with suppress(Exception):
                writer.close()
        if self._rejects is not None:
            with suppress(Exception):
                self._rejects[1].detach()
        for pending in self._others:
            pending.discard()


def read_seal(folder: Path, plan: Plan, shard: int, *, digests: bool = True) -> Seal | str | None:
    """The seal of a shard that is done; what is wrong with it, as a text; or ``None`` where there is none.

    ``digests``: whether every byte is looked at, or sizes alone.
    """
    paths = Paths(folder, shard)
    try:
        content = read_sealed(paths.seal, FORMAT)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        return f"{paths.seal.name} {error.message}"
    except OSError as error:
        return f"{paths.seal.name} cannot be read: {error.strerror}"
    if content.get("plan") != plan.digest or content.get("shard") != shard + 1:
        return f"{paths.seal.name} belongs to another plan"
    try:
        sealed = Seal(**{name: content[name] for name in Seal.__dataclass_fields__})
        for name, said in sealed.files.items():
            wrong = _difference(paths.home / name, said, digests)
            if wrong:
                return f"{name} {wrong}"
    except (KeyError, TypeError, AttributeError) as error:
        return f"{paths.seal.name} cannot be understood ({error})"
    except OSError as error:
        return f"cannot be read: {error}"
    return sealed


def _difference(path: Path, said: Mapping[str, Any], digests: bool) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    if size != said["bytes"]:
        return f"has {size} bytes, was written with {said['bytes']}"
    if digests and digest_file(path) != said["sha256"]:
        return "is not as it was written: its SHA-256 differs"
    return ""


def sweep(folder: Path, name: str) -> None:
    """Removes what killed writers of ``name``, or of names that begin so, left hidden. Only for who holds the lock of it.

    Raises :class:`~protscribe.errors.OutputError` ``output.write``.
    """
    with reporting(folder):
        for found in os.listdir(folder):
            if found.startswith(f".{name}.") and found.endswith(PARTIAL):
                with suppress(FileNotFoundError):
                    os.unlink(folder / found)


def counted(seals: Sequence[Seal]) -> Counter[str]:
    """What all the seals count together, what readers changed included."""
    total: Counter[str] = Counter()
    for one in seals:
        total.update(
            records=one.records, rows=one.rows, answers=one.answers, rejected=one.rejected,
            rejected_records=one.rejected_records, residues=one.residues,
        )  # fmt: skip
    return total
