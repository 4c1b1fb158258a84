"""What a decoder's cross-attention looks at: the weights that a pass computes and does not keep.

Shape legend: see ``protscribe.nn.attention`` and ``protscribe.nn.decoder``; N layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from protscribe.nn.attention import CrossAttention, MemoryProjection
from protscribe.nn.decoder import Decoder, Memory


@torch.inference_mode()
def attention_weights(
    decoder: Decoder,
    tokens_BT: Tensor,
    aligned_BT: Tensor,
    memory: Memory,
    told_BD: Tensor | None = None,
) -> Tensor:
    """``[N, B, H, T, M]`` float32: the share of a memory's place in what a head reads at a column; sums to 1 over places, and
    is exactly 0 at padding.

    One pass of the decoder as it is, and the softmax of each layer beside it: for a look at few answers, not for many.
    """
    found: list[Tensor] = []
    with _listening(decoder, found), torch.compiler.set_stance("force_eager"):
        decoder(tokens_BT, aligned_BT, memory, told_BD=told_BD)
    return torch.stack(found)


@contextmanager
def _listening(decoder: Decoder, found: list[Tensor]) -> Iterator[None]:
    def hear(attention: Any, arguments: tuple[Any, ...]) -> None:
        states_BQD, memory_KMD, mask_KM, projection, _ = arguments
        found.append(cross_weights(attention, states_BQD, memory_KMD, mask_KM, projection))

    layers: Any = decoder.layers
    hooks = [layer.cross_attention.register_forward_pre_hook(hear) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def cross_weights(
    attention: CrossAttention,
    states_BQD: Tensor,
    memory_KMD: Tensor,
    mask_KM: Tensor,
    projection: MemoryProjection,
) -> Tensor:
    """The weights ``[B, H, Q, M]`` of one cross-attention, as its softmax has them."""
    memories, groups = len(memory_KMD), projection.heads
    rows, columns, _ = states_BQD.shape
    keys_GED, _ = projection.weights()
    keys_KGME = torch.einsum("kmd,ged->kgme", memory_KMD, keys_GED)
    queries = attention.query(states_BQD).view(
        memories, -1, groups, attention.heads // groups, attention.size
    )
    scores = torch.einsum("kqgse,kgme->kqgsm", queries, keys_KGME).float() * attention.size**-0.5
    scores = scores.masked_fill(~mask_KM[:, None, None, None, :], float("-inf"))
    weights_BQHM = scores.softmax(dim=-1).reshape(rows, columns, attention.heads, -1)
    return weights_BQHM.transpose(1, 2)
