"""Shards on a Ray cluster: Ray Data hands them to a pool of actors, each with a model. Needs the extra ``ray``.

What dies is Ray's to notice and to start again; a shard that was in progress is then done again from its beginning. The folder,
the input and the bundle must be seen under the same paths from all nodes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from protscribe import errors
from protscribe.bulk.shard import Seal
from protscribe.bulk.work import Job, Report, Told, Worker
from protscribe.errors import ConfigError, ProtscribeError, Where


def run_ray(job: Job, shards: Sequence[int], workers: int, told: Told) -> Iterator[Report]:
    """Reports of so many actors. Uses the cluster that ``RAY_ADDRESS`` names; otherwise starts one on this machine.

    Raises what a worker raised, and :class:`~protscribe.errors.ConfigError` ``config.extra`` where Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError("config.extra", "engine=ray needs Ray: pip install 'protscribe[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        _start(ray, workers)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        there: Any = ray.cluster_resources  # has no types
        gpus = int(job.device != "cpu" and there().get("GPU", 0) > 0)
        given = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        done = given.map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards))),
            num_cpus=1,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            report = _understood(row["report"])
            if report.fresh and report.seal is not None:
                told(report.seal.records)
            yield report
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
    else:
        ray.init(
            num_cpus=workers, include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False
        )


class Actor:
    """A worker in a process of Ray's; its devices are those that Ray gives it."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"report": [self._done(int(shard)) for shard in batch["shard"]]}

    def _done(self, shard: int) -> str:
        """A report as text, or what is wrong: an error of ours would come back wrapped in Ray's, after retries."""
        try:
            report = self._worker.do(shard)
        except ProtscribeError as error:
            told = [type(error).__name__, error.code, error.message, dataclasses.asdict(error.where)]
            return json.dumps({"error": told})
        plain = report._asdict() | {"seal": report.seal and dataclasses.asdict(report.seal)}
        return json.dumps(plain)


def _understood(text: str) -> Report:
    plain = json.loads(text)
    if "error" in plain:
        kind, code, message, where = plain["error"]
        raise getattr(errors, kind)(code, message, Where(**where))
    seal = plain.pop("seal")
    return Report(**plain, seal=seal and Seal(**seal))
