"""Which shards are this process's: named on the command line, or told by who started it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from protscribe.errors import ConfigError
from protscribe.processes import Seat

Environment = Mapping[str, str]
_NAMED = re.compile(r"(\d+)(?:/(\d+))?")


def count_of(shard: str | int | None, shards: int | None) -> int | None:
    """How many shards there are to be, as ``shards`` or a ``shard`` such as ``3/64`` says.

    Raises :class:`~protscribe.errors.ConfigError` ``config.value``.
    """
    if shards is not None and (isinstance(shards, bool) or not isinstance(shards, int) or shards < 1):
        raise ConfigError("config.value", f"shards must be a whole number above 0, got {shards!r}")
    named = None if shard is None or shard == "auto" else _number(shard)[1]
    if named is not None and shards is not None and named != shards:
        raise ConfigError("config.value", f"shard={shard} speaks of {named} shards, shards={shards}")
    return shards if named is None else named


def chosen_shards(shard: str | int | None, shards: int, told: Environment | None = None) -> Sequence[int]:
    """The shards (0-based) that are asked for, of so many.

    ``shard``: ``None`` for all; ``3`` or ``"3/64"``, counted from 1; ``"auto"`` for this process's share of all: every n-th
    one, where n processes were started. Raises :class:`~protscribe.errors.ConfigError` ``config.value``.
    """
    if shard is None:
        return range(shards)
    if shard == "auto":
        mine = seat_among_all(os.environ if told is None else told)
        return range(mine.rank, shards, mine.world)
    number, named = _number(shard)
    if named is not None and named != shards:
        raise ConfigError("config.value", f"shard={shard}, and the plan of this folder has {shards} shards")
    if not 1 <= number <= shards:
        raise ConfigError("config.value", f"shards are counted from 1 to {shards}, got shard={shard}")
    return [number - 1]


def _number(shard: str | int) -> tuple[int, int | None]:
    found = _NAMED.fullmatch(str(shard))
    if found is None or isinstance(shard, bool):
        raise ConfigError(
            "config.value", f"shard must be a number from 1, such as 3 or 3/64, or auto; got {shard!r}"
        )
    return int(found[1]), None if found[2] is None else int(found[2])


def seat_among_all(told: Environment) -> Seat:
    """This process among all that share the work: the tasks of a SLURM array, and in each the processes that torchrun, Ray
    Train (``RANK`` and ``WORLD_SIZE``) or srun started.

    Raises :class:`~protscribe.errors.ConfigError` ``config.value`` where nobody says so, or where the array has gaps.
    """
    task, tasks = _in_array(told)
    if "RANK" in told and "WORLD_SIZE" in told:
        rank, world = int(told["RANK"]), int(told["WORLD_SIZE"])
    else:
        rank, world = int(told.get("SLURM_PROCID", 0)), int(told.get("SLURM_STEP_NUM_TASKS", 1))
        if world == 1 and "SLURM_ARRAY_TASK_ID" not in told:
            raise ConfigError(
                "config.value",
                "shard=auto is for the tasks of a SLURM array, of srun, torchrun or Ray Train, and none of them started this "
                "process; leave it out, or give shard=3/64",
            )
    return Seat(task * world + rank, tasks * world)


def _in_array(told: Environment) -> tuple[int, int]:
    if "SLURM_ARRAY_TASK_ID" not in told:
        return 0, 1
    number = int(told["SLURM_ARRAY_TASK_ID"])
    first, last = (int(told.get(f"SLURM_ARRAY_TASK_{end}", number)) for end in ("MIN", "MAX"))
    count = int(told.get("SLURM_ARRAY_TASK_COUNT", last - first + 1))
    if count != last - first + 1:
        raise ConfigError(
            "config.value",
            f"the array has {count} tasks between {first} and {last}: with gaps, shards would be left out. Give --array=1-64, "
            "or shard=$SLURM_ARRAY_TASK_ID to do those alone",
        )
    return number - first, count
