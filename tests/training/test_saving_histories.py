"""Any history of saves, kills, failures, damage and second writers (promise P4): the newest intact checkpoint is found, and
none is lost that was not damaged or removed as the oldest."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protscribe.checkpoint import folder as folders
from protscribe.errors import CheckpointError, OutputError
from protscribe.training import saving
from protscribe.training.saving import STATE, check, locked, newest_intact, saved
from tests.training.test_saving import FaultyOs, Killed, in_a_child, leftovers, payload, write_one


class Histories(RuleBasedStateMachine):
    """``intact`` are the numbers of the checkpoints that must be there, oldest first; ``damaged`` names of those spoilt."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "checkpoints"
        self.intact: list[int] = []
        self.damaged: set[str] = set()
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    def attempt(self, fault: object, k: int, when: str) -> bool:
        """Saves, with a fault at the k-th call; whether it succeeded."""
        self.count += 1
        shim = FaultyOs(k, fault, when)  # type: ignore[arg-type]
        with mock.patch.object(saving, "os", shim), mock.patch.object(folders, "os", shim):
            if fault is not Killed:
                return self.saves()
            with mock.patch.object(saving.shutil, "rmtree"):  # a dead process removes nothing
                return self.saves()

    def saves(self) -> bool:
        try:
            write_one(self.folder, self.count)
            return True
        except (Killed, OutputError):
            return False

    def look(self) -> None:
        """What is there now must be what was there, less the oldest, with the new one or without."""
        found = self.readable()
        before = self.intact
        assert [number for number in found if number != self.count] == before[
            len(before) - len(found) + (self.count in found) :
        ]
        if self.count not in found:
            assert found == before or len(found) >= min(2, len(before))
        self.intact = found

    def readable(self) -> list[int]:
        found = []
        for path in saved(self.folder):
            if path.name in self.damaged:
                continue
            number = check(path)["run"]["number"]
            assert (path / STATE).read_bytes() == payload(number)
            found.append(number)
        return found

    @rule()
    def save(self) -> None:
        assert self.attempt(None, 0, "before")
        self.look()
        assert self.intact[-1] == self.count
        assert leftovers(self.folder) == []

    @rule(k=st.integers(1, 40), when=st.sampled_from(["before", "after", "half"]))
    def killed_in_a_save(self, k: int, when: str) -> None:
        self.attempt(Killed, k, when)
        self.look()

    @rule(k=st.integers(1, 40), number=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS]))
    def a_save_that_fails(self, k: int, number: int) -> None:
        self.attempt(number, k, "before")
        self.look()

    @precondition(lambda self: self.intact)
    @rule(how=st.sampled_from(["cut", "bit", "manifest"]))
    def damage_the_newest(self, how: str) -> None:
        path = next(path for path in reversed(saved(self.folder)) if path.name not in self.damaged)
        if how == "manifest":
            (path / saving.MANIFEST).unlink()
        else:
            held = (path / STATE).read_bytes()
            (path / STATE).write_bytes(held[:-1] if how == "cut" else b"x" + held[1:])
        self.damaged.add(path.name)
        self.intact.pop()

    @precondition(lambda self: self.intact)
    @rule()
    def go_on_from_the_newest_intact(self) -> None:
        """As a run that is resumed does: what is newer, and damaged, is set aside."""
        last = newest_intact(self.folder)
        assert last is not None
        saving.set_aside(self.folder, after=last.name)
        assert saved(self.folder)[-1] == last
        self.damaged &= {path.name for path in saved(self.folder)}

    @rule()
    def a_second_writer(self) -> None:
        def other(folder: Path = self.folder) -> int:
            try:
                with locked(folder):
                    return 0
            except OutputError as error:
                return 10 if error.code == "output.locked" else 1

        act: Callable[[], int] = other
        with locked(self.folder):
            assert in_a_child(act) == 10

    @invariant()
    def the_newest_intact_one_is_found(self) -> None:
        if not hasattr(self, "folder"):
            return
        if self.damaged and not self.intact:
            with pytest.raises(CheckpointError, match="damaged"):
                newest_intact(self.folder)
            return
        if not self.intact:
            assert newest_intact(self.folder) is None
            return
        last = newest_intact(self.folder)
        assert last is not None
        assert check(last)["run"]["number"] == self.intact[-1]


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
