"""A folder of answers as a whole: its plan, its shares, its status, and one file of it."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from protscribe.bulk import estimate, merge, read_plan, read_status
from protscribe.bulk.lease import Lease, holding, read_lease
from protscribe.bulk.seats import chosen_shards, count_of, seat_among_all
from protscribe.bulk.shard import Paths, sequence_digest
from protscribe.data.readers import read_records
from protscribe.errors import ConfigError, OutputError, ProtscribeError
from protscribe.outputs import open_outputs
from protscribe.records import Failure
from tests.bulk.stub import BUNDLE, TASKS, Stub, content, load, predict, write_fasta


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("folder")
    predict(
        write_fasta(found / "in.fasta", 90), found / "out", formats=["jsonl", ".gff3", "residues.parquet"]
    )
    return found


def refused(**given: Any) -> str:
    with pytest.raises(ProtscribeError) as caught:
        predict(**given)
    return f"{caught.value.code}: {caught.value.message}"


# The plan


def test_another_question_is_refused_with_what_differs(home: Path, tmp_path: Path) -> None:
    input, out = home / "in.fasta", home / "out"
    before = content(out)
    formats = ["jsonl", ".gff3", "residues.parquet"]
    said = refused(input=input, output=out, formats=formats, tasks=["solubility"], seed=3, long="window")
    assert said.startswith("output.plan_differs")
    assert "tasks: " in said
    assert "settings.seed: 0 there, 3 here" in said
    assert "settings.long: error there, window here" in said
    assert "formats" in refused(input=input, output=out)
    assert "speaks of" in refused(input=input, output=out, shard="1/3")
    assert "4 there, 5 here" in refused(input=input, output=out, shards=5, formats=formats)
    other = write_fasta(tmp_path / "in.fasta", 90, seed=1)
    assert "input.sha256" in refused(input=other, output=out, formats=formats)
    assert content(out) == before


def test_an_option_that_changes_no_answer_changes_no_plan(home: Path) -> None:
    formats = ["jsonl", ".gff3", "residues.parquet"]
    assert predict(home / "in.fasta", home / "out", formats=formats, compile=True, shards=None).found == 4


def test_a_plan_that_nobody_has_begun_is_replaced(home: Path, tmp_path: Path) -> None:
    def broken(device: str) -> Stub:
        raise ConfigError("config.value", "no such thing")

    assert "no such thing" in refused(input=home / "in.fasta", output=tmp_path / "out", load=broken, seed=7)
    assert read_plan(tmp_path / "out").settings["seed"] == 7
    predict(home / "in.fasta", tmp_path / "out", shards=3)
    assert read_plan(tmp_path / "out").settings["seed"] == 0


@pytest.mark.parametrize("how", ["cut", "edited", "newer"])
def test_a_damaged_plan(home: Path, tmp_path: Path, how: str) -> None:
    predict(home / "in.fasta", tmp_path / "out")
    path = tmp_path / "out" / "plan.json"
    text = path.read_text()
    path.write_text({"cut": text[:-9], "edited": text.replace("in.fasta", "on.fasta"), "newer": "{}"}[how])
    with pytest.raises(OutputError) as caught:
        read_status(tmp_path / "out")
    assert caught.value.code == "output.plan"
    with pytest.raises(OutputError) as caught:
        read_status(tmp_path)
    assert caught.value.code == "output.no_plan"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"engine": "proces"}, "processes"),
        ({"workers": 0}, "above 0"),
        ({"workers": 2}, "engine=processes"),
        ({"shards": 0}, "above 0"),
        ({"shard": "0/4"}, "counted from 1 to 4"),
        ({"shard": "5"}, "counted from 1 to 4"),
        ({"shard": "first"}, "3/64"),
        ({"tasks": ["solubilty"]}, "did you mean 'solubility'"),
        ({"formats": ["docx"]}, ".csv"),
        ({"lenght": 3}, "no key 'lenght'"),
    ],
)
def test_what_cannot_be_is_told(home: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    assert said in refused(input=home / "in.fasta", output=tmp_path / "out", **more)


# Whose share


def test_shares_cover_all_shards_once() -> None:
    for tasks, world in ((1, 1), (4, 1), (1, 3), (3, 2)):
        told = [
            {
                "SLURM_ARRAY_TASK_ID": str(task + 5), "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_MAX": str(4 + tasks),
                "SLURM_ARRAY_TASK_COUNT": str(tasks), "RANK": str(rank), "WORLD_SIZE": str(world),
            }
            for task in range(tasks) for rank in range(world)
        ]  # fmt: skip
        found = [shard for one in told for shard in chosen_shards("auto", 10, one)]
        assert sorted(found) == list(range(10))


def test_who_started_this_process() -> None:
    assert seat_among_all({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}) == (1, 4)
    assert seat_among_all({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)
    assert seat_among_all({"SLURM_ARRAY_TASK_ID": "3"}) == (0, 1)
    with pytest.raises(ConfigError, match="none of them started"):
        seat_among_all({})
    gaps = {
        "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "2",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="gaps"):
        seat_among_all(gaps)
    assert count_of("3/64", None) == count_of(None, 64) == count_of("auto", 64) == 64
    assert count_of(3, None) is None


# Status


def test_status_of_a_folder_in_the_making(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    predict(home / "in.fasta", folder, shard="2/4")
    with holding(Paths(folder, 0).lock, Lease("elsewhere", 1, 20, 5, 2.0, 1.0, 0.5), "it"):
        dead = Paths(folder, 2).lock
        dead.write_text(json.dumps(vars(Lease(os.uname().nodename, 2**22 + 1, 20))))
        status = read_status(folder)
        assert (status.done, len(status.running), len(status.stale), status.missing) == (1, 1, 1, 1)
        assert status.rate == 2.5
        assert status.records == read_plan(folder).records(1) + 5
        said = str(status)
        assert "not complete" in said
        assert "process 1 on elsewhere, encoder 50%, decoder 25%" in said
        assert "it died" in said
    assert not status.is_complete
    assert read_lease(Paths(folder, 0).lock) is None
    path = Paths(folder, 1).of(".parquet")
    held = path.read_bytes()
    path.write_bytes(held[:-1])
    assert read_status(folder).damaged
    path.write_bytes(held[:-9] + b"x" + held[-8:])
    assert read_status(folder).done == 1
    assert "SHA-256 differs" in str(read_status(folder, digests=True))
    predict(home / "in.fasta", folder)
    assert read_status(folder, digests=True).is_complete
    assert "complete" in str(read_status(folder))


def test_a_lease_of_another_machine_counts_as_a_lock_until_it_is_stale(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protscribe.bulk import lease

    folder = tmp_path / "out"
    predict(home / "in.fasta", folder, shard="1/4")
    lock = Paths(folder, 1).lock
    lock.write_text(json.dumps(vars(Lease("elsewhere", 1, 20))))

    def renewed(seconds: float) -> None:
        os.utime(lock)

    monkeypatch.setattr(lease.time, "sleep", renewed)
    os.utime(lock, (lock.stat().st_mtime - 10,) * 2)
    assert "others work on the shards 2: process 1 on elsewhere" in refused(
        input=home / "in.fasta", output=folder
    )
    os.utime(lock, (lock.stat().st_mtime - 2 * lease.FRESH,) * 2)
    assert predict(home / "in.fasta", folder).records == 90


# One file


def directly(home: Path, path: Path) -> Path:
    """What one file holds that no shards were made for."""
    reading = read_records(home / "in.fasta", on_error="collect")
    with open_outputs(path, read_plan(home / "out").asked) as outputs:
        for outcome in Stub().stream(reading.outcomes(), TASKS):
            outputs.write(outcome)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".gff3"])
def test_one_file_is_what_it_would_have_been_without_shards(home: Path, tmp_path: Path, suffix: str) -> None:
    result = merge(home / "out", str(tmp_path / f"merged{suffix}"))
    direct = directly(home, tmp_path / f"direct{suffix}")
    assert (tmp_path / f"merged{suffix}").read_bytes() == direct.read_bytes()
    rejected = Path(f"{direct}.rejected.csv")
    assert result.rejected_path is not None
    assert result.rejected_path.read_bytes() == rejected.read_bytes()


def test_parquet_has_ordinals_and_digests_and_nothing_is_lost(home: Path, tmp_path: Path) -> None:
    result = merge(home / "out", [str(tmp_path / "all.parquet"), str(tmp_path / "all.residues.parquet")])
    table = parquet.read_table(tmp_path / "all.parquet")
    rows = table.to_pylist()
    read = list(read_records(home / "in.fasta", on_error="collect").outcomes())
    assert [row["ordinal"] for row in rows] == sorted(row["ordinal"] for row in rows)
    for row in rows:
        record = read[row["ordinal"]]
        assert not isinstance(record, Failure)
        assert (row["id"], row["sequence_digest"]) == (record.id, sequence_digest(record.chains))
    with (tmp_path / "all.parquet.rejected.csv").open(newline="") as file:
        rejected = list(csv.DictReader(file))
    out = Counter(row["id"] for row in rows) + Counter(row["id"] for row in rejected)
    expected = {one.id: 1 if isinstance(one, Failure) else len(TASKS) for one in read}
    assert out == expected
    assert (result.records, result.answers, result.rejected) == (90, len(rows), len(rejected))
    told = table.schema.metadata
    assert told[b"protscribe.plan"].decode() == read_plan(home / "out").digest
    assert b"protscribe.shard" not in told
    assert parquet.read_table(tmp_path / "all.residues.parquet").num_rows > 100


def test_refget_identifiers() -> None:
    # The standard's own example: the empty and a short sequence.
    assert sequence_digest(["ACGT"]) == "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"
    assert sequence_digest(["ACGT", "ACGT"]).count(";") == 1


def test_what_is_incomplete_is_not_merged(home: Path, tmp_path: Path) -> None:
    predict(home / "in.fasta", tmp_path / "out", shard="2/4")
    path = Paths(tmp_path / "out", 1).rejected
    path.write_bytes(path.read_bytes() + b"x")
    (tmp_path / "all.csv").write_text("before")
    with pytest.raises(
        OutputError, match=r"3 of 4 shards are missing \(1, 3, 4\) and 1 are damaged"
    ) as caught:
        merge(tmp_path / "out", str(tmp_path / "all.csv"))
    assert caught.value.code == "output.incomplete"
    assert (tmp_path / "all.csv").read_text() == "before"
    predict(home / "in.fasta", tmp_path / "out")
    with pytest.raises(OutputError, match=r"formats=\[jsonl\]"):
        merge(tmp_path / "out", str(tmp_path / "all.jsonl"))


def test_nothing_rejected_leaves_no_table(tmp_path: Path) -> None:
    input = write_fasta(tmp_path / "in.fasta", 20, seed=1, damaged=False)
    predict(input, tmp_path / "out")
    (tmp_path / "all.csv.rejected.csv").write_text("before")
    assert merge(tmp_path / "out", str(tmp_path / "all.csv")).rejected_path is None
    assert not (tmp_path / "all.csv.rejected.csv").exists()


# A dry run


def test_a_dry_run_counts_and_measures_and_writes_nothing(home: Path, tmp_path: Path) -> None:
    before = content(home)
    found = estimate(BUNDLE, str(home / "in.fasta"), list(TASKS), load=load, device="cpu")
    assert (found.records, found.probed) == (90, 64)
    assert found.rejected == {"seq.char": 5}
    assert found.lengths[1.0] <= 42
    assert found.seconds > found.probe_seconds > 0
    assert "seq.char 5" in str(found)
    assert content(home) == before


def test_one_of_several_processes_makes_the_plan_and_the_others_take_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protscribe.bulk import opening

    made, folder = tmp_path / "made", tmp_path / "out"
    real = opening.make_plan

    def slowly(*given: Any) -> Any:
        with made.open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return real(*given)

    monkeypatch.setattr(opening, "make_plan", slowly)
    children = []
    for number in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            status = 1
            try:
                predict(home / "in.fasta", folder, shard=f"{number + 1}/4")
                status = 0
            finally:
                os._exit(status)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert made.read_text() == "x"
    assert read_status(folder).is_complete
