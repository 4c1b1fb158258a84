"""Any history of predictions, kills, failures, damage and second writers (promise P4) ends in the same folder."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protscribe.bulk import merge, read_plan, read_status
from protscribe.bulk.lease import Lease, holding
from protscribe.bulk.shard import Paths, Seal, read_seal
from protscribe.errors import OutputError
from tests.bulk.stub import content, predict, write_fasta
from tests.bulk.test_shard_faults import MODULES, Faulty
from tests.training.test_saving import Killed, in_a_child

SHARDS = 3
DATA = ("parquet", "rejected.csv", "json")


class Histories(RuleBasedStateMachine):
    """``whole`` is what a folder holds that nothing has happened to."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.input = write_fasta(self.root / "in.fasta", 45)
        self.folder = self.root / "out"
        self.run()
        self.whole = content(self.folder)
        shutil.rmtree(self.folder)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.run()
            assert content(self.folder) == self.whole
            shutil.rmtree(self.root)

    def run(self, shard: str | None = None) -> None:
        predict(self.input, self.folder, shards=SHARDS, shard=shard)

    def attempt(self, fault: object, k: int, when: str, shard: str | None) -> bool:
        shim = Faulty(k, fault, when)  # type: ignore[arg-type]
        patches = [mock.patch.object(module, "os", shim) for module in MODULES]
        for patch in patches:
            patch.start()
        try:
            self.run(shard)
            return True
        except (Killed, OutputError):
            return False
        finally:
            for patch in patches:
                patch.stop()

    @rule(shard=st.sampled_from(["1/3", "2/3", "3/3"]))
    def do_one(self, shard: str) -> None:
        self.run(shard)

    @rule()
    def do_all(self) -> None:
        self.run()
        assert content(self.folder) == self.whole
        assert merge(self.folder, str(self.root / "all.csv")).records == 45

    @rule(
        k=st.integers(1, 60),
        when=st.sampled_from(["before", "after", "half"]),
        shard=st.sampled_from([None, "2/3"]),
    )
    def killed(self, k: int, when: str, shard: str | None) -> None:
        self.attempt(Killed, k, when, shard)

    @rule(k=st.integers(1, 60), number=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS]))
    def failed(self, k: int, number: int) -> None:
        self.attempt(number, k, "before", None)

    @rule(
        shard=st.integers(1, SHARDS), what=st.sampled_from(DATA), how=st.sampled_from(["cut", "bit", "gone"])
    )
    def damage(self, shard: int, what: str, how: str) -> None:
        path = self.folder / "shards" / f"{shard:05d}.{what}"
        if not path.exists():
            return
        held = path.read_bytes()
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(held[:-1] if how == "cut" else held[:20] + bytes([held[20] ^ 4]) + held[21:])

    @rule(shard=st.integers(1, SHARDS))
    def a_second_writer(self, shard: int) -> None:
        def other() -> int:
            try:
                self.run(f"{shard}/{SHARDS}")
                return 0
            except OutputError as error:
                return 10 if error.code == "output.locked" and "process" in error.message else 1

        with holding(Paths(self.folder, shard - 1).lock, Lease.mine(), "this shard"):
            (self.folder / "shards").mkdir(exist_ok=True)
            assert in_a_child(other) == 10

    @invariant()
    def what_is_sealed_is_right(self) -> None:
        if not (hasattr(self, "whole") and (self.folder / "plan.json").exists()):
            return
        plan = read_plan(self.folder)
        for shard in range(SHARDS):
            if isinstance(read_seal(self.folder, plan, shard), Seal):
                for path in (self.folder / "shards").glob(f"{shard + 1:05d}.*"):
                    assert path.read_bytes() == self.whole[f"shards/{path.name}"]
        assert read_status(self.folder, digests=True).shards == SHARDS


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
