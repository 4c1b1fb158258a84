"""The account of a run: what is logged is what the network was trained on, and adaptive mixtures follow validation."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from protscribe.catalogue import read_task
from protscribe.data.batching import Budget
from protscribe.data.collate import encode_question
from protscribe.data.datamodule import ScribeData
from protscribe.data.makers import Find
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.training.run import train
from tests.training.made import TASKS, write_tables
from tests.training.test_run import small

COUNTS = {"where": 23, "how_much": 9}


class Seen(Callback):
    """Every question that reached the network in training, by epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[Any]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.epochs.append([])

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epochs[-1] += [(question, pl_module.lexicon) for question in batch.questions]


def run(folder: Path, mixture: Mixture, **options: Any) -> tuple[Any, Seen, list[dict[str, str]]]:
    seen = Seen()
    keywords = small(folder, max_epochs=options.pop("max_epochs", 3))
    keywords["trainer"].keywords.update(options)
    keywords |= {
        "mixture": mixture,
        "data": partial(ScribeData, budget=Budget(rows=4), holdout=0.2, unknown=0.0),
        "tasks": {**TASKS, "where_is_residue": read_task("where_is_residue")},
        "sources": write_tables(folder / "tables", counts=COUNTS),
        "callbacks": {"seen": seen},
        "logger": {"csv": CSVLogger(folder / "run", name="logs", version="")},
    }
    path = keywords["sources"]["where"].path
    keywords["sources"]["made"] = Source(
        name="made", path=path, task="where_is_residue", make=Find(("residue",), absent=0.2)
    )
    result = train(**keywords)
    return result, seen, list(csv.DictReader((folder / "run" / "logs" / "metrics.csv").open()))


def logged(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name)]


@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 3}, {"max_steps": 7, "max_epochs": 9}], ids=str
)
def test_what_is_logged_is_what_was_trained_on(tmp_path: Path, options: dict[str, Any]) -> None:
    entries = {
        "where": Entry("where", "where", 1.0),
        "again": Entry("where", "where", 2.0),
        "how_much": Entry("how_much", "how_much", 0.4),
        "where_is_residue": Entry("where_is_residue", "made", 1.5),
    }
    result, seen, rows = run(tmp_path, Mixture(entries, explicit=True, epoch_size=31), **options)
    assert sum(map(len, seen.epochs)) == sum(one.samples for one in result.sampled.values())
    by_task = {
        "where": ("where", "again"),
        "how_much": ("how_much",),
        "where_is_residue": ("where_is_residue",),
    }
    for task, names in by_task.items():
        drawn = [[one for one in epoch if one[0].task.name == task] for epoch in seen.epochs]
        assert [
            sum(counts)
            for counts in zip(*(logged(rows, f"mixture/samples/{name}") for name in names), strict=True)
        ] == [len(epoch) for epoch in drawn]
        tokens = [
            sum(
                len(question.record.sequence) + len(encode_question(question, lexicon).numbers)
                for question, lexicon in epoch
            )
            for epoch in drawn
        ]
        assert [
            sum(counts)
            for counts in zip(*(logged(rows, f"mixture/tokens/{name}") for name in names), strict=True)
        ] == tokens
    different: set[str] = set()
    for epoch, count in zip(seen.epochs, logged(rows, "mixture/rows/how_much"), strict=True):
        different |= {question.record.id for question, _ in epoch if question.task.name == "how_much"}
        assert len(different) == count
    held = json.loads((result.bundle / "manifest.json").read_text())["provenance"]["sampled"]
    assert held == {name: one._asdict() for name, one in result.sampled.items()}
    assert f"| how_much | {result.sampled['how_much'].samples} |" in (result.bundle / "README.md").read_text()


def test_made_questions_differ_between_epochs_and_repeat_with_the_seed(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        mixture = Mixture({"where_is_residue": Entry("where_is_residue", "made")})
        _, seen, _ = run(tmp_path / name, mixture, max_epochs=2)
        asked = [
            sorted(
                (question.record.id, question.record.fields["residue"], question.answer)
                for question, _ in epoch
            )
            for epoch in seen.epochs
        ]
        assert asked[0] != asked[1]
        found.append(asked)
    assert found[0] == found[1]


def test_shares_follow_validation_from_the_next_epoch_on(tmp_path: Path) -> None:
    # No loss falls by 99%: after the first validation, every task stagnates.
    entries = {name: Entry(name, name) for name in COUNTS}
    adaptive = {"patience": 0, "improvement": 0.99, "factor": 0.5, "floor": 0.3}
    mixture = Mixture(entries, adaptive=adaptive, epoch_size=40)
    _, seen, rows = run(tmp_path, mixture, max_epochs=4)
    assert logged(rows, "mixture/kept/where") == [1.0, 1.0, 0.5, 0.3]
    counts = [Counter(question.task.name for question, _ in epoch) for epoch in seen.epochs]
    assert [logged(rows, f"mixture/samples/{name}") for name in COUNTS] == [
        [float(epoch[name]) for epoch in counts] for name in COUNTS
    ]


def test_a_rare_task_is_told_though_it_is_not_in_the_step_that_is_logged(tmp_path: Path) -> None:
    entries = {"where": Entry("where", "where", 19.0), "how_much": Entry("how_much", "how_much", 1.0)}
    result, seen, rows = run(
        tmp_path,
        Mixture(entries, explicit=True, epoch_size=40),
        accumulate_grad_batches=2,
        log_every_n_steps=3,
        max_epochs=2,
    )
    rare = [sum(question.task.name == "how_much" for question, _ in epoch) for epoch in seen.epochs]
    assert rare == [2, 2]
    steps = {int(row["step"]) for row in rows if row.get("train/loss/how_much")}
    assert len(steps) >= 2
    assert "train/loss/how_much" in result.metrics
