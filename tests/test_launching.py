"""Whole processes, started as people and schedulers start them: torchrun, Lightning itself, Hydra's launchers."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protscribe.cli import DONE, PREEMPTED, USAGE
from tests.test_cli import TINY
from tests.test_cli import home as home

SCRIPT = str(Path(sys.executable).with_name("protscribe"))
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "protscribe",
]
RUN = ["train", "--config-dir", "my_configs", "mixture=mine", *TINY]
SECONDS = 240

SBATCH = Path(__file__).parent.parent / "scripts" / "slurm" / "train.sbatch"
SRUN = """\
#!/usr/bin/env bash
# What srun tells two tasks on one node.
shift
export SLURM_NTASKS=2 SLURM_NTASKS_PER_NODE=2 SLURM_STEP_NUM_TASKS=2 SLURM_NODEID=0 SLURM_NNODES=1
export SLURM_NODELIST=127.0.0.1
SLURM_PROCID=0 SLURM_LOCALID=0 setsid "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 setsid "$@" & second=$!
echo "$first $second" > groups
wait $first; a=$?
wait $second; b=$?
exit $((a > b ? a : b))
"""
SCONTROL = """\
#!/usr/bin/env bash
echo "$@" >> queued
"""


def start(command: list[str], *overrides: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *RUN, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(command: list[str], *overrides: str) -> tuple[int, str, list[str]]:
    """Exit status, what was said, and what was complained about."""
    with start(command, *overrides) as running:
        said, complained = running.communicate(timeout=SECONDS)
    ours = [line for line in complained.splitlines() if line.startswith("protscribe: ")]
    return running.returncode, said, ours


def test_torchrun_starts_two_processes_that_train_one_model(home: Path) -> None:
    status, said, complained = finish(TORCHRUN, "trainer=ddp_cpu", "name=two")
    assert (status, complained) == (DONE, [])
    assert said.count("bundle: ") == 1
    assert said.count("trained ") == 1
    assert Path("runs/two/bundle/manifest.json").exists()
    assert Path("runs/two/hydra/config.yaml").exists()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["two"]


@pytest.mark.long
def test_a_mistake_that_all_make_is_told_once(home: Path) -> None:
    status, _, complained = finish(TORCHRUN, "trainer=ddp_cpu", "name=two", "data.validation_rows=x")
    assert status != DONE
    (told,) = complained
    assert told.startswith("protscribe: rank 0 of 2: data.validation_rows must be a whole number")


@pytest.mark.long
def test_a_process_of_lightnings_that_is_killed_ends_the_other(home: Path) -> None:
    with start([SCRIPT], "trainer=ddp_cpu", "name=two", "trainer.max_epochs=100000") as running:
        until = time.monotonic() + SECONDS
        logged = Path("runs/two/logs/metrics.csv")
        while not (logged.exists() and logged.stat().st_size) and time.monotonic() < until:
            time.sleep(0.5)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        others = [
            one for one in children if "train_ddp_process_1" in Path(f"/proc/{one}/cmdline").read_text()
        ]
        os.kill(int(others[0]), signal.SIGKILL)
        began = time.monotonic()
        _, complained = running.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert running.returncode == USAGE
    told = [line for line in complained.splitlines() if line.startswith("protscribe: ")]
    assert told == [
        "protscribe: rank 0 of 2: rank 1 of 2 ended without a word: killed from outside, or out of memory "
        "[train.process_lost]"
    ]


@pytest.mark.long
def test_a_job_of_slurm_is_preempted_and_goes_on(home: Path) -> None:
    """The script with a srun that starts the real command twice: the nearest to a cluster that one machine comes."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = home / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    folders = [str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ, "PATH": ":".join(folders), "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1",
        "OMP_NUM_THREADS": "1", "TMPDIR": str(home),
    }  # fmt: skip

    def submit(epochs: int) -> subprocess.Popen[str]:
        overrides = ["trainer=ddp_cpu", "name=two", "schedule=constant", f"trainer.max_epochs={epochs}"]
        command = ["bash", str(SBATCH), *RUN[1:], *overrides]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    with submit(100_000) as running:
        until = time.monotonic() + SECONDS
        while not list(Path("runs").glob("two/checkpoints/*-step-*")) and time.monotonic() < until:
            time.sleep(0.2)
        for group in Path("groups").read_text().split():
            os.killpg(int(group), signal.SIGUSR1)
        said, complained = running.communicate(timeout=SECONDS)
    assert running.returncode == PREEMPTED, complained
    assert Path("queued").read_text() == f"requeue {os.getpid()}\n"
    assert not Path("runs/two/bundle").exists()
    (newest, *_) = sorted(Path("runs/two/checkpoints").glob("*-step-*"), reverse=True)
    step = int(newest.name.rsplit("-", 1)[1])
    # An epoch of these forty rows is one step of two processes.
    with submit(step + 2) as running:
        said, complained = running.communicate(timeout=SECONDS)
    assert running.returncode == DONE, complained
    assert f"trained {step + 2} steps" in said
    assert said.count("bundle: ") == 1


@pytest.mark.long
@pytest.mark.parametrize("trainer", ["ddp_cpu", "fsdp2_cpu"])
def test_a_sweep_starts_its_processes_anew_for_every_job(home: Path, trainer: str) -> None:
    status, said, complained = finish([SCRIPT], "-m", "seed=1,2", f"trainer={trainer}", "name=many")
    assert (status, complained) == (DONE, [])
    assert [line for line in said.splitlines() if line.startswith("bundle: ")] == [
        "bundle: runs/many/0/bundle",
        "bundle: runs/many/1/bundle",
    ]


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="needs the extra slurm"
)
def test_a_launcher_takes_jobs_elsewhere_and_brings_mistakes_back(home: Path) -> None:
    status, _, complained = finish(
        [SCRIPT], "-m", "hydra/launcher=submitit_local", "data.validation_rows=5,x", "name=many"
    )
    assert status == USAGE
    assert complained == [
        "protscribe: data.validation_rows must be a whole number, got 'x' (str) [config.type]"
    ]
    assert Path("runs/many/0/bundle/manifest.json").exists()
