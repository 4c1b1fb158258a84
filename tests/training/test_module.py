"""One training step: what is hidden, what is logged, what stops it, which weights decay."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import lightning
import pytest
import torch

from protscribe.data.collate import Numbered
from protscribe.data.datamodule import ScribeData
from protscribe.encoders import adapt, load_encoder
from protscribe.errors import ConfigError, TrainingError
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.training.module import Objective, ScribeTraining, dense_rows
from protscribe.training.schedule import constant
from tests.training.made import COUNTS, MINI, TASKS, mixture, read_data, write_tables


def training(data: ScribeData, objective: Objective | None = None, how: str = "full") -> ScribeTraining:
    torch.manual_seed(0)
    encoder = adapt(load_encoder(MINI), how)  # type: ignore[arg-type]
    decoder = Decoder(len(data.lexicon.vocabulary), encoder.width, width=32, layers=1, heads=2, dropout=0.0)
    return ScribeTraining(
        Scribe(encoder, decoder),
        data.lexicon,
        data.tasks,
        partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
        partial(constant, warmup_steps=0),
        objective,
    )


def trainer(folder: Path, **options: object) -> lightning.Trainer:
    settings = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
        "use_distributed_sampler": False, "reload_dataloaders_every_n_epochs": 1, "default_root_dir": folder,
        "log_every_n_steps": 1,
    }  # fmt: skip
    return lightning.Trainer(**{**settings, **options})  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> ScribeData:
    return read_data(tmp_path)


def attached(module: ScribeTraining, folder: Path) -> ScribeTraining:
    module.trainer = trainer(folder)
    return module


def test_only_dense_answers_are_hidden_and_differently_at_each_step(data: ScribeData, tmp_path: Path) -> None:
    module = attached(training(data), tmp_path)
    batch = next(iter(data.train_dataloader()))
    dense = torch.tensor([question.task.name == "fold" for question in batch.questions])
    assert torch.equal(dense_rows(batch)[:, 0], dense)
    hidden = module._hidden(batch)
    assert not hidden[~dense].any()
    assert hidden[dense].any()
    assert torch.equal(hidden, module._hidden(batch))
    later = dataclasses.replace(batch, numbers=tuple(number + 1000 for number in batch.numbers))
    assert not torch.equal(hidden, module._hidden(later))


def test_what_is_hidden_of_a_sample_does_not_depend_on_its_batch(data: ScribeData, tmp_path: Path) -> None:
    module = attached(training(data), tmp_path)
    batch = next(iter(data.train_dataloader()))
    whole = module._hidden(batch)
    order = list(reversed(range(len(batch.questions))))[:7]
    part = data.collator.numbered([Numbered(batch.questions[row], batch.numbers[row]) for row in order])
    columns = part.tokens_BT.shape[1]
    assert torch.equal(module._hidden(part), whole[order, :columns])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.0, 0.5), (0.4, 0.7)])
def test_how_much_is_hidden(data: ScribeData, tmp_path: Path, share: float, expected: float) -> None:
    module = attached(training(data, Objective(hide_all=share)), tmp_path)
    batch = next(iter(data.train_dataloader()))
    dense = dense_rows(batch)[:, 0]
    numbers = range(len(batch.questions))
    batches = [
        dataclasses.replace(batch, numbers=tuple(number + 1000 * step for number in numbers))
        for step in range(200)
    ]
    found = torch.stack([module._hidden(one)[dense].float() for one in batches])
    assert found.mean().item() == pytest.approx(expected, abs=0.04)
    rows = found.mean(-1).flatten()
    assert (rows == 1).float().mean().item() >= share - 0.05


def test_what_is_logged(data: ScribeData, tmp_path: Path) -> None:
    fitted = trainer(tmp_path)
    fitted.fit(training(data), datamodule=data)
    metrics = {name: float(value) for name, value in fitted.callback_metrics.items()}
    for task in COUNTS:
        for name in ("train/loss", "train/accuracy", "valid/loss", "valid/accuracy", "valid/off_grammar"):
            assert f"{name}/{task}" in metrics
        assert 0 <= metrics[f"valid/off_grammar/{task}"] <= 1
    mean = sum(metrics[f"valid/loss/{task}"] for task in COUNTS) / len(COUNTS)
    assert metrics["valid/loss"] == pytest.approx(mean, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_step_and_records(data: ScribeData, tmp_path: Path) -> None:
    module = training(data)
    with torch.no_grad():
        module.model.decoder.score.weight[:] = float("nan")
    with pytest.raises(TrainingError, match=r"the loss is not finite at step 0, records \w+\d") as caught:
        trainer(tmp_path).fit(module, datamodule=data)
    assert caught.value.code == "train.not_finite"


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(
    data: ScribeData, tmp_path: Path
) -> None:
    module = training(data)
    before = module.model.decoder.table.weight.detach().clone()
    module.model.decoder.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="the gradient is not finite at step 0"):
        trainer(tmp_path).fit(module, datamodule=data)
    assert torch.equal(module.model.decoder.table.weight, before)


def test_a_frozen_encoder_stays_as_it_is(data: ScribeData, tmp_path: Path) -> None:
    module = training(data, how="frozen")
    before = {name: value.clone() for name, value in module.model.encoder.state_dict().items()}
    trainer(tmp_path).fit(module, datamodule=data)
    after = module.model.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_accumulated_and_clipped_steps_run(tmp_path: Path, accumulate: int) -> None:
    from protscribe.data.batching import Budget

    data = ScribeData(
        mixture(("where",)),
        TASKS,
        write_tables(tmp_path, counts={"where": 40}),
        budget=Budget(rows=9),
        holdout=0,
    )
    data.read()
    fitted = trainer(tmp_path, accumulate_grad_batches=accumulate, gradient_clip_val=0.5)
    fitted.fit(training(data), datamodule=data)
    assert fitted.global_step == -(-len(data.sampler) // accumulate)


def test_bf16_runs(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, precision="bf16-mixed", max_steps=2)
    data = read_data(tmp_path, ("where", "fold"))
    fitted.fit(training(data), datamodule=data)
    assert fitted.global_step == 1


@pytest.mark.parametrize("values", [{"hide_all": 1.5}, {"length_power": -1}, {"digit_width": -0.1}])
def test_an_objective_out_of_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Objective(**values)
