"""Attention: rotary causal self-attention with a cache, and cross-attention over a shared memory.

Shape legend: B rows (K * R, see CrossAttention), T columns of the text, Q columns computed now, K memories, M
places of a memory, H heads, G key-value heads, E width of a head, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Turns(NamedTuple):
    """Cosine and sine, ``[B, Q, 1, 1, E / 2]`` float32, of every column's rotary angles: one table serves all layers."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, columns_BQ: Tensor, size: int) -> Turns:
        half = size // 2
        speeds_E = 10_000.0 ** (-torch.arange(half, device=columns_BQ.device, dtype=torch.float32) / half)
        angles = columns_BQ[:, :, None, None, None].float() * speeds_E
        return cls(angles.cos(), angles.sin())

    def apply(self, states_BQNHE: Tensor) -> Tensor:
        """Rotary position embedding (Su et al. 2021): dot products then depend on the distance of columns only."""
        cos, sin = self.cos.to(states_BQNHE.dtype), self.sin.to(states_BQNHE.dtype)
        first, second = states_BQNHE.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def rotate(states_BHQE: Tensor, columns_BQ: Tensor) -> Tensor:
    """Rotary position embedding of one set of heads."""
    turns = Turns.of(columns_BQ, states_BHQE.shape[-1])
    return turns.apply(states_BHQE.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)


class Reading(NamedTuple):
    """The columns that a pass of the decoder reads, and what every layer needs to know of them.

    ``seen_B1QT`` says which cached columns each one sees; ``None``: there is no cache, the columns see those up to themselves.
    """

    columns_BQ: Tensor
    turns: Turns
    seen_B1QT: Tensor | None


@dataclass
class Cache:
    """Keys and values of one self-attention layer for all ``T`` columns that a decode will ever need.

    Static in shape, written in place. Columns not written yet are never attended to: a query sees columns up
    to its own.
    """

    keys_BTHE: Tensor
    values_BTHE: Tensor

    @classmethod
    def empty(cls, rows: int, columns: int, heads: int, size: int, like: Tensor) -> Cache:
        shape = (rows, columns, heads, size)
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    def write(self, keys_BQHE: Tensor, values_BQHE: Tensor, columns_BQ: Tensor) -> None:
        rows = torch.arange(columns_BQ.shape[0], device=columns_BQ.device)[:, None]
        # Under autocast the new ones may have another precision than the weights, and so than the cache.
        self.keys_BTHE[rows, columns_BQ] = keys_BQHE.to(self.keys_BTHE.dtype)
        self.values_BTHE[rows, columns_BQ] = values_BQHE.to(self.values_BTHE.dtype)

    def pick(self, rows: Tensor) -> Cache:
        """The caches of chosen rows, copied."""
        return Cache(self.keys_BTHE[rows], self.values_BTHE[rows])


class SelfAttention(nn.Module):
    """Causal self-attention; with a cache, over all columns written so far."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of 2 * heads, got width={width}, heads={heads}")
        self.heads = heads
        self.size = width // heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, states_BQD: Tensor, reading: Reading, cache: Cache | None = None) -> Tensor:
        rows, length, width = states_BQD.shape
        heads = self.project(states_BQD).view(rows, length, 3, self.heads, self.size)
        queries_BQHE, keys_BQHE = reading.turns.apply(heads[:, :, :2]).unbind(2)
        values_BQHE = heads[:, :, 2]
        if cache is None or reading.seen_B1QT is None:
            mixed = scaled_dot_product_attention(
                queries_BQHE.transpose(1, 2),
                keys_BQHE.transpose(1, 2),
                values_BQHE.transpose(1, 2),
                is_causal=True,
            )
        else:
            cache.write(keys_BQHE, values_BQHE, reading.columns_BQ)
            seen = reading.seen_B1QT.shape[-1]
            mixed = scaled_dot_product_attention(
                queries_BQHE.transpose(1, 2),
                cache.keys_BTHE[:, :seen].transpose(1, 2),
                cache.values_BTHE[:, :seen].transpose(1, 2),
                attn_mask=reading.seen_B1QT,
            )
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


Projected = tuple[Tensor, Tensor]
"""``keys_KGME`` and ``values_KGME`` of a memory."""


class MemoryProjection(nn.Module):
    """Keys and values of a memory for cross-attention, computed once a memory.

    ``heads`` key-value heads serve all query heads in equal groups (multi-query attention where it is 1,
    Shazeer 2019).
    """

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = size
        self.project = nn.Linear(width, 2 * heads * size, bias=False)

    def forward(self, states_KMD: Tensor) -> Projected:
        memories, places, _ = states_KMD.shape
        both = self.project(states_KMD).view(memories, places, 2, self.heads, self.size)
        keys_KGME, values_KGME = both.permute(2, 0, 3, 1, 4)
        return keys_KGME.contiguous(), values_KGME.contiguous()

    def weights(self) -> tuple[Tensor, Tensor]:
        """The matrices ``[G, E, D]`` of keys and of values."""
        keys_GED, values_GED = self.project.weight.view(2, self.heads, self.size, -1)
        return keys_GED, values_GED


class CrossAttention(nn.Module):
    """Attention of the text to the memory.

    Rows that ask the same memory stand next to each other, the same number for each, so ``B = K * R``. Cross-attention has
    no causal order, so the R rows of a memory form one long query, and so do all heads that share keys and values: nothing
    is copied, neither for a row nor for a head.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        states_BQD: Tensor,
        memory_KMD: Tensor,
        mask_KM: Tensor,
        projection: MemoryProjection,
        projected: Projected | None,
    ) -> Tensor:
        memories, groups = len(memory_KMD), projection.heads
        sharing, mask_K11M = self.heads // groups, mask_KM[:, None, None, :]
        queries = self.query(states_BQD).view(memories, -1, groups, sharing, self.size).transpose(1, 2)
        if projected is None:
            mixed = self._unprojected(queries, memory_KMD, mask_K11M, projection)
        else:
            queries_KGQE = queries.reshape(memories, groups, -1, self.size)
            mixed = scaled_dot_product_attention(queries_KGQE, *projected, attn_mask=mask_K11M)
            mixed = mixed.view(memories, groups, -1, sharing, self.size)
        return self.out(mixed.transpose(1, 2).reshape(states_BQD.shape))

    def _unprojected(
        self, queries_KGRSE: Tensor, memory_KMD: Tensor, mask_K11M: Tensor, projection: MemoryProjection
    ) -> Tensor:
        """The same without keys and values: the matrices move to the other side of the products.

        ``q . (W m) = (W^T q) . m``, and a mean of ``W m`` is ``W`` times the mean of ``m`` (as DeepSeek-V2 absorbs its
        projections, https://arxiv.org/abs/2405.04434). All heads then attend to the memory itself, which no layer copies:
        less work where few tokens are asked of many residues.
        """
        keys_GED, values_GED = projection.weights()
        lifted_KGRSD = torch.einsum("kgrse,ged->kgrsd", queries_KGRSE, keys_GED)
        memory_K1MD = memory_KMD[:, None]
        mixed_K1QD = scaled_dot_product_attention(
            lifted_KGRSD.flatten(1, 3)[:, None],
            memory_K1MD,
            memory_K1MD,
            attn_mask=mask_K11M,
            scale=self.size**-0.5,
        )
        return torch.einsum("kgrsd,ged->kgrse", mixed_K1QD.view(lifted_KGRSD.shape), values_GED)
