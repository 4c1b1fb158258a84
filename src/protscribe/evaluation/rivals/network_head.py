"""A small network with hidden layers on features, trained until validation data say stop: a head with a decoder's capacity.

Shape legend: N rows, F features, K outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from protscribe.evaluation.rivals.linear import Fit, Floats, Predict, Rows

BATCH = 256
EPOCHS, PATIENCE = 60, 5
"""Most passes over the training rows, and after how many without a better validation loss it stops."""

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Network:
    """``layers`` hidden layers of ``width`` with GELU and dropout, fitted with AdamW and early stopping on validation rows.

    Training stops after :data:`PATIENCE` epochs without a smaller validation loss, and the best weights answer. ``seed`` draws
    weights, order and dropout.
    """

    layers: int = 2
    width: int = 256
    dropout: float = 0.1
    learning_rate: float = 1e-3
    decay: float = 0.01
    seed: int = 0

    @classmethod
    def like(cls, decoder: nn.Module, layers: int, inputs: int, seed: int = 0) -> Network:
        """As many hidden layers as a decoder has, and about as many weights, on ``inputs`` features."""
        size = sum(parameter.numel() for parameter in decoder.parameters())
        # (layers - 1) w^2 + inputs w = size, but for biases and outputs.
        square = max(layers - 1, 0)
        width = (
            size / inputs
            if not square
            else (-inputs + math.sqrt(inputs**2 + 4 * square * size)) / (2 * square)
        )
        return cls(layers=max(layers, 1), width=max(8, round(width)), seed=seed)

    def classifiers(self, size: int, of_residues: bool) -> list[Fit]:
        return [
            partial(self._fit, size=size, loss=functional.cross_entropy, link=partial(torch.softmax, dim=-1))
        ]

    def labellers(self) -> list[Fit]:
        return [self._label]

    def regressors(self) -> list[Fit]:
        return [self._regress]

    def _label(self, train: Rows, validation: Rows) -> Predict:
        size = train.targets.shape[1]
        loss = functional.binary_cross_entropy_with_logits
        return self._fit(_as_floats(train), _as_floats(validation), size=size, loss=loss, link=torch.sigmoid)

    def _regress(self, train: Rows, validation: Rows) -> Predict:
        centre, spread = float(train.targets.mean()), float(train.targets.std()) or 1.0
        scaled = [
            Rows(rows.features, ((rows.targets - centre) / spread).astype(np.float32)[:, None])
            for rows in (train, validation)
        ]
        predict = self._fit(*scaled, size=1, loss=functional.mse_loss, link=lambda outputs: outputs)
        return lambda features_NF: predict(features_NF)[:, 0] * spread + centre

    def _fit(
        self, train: Rows, validation: Rows, *, size: int, loss: Loss, link: Callable[[Tensor], Tensor]
    ) -> Predict:
        centre_F, spread_F = train.features.mean(axis=0), train.features.std(axis=0)
        spread_F = np.where(spread_F > 0, spread_F, 1.0)

        def scaled(features_NF: Floats) -> Tensor:
            return torch.from_numpy(((features_NF - centre_F) / spread_F).astype(np.float32))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._train(
                scaled(train.features), torch.from_numpy(train.targets),
                scaled(validation.features), torch.from_numpy(validation.targets), size, loss,
            )  # fmt: skip

        @torch.inference_mode()
        def predict(features_NF: Floats) -> NDArray[np.float64]:
            found: NDArray[Any] = link(network(scaled(features_NF))).numpy()
            return found.astype(np.float64)

        return predict

    def _train(
        self, inputs_NF: Tensor, targets: Tensor, held_NF: Tensor, held_targets: Tensor, size: int, loss: Loss
    ) -> nn.Module:
        network = self._network(inputs_NF.shape[1], size)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.decay)
        best, best_loss, waited = copy.deepcopy(network.state_dict()), math.inf, 0
        for _ in range(EPOCHS):
            network.train()
            for rows in torch.randperm(len(inputs_NF)).split(BATCH):  # type: ignore[no-untyped-call]
                optimizer.zero_grad()
                loss(network(inputs_NF[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            network.eval()
            with torch.inference_mode():
                value = float(loss(network(held_NF), held_targets)) if len(held_NF) else 0.0
            waited += 1
            if value < best_loss:
                best, best_loss, waited = copy.deepcopy(network.state_dict()), value, 0
            if waited >= PATIENCE:
                break
        network.load_state_dict(best)
        return network.eval()

    def _network(self, inputs: int, outputs: int) -> nn.Module:
        parts: list[nn.Module] = []
        for width in [inputs, *[self.width] * (self.layers - 1)][: self.layers]:
            parts += [nn.Linear(width, self.width), nn.GELU(), nn.Dropout(self.dropout)]
        return nn.Sequential(*parts, nn.Linear(self.width, outputs))


def _as_floats(rows: Rows) -> Rows:
    return Rows(rows.features, rows.targets.astype(np.float32))
