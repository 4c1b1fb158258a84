"""How fast each part of a model learns.

Rates are multiples of the optimizer's own, so that a schedule moves all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from protscribe.errors import ConfigError
from protscribe.nn.model import Scribe

NO_DECAY = ", no decay"
"""How the names of groups without weight decay end."""


@dataclass(frozen=True)
class Rates:
    """Learning rates as multiples of the optimizer's, 0 to 1,000, by part of the model.

    ``encoder`` is for the encoders' own weights, ``adapters`` for low-rank additions to them, ``symbols`` for the decoder's
    rows of symbols (what it reads, and what it scores), ``decoder`` for the rest of it. ``block_decay``, above 0 and up to
    1, is the rate of a block of the protein encoder over that of the block after it, down to the embedding of residues
    (layer-wise decay, Howard and Ruder 2018, arXiv 1801.06146); 1: all have the same.
    """

    encoder: float = 1.0
    adapters: float = 1.0
    decoder: float = 1.0
    symbols: float = 1.0
    block_decay: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "block_decay" and not 0 <= value <= 1e3:
                raise ConfigError("config.value", f"rates: {name} must lie in 0..1000, got {value}")
        if not 0 < self.block_decay <= 1:
            raise ConfigError(
                "config.value", f"rates: block_decay must be above 0 and at most 1, got {self.block_decay}"
            )


def weight_groups(model: Scribe, rates: Rates) -> list[dict[str, Any]]:
    """All weights that are trained, as groups for an optimizer: by part and, with ``block_decay``, by block of the encoder;
    those without weight decay (norms, biases, embeddings) apart.

    Each group has a ``name`` and a ``multiple`` of the rate that the optimizer will give it, see :func:`scale_rates`.
    """
    embeddings = {
        id(weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for weight in module.parameters()
    }
    depths = _depths(model) if rates.block_decay < 1 else {}
    groups: dict[str, dict[str, Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        part = _part(name)
        depth = depths.get(id(weight), 0) if part == "encoder" else 0
        plain = weight.ndim < 2 or id(weight) in embeddings
        group = {
            "name": f"{part}{f' -{depth}' if depth else ''}{NO_DECAY if plain else ''}",
            "params": [],
            "multiple": getattr(rates, part) * rates.block_decay**depth,
            **({"weight_decay": 0.0} if plain else {}),
        }
        groups.setdefault(group["name"], group)["params"].append(weight)
    return list(groups.values())


def scale_rates(optimizer: Optimizer) -> None:
    """Multiplies the rate of each group, once, before a schedule takes it for the group's full rate."""
    for group in optimizer.param_groups:
        group["lr"] *= group["multiple"]


def current_rates(optimizer: Optimizer) -> Mapping[str, float]:
    """The rate of each part now."""
    return {group["name"].removesuffix(NO_DECAY): group["lr"] for group in optimizer.param_groups}


def _part(name: str) -> str:
    if name.startswith(("decoder.table.", "decoder.score.")):
        return "symbols"
    if name.startswith("decoder."):
        return "decoder"
    return "adapters" if ".lora_" in name else "encoder"


def _depths(model: Scribe) -> dict[int, int]:
    """How many blocks of the protein encoder come after each of its weights, by the weight's ``id``."""
    encoder: Any = model.encoder
    blocks = list(encoder.blocks())
    depths = dict.fromkeys(map(id, encoder.parameters()), len(blocks))
    top = encoder.top()
    for depth, block in [*((place, block) for place, block in enumerate(reversed(blocks))), (0, top)]:
        if block is not None:
            depths.update(dict.fromkeys(map(id, block.parameters()), depth))
    return depths
