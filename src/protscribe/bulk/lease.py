"""Who works on a shard: a lock of the system's, and a lease that others can read.

The lock keeps a second writer out and dies with its process. The lease is the content of the locked file: host, process, how
far it is, written anew every few seconds. Where locks do not reach from one machine to another, a lease that is fresh counts
as a lock. Without either, two writers of one shard would waste time and nothing else: each commits whole files.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protscribe.errors import OutputError, Where
from protscribe.interruption import interruption
from protscribe.locks import take
from protscribe.outputs.atomic import reporting

BEAT = 5.0
"""Seconds between two signs of life."""
FRESH = 60.0
"""Seconds after which a lease without a sign of life is stale."""


@dataclass
class Lease:
    """What the holder of a lock says of itself: ``done`` records of ``total`` in ``seconds``, and the ``shares`` of that time
    that went into the encoder and the decoder."""

    host: str
    process: int
    total: int = 0
    done: int = 0
    seconds: float = 0.0
    encoder: float = 0.0
    decoder: float = 0.0

    @classmethod
    def mine(cls, total: int = 0) -> Lease:
        return cls(socket.gethostname(), os.getpid(), total)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def read_lease(path: Path) -> tuple[Lease, float] | None:
    """A lease and its age in seconds; ``None`` where there is none that can be read."""
    try:
        age = time.time() - path.stat().st_mtime
        return Lease(**json.loads(path.read_bytes()[:4096])), age
    except (OSError, ValueError, TypeError):
        return None


def is_alive(lease: Lease, age: float) -> bool:
    """Whether who wrote a lease seems to work still: its process, on this machine; a sign of life, from another one."""
    if lease.host != socket.gethostname():
        return age < FRESH
    try:
        os.kill(lease.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def holding(path: Path, lease: Lease, what: str) -> Iterator[None]:
    """Holds the lock ``path`` with a lease; afterwards the file is gone.

    Raises :class:`~protscribe.errors.OutputError`: ``output.locked`` where somebody else works on ``what``, ``output.write``.
    """
    stop, held = threading.Event(), list[int]()
    try:
        with interruption().deferred(), reporting(path):
            os.makedirs(path.parent, exist_ok=True)
            held.append(_acquire(path, what))
        with reporting(path):
            _tell(held[0], lease)
        beating = threading.Thread(target=_beat, args=(held[0], lease, stop), daemon=True)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
    finally:
        try:
            _let_go(path, held)
        finally:  # where a signal ended that; no other one will
            _let_go(path, held)


def _let_go(path: Path, held: list[int]) -> None:
    # The name goes while the lock is held: who opens it from now on opens another file.
    if held:
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.close(held.pop())


def _acquire(path: Path, what: str) -> int:
    while True:
        before = read_lease(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            found = take(descriptor)
            if found == "busy" or not _is_over(path, before, locked=found == "taken"):
                raise _locked(path, what, before)
            if _still_named(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has just removed it


def _is_over(path: Path, before: tuple[Lease, float] | None, *, locked: bool) -> bool:
    """Whether nobody else holds a lease. Of another machine's, whose process may have been killed, a sign of life is waited
    for."""
    if before is None or before[0].process == os.getpid():
        return True
    if before[0].host == socket.gethostname():
        return locked or not is_alive(*before)
    while (now := read_lease(path)) is not None and is_alive(*now):
        if now[1] < before[1]:
            return False
        interruption().check()
        time.sleep(min(BEAT, 1.0))
    return True


def _still_named(path: Path, descriptor: int) -> bool:
    try:
        named, mine = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev)


def _locked(path: Path, what: str, before: tuple[Lease, float] | None) -> OutputError:
    who = "another process" if before is None else f"{before[0]} (sign of life {before[1]:.0f} s ago)"
    message = f"{who} works on {what}; leave it to it, or run this again when it has ended"
    return OutputError("output.locked", message, Where(file=str(path)))


def _tell(descriptor: int, lease: Lease) -> None:
    content: Any = json.dumps(asdict(lease)).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def _beat(descriptor: int, lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        # A lease that cannot be renewed (a full disk) becomes stale; the lock stays.
        with contextlib.suppress(OSError):
            _tell(descriptor, lease)
