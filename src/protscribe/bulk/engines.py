"""Engines: who works on the shards of a job. One interface, the same bytes.

``local`` works on one shard after the other in this process; ``processes`` in several processes of this machine, one a
device; ``ray`` in the actors of a Ray cluster. A shard's bytes do not depend on who made it or when: what is batched together
is decided within the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from protscribe.bulk.work import Job, Report, Told, Worker
from protscribe.errors import ConfigError, nearest

Engine = Callable[[Job, Sequence[int], int, Told], Iterator[Report]]
"""Does these shards (0-based) of a job with so many workers, and reports each as it ends, in any order.

Raises what a worker raised, once the others have ended.
"""


def run_here(job: Job, shards: Sequence[int], workers: int, told: Told) -> Iterator[Report]:
    """In this process."""
    worker = Worker(job)
    for shard in shards:
        yield worker.do(shard, told)


def _run_processes(job: Job, shards: Sequence[int], workers: int, told: Told) -> Iterator[Report]:
    from protscribe.bulk.processes import run_processes

    yield from run_processes(job, shards, workers, told)


def _run_ray(job: Job, shards: Sequence[int], workers: int, told: Told) -> Iterator[Report]:
    from protscribe.bulk.ray import run_ray

    yield from run_ray(job, shards, workers, told)


ENGINES: dict[str, Engine] = {"local": run_here, "processes": _run_processes, "ray": _run_ray}


def find_engine(name: str) -> Engine:
    """Raises :class:`~protscribe.errors.ConfigError` ``config.value``."""
    if name not in ENGINES:
        raise ConfigError("config.value", f"there is no engine {name!r}; {nearest(name, ENGINES)}")
    return ENGINES[name]
