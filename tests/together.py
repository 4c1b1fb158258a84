"""Runs a function in several processes that train together over gloo, forked from the test's own process.

Forked and not started afresh: importing torch and Lightning takes longer than all that is tested here.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 120


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    return {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
    }  # fmt: skip


def start(work: Callable[[int], Any], rank: int, world: int, port: int, folder: Path) -> int:
    """Forks one process; its id. What ``work(rank)`` returns goes to a file, what it raises to standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.environ.update(environment(rank, world, port))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        (folder / f"{rank}.pickle").write_bytes(pickle.dumps(work(rank)))
        status = 0
    except SystemExit as exit:
        status = int(exit.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def statuses(work: Callable[[int], Any], world: int, folder: Path, seconds: float = SECONDS) -> list[int]:
    """The exit status of each process; -9 for one that had not ended after ``seconds``."""
    port = free_port()
    running = {start(work, rank, world, port, folder): rank for rank in range(world)}
    ended: dict[int, int] = {}
    until = time.monotonic() + seconds
    while running:
        if time.monotonic() > until:
            for process in running:
                os.kill(process, signal.SIGKILL)
        for process in list(running):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                ended[running.pop(process)] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return [ended[rank] for rank in range(world)]


def together(work: Callable[[int], Any], world: int = 2, seconds: float = SECONDS) -> list[Any]:
    """What ``work(rank)`` returns in each of ``world`` processes, all of which must end well."""
    with tempfile.TemporaryDirectory() as folder:
        ended = statuses(work, world, Path(folder), seconds)
        assert ended == [0] * world, f"processes ended with {ended}"
        return [pickle.loads((Path(folder) / f"{rank}.pickle").read_bytes()) for rank in range(world)]
