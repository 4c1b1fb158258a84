"""A small run that writes down all that it does, to compare one that was interrupted with one that was not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers.logger import DummyLogger

from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.encoders import load_encoder
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.training.account import Account
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.fitting import fit
from protscribe.training.module import ScribeTraining
from protscribe.training.position import epochs_begun, make_resumable
from protscribe.training.schedule import cosine
from tests.training.made import TASKS, mixture, write_tables

COUNTS = {"where": 13, "how_much": 7, "fold": 9}
TINY = {"kind": "mini", "width": 8, "layers": 1, "attention_layers": 1, "heads": 2, "dropout": 0.2}


def digest(value: Any) -> str:
    """A fingerprint of all bits of a nest of tensors and plain values."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode())
            found.update(part.detach().contiguous().cpu().numpy().tobytes())
        elif isinstance(part, dict):
            for key in sorted(part, key=str):
                found.update(str(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            for one in part:
                add(one)
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()


@dataclass
class Story:
    """What a run did: one entry a batch, a validation, and a row of the log; and what it left. ``marks`` are how many there
    were when each checkpoint was saved."""

    batches: list[tuple[Any, ...]] = field(default_factory=list)
    validations: list[tuple[Any, ...]] = field(default_factory=list)
    logged: list[tuple[Any, ...]] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)

    marks: list[tuple[int, int, int]] = field(default_factory=list)

    def since(self, mark: tuple[int, int, int]) -> Story:
        """What came after a checkpoint was saved."""
        batches, validations, rows = mark
        return Story(self.batches[batches:], self.validations[validations:], self.logged[rows:], self.left)


class Writer(Callback):
    def __init__(self, story: Story) -> None:
        self.story = story

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        optimizer = trainer.optimizers[0]
        self.story.batches.append(
            (
                trainer.current_epoch,
                batch_idx,
                trainer.global_step,
                tuple(question.record.id for question in batch.questions),
                outputs["loss"].item().hex(),
                tuple(group["lr"] for group in optimizer.param_groups),
                digest(dict(pl_module.named_parameters())),
            )
        )

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.story.validations.append((trainer.current_epoch, trainer.global_step))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        story = self.story
        story.marks.append((len(story.batches), len(story.validations), len(story.logged)))


class Log(DummyLogger):
    """Writes down what is logged, and under which step."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story

    def log_metrics(self, metrics: Any = None, step: Any = None, **_: Any) -> None:
        self.story.logged.append(
            (step, tuple(sorted((name, float(value).hex()) for name, value in metrics.items())))
        )


def read_data(folder: Path, adaptive: Any = None, **options: Any) -> ScribeData:
    settings = {
        "unknown": 0.3,
        "budget": Budget(tokens=65536, rows=4),
        "seed": 7,
        "holdout": 0.2,
        "validation_rows": 3,
    }
    data = ScribeData(
        mixture(tuple(COUNTS), adaptive=adaptive),
        TASKS,
        write_tables(folder / "tables", counts=COUNTS),
        **{**settings, **options},
    )
    data.read()
    return data


def module_for(data: ScribeData) -> ScribeTraining:
    torch.manual_seed(3)
    encoder = load_encoder(TINY)
    decoder = Decoder(len(data.lexicon.vocabulary), encoder.width, width=8, layers=1, heads=2, dropout=0.2)
    return ScribeTraining(
        Scribe(encoder, decoder),
        data.lexicon,
        data.tasks,
        partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
        partial(cosine, warmup_steps=3),
        seed=7,
    )


def run(
    folder: Path,
    checkpoints: Checkpoints | None = None,
    resumed: Path | None = None,
    callbacks: tuple[Callback, ...] = (),
    improvement: float = 0.0,
    data: dict[str, Any] | None = None,
    **trainer: Any,
) -> Story:
    """Trains to the end; global random numbers are in a state that no other run shares."""
    story, read = Story(), read_data(folder, **(data or {}))
    settings = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 2, "enable_progress_bar": False, "enable_model_summary": False,
        "num_sanity_val_steps": 0, "use_distributed_sampler": False, "reload_dataloaders_every_n_epochs": 1,
        "default_root_dir": folder, "log_every_n_steps": 2, "gradient_clip_val": 1.0,
    }  # fmt: skip
    module = module_for(read)
    torch.seed()
    account, stop = Account(read), EarlyStopping("valid/loss", improvement, patience=2, strict=False)
    made = lightning.Trainer(
        callbacks=[*callbacks, account, Writer(story), stop, checkpoints or Checkpoints(None)],
        logger=Log(story),
        **{**settings, **trainer},
    )
    fit(make_resumable(made), module, read, resumed)
    story.left = {
        "weights": digest(module.state_dict()),
        "optimizer": digest(made.optimizers[0].state_dict()),
        "schedule": digest(made.lr_scheduler_configs[0].scheduler.state_dict()),
        "metrics": {name: float(value).hex() for name, value in made.callback_metrics.items()},
        "early stopping": digest(stop.state_dict()),
        "sampled": account.state_dict(),
        "balance": read.balance.state_dict(),
        "steps": made.global_step,
        "epochs": epochs_begun(made),
    }
    return story
