"""One thread for every test: with two, small products spend their time at barriers as soon as anything else runs.

And what takes minutes by itself: it runs beside the other tests and is looked at last.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

CHAOS = pytest.StashKey[subprocess.Popen[str]]()
CHAOS_TEST = "test_chaos.py::test_no_row_is_lost_doubled_or_wrong"
WHOLE_SUITE = 1000
"""Tests from which on it is the whole suite that runs, and minutes pass anyway."""


def _is_chaos(item: pytest.Item) -> bool:
    return item.nodeid.endswith(CHAOS_TEST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_is_chaos)  # stable: all others keep their order


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly or not any(map(_is_chaos, session.items)):
        return
    minutes = 5 if len(session.items) > WHOLE_SUITE else 0.25
    script = Path(__file__).parents[1] / "scripts" / "chaos.py"
    session.config.stash[CHAOS] = subprocess.Popen(
        [sys.executable, str(script), "--minutes", str(minutes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def chaos(pytestconfig: pytest.Config) -> subprocess.Popen[str]:
    """``scripts/chaos.py``, for five minutes where the whole suite runs and a quarter of a minute where a part does."""
    return pytestconfig.stash[CHAOS]


def pytest_unconfigure(config: pytest.Config) -> None:
    running = config.stash.get(CHAOS, None)
    if running is not None and running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
