"""The command line: folders of shards from predict to merge, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from protscribe.cli import DONE, PREEMPTED, REJECTED, USAGE, main
from tests.bulk.stub import write_fasta

ASKED = [
    "predict",
    "bundle=mini-multitask",
    "input=in.fasta",
    "tasks=solubility",
    "device=cpu",
    "progress=false",
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_fasta(tmp_path / "in.fasta", 12)
    return tmp_path


def test_from_a_file_to_shards_to_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "output=out/", "shards=3", "shard=2/3"]) in (DONE, REJECTED)
    assert main(["status", "out"]) == PREEMPTED
    assert "1 of 3 done" in capsys.readouterr().out
    assert main(["merge", "out", "output=all.csv"]) == USAGE
    assert "2 of 3 shards are missing (1, 3)" in capsys.readouterr().err
    assert main([*ASKED, "output=out/", "shards=3", "formats=jsonl"]) == USAGE
    assert "formats" in capsys.readouterr().err
    assert main([*ASKED, "output=out", "shards=3"]) == REJECTED
    said = capsys.readouterr()
    assert "2 done now, 1 were done before, of 3 in all" in said.out
    assert "1 records were rejected" in said.err
    assert main(["status", "folder=out"]) == DONE
    assert main(["merge", "out", "output=[all.csv,all.parquet]"]) == REJECTED
    lines = (home / "all.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "id",
        *(f"p{place}" for place in range(12) if place != 5),
    ]
    assert (home / "all.parquet").exists()


def test_a_dry_run_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "output=out/", "--dry-run"]) == DONE
    said = capsys.readouterr().out
    assert "records    12, 1 cannot be read (seq.char 1)" in said
    assert "estimated" in said
    assert [path.name for path in home.iterdir()] == ["in.fasta"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["output=all.csv", "shards=3"], "give a folder"),
        (["output=all.csv", "engine=ray"], "give a folder"),
        (["output=out/", "engine=rey"], "did you mean 'ray'"),
        (["output=out/", "shards=few"], "shards"),
        (["output=out/", "shards=0"], "above 0"),
        (["output=out/", "shard=2/3", "shards=4"], "speaks of 3 shards"),
        (["output=out/", "on_error=raise"], "collected"),
        (["output=out/", "shard=auto"], "none of them started this process"),
        (["output=out/", "input=-"], "write it to a file"),
    ],
)
def test_what_is_refused(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert main([*ASKED, *arguments]) == USAGE
    assert said in capsys.readouterr().err
    assert not list(home.glob("out/shards/*.parquet"))


def test_a_folder_without_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "nowhere"]) == USAGE
    assert "output.no_plan" in capsys.readouterr().err
