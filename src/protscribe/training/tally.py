"""What the metrics of training are made of: sums over the answer tokens of each task, over batches and processes.

Shape legend: B questions, T columns, S choices, K tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from protscribe.data.batch import Batch
from protscribe.processes import seat
from protscribe.training.loss import token_losses
from protscribe.training.reduction import total
from protscribe.transfer import read_back, upload
from protscribe.vocabulary import EOS


class Sums(NamedTuple):
    """Sums over answer tokens: weighted nats and the weights; of tokens but the end symbol, the weight of those right, and of
    all; and over questions, the probability that the model put outside the grammar, and how many were asked that."""

    nats: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    words: float = 0.0
    outside: float = 0.0
    asked: float = 0.0

    @property
    def loss(self) -> float:
        return self.nats / self.weight if self.weight else 0.0

    @property
    def accuracy(self) -> float:
        return self.right / self.words if self.words else 1.0

    @property
    def off_grammar(self) -> float:
        return self.outside / self.asked if self.asked else 0.0


class Tally:
    """The sums of some tasks. They stay on the device, in float64 where it has that, until they are read."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self._places = {task: place for place, task in enumerate(self.tasks)}
        self._sums_KC: Tensor | None = None

    @torch.no_grad()
    def add(self, logits_BTS: Tensor, batch: Batch, losses_BT: Tensor | None = None) -> None:
        """Counts a batch's answer tokens; ``losses_BT`` are their cross-entropies, where these are known already."""
        targets_BT, weights_BT = batch.targets_BT, batch.weights_BT
        if losses_BT is None:
            losses_BT = token_losses(logits_BTS, targets_BT, weights_BT > 0)
        nats_BT = losses_BT * weights_BT
        words_BT = weights_BT * (targets_BT != EOS)
        right_BT = words_BT * (logits_BTS.argmax(-1) == targets_BT)
        sums_B4 = torch.stack([nats_BT, weights_BT, right_BT, words_BT], dim=-1).sum(1)
        self._count(sums_B4, batch, 0)

    @torch.no_grad()
    def add_outside(self, outside_B: Tensor, asked: Sequence[bool], batch: Batch) -> None:
        """Counts the probability outside the grammar for those questions of a batch that are asked."""
        asked_B = upload(torch.tensor(asked, dtype=outside_B.dtype), outside_B.device)
        self._count(torch.stack([outside_B * asked_B, asked_B], dim=-1), batch, 4)

    def read(self, device: torch.device) -> Mapping[str, Sums]:
        """The sums over all processes, which all must ask, of every task; counting then begins anew."""
        (sums_KC,) = read_back("by_task", total(self._sums(device)))
        self._sums_KC = None
        return {task: Sums(*row) for task, row in zip(self.tasks, sums_KC.tolist(), strict=True)}

    def state(self, device: torch.device) -> list[list[float]]:
        """The sums over all processes, which all must ask, without beginning anew."""
        (sums_KC,) = read_back("saved", total(self._sums(device)))
        found: list[list[float]] = sums_KC.tolist()
        return found

    def load_state(self, sums: Sequence[Sequence[float]]) -> None:
        """Goes on from sums of the same tasks. Those of all processes become the first one's, so that they count once."""
        assert len(sums) == len(self.tasks)
        self._sums_KC = torch.tensor(sums, dtype=torch.float64) * (seat().rank == 0)

    def _count(self, sums_BC: Tensor, batch: Batch, first: int) -> None:
        sums_KC = self._sums(sums_BC.device)
        places = torch.tensor([self._places[question.task.name] for question in batch.questions])
        chosen_KB = (places[None] == torch.arange(len(self.tasks))[:, None]).to(sums_KC.dtype)
        # A product and no scattered addition, whose order is not fixed on every device.
        added = upload(chosen_KB, sums_KC.device) @ sums_BC.to(sums_KC.dtype)
        sums_KC[:, first : first + sums_BC.shape[1]] += added

    def _sums(self, device: torch.device) -> Tensor:
        exact = torch.float32 if device.type == "mps" else torch.float64
        if self._sums_KC is None:
            self._sums_KC = torch.zeros(len(self.tasks), len(Sums()), dtype=exact, device=device)
        self._sums_KC = self._sums_KC.to(device, exact)
        return self._sums_KC
