"""Signals to the workers of a loader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protscribe.data.workers import SIGNALS, Ear, Ears


def worker(ear: Ear) -> int:
    """A process that listens as a worker does, and does nothing; its id."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ear.listen(0)
            os.write(told, b"x")
            while True:
                time.sleep(0.01)
        finally:
            os._exit(1)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return child


def alive(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@pytest.mark.parametrize("number", SIGNALS)
def test_while_a_model_is_fitted_a_worker_goes_on_and_says_so(number: int) -> None:
    ears = Ears()
    ear, other = ears.grow("training"), ears.grow("validation")
    process = worker(ear)
    with ears.fitting():
        os.kill(process, number)
        until = time.monotonic() + 20
        while not ears.heard("training") and time.monotonic() < until:
            time.sleep(0.01)
        assert ears.heard("training")
        assert not other.heard
        assert alive(process)
    os.kill(process, number)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == number
    ears.close("training")
    assert not ears.heard("training")


def test_a_program_ends_whose_loader_was_not_read_to_its_end(tmp_path: Path) -> None:
    """At the end of a program Python sends SIGTERM to its children and waits for them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from protscribe.data.workers import Ears\n"
        "ears = Ears()\n"
        "def work():\n"
        "    ears.grow('training').listen(0)\n"
        "    time.sleep(60)\n"
        "child = multiprocessing.get_context('fork').Process(target=work, daemon=True)\n"
        "child.start()\n"
        "time.sleep(0.5)\n"
    )
    begun = time.monotonic()
    subprocess.run([sys.executable, script], check=True, timeout=50)
    assert time.monotonic() - begun < 40
    assert signal.SIGTERM in SIGNALS
