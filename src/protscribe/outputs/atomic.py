"""A file that appears under its name when it is complete, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from protscribe import locks
from protscribe.checkpoint.folder import flush
from protscribe.errors import OutputError, Where
from protscribe.interruption import interruption

PARTIAL = ".partial"
"""What the name of a file that is not complete ends with; it begins with a dot."""
_BUFFER = 1 << 20
_MINE: set[Path] = set()
"""Temporary files of this process."""
_MAKING = 60.0
"""Seconds after which an empty file is no longer one that is just being made."""


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns what the system has against writing ``path`` into :class:`~protscribe.errors.OutputError`.

    ``output.write`` for a full disk, a folder without permission and the like; ``output.encoding`` for an id that is no text.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot be written: {reason}; nothing was left under this name that was not there before"
        raise OutputError("output.write", message, Where(file=str(path))) from error
    except UnicodeEncodeError as error:
        message = f"{error.object!r} is not text that this format can hold; choose csv, tsv or jsonl"
        raise OutputError("output.encoding", message, Where(file=str(path))) from None


class _Sink(io.RawIOBase):
    """An open file that counts and digests what it is given."""

    def __init__(self, descriptor: int) -> None:
        self.bytes, self.digest = 0, hashlib.sha256()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        count = os.write(self._descriptor, view)
        self.digest.update(view[:count])
        self.bytes += count
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)


class PendingFile:
    """A temporary file beside ``path`` that :meth:`commit` puts in its place and :meth:`discard` removes; its process holds a
    lock on it.

    Once it is committed, ``bytes`` is its size and ``sha256`` its digest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reporting(path):
            if path.is_dir():
                raise IsADirectoryError(21, "this is a folder")
            os.makedirs(path.parent, exist_ok=True)
            name = f".{path.name[:100]}.{secrets.token_hex(6)}{PARTIAL}"
            self._temporary = path.parent / name
            binary = getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)
            _MINE.add(self._temporary)
            locks.take(descriptor)
            self._sink = _Sink(descriptor)
            self.stream: BinaryIO = cast(BinaryIO, io.BufferedWriter(self._sink, _BUFFER))

    @property
    def bytes(self) -> int:
        return self._sink.bytes

    @property
    def sha256(self) -> str:
        return self._sink.digest.hexdigest()

    def finish(self) -> None:
        """All its bytes on the disk, under the temporary name."""
        with reporting(self.path):
            self.stream.flush()
            os.fsync(self._sink.fileno())
            self.stream.close()

    def place(self) -> None:
        """Under its name, after :meth:`finish`."""
        with reporting(self.path):
            os.replace(self._temporary, self.path)
        _MINE.discard(self._temporary)

    def commit(self) -> None:
        """Complete: flushed to disk, then renamed."""
        self.finish()
        self.place()
        with reporting(self.path):
            flush(self.path.parent)

    def discard(self) -> None:
        """Gone, whatever was written; what stood under the name before stays."""
        # What is still buffered would be written when the stream is closed; a full disk refuses it again.
        with contextlib.suppress(OSError, ValueError):
            self.stream.close()
        with contextlib.suppress(OSError, ValueError):
            self._sink.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        _MINE.discard(self._temporary)


def remove_leftovers(path: Path) -> None:
    """Removes what writers of ``path`` that were killed have left beside it; never what a living process writes.

    A file that nobody holds is left over, but an empty one may have been made this moment and is given a minute. This process's
    own are not looked at: closing one would let go of its lock. Where files cannot be locked nothing is removed.
    """
    beginning = f".{path.name[:100]}."
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):
            there = path.parent / name
            if not (name.startswith(beginning) and name.endswith(PARTIAL)) or there in _MINE:
                continue
            descriptor = os.open(there, os.O_RDWR)
            try:
                said = os.fstat(descriptor)
                settled = said.st_size or time.time() - said.st_mtime > _MAKING
                if settled and locks.take(descriptor) == "taken":
                    os.unlink(there)
            finally:
                os.close(descriptor)


@contextmanager
def pending_file(path: Path) -> Iterator[PendingFile]:
    """Commits at the end of the block, discards where it is left by an exception; removes what killed writers left."""
    remove_leftovers(path)
    pending: PendingFile | None = None
    try:
        with interruption().deferred():
            pending = PendingFile(path)
        yield pending
        pending.commit()
    except BaseException:
        if pending is not None:
            pending.discard()
        raise
