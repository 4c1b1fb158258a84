"""The Lightning module of masked language modelling: an encoder, and a head that is thrown away afterwards.

Shape legend: N proteins, L residues (padded), D width, R standard residues (20).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu

from protscribe.errors import TrainingError
from protscribe.pretraining.crops import MaskedBatch
from protscribe.pretraining.masking import STANDARD, UNASKED
from protscribe.training.module import OptimizerFactory, ScheduleFactory
from protscribe.transfer import is_true


class RestoringHead(nn.Module):
    """From states to the logits of the 20 standard residues, ``[N, L, R]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, STANDARD)

    def forward(self, states_NLD: Tensor) -> Tensor:
        logits_NLR: Tensor = self.score(self.norm(gelu(self.mix(states_NLD))))
        return logits_NLR


class MaskedModelling(lightning.LightningModule):
    """Trains an encoder to restore masked residues.

    ``encoder`` is any of :data:`protscribe.encoders.ENCODERS`; ``validation`` names the loaders of validation, in their
    order. ``compile`` runs the encoder through ``torch.compile``. Logs ``train/loss`` (mean nats a masked residue since the
    last log), ``train/residues`` (seen so far), ``train/cpu_seconds`` (of this process since it began), and for every
    validation set ``valid/NAME/perplexity`` and ``valid/NAME/accuracy``; the first one's loss is ``valid/loss``. Raises
    :class:`~protscribe.errors.TrainingError` ``train.not_finite``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        validation: tuple[str, ...],
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        width: Any = encoder.width
        self.head = RestoringHead(width)
        self.validation = validation
        self._encode = torch.compile(encoder, dynamic=True) if compile else encoder
        self._optimizer, self._schedule = optimizer, schedule
        self._sums: dict[int, list[Tensor]] = defaultdict(list)
        self.residues_seen = 0
        self._since: list[Tensor] = []

    def forward(self, batch: MaskedBatch) -> Tensor:
        """Logits ``[N, L, R]``."""
        logits_NLR: Tensor = self.head(self._encode(batch.residues_NL, batch.mask_NL))
        return logits_NLR

    def training_step(self, batch: MaskedBatch, index: int) -> Tensor:
        loss = restoring_loss(self(batch), batch.targets_NL)
        if not is_true("loss", torch.isfinite(loss)):
            raise TrainingError(
                "train.not_finite",
                f"the loss is not finite at step {self.trainer.global_step}; lower optimizer.lr",
            )
        self.residues_seen += batch.residues_NL.numel()
        self._since.append(loss.detach())
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        if every and (self.trainer.global_step + 1) % every == 0:
            told: dict[str, Tensor | float] = {
                "train/loss": torch.stack(self._since).mean(),
                "train/residues": float(self.residues_seen),
                "train/cpu_seconds": time.process_time(),
            }
            self.log_dict(told, batch_size=1)
            self._since = []
        return loss

    def validation_step(self, batch: MaskedBatch, index: int, dataloader_idx: int = 0) -> None:
        self._sums[dataloader_idx].append(restoring_sums(self(batch), batch.targets_NL))

    def on_validation_epoch_end(self) -> None:
        for place, name in enumerate(self.validation):
            nats, right, asked = torch.stack(self._sums.pop(place)).sum(0).tolist()
            self.log(f"valid/{name}/perplexity", math.exp(nats / asked))
            self.log(f"valid/{name}/accuracy", right / asked)
            if place == 0:
                self.log("valid/loss", nats / asked)

    def configure_optimizers(self) -> Any:
        # Muon is for matrices between hidden states: not for tables, filters a channel, or the last layer.
        inner = [
            part for part in self.modules() if isinstance(part, nn.Linear) and part is not self.head.score
        ]
        chosen = {id(part.weight) for part in inner}
        matrices = [weight for weight in self.parameters() if id(weight) in chosen]
        others = [weight for weight in self.parameters() if id(weight) not in chosen]
        optimizer = self._optimizer([{"params": matrices}, {"params": others, "weight_decay": 0.0}])
        schedule = self._schedule(optimizer, total_steps=int(self.trainer.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["residues_seen"] = self.residues_seen

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        self.residues_seen = int(checkpoint["residues_seen"])


def restoring_loss(logits_NLR: Tensor, targets_NL: Tensor) -> Tensor:
    """Mean cross-entropy of the residues asked for, in nats; 0 where none is."""
    asked = (targets_NL != UNASKED).sum().clamp(min=1)
    losses = cross_entropy(
        logits_NLR.float().flatten(0, 1), targets_NL.flatten(), ignore_index=UNASKED, reduction="sum"
    )
    return losses / asked


def restoring_sums(logits_NLR: Tensor, targets_NL: Tensor) -> Tensor:
    """Of the residues asked for: nats, how many were right, how many there are, ``[3]``."""
    asked_NL = targets_NL != UNASKED
    nats = restoring_loss(logits_NLR, targets_NL) * asked_NL.sum()
    right = ((logits_NLR.argmax(-1) == targets_NL) & asked_NL).sum()
    return torch.stack([nats.double(), right.double(), asked_NL.sum().double()])
