"""Muon for matrices and AdamW for the rest, as one optimizer, which is what a trainer and a checkpoint expect.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) orthogonalises the momentum of a matrix before it takes a
step. The step's size is matched to AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one learning rate serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Muon on every two-dimensional weight of a group without ``weight_decay: 0``, AdamW on all others.

    Groups that say ``weight_decay: 0.0`` (embeddings, norms, biases) go to AdamW whatever their shapes. ``lr`` and
    ``weight_decay`` are shared; ``momentum`` is Muon's, ``betas`` and ``eps`` are AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
    ) -> None:
        given = [dict(group) if isinstance(group, dict) else {"params": [group]} for group in params]
        super().__init__(
            [{**group, "use_muon": None} for group in given], {"lr": lr, "weight_decay": weight_decay}
        )
        split: list[dict[str, Any]] = []
        for group in self.param_groups:
            plain = {key: value for key, value in group.items() if key not in ("params", "use_muon")}
            for matrices in (True, False):
                weights = [
                    weight
                    for weight in group["params"]
                    if (weight.ndim == 2 and group["weight_decay"] != 0) == matrices
                ]
                if weights:
                    split.append({**plain, "params": weights, "use_muon": matrices})
        self.param_groups = split
        chosen = (
            [group for group in split if group["use_muon"]],
            [group for group in split if not group["use_muon"]],
        )
        self._parts: list[Optimizer] = []
        if chosen[0]:
            self._parts.append(
                Muon(chosen[0], lr, weight_decay, momentum=momentum, adjust_lr_fn="match_rms_adamw")
            )
        if chosen[1]:
            self._parts.append(
                AdamW(chosen[1], lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay)
            )
        self._share()

    def _share(self) -> None:
        """The parts hold this optimizer's own groups and state, so that a schedule or a checkpoint changes both."""
        groups: list[dict[str, Any]] = []
        for part in self._parts:
            groups += part.param_groups
            for weight, state in part.state.items():
                self.state[weight] = state
            part.state = self.state
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        first = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[first : first + count]
            part.state = self.state
            first += count
