"""Attention: rotary causal self-attention with a cache, and cross-attention over a shared memory.

Shape legend: B rows (K * R, see CrossAttention), T columns of the text, Q columns computed now, K memories, M
places of a memory, H heads, G key-value heads, E width of a head, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def rotate(states_BHQE: Tensor, columns_BQ: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021): dot products then depend on the distance of columns only."""
    half = states_BHQE.shape[-1] // 2
    speeds_E = 10_000.0 ** (-torch.arange(half, device=states_BHQE.device, dtype=torch.float32) / half)
    angles_BQE = columns_BQ[..., None].float() * speeds_E
    cos = angles_BQE.cos()[:, None].to(states_BHQE.dtype)
    sin = angles_BQE.sin()[:, None].to(states_BHQE.dtype)
    first, second = states_BHQE[..., :half], states_BHQE[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


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

    def forward(self, states_BQD: Tensor, columns_BQ: Tensor, cache: Cache | None = None) -> Tensor:
        rows, length, width = states_BQD.shape
        queries, keys, values = (
            part.view(rows, length, self.heads, self.size)
            for part in self.project(states_BQD).split(width, dim=-1)
        )
        queries_BHQE = rotate(queries.transpose(1, 2), columns_BQ)
        keys_BHQE = rotate(keys.transpose(1, 2), columns_BQ)
        if cache is None:
            mixed = scaled_dot_product_attention(
                queries_BHQE, keys_BHQE, values.transpose(1, 2), is_causal=True
            )
        else:
            cache.write(keys_BHQE.transpose(1, 2), values, columns_BQ)
            columns_T = torch.arange(cache.keys_BTHE.shape[1], device=columns_BQ.device)
            seen_B1QT = (columns_T <= columns_BQ[..., None])[:, None]
            mixed = scaled_dot_product_attention(
                queries_BHQE,
                cache.keys_BTHE.transpose(1, 2),
                cache.values_BTHE.transpose(1, 2),
                attn_mask=seen_B1QT,
            )
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


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

    def forward(self, states_KMD: Tensor) -> tuple[Tensor, Tensor]:
        """``keys_KGME`` and ``values_KGME``."""
        memories, places, _ = states_KMD.shape
        both = self.project(states_KMD).view(memories, places, 2, self.heads, self.size)
        keys_KGME, values_KGME = both.permute(2, 0, 3, 1, 4)
        return keys_KGME.contiguous(), values_KGME.contiguous()


class CrossAttention(nn.Module):
    """Attention of the text to the memory.

    Rows that ask the same memory stand next to each other, the same number for each, so ``B = K * R``.
    Cross-attention has no causal order: the R rows of a memory form one long query, and the memory is never
    copied.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, states_BQD: Tensor, keys_KGME: Tensor, values_KGME: Tensor, mask_KM: Tensor) -> Tensor:
        memories = keys_KGME.shape[0]
        queries_KQHE = self.query(states_BQD).view(memories, -1, self.heads, self.size)
        mixed = scaled_dot_product_attention(
            queries_KQHE.transpose(1, 2),
            keys_KGME,
            values_KGME,
            attn_mask=mask_KM[:, None, None, :],
            enable_gqa=keys_KGME.shape[1] != self.heads,
        )
        return self.out(mixed.transpose(1, 2).reshape(states_BQD.shape))
