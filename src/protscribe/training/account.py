"""Keeps account of a run: what was sampled, and how validation went, which adaptive mixtures follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from protscribe.data.datamodule import ScribeData
from protscribe.data.ledger import Ledger


class Account(Callback):
    """Counts every sample that the network was trained on, and tells the mixture each task's validation loss.

    At the end of an epoch it logs, for every entry of the mixture, ``mixture/samples/NAME`` and ``mixture/tokens/NAME``
    (residues read, and tokens of prompts and answers) of this epoch, ``mixture/rows/NAME`` (different rows since the run
    began), and where the mixture is adaptive ``mixture/kept/TASK``, the share of its weight that a task kept. Its state,
    the counts, is part of every checkpoint; that of the mixture is the data module's.
    """

    def __init__(self, data: ScribeData) -> None:
        """``data`` has been read."""
        self.data = data
        self.ledger = Ledger(tuple(data.mixture.entries), [len(part) for part in data.training])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.ledger.begin_epoch()
        self.ledger.add(*self.data.sampler.drawn(batch_idx))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        told: dict[str, float] = {"epoch": trainer.current_epoch}
        for name, sampled in self.ledger.epoch().items():
            told[f"mixture/samples/{name}"] = sampled.samples
            told[f"mixture/tokens/{name}"] = sampled.residues + sampled.tokens
            told[f"mixture/rows/{name}"] = sampled.rows
        if self.data.mixture.adaptive is not None:
            kept = self.data.balance.kept(trainer.current_epoch)
            told |= {f"mixture/kept/{task}": share for task, share in kept.items()}
        # Not by way of the module, which would round counts to 32 bits.
        for logger in trainer.loggers:
            logger.log_metrics(told, step=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        found = trainer.callback_metrics
        losses = {task: f"valid/loss/{task}" for task in self.data.tasks}
        self.data.balance.observe(
            trainer.current_epoch,
            {task: float(found[name]) for task, name in losses.items() if name in found},
        )

    def state_dict(self) -> dict[str, Any]:
        return self.ledger.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.ledger.load_state_dict(state_dict)
