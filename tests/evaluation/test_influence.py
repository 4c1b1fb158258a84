"""Who helps whom: which runs are made, on what, and what the table says of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.errors import ConfigError
from protscribe.evaluation import influence
from protscribe.evaluation.influence import ALL, OTHERS, measure_influence
from protscribe.records import Prediction
from protscribe.task import Task

TASKS = {
    "acid": {"kind": "category", "labels": ["no", "yes"]},
    "mass": {"kind": "number", "low": 0, "high": 9, "step": 1},
    "site": {"kind": "residue_set"},
}
METRICS = {"acid": ["accuracy"], "mass": ["mae"], "site": ["site_f1"]}
ROWS = {"acid": 20, "mass": 10, "site": 8}
CELLS = {"acid": ("no", "yes"), "mass": ("2", "4"), "site": ("1", "2;3")}
MIXTURE = Mixture(
    {name: Entry(name, name, weight) for name, weight in zip(TASKS, (1, 2, 1), strict=True)}, epoch_size=40
)


class Made:
    """Stands for a loaded bundle. It is right about as many proteins of a task as its training says."""

    def __init__(self, bundle: Path) -> None:
        plain = json.loads((bundle / "manifest.json").read_text())
        self.tasks = {
            name: Task.from_plain(
                {"name": name, "title": name, "codec": TASKS[name], "metrics": METRICS[name]}
            )
            for name in plain["right"]
        }
        self.right: Mapping[str, int] = plain["right"]
        self.asked: list[int] = []

    def stream(self, records: list[Any], tasks: list[str], **_: Any) -> list[Prediction]:
        (name,) = tasks
        task, found = self.tasks[name], []
        for place, record in enumerate(records):
            cell = CELLS[name][(place + (place >= self.right[name])) % 2]
            value = task.codec.parse(cell, record)
            found.append(Prediction(record.id, name, task.codec.kind, value, 1.0, "made", record))
        return found


class Trainer:
    """Stands for training: a task is right about 4 of 10 proteins, 3 more with each helper that is there."""

    def __init__(self) -> None:
        self.helpers = {"acid": ["mass"], "mass": ["acid", "site"], "site": []}
        self.runs: list[tuple[str, Mixture, int]] = []

    def __call__(self, mixture: Mixture, seed: int, folder: Path) -> Path:
        self.runs.append((folder.name, mixture, seed))
        bundle = folder / "bundle"
        bundle.mkdir(parents=True)
        tasks = mixture.tasks
        right = {task: 4 + seed + 3 * sum(helper in tasks for helper in self.helpers[task]) for task in tasks}
        sampled = {name: {"of": ROWS[entry.task]} for name, entry in mixture.entries.items()}
        (bundle / "manifest.json").write_text(
            json.dumps({"right": right, "provenance": {"sampled": sampled}})
        )
        return bundle


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Source]:
    loads: list[str] = []

    def load(path: str, device: str) -> Made:
        loads.append(path)
        return Made(Path(path))

    monkeypatch.setattr(influence.Predictor, "load", load)
    found = {}
    for name in TASKS:
        rows = [f"{row},MKTAY,{CELLS[name][row % 2]},validation" for row in range(10)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,sequence,label,split", *rows]) + "\n")
        path = str(tmp_path / f"{name}.csv")
        splits = {"train": ("train",), "validation": ("validation",)}
        found[name] = Source(name=name, path=path, task=name, splits=splits)
    return found


def test_all_but_one_and_alone_once_a_seed_on_the_same_samples(
    sources: dict[str, Source], tmp_path: Path
) -> None:
    train = Trainer()
    measure_influence(train, MIXTURE, sources, tmp_path / "runs", seeds=[0, 1], alone=True, resamples=20)
    names = ["all", *(f"without_{task}" for task in TASKS), *(f"alone_{task}" for task in TASKS)]
    assert [run[0] for run in train.runs] == [f"{name}_{seed}" for seed in (0, 1) for name in names]
    assert [run[2] for run in train.runs] == [0] * 7 + [1] * 7
    assert train.runs[0][1] is MIXTURE
    whole = dict(zip(TASKS, MIXTURE.quotas(list(ROWS.values())), strict=True))
    for _, mixture, _ in train.runs[1:7]:
        rows = [ROWS[task] for task in mixture.tasks]
        assert dict(zip(mixture.tasks, mixture.quotas(rows), strict=True)) == {
            t: whole[t] for t in mixture.tasks
        }
    assert [run[1].tasks for run in train.runs[1:4]] == [("mass", "site"), ("acid", "site"), ("acid", "mass")]
    assert [run[1].tasks for run in train.runs[4:7]] == [("acid",), ("mass",), ("site",)]


def test_the_table_says_who_helps(sources: dict[str, Source], tmp_path: Path) -> None:
    found = measure_influence(
        Trainer(), MIXTURE, sources, tmp_path / "runs", seeds=[0, 1], alone=True, resamples=50
    )
    assert found["acid", ALL].value.value == pytest.approx(0.75)
    assert found["acid", ALL].help is None
    helped = found["acid", "mass"]
    assert (helped.value.value, helped.help.value) == (pytest.approx(0.45), pytest.approx(0.3))  # type: ignore[union-attr]
    assert helped.by_seed == pytest.approx((0.3, 0.3))
    assert found["acid", "site"].help.value == pytest.approx(0)  # type: ignore[union-attr]
    # Errors: the model with the helper has the lower one, and that counts as help.
    assert found["mass", "acid"].value.value > found["mass", ALL].value.value
    assert found["mass", "acid"].help.value > 0  # type: ignore[union-attr]
    assert found["mass", OTHERS].help.value > found["mass", "acid"].help.value  # type: ignore[union-attr]
    with pytest.raises(StopIteration):
        found["acid", "acid"]
    found.write(tmp_path)
    lines = (tmp_path / "influence.md").read_text().splitlines()
    assert lines[0].startswith("| left out | acid (accuracy) | mass (mean absolute error, lower is better) |")
    assert lines[2].startswith("| nothing | 0.750 [")
    assert lines[3].startswith("| acid |  | ")
    rows = list(csv.DictReader((tmp_path / "influence.csv").open()))
    assert len(rows) == 3 + 3 * 2 + 3
    assert {(row["task"], row["left_out"]) for row in rows if row["seeds"] == "2"} >= {
        ("acid", "mass"),
        ("mass", OTHERS),
    }


def test_what_is_there_is_not_done_again(sources: dict[str, Source], tmp_path: Path) -> None:
    first = measure_influence(Trainer(), MIXTURE, sources, tmp_path, left_out=["acid"], resamples=30)
    for bundle in tmp_path.glob("*/bundle"):
        # Nobody looks at the weights again either.
        plain = json.loads((bundle / "manifest.json").read_text())
        (bundle / "manifest.json").write_text(json.dumps({**plain, "right": {}}))
    train = Trainer()
    again = measure_influence(train, MIXTURE, sources, tmp_path, left_out=["acid"], resamples=30)
    assert train.runs == []
    assert again.rows() == first.rows()


def test_proteins_are_limited_and_the_same_for_all(sources: dict[str, Source], tmp_path: Path) -> None:
    found = measure_influence(Trainer(), MIXTURE, sources, tmp_path, limit=6, resamples=10)
    assert {one.count for one in found.effects} == {6}
    assert {
        one.count for one in measure_influence(Trainer(), MIXTURE, sources, tmp_path, resamples=10).effects
    } == {10}


@pytest.mark.parametrize(
    ("mixture", "options", "said"),
    [
        (Mixture({"acid": Entry("acid", "acid")}), {}, "two tasks"),
        (Mixture(MIXTURE.entries, adaptive={}), {}, "follow validation"),
        (MIXTURE, {"left_out": ["acids"]}, "did you mean 'acid'"),
        (MIXTURE, {"seeds": []}, "seeds"),
        (MIXTURE, {"seeds": [1, 1]}, "seeds"),
        (MIXTURE, {"resamples": 0}, "resamples"),
    ],
)
def test_what_is_refused(mixture: Mixture, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    train = Trainer()
    with pytest.raises(ConfigError, match=said) as caught:
        measure_influence(train, mixture, {}, tmp_path, **options)
    assert caught.value.code == "config.value"
    assert train.runs == []
