"""Which one this is of the processes that train a model together, from what their launcher says. Pure Python.

Three launchers are known: torchrun; SLURM's srun, with several tasks; and Lightning, which starts the processes of a node
itself and is the launcher wherever the others are not.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Seat(NamedTuple):
    """0-based ``rank`` of this process, of ``world``; (0, 1) for one that is alone."""

    rank: int
    world: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


def has_met() -> bool:
    """Whether this process and the others are connected. Asks torch, where that is loaded."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def seat() -> Seat:
    """Where this process sits. Before the processes have met, only what the launcher tells is known."""
    if has_met():
        distributed = sys.modules["torch"].distributed
        return Seat(distributed.get_rank(), distributed.get_world_size())
    told = os.environ
    if by_torchrun():
        return Seat(int(told["RANK"]), int(told["WORLD_SIZE"]))
    if by_srun():
        return Seat(int(told["SLURM_PROCID"]), int(told["SLURM_STEP_NUM_TASKS"]))
    if "LOCAL_RANK" in told and "WORLD_SIZE" in told:
        return Seat(int(told["LOCAL_RANK"]), int(told["WORLD_SIZE"]))
    return Seat(0, 1)


def by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def by_srun() -> bool:
    """Whether srun started several tasks. A single one (also the shell of an interactive allocation) is left to
    Lightning."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def in_slurm() -> bool:
    """Whether this is part of a SLURM job, however it was started there."""
    return "SLURM_JOB_ID" in os.environ
