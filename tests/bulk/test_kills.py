"""A batch prediction that is killed or asked to stop, wherever it is, and run again (promises P1, P20, P21, P23)."""

from __future__ import annotations

import dis
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from protscribe.bulk import lease, merge, predict_folder, read_plan, read_status
from protscribe.bulk.loading import BundleModel
from protscribe.bulk.shard import ShardWriter, read_seal
from protscribe.errors import Preempted, ProtscribeError
from protscribe.outputs import atomic
from protscribe.outputs.atomic import PendingFile
from protscribe.predictor import Predictor
from tests.bulk.stub import content, load, predict, write_fasta
from tests.training.test_saving import in_a_child

SHARDS = 4
SCRIPT = [sys.executable, "-m", "protscribe", "predict"]


@pytest.fixture(scope="module")
def model() -> BundleModel:
    """The released bundle, loaded once: processes are forked with it."""
    return BundleModel(Predictor.load("mini-multitask", "cpu"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: BundleModel) -> Path:
    """An input and a folder of answers that nothing has interrupted."""
    home = tmp_path_factory.mktemp("whole")
    write_fasta(home / "in.fasta", 12)
    real(model, home, home / "out")
    return home


def real(model: BundleModel, home: Path, output: Path, **more: Any) -> None:
    given: dict[str, Any] = {"tasks": ["solubility"], "shards": SHARDS, "device": "cpu", "progress": False}
    predict_folder(
        "mini-multitask", str(home / "in.fasta"), f"{output}/", load=lambda device: model, **(given | more)
    )


def killed_after(act: Callable[[], None], seconds: float, number: int = signal.SIGKILL) -> int:
    """The exit status of a process that gets a signal; 0 where it was faster, 10 and more for our errors."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            try:
                act()
                status = 0
            except ProtscribeError as error:
                status = error.exit_status
        finally:
            os._exit(status)
    time.sleep(seconds)
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kills", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_killed_at_random_moments_and_run_again(
    whole: Path, tmp_path: Path, model: BundleModel, kills: int
) -> None:
    """A new folder whenever one is complete: each is killed some times, in its plan and in its shards."""
    draw, expected = random.Random(kills), content(whole / "out")
    began = time.monotonic()
    real(model, whole, tmp_path / "timed")
    length = time.monotonic() - began
    folder, folders, times, died = tmp_path / "0", 0, 0, 0
    while times < kills:
        status = killed_after(lambda: real(model, whole, folder), draw.uniform(0, 0.6 * length))  # noqa: B023
        times += 1
        assert status in (0, -signal.SIGKILL)
        died += status != 0
        if folder.exists() and (folder / "plan.json").exists():
            plan = read_plan(folder)
            assert not any(isinstance(read_seal(folder, plan, shard), str) for shard in range(SHARDS))
        if status == 0:
            assert content(folder) == expected
            shutil.rmtree(folder)
            folders += 1
            folder = tmp_path / str(folders)
    real(model, whole, folder)
    assert content(folder) == expected
    assert died > kills / 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_asked_to_stop(whole: Path, tmp_path: Path, model: BundleModel, number: signal.Signals) -> None:
    draw, statuses = random.Random(number), []
    for turn in range(5):
        folder = tmp_path / str(turn)
        statuses.append(killed_after(lambda: real(model, whole, folder), draw.uniform(0, 0.3), number))  # noqa: B023
        hidden = (
            [name for name in content(folder) if Path(name).name.startswith(".")] if folder.exists() else []
        )
        assert hidden == []
        real(model, whole, folder)
        assert content(folder) == content(whole / "out")
    # Before anybody listens a signal ends a process as it always does.
    assert set(statuses) <= {0, 75, -number, 99}
    assert 75 in statuses


BEGINNING: tuple[Any, ...] = (
    PendingFile.__init__, atomic.pending_file, ShardWriter._pending, lease.holding, lease._acquire, lease._let_go,
)  # fmt: skip
"""Where files are made that somebody must remove: a signal may come between any two lines."""


def stopped_at(line: int, act: Callable[[], None]) -> bool:
    """Whether a signal was sent, before the ``line``-th line of what is done in :data:`BEGINNING`."""
    left, codes = line, {inspect.unwrap(function).__code__ for function in BEGINNING}

    def trace(frame: FrameType, event: str, given: Any) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        # Python hears no signal at what it does not do: a bare "try:".
        if event == "line" and frame.f_code.co_code[frame.f_lasti] != dis.opmap["NOP"]:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Preempted:
        assert left <= 0
    finally:
        sys.settrace(before)
    return left <= 0


def test_asked_to_stop_where_files_begin(tmp_path: Path) -> None:
    """Nothing hidden is left, whichever line of it the signal comes at."""
    home, line, sent = write_fasta(tmp_path / "in.fasta", 40), 0, True
    while sent:
        line += 1
        folder = tmp_path / str(line)
        sent = stopped_at(line, lambda: predict(home, folder, shards=2))  # noqa: B023
        assert not [name for name in content(folder) if Path(name).name.startswith(".")], line
    assert line > 100


def test_asked_to_stop_twice_during_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is finished, then the run ends."""
    from protscribe.bulk import shard

    home = write_fasta(tmp_path / "in.fasta", 40)
    real_flush, told = shard.flush, []

    def flush(path: Path) -> None:
        if len(told) < 2:
            told.append(path)
            os.kill(os.getpid(), signal.SIGTERM)
        real_flush(path)

    monkeypatch.setattr(shard, "flush", flush)
    with pytest.raises(Preempted) as caught:
        predict(home, tmp_path / "out")
    assert (caught.value.code, caught.value.exit_status) == ("predict.preempted", 75)
    assert read_status(tmp_path / "out").done == 1
    predict(home, tmp_path / "out")
    assert read_status(tmp_path / "out").is_complete


def test_killed_while_it_resumes_while_it_resumes(tmp_path: Path) -> None:
    home = write_fasta(tmp_path / "in.fasta", 300)
    predict(home, tmp_path / "whole", shards=20)
    draw, folder = random.Random(5), tmp_path / "out"
    for _ in range(40):
        killed_after(lambda: predict(home, folder, shards=20) and None, draw.uniform(0, 0.08))
    predict(home, folder, shards=20)
    assert content(folder) == content(tmp_path / "whole")


# Order, number of processes, hash seed


def test_the_bytes_do_not_depend_on_the_order_or_on_who_made_them(tmp_path: Path) -> None:
    home = write_fasta(tmp_path / "in.fasta", 120)
    predict(home, tmp_path / "one", shards=8)
    for number in (5, 8, 1, 3):
        predict(home, tmp_path / "two", shards=8, shard=f"{number}/8")
    assert in_a_child(lambda: int(predict(home, tmp_path / "two", shards=8).done != 4)) == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    write_fasta(tmp_path / "in.fasta", 80)
    code = (
        "import pathlib; from tests.bulk.stub import predict; from protscribe.bulk import merge; "
        "predict(pathlib.Path('{home}/in.fasta'), pathlib.Path('{home}/{seed}'), formats=['jsonl', 'gff3']); "
        "merge('{home}/{seed}', ['{home}/{seed}/all.parquet', '{home}/{seed}/all.gff3'])"
    )
    for seed in ("0", "4321"):
        subprocess.run(
            [sys.executable, "-c", code.format(home=tmp_path, seed=seed)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
    assert content(tmp_path / "0") == content(tmp_path / "4321")


@pytest.mark.parametrize(("kills", "shards"), [(4, 4), pytest.param(20, 24, marks=pytest.mark.long)])
def test_whole_processes_killed_and_run_again(
    tmp_path: Path, model: BundleModel, kills: int, shards: int
) -> None:
    """As a user starts them: the same line until it is done. All but the first are killed once they have added a shard."""
    write_fasta(tmp_path / "in.fasta", 3 * shards)
    real(model, tmp_path, tmp_path / "whole", shards=shards)
    command = [
        *SCRIPT, "bundle=mini-multitask", f"input={tmp_path / 'in.fasta'}", f"output={tmp_path}/out/", "tasks=solubility",
        f"shards={shards}", "device=cpu", "progress=false",
    ]  # fmt: skip
    draw, done = random.Random(kills), 0

    def sealed() -> int:
        return len(list((tmp_path / "out").glob("shards/[0-9]*.json")))

    for turn in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            until = time.monotonic() + 60
            while turn and sealed() == done < shards and running.poll() is None and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.01 if turn else 0.3))
            running.kill()
        done = sealed()
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    merge(tmp_path / "out", str(tmp_path / "all.csv"))
    said = subprocess.run(
        [sys.executable, "-m", "protscribe", "status", f"{tmp_path}/out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0
    assert f"{shards} of {shards} done" in said.stdout


def test_a_seal_says_what_was_counted(whole: Path) -> None:
    plan = read_plan(whole / "out")
    total = 0
    for path in sorted((whole / "out" / "shards").glob("*.json")):
        told = json.loads(path.read_text())
        assert told["records"] == told["stop"] - told["first"]
        assert told["answers"] + told["rejected"] == told["records"]  # one task
        assert told["plan"] == plan.digest
        assert told["bundle"] == plan.bundle
        total += told["records"]
    assert total == plan.input["records"] == 12
    assert load("cpu").asked == 0
