"""Writing a folder: at every failure and every kill, the old one or the new one, whole."""

import errno
import os
import random
import signal
import time

import pytest

from protscribe.checkpoint import folder as folders
from protscribe.checkpoint.folder import find_complete, write_folder
from protscribe.errors import OutputError

KNOWN = ("first", "second")
OLD = {"first": b"old" * 1000, "second": b"old"}
NEW = {"first": b"new" * 1000, "second": lambda path: path.write_bytes(b"new")}
WRITTEN = {"first": b"new" * 1000, "second": b"new"}
FAILURES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


class Killed(BaseException):
    """Stands for the end of the process: nothing after it happens."""


class FaultyOs:
    """The module ``os``, whose k-th call that touches the disk fails, or kills."""

    CALLS = ("open", "write", "fsync", "close", "mkdir", "rename", "listdir", "chmod")

    def __init__(self, k, fault):
        self.left, self.fault, self.calls = k, fault, []

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*arguments, **keywords):
            self.calls.append(name)
            self.left -= 1
            if self.left == 0 or (self.left < 0 and self.fault is Killed):
                raise Killed if self.fault is Killed else OSError(self.fault, os.strerror(self.fault))
            return real(*arguments, **keywords)

        return call


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def leftovers(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def calls_of(target, monkeypatch):
    watching = FaultyOs(0, None)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "os", watching)
        write_folder(target, NEW, KNOWN)
    return watching.calls


@pytest.mark.parametrize("old", [OLD, None], ids=["replacing", "new"])
@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
def test_a_failure_at_any_call_leaves_what_was_there_and_says_so(tmp_path, monkeypatch, old, number):
    target = tmp_path / "counted" / "bundle"
    if old:
        write_folder(target, old, KNOWN)
    calls = len(calls_of(target, monkeypatch))
    assert calls > 10
    for k in range(1, calls + 1):
        target = tmp_path / str(k) / "bundle"
        target.parent.mkdir()
        if old:
            write_folder(target, old, KNOWN)
        with monkeypatch.context() as patch:
            patch.setattr(folders, "os", FaultyOs(k, number))
            with pytest.raises(OutputError) as caught:
                write_folder(target, NEW, KNOWN)
        assert caught.value.code == "output.write"
        assert os.strerror(number) in caught.value.message
        assert content(target) == old
        assert leftovers(target) == []


@pytest.mark.parametrize("old", [OLD, None], ids=["replacing", "new"])
def test_a_kill_at_any_call_leaves_the_old_or_the_new(tmp_path, monkeypatch, old):
    # Removal of what is left over is disk work too, and a dead process does none.
    monkeypatch.setattr(folders.shutil, "rmtree", lambda *arguments, **keywords: None)
    target = tmp_path / "counted" / "bundle"
    if old:
        write_folder(target, old, KNOWN)
    seen = []
    for k in range(1, len(calls_of(target, monkeypatch)) + 1):
        target = tmp_path / str(k) / "bundle"
        target.parent.mkdir()
        if old:
            write_folder(target, old, KNOWN)
        with monkeypatch.context() as patch:
            patch.setattr(folders, "os", FaultyOs(k, Killed))
            with pytest.raises(Killed):
                write_folder(target, NEW, KNOWN)
        found = content(find_complete(target))
        assert found in (old, WRITTEN)
        seen.append(found == WRITTEN)
    assert seen == sorted(seen)
    assert not seen[0]
    assert seen[-1]


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = calls_of(tmp_path / "bundle", monkeypatch)
    named = calls.index("rename")
    assert calls[:named].count("fsync") == len(NEW) + 1
    assert "write" not in calls[named:]
    assert calls[named:].count("fsync") == 1


def test_the_next_save_after_a_kill_between_the_renames_starts_from_the_old(tmp_path, monkeypatch, caplog):
    target = tmp_path / "bundle"
    write_folder(target, OLD, KNOWN)
    os.rename(target, tmp_path / ".bundle.previous")
    assert content(find_complete(target)) == OLD
    assert "previous complete one is used" in caplog.text
    monkeypatch.setattr(folders, "os", FaultyOs(7, errno.ENOSPC))
    with pytest.raises(OutputError):
        write_folder(target, NEW, KNOWN)
    assert content(target) == OLD
    monkeypatch.undo()
    write_folder(target, NEW, KNOWN)
    assert content(target) == WRITTEN
    assert leftovers(target) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_processes_leave_one_of_the_two(tmp_path):
    target = tmp_path / "bundle"
    write_folder(target, OLD, KNOWN)
    draw = random.Random(0)
    for _ in range(30):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    write_folder(target, NEW, KNOWN)
                    write_folder(target, OLD, KNOWN)
            finally:
                os._exit(1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert content(find_complete(target)) in (OLD, WRITTEN)
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    write_folder(target, NEW, KNOWN)
    assert content(target) == WRITTEN
    assert leftovers(target) == []


def test_what_another_writer_is_at_work_on_is_left_alone(tmp_path):
    (tmp_path / ".bundle.saving-0a0a").mkdir()
    write_folder(tmp_path / "bundle", OLD, KNOWN)
    assert leftovers(tmp_path / "bundle") == [".bundle.saving-0a0a"]


@pytest.mark.parametrize("strange", ["notes.txt", ".git", "data"])
def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path, strange):
    target = tmp_path / "results"
    write_folder(target, OLD, KNOWN)
    (target / strange).mkdir()
    with pytest.raises(OutputError) as caught:
        write_folder(target, NEW, KNOWN)
    assert caught.value.code == "output.exists"
    assert strange in caught.value.message
    assert (target / "first").read_bytes() == OLD["first"]
    assert (target / strange).exists()


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / "results").write_text("mine")
    with pytest.raises(OutputError) as caught:
        write_folder(tmp_path / "results", NEW, KNOWN)
    assert caught.value.code == "output.exists"
    assert (tmp_path / "results").read_text() == "mine"


def test_others_may_read_it_as_far_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        target = write_folder(tmp_path / "bundle", OLD, KNOWN)
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o755
    assert (target / "first").stat().st_mode & 0o777 == 0o644


def test_a_link_keeps_pointing_to_the_new_one(tmp_path):
    write_folder(tmp_path / "runs" / "bundle", OLD, KNOWN)
    (tmp_path / "best").symlink_to(tmp_path / "runs" / "bundle")
    assert write_folder(tmp_path / "best", NEW, KNOWN) == tmp_path / "runs" / "bundle"
    assert (tmp_path / "best").is_symlink()
    assert content(tmp_path / "best") == WRITTEN
