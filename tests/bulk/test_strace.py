"""Shards whose writer is killed before each of its system calls (promise P2)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from protscribe.bulk import merge, read_plan
from protscribe.bulk.shard import read_seal
from tests.bulk.stub import content, predict, write_fasta
from tests.tracing import killed_at_every_call, needs_strace

MADE = {"fsync", "rename", "unlink", "mkdir", "write"}
"""Calls that a run must have been killed at."""


@needs_strace
def test_killed_before_every_system_call_and_run_again(tmp_path: Path) -> None:
    input = write_fasta(tmp_path / "in.fasta", 12)
    predict(input, tmp_path / "whole", shards=2)
    whole, folder = content(tmp_path / "whole"), tmp_path / "out"
    deaths = []
    for name, number in killed_at_every_call(lambda: predict(input, folder, shards=2), tmp_path / "trace"):
        if name:
            deaths.append(name)
            left = content(folder) if folder.exists() else {}
            # What has its name is whole; the rest is hidden.
            assert all(
                whole[path] == held for path, held in left.items() if not Path(path).name.startswith(".")
            ), f"{name} {number}"
            if (folder / "plan.json").exists():
                plan = read_plan(folder)
                assert not any(isinstance(read_seal(folder, plan, shard), str) for shard in range(2))
            predict(input, folder, shards=2)
        assert content(folder) == whole, f"{name} {number}"
        shutil.rmtree(folder)
    assert set(deaths) >= MADE
    assert len(deaths) > 30


@needs_strace
def test_a_merge_killed_before_every_system_call_and_run_again(tmp_path: Path) -> None:
    predict(write_fasta(tmp_path / "in.fasta", 12), tmp_path / "out", shards=2)
    outputs = [f"{tmp_path}/merged/{name}" for name in ("all.parquet", "all.csv")]
    merge(tmp_path / "out", outputs)
    whole, folder = content(tmp_path / "merged"), tmp_path / "merged"
    shutil.rmtree(folder)
    deaths = 0
    for name, number in killed_at_every_call(lambda: merge(tmp_path / "out", outputs), tmp_path / "trace"):
        if name:
            deaths += 1
            for hidden in folder.glob(".*"):
                os.utime(hidden, (0, 0))  # an empty one is only left over after a minute
            merge(tmp_path / "out", outputs)
        assert content(folder) == whole, f"{name} {number}"
        shutil.rmtree(folder)
    assert deaths > 10
