"""The script for SLURM, run with a srun and a scontrol that only do as if."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from protscribe.cli import check
from tests.test_configs import composed

SCRIPT = Path(__file__).parent.parent / "scripts" / "slurm" / "train.sbatch"

SRUN = """\
#!/usr/bin/env bash
# Two tasks side by side; the status of srun is the highest of theirs.
printf '%s\\n' "$@" > "$SEEN/srun"
[ "$1" = "--kill-on-bad-exit=1" ] && shift
SLURM_PROCID=0 setsid "$@" & first=$!
SLURM_PROCID=1 setsid "$@" & second=$!
echo "$first $second" > "$SEEN/groups"
wait $first; a=$?
wait $second; b=$?
exit $((a > b ? a : b))
"""
PROTSCRIBE = """\
#!/usr/bin/env bash
printf '%s\\n' "$@" > "$SEEN/task-$SLURM_PROCID"
echo "$OMP_NUM_THREADS" > "$SEEN/threads"
statuses=($STATUSES)
trap 'exit 75' USR1 TERM
for _ in $(seq "${TENTHS:-0}"); do sleep 0.1; done
exit "${statuses[$SLURM_PROCID]}"
"""
SCONTROL = """\
#!/usr/bin/env bash
echo "$@" >> "$SEEN/scontrol"
exit "${REFUSED:-0}"
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """A folder with the commands, in which they leave what they were called with."""
    for name, text in (("srun", SRUN), ("protscribe", PROTSCRIBE), ("scontrol", SCONTROL)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def begin(seen: Path, *arguments: str, **told: str) -> subprocess.Popen[str]:
    environment = {
        "PATH": f"{seen / 'bin'}:{os.environ['PATH']}", "SEEN": str(seen), "TMPDIR": str(seen),
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "6", "STATUSES": "0 0", **told,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments], env=environment, text=True, stdout=subprocess.PIPE, cwd=seen
    )


def submit(seen: Path, *arguments: str, **told: str) -> int:
    with begin(seen, *arguments, **told) as running:
        running.communicate(timeout=30)
        return running.returncode


def test_what_it_starts_in_every_task(seen: Path) -> None:
    assert submit(seen, "experiment=demo", "name=two words", "trainer=fsdp2") == 0
    first, second = ((seen / f"task-{rank}").read_text().splitlines() for rank in (0, 1))
    expected = ["train", "trainer=ddp", "trainer.num_nodes=3", "resume=last"]
    assert first == second == [*expected, "experiment=demo", "name=two words", "trainer=fsdp2"]
    assert (seen / "srun").read_text().splitlines()[:3] == ["--kill-on-bad-exit=1", "bash", "-c"]
    assert (seen / "threads").read_text().strip() == "6"
    assert not (seen / "scontrol").exists()


def test_what_it_starts_is_a_run() -> None:
    config = composed("train", ["trainer=ddp", "trainer.num_nodes=3", "resume=last", "trainer=fsdp2"])
    check("train", config)
    assert config["trainer"]["num_nodes"] == 3
    assert config["trainer"]["devices"] == -1
    assert config["trainer"]["strategy"]["_target_"].endswith("Sharded")


@pytest.mark.parametrize("statuses", ["75 75", "75 0"])
def test_a_job_that_was_preempted_is_queued_again(seen: Path, statuses: str) -> None:
    assert submit(seen, STATUSES=statuses) == 75
    assert (seen / "scontrol").read_text() == "requeue 4711\n"
    assert not list(seen.glob("protscribe-preempted-*"))


@pytest.mark.parametrize(
    ("statuses", "status"), [("0 0", 0), ("1 1", 1), ("2 0", 2), ("3 0", 3), ("75 137", 137)]
)
def test_any_other_status_is_passed_on(seen: Path, statuses: str, status: int) -> None:
    assert submit(seen, STATUSES=statuses) == status
    assert not (seen / "scontrol").exists()


def test_a_mark_left_by_an_earlier_start_of_the_job_means_nothing(seen: Path) -> None:
    (seen / "protscribe-preempted-4711").touch()
    assert submit(seen) == 0
    assert not (seen / "scontrol").exists()


def test_a_queue_that_refuses_is_not_taken_for_success(seen: Path) -> None:
    assert submit(seen, STATUSES="75 75", REFUSED="1") == 75


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_shells_outlive_the_signal_that_ends_the_training(seen: Path, number: signal.Signals) -> None:
    """SLURM signals every process of a task, and the script's shell too when it preempts the job."""
    with begin(seen, TENTHS="200") as running:
        until = time.monotonic() + 20
        while not all((seen / f"task-{rank}").exists() for rank in (0, 1)) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        for group in (seen / "groups").read_text().split():
            os.killpg(int(group), number)
        running.send_signal(number)
        running.communicate(timeout=30)
    assert running.returncode == 75
    assert (seen / "scontrol").read_text() == "requeue 4711\n"


def test_outside_of_slurm_it_says_how_it_is_meant() -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT)], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode != 0
    assert "submit this file with sbatch" in done.stderr


def test_what_it_asks_slurm_for() -> None:
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SCRIPT.read_text(), flags=re.MULTILINE))
    # Lightning refuses another number of tasks than devices; a signal to the shell alone would not reach the tasks.
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == "8"
    assert asked["signal"] == "USR1@120"
    assert "requeue" in asked
    assert asked["open-mode"] == "append"
