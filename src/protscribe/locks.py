"""Locks that the system lets go of when their process dies. Pure Python.

Locks are those of a process (POSIX record locks): threads share them, children do not inherit them. NFS passes them to its
server; Lustre does where it is mounted with ``flock``.
"""

from __future__ import annotations

import os
import socket
from typing import Literal

try:
    import fcntl
except ImportError:  # Windows, where a second writer is not noticed
    fcntl = None  # type: ignore[assignment]

Taken = Literal["taken", "busy", "unknown"]


def take(descriptor: int) -> Taken:
    """Tries to lock an open file for this process: ``"busy"`` where another has it, ``"unknown"`` where files cannot be
    locked."""
    if fcntl is None:
        return "unknown"
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return "busy"
    except OSError:
        return "unknown"
    return "taken"


def this_process() -> str:
    """How a lock's file names who has it."""
    return f"process {os.getpid()} on {socket.gethostname()}"
