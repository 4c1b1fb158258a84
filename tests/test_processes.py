"""Which process this is, by what launchers say."""

from __future__ import annotations

import pickle

import pytest

from protscribe import cli
from protscribe.errors import ProcessError
from protscribe.processes import Seat, by_srun, by_torchrun, in_slurm, seat

TOLD = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "TORCHELASTIC_RUN_ID",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_JOB_ID",
)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Seat(0, 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}, Seat(9, 16)),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, Seat(5, 8)),
        # A single task, and a shell of the job that no srun started: Lightning starts what it needs.
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Seat(0, 1)),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"}, Seat(0, 1)),
        ({"LOCAL_RANK": "3", "WORLD_SIZE": "4"}, Seat(3, 4)),
        ({"RANK": "3"}, Seat(0, 1)),
    ],
)
def test_seats(told: dict[str, str], expected: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert seat() == expected
    assert str(seat()) == f"rank {expected.rank} of {expected.world}"
    assert by_torchrun() == ("TORCHELASTIC_RUN_ID" in told)
    assert by_srun() == (int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1)
    assert in_slurm() == ("SLURM_JOB_ID" in told)


@pytest.mark.parametrize(
    ("mine", "met", "prefix", "waited"),
    [
        (Seat(0, 1), False, "", []),
        (Seat(0, 8), False, "rank 0 of 8: ", []),
        (Seat(3, 8), False, "rank 3 of 8: ", [cli.AFTER_FIRST]),
        (Seat(3, 8), True, "rank 3 of 8: ", []),
    ],
)
def test_who_says_what_is_wrong(
    mine: Seat,
    met: bool,
    prefix: str,
    waited: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first process at once; before they have met, the others leave it that."""
    pauses: list[float] = []
    monkeypatch.setattr(cli, "seat", lambda: mine)
    monkeypatch.setattr(cli, "has_met", lambda: met)
    monkeypatch.setattr(cli.time, "sleep", pauses.append)
    assert cli.main(["train", "nmae=x", "trainer.max_epoch=3"]) == cli.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"protscribe: {prefix}there is no key")
    assert pauses == waited


def test_all_lines_of_a_message_follow_who_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    cli._complain("2 problems:\n  this\n  that")
    assert capsys.readouterr().err == "protscribe: 2 problems:\n  this\n  that\n"


def test_an_error_that_other_processes_raise_survives_the_way_between_them() -> None:
    error = ProcessError(3, 8, "the loss is not finite", 2)
    same = pickle.loads(pickle.dumps(error))
    assert (str(same), same.exit_status, same.code) == (str(error), 2, "train.other_process")
    assert str(same) == "rank 3 of 8 failed: the loss is not finite [train.other_process]"
