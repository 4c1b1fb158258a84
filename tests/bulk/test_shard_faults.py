"""Shards on disk (promises P2 and P3): at every failure and every kill, each is there whole or not there."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protscribe.bulk import lease, merge, read_plan, shard
from protscribe.bulk.shard import Seal, read_seal
from protscribe.checkpoint import folder as folders
from protscribe.errors import OutputError
from protscribe.outputs import atomic
from tests.bulk.stub import content, predict, write_fasta
from tests.training.test_saving import FaultyOs, Killed, in_a_child

MODULES = (atomic, shard, folders, lease)
CALLS = ("makedirs", "listdir", "open", "write", "pwrite", "ftruncate", "fsync", "close", "replace", "unlink")
FAILURES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


class Faulty(FaultyOs):
    CALLS = CALLS


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input, and a folder of its answers that nothing has interrupted."""
    home = tmp_path_factory.mktemp("done")
    predict(write_fasta(home / "in.fasta", 60), home / "out", shards=2, formats=["jsonl"])
    return home


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Faulty]]:
    # One thread calls the system: when a sign of life is given would change the numbers.
    monkeypatch.setattr(lease.threading.Thread, "start", lambda self: _start(self))  # type: ignore[attr-defined]
    monkeypatch.setattr(lease.threading.Thread, "join", lambda self, timeout=None: _join(self, timeout))  # type: ignore[attr-defined]

    # What the process has by now is not looked at again by each collection.
    gc.collect()
    gc.freeze()

    def install(*given: object) -> Faulty:
        # What an attempt before has left open is closed when it is collected, which would change the numbers too.
        gc.collect()
        shim = Faulty(*given)  # type: ignore[arg-type]
        for module in MODULES:
            monkeypatch.setattr(module, "os", shim)
        return shim

    yield install
    gc.unfreeze()


_start_of, _join_of = lease.threading.Thread.start, lease.threading.Thread.join


def _start(thread: lease.threading.Thread) -> None:
    if thread.name == "protscribe-reading":
        _start_of(thread)


def _join(thread: lease.threading.Thread, timeout: float | None) -> None:
    if thread.name == "protscribe-reading":
        _join_of(thread, timeout)


def begun(home: Path, folder: Path) -> Path:
    """A folder with a plan and its first shard."""
    shutil.copytree(home / "out", folder)
    for path in (folder / "shards").glob("00002.*"):
        path.unlink()
    return folder


def attempt(home: Path, folder: Path) -> None:
    predict(home / "in.fasta", folder, shards=2, formats=["jsonl"], shard=2)


def error_of(act: Callable[[], object]) -> OutputError | None:
    try:
        act()
    except OutputError as error:
        return error
    return None


def calls_of(home: Path, folder: Path, faulty: Callable[..., Faulty], undo: Callable[[], None]) -> list[str]:
    shim = faulty(0, None)
    attempt(home, begun(home, folder))
    for module in MODULES:
        module.os = os  # type: ignore[attr-defined]
    return shim.calls


def restore() -> None:
    for module in MODULES:
        module.os = os  # type: ignore[attr-defined]


def intact(folder: Path) -> list[bool]:
    """Which shards are done; what is sealed must be whole."""
    plan = read_plan(folder)
    found = [read_seal(folder, plan, number) for number in range(2)]
    assert not any(isinstance(one, str) for one in found), found
    return [isinstance(one, Seal) for one in found]


def test_everything_is_on_the_disk_before_the_seal_has_its_name(
    done: Path, tmp_path: Path, faulty: Callable[..., Faulty]
) -> None:
    calls = calls_of(done, tmp_path / "0", faulty, restore)
    assert set(calls) == set(CALLS)
    places = [place for place, name in enumerate(calls) if name == "replace"]
    assert len(places) == 4  # answers, JSON lines, rejected, the seal
    assert calls[: places[0]].count("fsync") == 4
    assert "fsync" in calls[places[2] : places[3]]
    assert "fsync" in calls[places[3] :]
    assert "write" not in calls[places[0] :]


@pytest.mark.parametrize("when", ["before", "after", "half"])
def test_a_kill_at_any_call_leaves_the_shard_done_or_not_there(
    done: Path, tmp_path: Path, faulty: Callable[..., Faulty], when: str
) -> None:
    calls, seen = calls_of(done, tmp_path / "0", faulty, restore), []
    whole = content(done / "out")
    for k in range(1, len(calls) + 1):
        if when == "half" and calls[k - 1] != "write":
            continue
        folder = begun(done, tmp_path / str(k))
        faulty(k, Killed, when)
        with pytest.raises(Killed):
            attempt(done, folder)
        restore()
        found = intact(folder)
        assert found[0]
        seen.append(found[1])
        attempt(done, folder)
        assert content(folder) == whole, f"call {k}, {calls[k - 1]}"
        shutil.rmtree(folder)
    assert when == "half" or {False, True} == set(seen)


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_a_failure_at_any_call_is_told_and_leaves_the_rest_intact(
    done: Path, tmp_path: Path, faulty: Callable[..., Faulty], number: int
) -> None:
    calls, told = calls_of(done, tmp_path / "0", faulty, restore), 0
    whole = content(done / "out")
    for k in range(1, len(calls) + 1):
        folder = begun(done, tmp_path / str(k))
        shim = faulty(k, number, "before")
        said = error_of(lambda: attempt(done, folder))  # noqa: B023
        if said is not None:
            assert said.code == "output.write"
            assert os.strerror(number) in str(said)
            assert said.exit_status == 2
            told += 1
        else:
            # What cannot be tidied away afterwards is left to who comes next.
            assert shim.calls[k - 1] in ("unlink", "close"), f"call {k}, {shim.calls[k - 1]}"
            assert intact(folder) == [True, True]
        restore()
        assert intact(folder)[0]
        attempt(done, folder)
        assert content(folder) == whole, f"call {k}, {calls[k - 1]}"
        shutil.rmtree(folder)
    assert told >= len(calls) - 4


def test_a_plan_that_cannot_be_written(done: Path, tmp_path: Path, faulty: Callable[..., Faulty]) -> None:
    faulty(4, errno.ENOSPC, "before")
    with pytest.raises(OutputError, match="No space"):
        predict(done / "in.fasta", tmp_path / "new", shards=2, formats=["jsonl"])
    restore()
    predict(done / "in.fasta", tmp_path / "new", shards=2, formats=["jsonl"])
    assert content(tmp_path / "new") == content(done / "out")


def refused(home: Path, folder: Path) -> int:
    try:
        attempt(home, folder)
    except OutputError as error:
        return 10 + error.exit_status
    return 0


def test_files_that_the_system_does_not_let_grow(done: Path, tmp_path: Path) -> None:
    """A real error of the kernel's, in the middle of a shard."""
    import resource

    folder = begun(done, tmp_path / "out")

    def act() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return refused(done, folder)

    assert in_a_child(act) == 12
    assert intact(folder) == [True, False]
    attempt(done, folder)
    assert content(folder) == content(done / "out")


def test_a_folder_that_this_user_may_not_write_to(done: Path, tmp_path: Path) -> None:
    folder = begun(done, tmp_path / "out")
    tops = (*tmp_path.parents, *done.parents, tmp_path, done, *done.rglob("*"), *folder.rglob("*"))
    for path in tops:
        if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o004:
            path.chmod(path.stat().st_mode | 0o055)
    for path in (folder, folder / "shards"):
        path.chmod(0o555)

    def act() -> int:
        if os.geteuid() == 0:  # who may write anywhere
            os.setgid(65534)
            os.setuid(65534)
        return refused(done, folder)

    status = in_a_child(act)
    for path in (folder, folder / "shards"):
        path.chmod(0o755)
    assert status == 12
    assert intact(folder) == [True, False]


def test_merging_fails_whole(done: Path, tmp_path: Path, faulty: Callable[..., Faulty]) -> None:
    merge(done / "out", str(tmp_path / "all.csv"))
    before = content(tmp_path)
    shim = faulty(0, None)
    merge(done / "out", str(tmp_path / "all.csv"))
    restore()
    for k in range(1, len(shim.calls) + 1):
        faulty(k, errno.ENOSPC, "before")
        said = error_of(lambda: merge(done / "out", str(tmp_path / "all.csv")))
        restore()
        assert said is None or said.code == "output.write"
        assert content(tmp_path) == before


def test_writing_shards_loads_no_torch() -> None:
    code = (
        "import sys, tempfile, pathlib; from tests.bulk.stub import predict, write_fasta; "
        "home = pathlib.Path(tempfile.mkdtemp()); predict(write_fasta(home / 'i.fasta', 20), home / 'o'); "
        "from protscribe.bulk import merge; merge(home / 'o', str(home / 'a.parquet')); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
