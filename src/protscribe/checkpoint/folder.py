"""Writing a whole folder so that whoever looks, whenever, finds the old one or the new one, complete. Pure
Python.

A new folder is written beside its final place, every file flushed to the disk, and renamed into place. Where
one stands there already, it first steps aside to ``.NAME.previous``: after a kill between those two renames
:func:`find_complete` finds it there.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from protscribe.errors import OutputError, Where

log = logging.getLogger(__name__)

Content = bytes | Callable[[Path], None]
"""A file's bytes, or a function that writes the file at a path; its siblings that come before it are written
by then."""

ABANDONED = 24 * 3600
"""After so many seconds, what an interrupted writer left beside a folder is removed by the next one."""


def write_folder(folder: Path, files: Mapping[str, Content], known: Collection[str]) -> Path:
    """Writes ``files`` in their order as the folder ``folder``, replacing one that is there, and returns its
    absolute path.

    A folder that holds anything but the ``known`` names is not ours to replace. Raises
    :class:`~protscribe.errors.OutputError`: ``output.exists`` for that, ``output.write`` where the disk or
    its rights do not allow it; what was there before is then intact.
    """
    target = folder.expanduser().resolve()
    temporary = target.parent / f".{target.name}.saving-{secrets.token_hex(4)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _restore(target)
        _check_ours(target, known)
        _remove_abandoned(target)
        os.mkdir(temporary)
        for name, content in files.items():
            path = temporary / name
            if callable(content):
                content(path)
                # Some libraries write files for their owner only; those of a folder are read by the same people.
                os.chmod(path, os.stat(temporary).st_mode & 0o666)
                flush(path)
            else:
                write_file(path, content)
        flush(temporary)
        _swap(temporary, target)
    except OSError as error:
        raise OutputError(
            "output.write",
            f"cannot be written: {error.strerror or error}; what was there before is intact",
            Where(file=str(target)),
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(_previous(target), ignore_errors=True)
    return target


def find_complete(folder: Path) -> Path:
    """The folder itself, or where an interrupted replacement left it."""
    aside = _previous(folder.resolve())
    if not folder.exists() and aside.is_dir():
        log.warning("%s: a save was interrupted; the previous complete one is used (%s)", folder, aside)
        return aside
    return folder


def write_file(path: Path, content: bytes) -> None:
    """Writes a new file and flushes it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Flushes a file's bytes, or a folder's names, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows gives no handle to a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(temporary: Path, target: Path) -> None:
    aside = _previous(target)
    replaced = target.exists()
    if replaced:
        os.rename(target, aside)
    try:
        os.rename(temporary, target)
        try:
            flush(target.parent)
        except OSError:
            os.rename(target, temporary)
            raise
    except OSError:
        if replaced:
            os.rename(aside, target)
        raise


def _restore(target: Path) -> None:
    """Undoes or completes what an interrupted swap left."""
    aside = _previous(target)
    if not aside.exists():
        return
    if target.exists():
        shutil.rmtree(aside)
    else:
        os.rename(aside, target)


def _check_ours(target: Path, known: Collection[str]) -> None:
    strange = sorted(set(os.listdir(target)) - set(known)) if target.is_dir() else []
    if strange or (target.exists() and not target.is_dir()):
        what = f"holds {', '.join(strange[:5])}" if strange else "is a file"
        raise OutputError(
            "output.exists", f"{what}, so it is not replaced; choose another place", Where(file=str(target))
        )


def _remove_abandoned(target: Path) -> None:
    for path in target.parent.glob(f".{target.name}.saving-*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def _previous(target: Path) -> Path:
    return target.parent / f".{target.name}.previous"
