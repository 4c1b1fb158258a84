"""How a network runs: in which precision, compiled or as it is written, with activations kept or computed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

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


class Recomputed:
    """A module's forward pass that, where gradients are recorded, keeps its inputs alone: the backward pass computes all else
    a second time (Chen et al. 2016, arXiv 1604.06174), with the same dropout and in the same precision.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*inputs, **named)
        return checkpoint(self.forward, *inputs, use_reentrant=False, preserve_rng_state=True, **named)


def recompute_activations(*parts: nn.Module) -> None:
    """Lets modules compute their activations twice in training, in place: a forward pass more, for memory that holds one part's
    activations at a time and every part's inputs. Gradients are the same.
    """
    for part in parts:
        part.forward = Recomputed(part.forward)
