"""A file that appears under its name when it is complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from protscribe.errors import OutputError, Where


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


class PendingFile:
    """A temporary file beside ``path`` that :meth:`commit` puts in its place and :meth:`discard` removes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reporting(path):
            if path.is_dir():
                raise IsADirectoryError(21, "this is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent)
            self._temporary = Path(name)
            self.stream: BinaryIO = os.fdopen(handle, "wb")

    def commit(self) -> None:
        """Complete: flushed to disk, then renamed."""
        with reporting(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()
            # A temporary file is readable by its owner alone; the final one gets what any new file would.
            mask = os.umask(0)
            os.umask(mask)
            self._temporary.chmod(0o666 & ~mask)
            self._temporary.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Gone, whatever was written; what stood under the name before stays."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


@contextmanager
def pending_file(path: Path) -> Iterator[PendingFile]:
    """Commits at the end of the block, discards where it is left by an exception."""
    pending = PendingFile(path)
    try:
        yield pending
        pending.commit()
    except BaseException:
        pending.discard()
        raise
