"""Several processes and Ray: the same bytes as one process, and nothing lost when one of them dies (promise P20)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protscribe.bulk import read_status
from protscribe.bulk.engines import find_engine
from protscribe.bulk.lease import read_lease
from protscribe.errors import ConfigError, DeviceError, InputError
from protscribe.records import Failure, Prediction
from tests.bulk.stub import Stub, content, load, predict, write_fasta

SHARDS = 8


class Deadly(Stub):
    """Ends its process at a record named ``fatal``: the first time, or every time."""

    def __init__(self, marker: Path | None, how: str) -> None:
        super().__init__()
        self.marker, self.how = marker, how

    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Iterator[Prediction | Failure]:
        for outcome in super().stream(records, tasks, **how):
            if isinstance(outcome, Prediction) and outcome.id == "p40":
                self._die()
            yield outcome

    def _die(self) -> None:
        if self.how == "raise":
            raise ZeroDivisionError("a bug")
        if self.marker is not None:
            if self.marker.exists():
                return
            self.marker.touch()
        os.kill(os.getpid(), signal.SIGTERM if self.how == "asked" else signal.SIGKILL)
        time.sleep(5)


class LoadDeadly:
    def __init__(self, marker: Path | None, how: str = "kill") -> None:
        self.marker, self.how = marker, how

    def __call__(self, device: str) -> Deadly:
        return Deadly(self.marker, self.how)


class Slow(Stub):
    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Iterator[Prediction | Failure]:
        for outcome in super().stream(records, tasks, **how):
            time.sleep(0.02)
            yield outcome


def load_slow(device: str) -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole")
    predict(write_fasta(home / "in.fasta", 80), home / "out", shards=SHARDS)
    return home


def several(whole: Path, folder: Path, **more: Any) -> Any:
    return predict(
        whole / "in.fasta", folder, **{"shards": SHARDS, "engine": "processes", "workers": 2, **more}
    )


def test_two_processes_give_what_one_gives(whole: Path, tmp_path: Path) -> None:
    result = several(whole, tmp_path / "out")
    assert content(tmp_path / "out") == content(whole / "out")
    assert (result.done, result.found, result.records) == (SHARDS, 0, 80)
    again = several(whole, tmp_path / "out")
    assert (again.done, again.found, again.records) == (0, SHARDS, 80)


def test_a_process_that_dies_is_replaced_and_its_shard_done_again(whole: Path, tmp_path: Path) -> None:
    several(whole, tmp_path / "out", load=LoadDeadly(tmp_path / "died"))
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "out") == content(whole / "out")


def test_a_shard_that_kills_every_process_ends_the_run(whole: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"3 processes died at shard \d+, .*signal 9") as caught:
        several(whole, tmp_path / "out", load=LoadDeadly(None))
    assert caught.value.code == "device.worker_died"
    assert time.monotonic() - began < 60
    several(whole, tmp_path / "out")
    assert content(tmp_path / "out") == content(whole / "out")


@pytest.mark.parametrize(("how", "error"), [("raise", "a bug"), ("asked", "predict.preempted")])
def test_what_a_process_raises_ends_all(whole: Path, tmp_path: Path, how: str, error: str) -> None:
    began = time.monotonic()
    with pytest.raises(Exception, match=error):
        several(whole, tmp_path / "out", load=LoadDeadly(None, how))
    assert time.monotonic() - began < 30
    hidden = [name for name in content(tmp_path / "out") if Path(name).name.startswith(".")]
    assert hidden == []
    several(whole, tmp_path / "out")
    assert content(tmp_path / "out") == content(whole / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_their_parent(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import pathlib, sys; from tests.bulk.stub import predict; from tests.bulk.test_engines import load_slow\n"
        "from protscribe.errors import ProtscribeError\n"
        "if __name__ == '__main__':\n"
        "  try:\n"
        f"    predict(pathlib.Path({str(whole / 'in.fasta')!r}), pathlib.Path({str(tmp_path / 'out')!r}), shards={SHARDS}, "
        "engine='processes', workers=2, load=load_slow)\n"
        "  except ProtscribeError as error:\n"
        "    sys.exit(error.exit_status)\n"
    )
    (tmp_path / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, str(tmp_path / "run.py")], env=environment) as running:
        leases = []
        until = time.monotonic() + 40
        while len(leases) < 2 and time.monotonic() < until:
            time.sleep(0.05)
            locks = list((tmp_path / "out" / "shards").glob(".*.lock"))
            leases = [found[0] for path in locks if (found := read_lease(path)) is not None]
        assert {lease.process for lease in leases}.isdisjoint({running.pid})
        assert read_status(tmp_path / "out").running
        running.send_signal(number)
        assert running.wait(30) == (75 if number == signal.SIGTERM else -number)
    until = time.monotonic() + 30
    while any(_is_there(lease.process) for lease in leases) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_is_there(lease.process) for lease in leases)
    predict(whole / "in.fasta", tmp_path / "out", shards=SHARDS)
    assert content(tmp_path / "out") == content(whole / "out")


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_input_that_changed_is_told_from_a_process(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in.fasta").write_bytes((whole / "in.fasta").read_bytes())
    predict(tmp_path / "in.fasta", tmp_path / "out", shards=SHARDS, shard=1)
    text = (tmp_path / "in.fasta").read_text()
    place = text.index("made for a test\n", len(text) // 2) + len("made for a test\n")
    (tmp_path / "in.fasta").write_text(
        text[:place] + ("A" if text[place] != "A" else "C") + text[place + 1 :]
    )

    def all_of_them() -> None:
        for shard in range(2, SHARDS + 1):
            several(tmp_path, tmp_path / "out", shard=shard)

    with pytest.raises(InputError, match="not what they were when the work was planned") as caught:
        all_of_them()
    assert caught.value.code == "input.changed"


def test_engines_by_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'processes'"):
        find_engine("proceses")


# Ray


def test_ray_gives_the_same_and_an_actor_that_is_killed_loses_nothing(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    result = predict(
        whole / "in.fasta",
        tmp_path / "out",
        shards=SHARDS,
        engine="ray",
        workers=2,
        load=LoadDeadly(tmp_path / "died"),
    )
    assert (tmp_path / "died").exists()
    assert result.records == 80
    assert content(tmp_path / "out") == content(whole / "out")
    assert load("cpu").asked == 0
