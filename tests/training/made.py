"""Thirty-two made-up examples of six tasks, as tables on disk: labels are random, so that a model must learn
them by heart."""

from __future__ import annotations

import csv
import random
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch

from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.nn.decoder import Decoder
from protscribe.task import Task

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
COUNTS = {"where": 6, "how_much": 6, "fold": 5, "sites": 5, "several": 5, "parts": 5}
MINI = {"kind": "mini", "width": 64, "layers": 3, "attention_layers": 1, "heads": 4, "dropout": 0.0}


def made_task(name: str, conditions: tuple[str, ...] = (), **codec: Any) -> Task:
    return Task.from_plain(
        {
            "name": name,
            "title": name,
            "codec": codec,
            "conditions": [{"field": field} for field in conditions],
        }
    )


TASKS = {
    task.name: task
    for task in (
        made_task("where", ("host",), kind="category"),
        made_task("how_much", kind="number", low=0, high=10, step=0.01),
        made_task("fold", kind="residue_labels", labels=list("HEC")),
        made_task("sites", kind="residue_set"),
        made_task("several", kind="category_set", labels=list("pqrs")),
        made_task("parts", kind="segments", labels=["in", "out"]),
    )
}


def label(name: str, length: int, draw: random.Random) -> str:
    """One random label as a table's cell."""
    if name == "where":
        return draw.choice(["nucleus", "membrane", "cytosol"])
    if name == "how_much":
        return f"{draw.uniform(0, 10):.2f}"
    if name == "fold":
        return "".join(draw.choice("HEC") for _ in range(length))
    if name == "sites":
        return ";".join(str(place) for place in sorted(draw.sample(range(1, length + 1), draw.randint(0, 4))))
    if name == "several":
        return ";".join(sorted(draw.sample("pqrs", draw.randint(0, 3))))
    middle = draw.randint(2, length - 2)
    return f"in:1-{middle};out:{middle + 1}-{length}"


def write_tables(folder: Path, seed: int = 0, counts: dict[str, int] = COUNTS) -> dict[str, Source]:
    """One CSV a task below ``folder``; the sources that read them, by name."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sources = {}
    for name, count in counts.items():
        rows = []
        for row in range(count):
            sequence = "".join(draw.choice(LETTERS) for _ in range(draw.randint(12, 24)))
            host = draw.choice(["human", "yeast"])
            rows.append([f"{name}{row}", sequence, label(name, len(sequence), draw), host, "train"])
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["id", "sequence", "label", "host", "split"], *rows])
        sources[name] = Source(name=name, path=str(folder / f"{name}.csv"), task=name)
    return sources


def mixture(names: tuple[str, ...] = tuple(COUNTS), **options: Any) -> Mixture:
    return Mixture({name: Entry(name, name) for name in names}, **options)


def read_data(folder: Path, names: tuple[str, ...] = tuple(COUNTS), **options: Any) -> ScribeData:
    """All of them, validated on the training rows themselves."""
    settings = {"validate_on": "train", "unknown": 0.0, "budget": Budget(tokens=65536, rows=64), **options}
    data = ScribeData(mixture(names), TASKS, write_tables(folder), **settings)
    data.read()
    return data


def settings(folder: Path, **trainer: Any) -> dict[str, Any]:
    """Keywords of :func:`protscribe.training.run.train` for a run of seconds on these tables."""
    return {
        "folder": str(folder / "run"),
        "mixture": mixture(),
        "data": partial(ScribeData, validate_on="train", unknown=0.0, budget=Budget(tokens=65536, rows=64)),
        "encoder": MINI,
        "decoder": partial(Decoder, width=64, layers=2, heads=4, dropout=0.0),
        "optimizer": partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0),
        "trainer": partial(
            lightning.Trainer,
            accelerator="cpu",
            devices=1,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            **trainer,
        ),
        "tasks": TASKS,
        "sources": write_tables(folder / "tables"),
    }
