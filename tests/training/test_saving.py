"""Checkpoints on disk: at every failure and every kill there are the old ones, or those and the new one, all complete."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.checkpoint import folder as folders
from protscribe.errors import CheckpointError, OutputError
from protscribe.training import saving
from protscribe.training.saving import (
    STATE,
    check,
    keep,
    locked,
    newest_intact,
    next_name,
    save,
    saved,
    set_aside,
)
from tests.tracing import killed_at_every_call, needs_strace

CALLS = ("makedirs", "listdir", "mkdir", "open", "write", "fsync", "close", "rename", "unlink", "rmdir")
FAILURES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


class Killed(BaseException):
    """Stands for the end of the process: nothing after it happens."""


class FaultyOs:
    """The module ``os``, whose k-th call that touches the disk fails or kills: before it acts, after it, or, where it
    writes, half way."""

    CALLS = CALLS

    def __init__(self, k: int, fault: int | type[Killed] | None, when: str = "before") -> None:
        self.left, self.fault, self.when = k, fault, when
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*given: Any, **named: Any) -> Any:
            self.calls.append(name)
            self.left -= 1
            dead = self.fault is Killed and self.left < 0
            if self.left == 0 and not dead:
                if self.when == "half" and name == "write":
                    real(given[0], bytes(given[1])[: len(given[1]) // 2])
                elif self.when == "after":
                    real(*given, **named)
            if self.left == 0 or dead:
                raise Killed if self.fault is Killed else OSError(self.fault, os.strerror(self.fault))  # type: ignore[arg-type]
            return real(*given, **named)

        return call


def payload(number: int) -> bytes:
    return f"state {number} ".encode() * 500


def write_one(folder: Path, number: int) -> Path:
    """What a run does at each save: writes a checkpoint in several pieces, and removes all but the last two."""
    content = payload(number)

    def write(file: saving.Writable) -> None:
        for begin in range(0, len(content), 2000):
            file.write(content[begin : begin + 2000])

    path = save(folder, next_name(folder, number), write, {"run": {"number": number}})
    keep(folder, 2)
    return path


def numbers(folder: Path) -> list[int]:
    """The checkpoints that there are, oldest first; every one is intact."""
    found = []
    for path in saved(folder):
        number = check(path)["run"]["number"]
        assert (path / STATE).read_bytes() == payload(number)
        found.append(number)
    return found


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != saving.LOCK]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultyOs]]:
    def install(*given: Any) -> FaultyOs:
        shim = FaultyOs(*given)
        for module in (saving, folders):
            monkeypatch.setattr(module, "os", shim)
        return shim

    yield install
    monkeypatch.undo()


def begun(folder: Path) -> Path:
    for number in (1, 2):
        write_one(folder, number)
    return folder


def calls_of(folder: Path, faulty: Callable[..., FaultyOs], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shim = faulty(0, None)
    write_one(folder, 3)
    monkeypatch.undo()
    return shim.calls


def test_everything_is_on_the_disk_before_it_has_its_name_and_the_oldest_goes_last(
    tmp_path: Path, faulty: Callable[..., FaultyOs], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(begun(tmp_path / "c"), faulty, monkeypatch)
    named = calls.index("rename")
    assert calls[:named].count("fsync") == 3  # the state, the manifest, the folder that holds them
    assert calls[named + 1 : named + 4] == ["open", "fsync", "close"]  # the folder that holds the name
    assert "write" not in calls[named:]
    assert "unlink" not in calls[:named]
    assert calls.count("rename") == 2


@pytest.mark.parametrize("when", ["before", "after", "half"])
def test_a_kill_at_any_call_leaves_the_old_ones_or_those_and_the_new_one(
    tmp_path: Path, faulty: Callable[..., FaultyOs], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    seen = []
    for k in range(1, len(calls_of(begun(tmp_path / "0"), faulty, monkeypatch)) + 1):
        folder = begun(tmp_path / str(k))
        faulty(k, Killed, when)
        # A dead process removes nothing either.
        monkeypatch.setattr(saving.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            write_one(folder, 3)
        monkeypatch.undo()
        found = numbers(folder)
        assert found in ([1, 2], [1, 2, 3], [2, 3])
        last = newest_intact(folder)
        assert last is not None
        assert check(last)["run"]["number"] == found[-1]
        seen.append(found[-1])
        write_one(folder, 4)
        assert numbers(folder) == [found[-1], 4]
        assert leftovers(folder) == []
    assert seen == sorted(seen)
    assert set(seen) == {2, 3}


@pytest.mark.parametrize("when", ["before", "half"])
@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_a_failure_at_any_call_is_told_and_leaves_the_old_ones_intact(
    tmp_path: Path, faulty: Callable[..., FaultyOs], monkeypatch: pytest.MonkeyPatch, number: int, when: str
) -> None:
    calls = calls_of(begun(tmp_path / "0"), faulty, monkeypatch)
    assert set(calls) == set(CALLS)
    for k in range(1, len(calls) + 1):
        if when == "half" and calls[k - 1] != "write":
            continue
        folder = begun(tmp_path / str(k))
        faulty(k, number, when)
        with pytest.raises(OutputError, match=os.strerror(number)) as caught:
            write_one(folder, 3)
        monkeypatch.undo()
        assert caught.value.code == "output.write"
        assert caught.value.exit_status == 2
        assert numbers(folder)[:2] in ([1, 2], [2, 3])
        write_one(folder, 4)
        assert numbers(folder)[-1] == 4
        assert leftovers(folder) == []


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_what_torch_makes_of_a_failing_disk_is_told_as_what_it_is(
    tmp_path: Path, faulty: Callable[..., FaultyOs], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """torch would say "unexpected pos 64 vs 0"."""
    state = {"a": torch.arange(1000.0), "b": {"c": torch.zeros(3)}, "d": [1, "text"]}
    folder = tmp_path / "checkpoints"

    def attempt() -> None:
        save(folder, next_name(folder, 1), lambda file: torch.save(state, file), {})  # type: ignore[arg-type]

    shim = faulty(0, None)
    attempt()
    monkeypatch.undo()
    writes = [k for k, name in enumerate(shim.calls, 1) if name == "write"]
    assert len(writes) > 10
    for k in writes:
        faulty(k, number)
        with pytest.raises(OutputError, match=os.strerror(number)):
            attempt()
        monkeypatch.undo()
    (path,) = saved(folder)
    read = torch.load(path / STATE, weights_only=True)
    assert torch.equal(read["a"], state["a"])  # type: ignore[arg-type]
    assert leftovers(folder) == []


def in_a_child(act: Callable[[], int]) -> int:
    """The exit status of a process that does this."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = act()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refused(folder: Path, state: bytes = payload(3)) -> int:
    try:
        save(folder, next_name(folder, 3), lambda file: file.write(state) and None, {"run": {"number": 3}})
    except OutputError as error:
        return 10 + error.exit_status
    return 0


def test_a_file_that_the_system_does_not_let_grow(tmp_path: Path) -> None:
    """A real error of the kernel's, in the middle of a state."""
    folder = begun(tmp_path / "c")

    def act() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return refused(folder)

    assert in_a_child(act) == 12
    assert numbers(folder) == [1, 2]
    assert leftovers(folder) == []


def test_a_folder_that_this_user_may_not_write_to(tmp_path: Path) -> None:
    folder = begun(tmp_path / "c")
    for path in (folder, *folder.rglob("*"), *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path.is_relative_to(tmp_path.parent.parent):
            path.chmod(0o555 if path == folder else path.stat().st_mode | 0o055)

    def act() -> int:
        if os.geteuid() == 0:  # who may write anywhere
            os.setgid(65534)
            os.setuid(65534)
        return refused(folder)

    status = in_a_child(act)
    folder.chmod(0o755)
    assert status == 12
    assert numbers(folder) == [1, 2]


@pytest.mark.parametrize("kills", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_killed_processes_leave_complete_checkpoints(tmp_path: Path, kills: int) -> None:
    folder = begun(tmp_path / "c")
    draw = random.Random(kills)
    last = 2
    for _ in range(kills):
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                while True:
                    last += 1
                    write_one(folder, last)
                    os.write(told, b"x")
            finally:
                os._exit(1)
        # Some die in their first save, the others in a later one, wherever they are.
        if draw.random() < 0.7:
            os.read(ready, 1)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        os.close(ready)
        os.close(told)
        found = numbers(folder)
        assert len(found) in (2, 3)
        assert found[-1] >= last  # nothing of before is lost
        assert found == sorted(found)
        last = found[-1]
    assert last > 2 + kills / 2
    write_one(folder, last + 1)
    assert numbers(folder) == [last, last + 1]
    assert leftovers(folder) == []


# Finding one again


def damage(path: Path, how: str) -> None:
    state, manifest = path / STATE, path / saving.MANIFEST
    if how == "bit":
        held = bytearray(state.read_bytes())
        held[len(held) // 2] ^= 4
        state.write_bytes(held)
    elif how == "cut":
        state.write_bytes(state.read_bytes()[:-1])
    elif how == "no state":
        state.unlink()
    elif how == "no manifest":
        manifest.unlink()
    elif how == "empty manifest":
        manifest.write_bytes(b"")
    else:
        manifest.write_bytes(manifest.read_bytes().replace(b'"number": 2', b'"number": 3'))


@pytest.mark.parametrize(
    "how", ["bit", "cut", "no state", "no manifest", "empty manifest", "edited manifest"]
)
def test_a_damaged_newest_one_is_passed_over_with_a_warning(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = saved(begun(tmp_path / "c"))
    damage(second, how)
    assert newest_intact(tmp_path / "c") == first
    assert "damaged" in caplog.text
    assert second.name in caplog.text
    with pytest.raises(CheckpointError) as caught:
        check(second)
    assert caught.value.code == "checkpoint.corrupt"
    damage(first, how.replace("edited", "empty"))
    with pytest.raises(CheckpointError, match="all 2 checkpoints are damaged") as caught:
        newest_intact(tmp_path / "c")
    assert caught.value.code == "checkpoint.corrupt"


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    assert newest_intact(tmp_path / "nowhere") is None
    assert newest_intact(tmp_path) is None
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    for path, code in (
        (tmp_path / "0001-step-1", "checkpoint.not_found"),
        (tmp_path / "last.ckpt", "checkpoint.foreign"),
    ):
        with pytest.raises(CheckpointError) as caught:
            check(path)
        assert caught.value.code == code


def test_a_checkpoint_of_a_newer_library_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "FORMAT", 2)
    monkeypatch.setattr(saving, "NEEDS", "0.9")
    path = write_one(tmp_path / "c", 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"library >= 0\.9") as caught:
        check(path)
    assert caught.value.code == "checkpoint.version"


# Whose folder it is


def test_a_second_writer_is_told_and_a_dead_one_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with locked(folder):

        def act() -> int:
            try:
                with locked(folder):
                    return 0
            except OutputError as error:
                return 10 if error.code == "output.locked" and str(os.getppid()) in str(error) else 1

        assert in_a_child(act) == 10
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(folder):
            os.write(told, b"x")
            time.sleep(60)
    os.read(ready, 1)
    with pytest.raises(OutputError, match="another name"), locked(folder):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(folder):
        pass


def test_checkpoints_of_an_earlier_run_are_set_aside_and_those_of_a_finished_one_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = begun(tmp_path / "c")
    set_aside(folder, after=saved(folder)[0].name)
    assert numbers(folder) == [1]
    assert numbers(tmp_path / "c.earlier-1") == [2]
    assert "c.earlier-1" in caplog.text
    set_aside(folder)
    assert numbers(folder) == []
    assert numbers(tmp_path / "c.earlier-2") == [1]
    save(folder, next_name(folder, 9), lambda file: file.write(b"x") and None, {"run": {"finished": True}})
    set_aside(folder)
    assert saved(folder) == []
    assert not (tmp_path / "c.earlier-3").exists()


# Killed by the system


@needs_strace
def test_killed_before_every_system_call(tmp_path: Path) -> None:
    folder, held, died, left = begun(tmp_path / "c"), tmp_path / "held", set(), []
    shutil.copytree(folder, held)
    for name, number in killed_at_every_call(lambda: write_one(folder, 3), tmp_path / "trace"):
        if name:
            died.add(name)
            left.append(numbers(folder))
        write_one(folder, 4)
        assert numbers(folder) == [3 if not name or 3 in left[-1] else 2, 4], f"{name} {number}"
        assert leftovers(folder) == []
        shutil.rmtree(folder)
        shutil.copytree(held, folder)
    assert died >= {"mkdir", "write", "fsync", "rename"}
    # The old ones, those and the new one, or the new one and the last of the old.
    assert all(found in ([1, 2], [1, 2, 3], [2, 3]) for found in left)
    assert left.count([1, 2]) > 5
    assert [1, 2, 3] in left
