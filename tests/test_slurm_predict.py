"""The script for arrays of predictions, run with a srun and a scontrol that only do as if."""

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
from tests.test_slurm import SCONTROL

SCRIPT = Path(__file__).parent.parent / "scripts" / "slurm" / "predict.sbatch"
SRUN = """\
#!/usr/bin/env bash
shift
setsid "$@" & task=$!
echo $task > "$SEEN/group"
wait $task
"""
PROTSCRIBE = """\
#!/usr/bin/env bash
printf '%s\\n' "$@" > "$SEEN/task-$SLURM_ARRAY_TASK_ID"
trap 'exit 75' USR1 TERM
for _ in $(seq "${TENTHS:-0}"); do sleep 0.1; done
exit "${STATUS:-0}"
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    for name, text in (("srun", SRUN), ("protscribe", PROTSCRIBE), ("scontrol", SCONTROL)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def begin(seen: Path, *arguments: str, **told: str) -> subprocess.Popen[str]:
    environment = {
        "PATH": f"{seen / 'bin'}:{os.environ['PATH']}", "SEEN": str(seen), "SLURM_JOB_ID": "4715", "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "4", **told,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def submit(seen: Path, *arguments: str, **told: str) -> int:
    with begin(seen, *arguments, **told) as running:
        running.communicate(timeout=30)
        return running.returncode


def test_what_a_task_does(seen: Path) -> None:
    assert submit(seen, "bundle=b", "output=two words/", "shards=64") == 0
    told = (seen / "task-3").read_text().splitlines()
    assert told == ["predict", "shard=auto", "bundle=b", "output=two words/", "shards=64"]
    assert not (seen / "scontrol").exists()
    check("predict", composed("predict", ["shard=auto", "shards=64", "output=answers/"]))


def test_a_task_that_was_preempted_is_queued_again(seen: Path) -> None:
    assert submit(seen, STATUS="75") == 75
    assert (seen / "scontrol").read_text() == "requeue 4711_3\n"


@pytest.mark.parametrize("status", [0, 1, 2, 3, 137])
def test_any_other_status_is_passed_on(seen: Path, status: int) -> None:
    assert submit(seen, STATUS=str(status)) == status
    assert not (seen / "scontrol").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_shells_outlive_the_signal(seen: Path, number: signal.Signals) -> None:
    with begin(seen, TENTHS="200") as running:
        until = time.monotonic() + 20
        while not (seen / "task-3").exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        os.killpg(int((seen / "group").read_text()), number)
        running.send_signal(number)
        running.communicate(timeout=30)
    assert running.returncode == 75
    assert (seen / "scontrol").read_text() == "requeue 4711_3\n"


def test_outside_of_an_array_it_says_how_it_is_meant(seen: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "1"}
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "--array=1-64" in done.stderr


def test_what_it_asks_slurm_for() -> None:
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SCRIPT.read_text(), flags=re.MULTILINE))
    assert asked["signal"] == "USR1@120"
    assert asked["ntasks"] == "1"
    assert "requeue" in asked
    assert asked["open-mode"] == "append"
