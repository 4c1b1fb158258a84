"""The layers of ESM-2 for inference, over the weights of whichever package holds them: the same states in less time.

What is left out are passes over memory. A GELU is one pass instead of five; residual sums, rotation and activation happen in
place; and what is wide (queries, keys and values, the feed-forward) stands in one piece of memory that all layers share, since
fresh pages can cost a CPU more than the arithmetic on them. Nothing waits for the host, no shape depends on the data.

Shape legend: N proteins, T tokens (padded), C columns of keys (T, rounded up), D width, H heads, E width of a head,
M = N * T, F feed-forward.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

PLAIN = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.Dropout, nn.ModuleList)
"""Layers of torch whose forward is known."""

KEYS = 16
"""Keys are made a multiple of so many. On a remainder CPU kernels lose up to a fifth, and CUDA copies the mask to align it."""


class Layer(NamedTuple):
    """The parts of one layer, which stay where they are."""

    attention_norm: nn.LayerNorm
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    feed_norm: nn.LayerNorm
    expand: nn.Linear
    shrink: nn.Linear


def applies(model: nn.Module, homes: Collection[str]) -> bool:
    """Whether :func:`run` gives what the model's own layers would; ``homes`` are the Python modules that define them.

    It does in inference, while nobody replaced a layer or listens to one. Gradients, training, layers that peft, a
    quantisation or sharding put in, hooks, autocast, and a compiler (which merges passes by itself) want the model's own.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    device = next(model.parameters()).device.type
    if device not in ("cpu", "cuda") or torch.is_autocast_enabled(device):
        return False
    return not any(
        part.training
        or part._forward_hooks
        or part._forward_pre_hooks
        or (type(part) not in PLAIN and type(part).__module__ not in homes)
        for part in model.modules()
    )


def run(
    layers: Sequence[Layer], heads: int, speeds: Tensor | None, states_NTD: Tensor, mask_NT: Tensor
) -> Tensor:
    """States after the last layer, written over ``states_NTD``; those at padding mean nothing.

    ``speeds`` (``[E / 2]``) are those of rotary position embedding (Su et al. 2021), None where there is none.
    ``mask_NT`` (bool) is true at tokens; a row without any is allowed.
    """
    rows, length, width = states_NTD.shape
    columns = -(-length // KEYS) * KEYS
    seen_NT = mask_NT | ~mask_NT.any(dim=1, keepdim=True)
    seen_N11C = pad(seen_NT, (0, columns - length))[:, None, None, :]
    turns = None if speeds is None else _turns(speeds, columns, heads)
    widest = max(3 * width * columns, *(layer.expand.out_features * length for layer in layers))
    room = states_NTD.new_empty(rows * widest)
    for layer in layers:
        _attend(layer, heads, states_NTD, seen_N11C, turns, room)
        _feed(layer, states_NTD.view(-1, width), room)
    return states_NTD


def _turns(speeds: Tensor, columns: int, heads: int) -> Tensor:
    """How far each pair of numbers is turned at each place, as complex numbers of size 1, ``[C, D / 2]``."""
    angles = torch.arange(columns, device=speeds.device)[:, None] * speeds.float()
    return torch.polar(torch.ones_like(angles), angles).repeat(1, heads)


def _attend(
    layer: Layer, heads: int, states_NTD: Tensor, seen_N11C: Tensor, turns: Tensor | None, room: Tensor
) -> None:
    """Adds a layer's attention to ``states_NTD``, in place."""
    (rows, length, width), columns = states_NTD.shape, seen_N11C.shape[-1]
    normed_NTD = layer.attention_norm(states_NTD)
    made_3NCD = room[: 3 * rows * columns * width].view(3, rows, columns, width)
    made_3NCD[:, :, length:] = 0.0
    for part_NCD, linear in zip(made_3NCD, (layer.query, layer.key, layer.value), strict=True):
        turned = turns is not None and linear is not layer.value
        weight, bias = (_paired(one, heads) if turned else one for one in (linear.weight, linear.bias))
        torch.baddbmm(bias, normed_NTD, weight.t().expand(rows, -1, -1), out=part_NCD[:, :length])
    if turns is not None:
        _turn(made_3NCD[:2], turns)
    queries_NHCE, keys_NHCE, values_NHCE = made_3NCD.view(3, rows, columns, heads, -1).transpose(2, 3)
    mixed_NHTE = scaled_dot_product_attention(
        queries_NHCE[:, :, :length], keys_NHCE, values_NHCE, attn_mask=seen_N11C
    )
    mixed_MD = mixed_NHTE.transpose(1, 2).reshape(-1, width)
    states_NTD.view(-1, width).add_(layer.out.bias).addmm_(mixed_MD, layer.out.weight.t())


def _paired(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query's or key's weight so that the two numbers which turn together stand together.

    ESM turns the first half of a head against the second. Any order of a head's numbers gives the same dot products, as long
    as it is that of queries and of keys; this one lets a pair be read as a complex number.
    """
    return weight.view(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _turn(made_2NCD: Tensor, turns: Tensor) -> None:
    """Turns queries and keys by their places, in place. In single precision also for half-precision states, as ESM does."""
    single = made_2NCD.float()
    torch.view_as_complex(single.view(-1, *turns.shape, 2)).mul_(turns)
    if single is not made_2NCD:
        made_2NCD.copy_(single)


def _feed(layer: Layer, states_MD: Tensor, room: Tensor) -> None:
    """Adds a layer's feed-forward to ``states_MD``, in place."""
    tokens, hidden = states_MD.shape[0], layer.expand.out_features
    hidden_MF = room[: tokens * hidden].view(tokens, hidden)
    torch.addmm(layer.expand.bias, layer.feed_norm(states_MD), layer.expand.weight.t(), out=hidden_MF)
    torch.ops.aten.gelu_(hidden_MF)
    states_MD.add_(layer.shrink.bias).addmm_(hidden_MF, layer.shrink.weight.t())
