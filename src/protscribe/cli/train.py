"""``protscribe train``: one model on a mixture of tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.composition import build
from protscribe.cli.sources import NAMED_ENTRIES, beginning, find_sources, with_entries
from protscribe.errors import ProtscribeError
from protscribe.processes import seat

PLAIN = ("encoder", "molecule_encoder", "adaptation")
"""Nodes that are data to the function that is called, which has closed tables of kinds of its own."""


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.training.run.train`, but for those that a run supplies."""
    from protscribe.training.run import SUPPLIED, SUPPLIED_TO, train

    settings = {key: value for key, value in as_keywords(config).items() if key not in NAMED_ENTRIES}
    check_keywords(train, settings, supplied=SUPPLIED, runtime=SUPPLIED_TO)
    return settings


def training_keywords(config: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The keywords of one training run, everything built anew."""
    from protscribe.catalogue import read_task, task_names

    settings = check(config)
    built = {key: value if key in PLAIN else build(value) for key, value in settings.items()}
    mixture = built["mixture"]
    sources = find_sources({entry.source: entry.task for entry in mixture.entries.values()}, config, folder)
    brought, before = beginning(built.get("bundle"))
    for name, task in before.items():
        with suppress(ProtscribeError):  # the run says of what it has no rows
            sources = {**find_sources({name: task}, config, folder), **sources}
    # A task that a bundle brings along needs no file.
    wanted = [name for name in mixture.tasks if name not in brought or name in task_names(folder)]
    tasks = {name: read_task(name, folder) for name in wanted}
    return {**built, "tasks": tasks, "sources": sources, "config": config}


def hush() -> None:
    """Keeps Lightning's advice about workers and devices, which is not for who typed this command, to itself."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _train(config: dict[str, Any], folder: Path | None) -> int:
    # What torch has to say, line after line of addresses, where a connection to another process breaks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    keywords = training_keywords(with_entries(config, folder), folder)
    hush()
    from protscribe.training.run import train

    result = train(**keywords)
    if seat().rank == 0:
        score = "" if result.best_score is None else f", best validation score {result.best_score:.4f}"
        print(f"trained {result.steps} steps in {result.epochs} epochs and {result.seconds:.0f} s{score}")
        print(f"padding: {result.padding_share:.1%} of what was computed")
        if result.changes is not None:
            print(result.changes.to_text())
        print(f"bundle: {result.bundle}")
    return tell_rejected(len(result.failures), [failure.detail for failure in result.failures])


TRAIN = Command("train one model on a mixture of tasks and write its bundle", _train, check, trains=True)
