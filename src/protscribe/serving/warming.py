"""Asking every task once before the first client does: memory is then allocated, kernels are chosen, grammars are compiled."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from protscribe.records import Failure, ProteinRecord
from protscribe.serving.batching import Asked, Batcher
from protscribe.task import Task

log = logging.getLogger("protscribe.serving")

CHAIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"
LENGTHS = (30, 300)
"""Residues of the chains that are asked about."""
MOLECULE = "CC(=O)Oc1ccccc1C(=O)O"


def warm_up(batcher: Batcher, tasks: Mapping[str, Task], limit: int) -> None:
    """Returns when all are answered. What cannot be answered is logged: it would be told to a client in the same words."""
    began = time.monotonic()
    waiting = [batcher.submit(list(_records(task, limit)), Asked((name,))) for name, task in tasks.items()]
    for future in waiting:
        try:
            outcomes = [one for answered in future.result() for one in answered]
        except Exception as error:
            log.warning("warming up: %s", error)
            continue
        for failure in outcomes:
            if isinstance(failure, Failure):
                log.warning("warming up: %s", failure.detail)
    log.info("%d tasks ready in %.1f s", len(tasks), time.monotonic() - began)


def _records(task: Task, limit: int) -> Iterator[ProteinRecord]:
    """Proteins that a task can be asked about, none longer than ``limit``."""
    fields = {condition.field: condition.values[0] for condition in task.conditions if condition.values}
    molecule = MOLECULE if task.molecule else None
    for ordinal, length in enumerate(LENGTHS):
        chain = (CHAIN * 5)[: min(length, limit)]
        yield ProteinRecord("warm-up", (chain,) * task.chains, molecule, fields, ordinal)
