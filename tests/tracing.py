"""Kills a process at any system call that changes files, with ``strace``: nothing of Python's stands between."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CALLS = (
    "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "rename", "renameat", "renameat2", "link", "linkat",
    "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir",
)  # fmt: skip
"""What a process may be killed at; those that a machine does not have are left out."""

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def traced(act: Callable[[], object], log: Path, *options: str) -> int:
    """The exit status of a forked process in which ``act`` ran under strace from its first line on; minus the signal where
    one ended it. Skips the test where processes may not be traced.
    """
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.kill(os.getpid(), signal.SIGSTOP)
            act()
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, os.WUNTRACED)
    wanted = f"trace={','.join(f'?{name}' for name in CALLS)}"
    command = ["strace", "-f", "-o", str(log), "-e", wanted, *options, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        os.kill(child, signal.SIGCONT if "attached" in said else signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if "attached" not in said:
        pytest.skip(f"processes may not be traced here: {said.strip()}")
    return status


def killed_at_every_call(act: Callable[[], object], log: Path) -> Iterator[tuple[str, int]]:
    """Runs ``act`` once in a process that lives, and then once for each call that it had made, in a process that is killed on
    entering that call; gives the call's name and its number, from 1, after every death. The caller puts things back.
    """
    assert traced(act, log) == 0
    made = Counter(re.findall(r"^(\d+)\s+(\w+)\(", log.read_text(), re.MULTILINE))
    # strace counts for each thread; what is killed at every call must make all of them in one.
    assert len({thread for thread, _ in made}) == 1
    yield "", 0
    for (_, name), count in made.items():
        for number in range(1, count + 1):
            status = traced(act, log, "-e", f"inject={name}:signal=SIGKILL:when={number}")
            assert status == -signal.SIGKILL, f"{name} {number}"
            yield name, number
