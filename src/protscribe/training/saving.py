"""Checkpoints of training on disk: each is there, complete, or it is not there. Pure Python.

A checkpoint is a folder ``0012-step-3400`` with ``state.pt`` and, written last, ``manifest.json``, which holds size and
SHA-256 of the former and a seal over itself. It is written under a hidden name beside its final place, flushed to the disk,
and renamed. Numbers only grow and none takes another's place: the highest is the newest. One that is removed loses its name
first, so that what a kill leaves half removed does not pass for a checkpoint.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from protscribe.checkpoint.folder import flush, write_file
from protscribe.checkpoint.manifest import MANIFEST, digest_file, read_sealed, seal
from protscribe.errors import CheckpointError, OutputError, Where
from protscribe.locks import take, this_process

log = logging.getLogger(__name__)

STATE = "state.pt"
FORMAT = 1
"""Number of this format. A library reads its own and all older ones."""
NEEDS = "0.1.0"
"""The first version of this library that reads :data:`FORMAT`."""

LOCK = ".lock"
NAME = re.compile(r"(\d{4,})-step-\d+")
LEFTOVER = re.compile(r"\.(saving|removed)-.*")


class Writable(Protocol):
    """What a state is written to: it takes bytes, in order."""

    def write(self, data: Any, /) -> int: ...

    def flush(self) -> None: ...


def save(folder: Path, name: str, write: Callable[[Writable], None], facts: Mapping[str, Any]) -> Path:
    """Writes a new checkpoint ``name`` (see :func:`next_name`) into ``folder`` and returns its path.

    ``write`` writes the state; ``facts`` are plain data for the manifest. Raises
    :class:`~protscribe.errors.OutputError` ``output.write`` where the disk or its rights do not allow it; checkpoints that
    were there before are then intact.
    """
    target = folder / name
    temporary = folder / f".saving-{secrets.token_hex(4)}"
    try:
        with reporting(target):
            os.makedirs(folder, exist_ok=True)
            sweep(folder)
            os.mkdir(temporary)
            entry = _write_state(temporary / STATE, write)
            content = {"format": FORMAT, "needs_library": NEEDS, "files": {STATE: entry}, **facts}
            write_file(temporary / MANIFEST, seal(content))
            flush(temporary)
            os.rename(temporary, target)
            flush(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def next_name(folder: Path, step: int) -> str:
    """The name of the next checkpoint, saved after ``step`` optimizer steps."""
    with reporting(folder):
        numbers = [_number(path) for path in saved(folder)]
    return f"{max(numbers, default=0) + 1:04d}-step-{step}"


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest last; whether they are intact, only :func:`check` tells."""
    if not folder.is_dir():
        return []
    found = [folder / name for name in os.listdir(folder) if NAME.fullmatch(name)]
    return sorted((path for path in found if path.is_dir()), key=_number)


def check(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, once every byte has been found to be what was saved.

    Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found``, ``checkpoint.foreign`` (a file, or a
    folder of another kind), ``checkpoint.version``, ``checkpoint.corrupt``.
    """
    where = Where(file=str(path))
    if not path.exists():
        raise CheckpointError("checkpoint.not_found", "there is no such checkpoint to resume from", where)
    if not path.is_dir():
        raise CheckpointError(
            "checkpoint.foreign", "is a file; a run is resumed from a folder of its checkpoints", where
        )
    if not (path / MANIFEST).is_file():
        raise CheckpointError(
            "checkpoint.corrupt", f"holds no {MANIFEST}, so it is no complete checkpoint", where
        )
    manifest = read_sealed(path / MANIFEST, FORMAT)
    entry = (manifest.get("files") or {}).get(STATE)
    if not isinstance(entry, Mapping):
        raise CheckpointError("checkpoint.foreign", f"lists no {STATE}: no checkpoint of training", where)
    _check_state(path / STATE, entry)
    return manifest


def _check_state(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        same = path.stat().st_size == entry.get("bytes") and digest_file(path) == entry.get("sha256")
        said = "is not as it was saved: size or SHA-256 differs"
    except OSError as error:
        same, said = False, f"cannot be read: {error.strerror}"
    if not same:
        raise CheckpointError("checkpoint.corrupt", said, Where(file=str(path)))


def newest_intact(folder: Path) -> Path | None:
    """The newest checkpoint of a folder that is intact, ``None`` where there is none at all.

    Damaged ones are passed over with a warning. Raises :class:`~protscribe.errors.CheckpointError`
    ``checkpoint.corrupt`` where all are damaged: training must not begin anew unasked.
    """
    try:
        found = saved(folder)
    except OSError as error:
        raise CheckpointError(
            "checkpoint.not_found", f"cannot be read: {error.strerror}", Where(file=str(folder))
        ) from None
    for path in reversed(found):
        try:
            check(path)
            return path
        except CheckpointError as error:
            log.warning("this checkpoint is damaged, the one before it is tried: %s", error)
    if found:
        raise CheckpointError(
            "checkpoint.corrupt",
            f"all {len(found)} checkpoints are damaged; remove them to begin anew",
            Where(file=str(folder)),
        )
    return None


def keep(folder: Path, newest: int, names: Collection[str] = ()) -> None:
    """Removes all checkpoints but so many of the newest, and those named. Raises ``output.write`` where that is not
    possible."""
    with reporting(folder):
        found = saved(folder)
        for path in found[: len(found) - newest]:
            if path.name not in names:
                nameless = folder / f".removed-{path.name}"
                os.rename(path, nameless)
                _remove(nameless)


def sweep(folder: Path) -> None:
    """Removes what killed writers left. Only for who holds the lock, see :func:`locked`."""
    for name in os.listdir(folder):
        if LEFTOVER.fullmatch(name):
            _remove(folder / name)


def set_aside(folder: Path, after: str | None = None) -> None:
    """Makes room for a run that goes on from the checkpoint ``after`` of this folder, or from none of it.

    Checkpoints that are newer than that would pass for the run's own: they move to ``FOLDER.earlier-N``, which is logged.
    Those of a finished run are removed when a new one begins.
    """
    with reporting(folder):
        found = saved(folder)
    if after is not None:
        found = [path for path in found if _number(path) > _number(Path(after))]
    if not found:
        return
    if after is None and _is_finished(found[-1]):
        keep(folder, 0)
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    with reporting(aside):
        os.mkdir(aside)
        for path in found:
            os.rename(path, aside / path.name)
    log.warning(
        "%s: checkpoints of an earlier run, or after the one that this run goes on from, are now in %s",
        folder,
        aside,
    )


def _is_finished(path: Path) -> bool:
    try:
        return bool(read_sealed(path / MANIFEST, FORMAT)["run"]["finished"])
    except (CheckpointError, OSError, KeyError, TypeError):
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing checkpoints into ``folder``; the system lets go of the lock when this one dies.

    Raises :class:`~protscribe.errors.OutputError` ``output.locked`` where another process has it.
    """
    with reporting(folder):
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # A lock of the process, which its workers do not inherit: they may outlive it by seconds.
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    found = take(descriptor)
    if found == "busy":
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        raise OutputError(
            "output.locked",
            f"{holder} is training into this folder; wait for it, or give this run another name",
            Where(file=str(folder)),
        )
    if found == "unknown":
        log.warning("%s cannot be locked: a second run into it would not be noticed", folder)
        return
    with reporting(folder):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{this_process()}\n".encode())


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns what the system has against writing ``path`` into :class:`~protscribe.errors.OutputError` ``output.write``."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            "output.write",
            f"cannot be written: {error.strerror or error}; earlier checkpoints are intact",
            Where(file=str(path)),
        ) from error


class _Sink:
    """An open file that counts and digests what it is given.

    After an error of the system it swallows the rest: a writer in C++ that is interrupted reports something else. The
    error is raised by who looks at ``failure``.
    """

    def __init__(self, descriptor: int) -> None:
        self.bytes, self.digest = 0, hashlib.sha256()
        self.failure: OSError | None = None
        self._descriptor = descriptor

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self.failure is None:
            try:
                rest = view
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                self.failure = error
            self.digest.update(view)
            self.bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is held back."""


def _write_state(path: Path, write: Callable[[Writable], None]) -> dict[str, Any]:
    """Writes a state, flushed to the disk; its entry in the manifest."""
    binary = getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)
    try:
        sink = _Sink(descriptor)
        write(sink)
        if sink.failure is not None:
            raise sink.failure
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"bytes": sink.bytes, "sha256": sink.digest.hexdigest()}


def _remove(folder: Path) -> None:
    for name in os.listdir(folder):
        os.unlink(folder / name)
    os.rmdir(folder)


def _number(path: Path) -> int:
    found = NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1])
