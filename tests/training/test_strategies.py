"""Two processes give what one gives (promise P20): replicated and sharded, interrupted and resumed, over gloo."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from protscribe.checkpoint import load_bundle
from protscribe.data.batching import Budget
from protscribe.data.collate import COMPANION
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.errors import Preempted
from protscribe.nn.decoder import Decoder
from protscribe.task import Task
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.run import train
from protscribe.training.schedule import constant
from protscribe.training.strategies import Replicated, Sharded, environments
from tests.together import together
from tests.training.made import TASKS, write_tables

COUNTS = {"where": 26, "fold": 9, "sites": 13}
ENCODER = {"kind": "mini", "width": 16, "layers": 2, "attention_layers": 1, "heads": 2, "dropout": 0.0}
MOLECULES = {"kind": "character", "width": 16, "layers": 1, "heads": 2, "dropout": 0.0}
BINDS = Task.from_plain(
    {
        "name": "binds", "title": "binds", "molecule": True,
        "codec": {"kind": "category", "labels": ["no", "yes"]},
    }
)  # fmt: skip


class Record(Callback):
    """What a process trained on, and on how much it looked back at each step. ``stop_at`` is a batch after which the last
    process asks all to stop, as a scheduler would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.numbers: list[tuple[int, tuple[int, ...]]] = []
        self.nats: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.molecules: list[int] = []
        self.validated: list[dict[str, tuple[float, ...]]] = []

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        contribution = pl_module._step.contribution

        def noting(nats: torch.Tensor) -> Any:
            loss, weight = contribution(nats)
            self.nats.append((float(nats.detach()), float(weight)))
            return loss, weight

        pl_module._step.contribution = noting
        read = pl_module._validation.read

        def keeping(device: torch.device) -> Any:
            found = read(device)
            self.validated.append({task: tuple(sums) for task, sums in found.items()})
            return found

        pl_module._validation.read = keeping

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.numbers.append((trainer.current_epoch, batch.numbers))
        self.molecules.append(sum(question.record.molecule is not None for question in batch.questions))
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        if len(self.numbers) == self.stop_at and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Three tasks, and one with molecules, two of whose rows train and one validates: fewer than there are processes."""
    folder = tmp_path_factory.mktemp("tables")
    path = folder / "binds.csv"
    rows = ["1,MKTWAAAAAAAAAA,CCO,yes,train", "2,ACDEFGHIKLM,c1ccccc1,no,train", "3,WWWWW,CN,yes,valid"]
    path.write_text("\n".join(["id,sequence,smiles,label,split", *rows, ""]))
    splits = {"train": ("train",), "validation": ("valid",)}
    binds = Source(name="binds", path=str(path), task="binds", splits=splits)  # type: ignore[arg-type]
    return {**write_tables(folder, counts=COUNTS), "binds": binds}


def run(
    folder: Path,
    sources: dict[str, Source],
    world: int = 1,
    accumulated: int = 4,
    strategy: Callable[[], Any] = lambda: "auto",
    stop_at: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """One run of two epochs; what it did and what it left."""
    record = Record(stop_at)
    keywords: dict[str, Any] = {
        "folder": str(folder),
        "mixture": Mixture({name: Entry(name, name) for name in (*COUNTS, "binds")}),
        "data": partial(ScribeData, budget=Budget(tokens=4096, rows=5), holdout=0.2, unknown=0.1),
        "encoder": ENCODER,
        "molecule_encoder": MOLECULES,
        "decoder": partial(Decoder, width=16, layers=2, heads=2, dropout=0.0),
        # With a usual eps, Adam moves a weight whose gradient is nothing but rounding as far as any other.
        "optimizer": partial(torch.optim.AdamW, lr=0.02, eps=0.01),
        "schedule": partial(constant, warmup_steps=0),
        "trainer": partial(
            lightning.Trainer, accelerator="cpu", devices=world, strategy=strategy(), max_epochs=2,
            accumulate_grad_batches=accumulated, gradient_clip_val=1.0, num_sanity_val_steps=0,
            log_every_n_steps=1,
        ),
        "callbacks": {"checkpoints": Checkpoints(folder / "checkpoints"), "record": record},
        "tasks": {**TASKS, "binds": BINDS},
        "sources": sources,
        "choose_readouts": False,
    }  # fmt: skip
    said: dict[str, Any] = {
        "record": {
            name: getattr(record, name) for name in ("numbers", "nats", "losses", "molecules", "validated")
        }
    }
    try:
        result = train(**keywords, **options)
    except Preempted as preempted:
        return said | {"status": preempted.exit_status}
    said |= {"status": 0, "steps": result.steps, "metrics": dict(result.metrics)}
    if result.bundle.exists():
        model = load_bundle(result.bundle).model
        said["weights"] = {name: weight.clone() for name, weight in model.state_dict().items()}
    return said


def samples(runs: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """How often each (epoch, number) was trained on."""
    return Counter(
        (epoch, number)
        for one in runs
        for epoch, numbers in one["record"]["numbers"]
        for number in numbers
        if number != COMPANION
    )


def far(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of two models' weights."""
    assert set(ours) == set(theirs)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


TOLERANCE = 2e-6
"""Weights are about 0.1 to 1, where a rounding of float32 is about 1e-7. Six steps add up gradients that were summed in another
order."""


@pytest.fixture(scope="module")
def alone(sources: dict[str, Source], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process, four batches a step."""
    return run(tmp_path_factory.mktemp("alone") / "run", sources)


def check_same(alone: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["steps"] == second["steps"] == alone["steps"]
    assert far(first["weights"], alone["weights"]) < TOLERANCE
    for name, value in alone["metrics"].items():
        if not name.startswith("train"):
            assert first["metrics"][name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
            assert second["metrics"][name] == first["metrics"][name], name
    # Not the means alone: a row that counts twice in numerator and denominator would not show there.
    for epoch, sums in enumerate(reversed(first["record"]["validated"]), start=1):
        for task, expected in alone["record"]["validated"][-epoch].items():
            assert sums[task] == pytest.approx(expected, rel=1e-6, abs=1e-5), task


def test_two_processes_give_what_one_gives(
    alone: dict[str, Any], sources: dict[str, Source], tmp_path: Path
) -> None:
    def work(rank: int) -> list[dict[str, Any]]:
        whole = run(tmp_path / "whole", sources, 2, 2, Replicated)
        stopped = run(tmp_path / "parts", sources, 2, 2, Replicated, stop_at=4)
        rest = run(tmp_path / "parts", sources, 2, 2, Replicated, resume="last")
        return [whole, stopped, rest]

    (first, *first_parts), (second, *second_parts) = together(work)
    check_same(alone, first, second)
    # The same samples, each once an epoch, and the same loss at every step.
    assert samples([first, second]) == samples([alone])
    assert set(samples([alone]).values()) == {1}
    by_epoch = [[one for one in alone["record"]["numbers"] if one[0] == epoch] for epoch in (0, 1)]
    assert len(first["record"]["numbers"]) == sum(-(-len(one) // 2) for one in by_epoch)
    nats = [
        mine[0] + its[0] for mine, its in zip(first["record"]["nats"], second["record"]["nats"], strict=True)
    ]
    assert sum(nats) == pytest.approx(sum(one for one, _ in alone["record"]["nats"]), rel=1e-6)
    weights = [weight for _, weight in first["record"]["nats"]]
    assert first["record"]["losses"] == pytest.approx(
        [a / b for a, b in zip(nats, weights, strict=True)], rel=1e-6
    )
    assert first["record"]["losses"] == second["record"]["losses"]
    # Something uneven was in it: a process without molecules beside one with, a validation of one row, a last turn cut finer.
    pairs = list(zip(first["record"]["molecules"], second["record"]["molecules"], strict=True))
    assert any((mine > 0) != (its > 0) for mine, its in pairs)
    assert "valid/loss/binds" in alone["metrics"]
    assert any(len(one) % 2 for one in by_epoch)
    # Interrupted by a signal to one of them and resumed: bit for bit the same, no sample lost or repeated.
    assert [one["status"] for one in first_parts + second_parts] == [75, 0, 75, 0]
    assert samples(first_parts + second_parts) == samples([alone])
    assert far(first_parts[1]["weights"], first["weights"]) == 0
    assert first_parts[1]["metrics"] == pytest.approx(first["metrics"], rel=1e-6)


def test_a_sharded_model_gives_what_a_whole_one_gives(
    alone: dict[str, Any], sources: dict[str, Source], tmp_path: Path
) -> None:
    """Interrupted, it goes on sharded, and in one process too: optimizer, order of samples and all."""

    def work(rank: int) -> list[dict[str, Any]]:
        stopped = run(tmp_path / "parts", sources, 2, 2, Sharded, stop_at=4)
        saved = newest(tmp_path / "parts")
        # Computing activations twice calls, and gathers, every block a second time.
        rest = run(tmp_path / "rest", sources, 2, 2, Sharded, resume=saved, activation_checkpointing=True)
        return [stopped, rest]

    (stopped, first), (stopped_too, second) = together(work)
    assert stopped["status"] == stopped_too["status"] == 75
    check_same(alone, first, second)
    went_on = run(tmp_path / "alone", sources, resume=newest(tmp_path / "parts"))
    assert samples([stopped, stopped_too, went_on]) == samples([alone])
    check_same(alone, went_on, went_on)


def newest(folder: Path) -> str:
    return str(sorted((folder / "checkpoints").iterdir())[-1])


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, []),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, ["LightningEnvironment"]),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}, ["LightningEnvironment"]),
        (
            {
                "SLURM_JOB_ID": "7",
                "SLURM_NTASKS": "8",
                "SLURM_NTASKS_PER_NODE": "8",
                "SLURM_STEP_NUM_TASKS": "8",
            },
            ["SLURMEnvironment"],
        ),
        ({"SLURM_JOB_ID": "7", "TORCHELASTIC_RUN_ID": "x"}, []),
    ],
)
def test_lightning_waits_for_the_processes_that_there_are(
    told: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    found = environments()
    assert [type(one).__name__ for one in found] == expected
    assert not any(getattr(one, "auto_requeue", False) for one in found)
