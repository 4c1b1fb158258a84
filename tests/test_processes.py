"""Which process this is, by what launchers say."""

from __future__ import annotations

import pytest

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
