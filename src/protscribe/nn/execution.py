"""How a network runs: in which precision, and compiled or as it is written."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from protscribe.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def set_precision(model: nn.Module, precision: str) -> None:
    """Casts a model's weights, in place, for inference.

    Buffers stay as they are: rotary frequencies in bfloat16 would turn residue 1,000 by whole radians from where it belongs.
    Raises :class:`~protscribe.errors.ConfigError` ``config.value`` for another precision, and for weights that were cast
    before and so have lost what float32 wants.
    """
    if precision not in DTYPES:
        raise ConfigError("config.value", f"precision must be 'float32' or 'bfloat16', got {precision!r}")
    wanted = DTYPES[precision]
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    if any(weight.dtype.itemsize < wanted.itemsize for weight in weights):
        raise ConfigError(
            "config.value", f"this model's weights were cast before and cannot be {precision}; load it again"
        )
    for weight in weights:
        weight.data = weight.data.to(wanted)


def compile_parts(*parts: nn.Module | None) -> None:
    """Compiles modules' forward passes, in place, when each is first called (``torch.compile``).

    Sizes are left open, so that batches of other lengths do not compile anew. A CPU needs a C++ compiler for it, a GPU Triton.
    """
    for part in parts:
        if part is not None:
            part.compile(dynamic=True)
