"""The autoregressive decoder: prompt and answer tokens in, scores over symbols and residue pointers out.

It knows no task. A token's number below ``vocabulary`` is a symbol; ``vocabulary + i`` points at place ``i``
of the row's memory, is embedded from that place's state and scored against it, so that there is no longest
protein and no index to memorise.

Shape legend: B rows (K * R: R neighbouring rows ask the same memory), T columns, Q columns computed now, K
memories, M places, V symbols, S = V + M choices, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from protscribe.nn.attention import (
    Cache,
    CrossAttention,
    MemoryProjection,
    Projected,
    Reading,
    SelfAttention,
    Turns,
)


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to, for K inputs, with cross-attention keys and values of every layer.

    ``projected`` has one (keys, values) pair a layer, a single one that all layers share, or none: the layers then attend
    to the states themselves, with the same result (see :meth:`Decoder.project`).
    """

    states_KMD: Tensor
    mask_KM: Tensor
    projected: tuple[Projected, ...]
    pointer_keys_KMD: Tensor | None
    summary_KD: Tensor

    def pick(self, memory_of_B: Tensor) -> Memory:
        """The memory of each row, copied (for rows that do not stand in equal groups)."""
        return Memory(
            self.states_KMD[memory_of_B],
            self.mask_KM[memory_of_B],
            tuple((keys[memory_of_B], values[memory_of_B]) for keys, values in self.projected),
            None if self.pointer_keys_KMD is None else self.pointer_keys_KMD[memory_of_B],
            self.summary_KD[memory_of_B],
        )

    def span(self, first: int, stop: int) -> Memory:
        """Memories ``first`` to ``stop - 1``: views, nothing is copied."""
        return Memory(
            self.states_KMD[first:stop],
            self.mask_KM[first:stop],
            tuple((keys[first:stop], values[first:stop]) for keys, values in self.projected),
            None if self.pointer_keys_KMD is None else self.pointer_keys_KMD[first:stop],
            self.summary_KD[first:stop],
        )


def waves(offset_KM: Tensor, width: int) -> Tensor:
    """Sinusoids of a place (Vaswani et al. 2017), ``[K, M, width]``: a position without a table, hence
    without a limit.
    """
    half = width // 2
    speeds_D = 10_000.0 ** (-torch.arange(half, device=offset_KM.device, dtype=torch.float32) / half)
    angles_KMD = offset_KM[..., None].float() * speeds_D
    return torch.cat([angles_KMD.sin(), angles_KMD.cos()], dim=-1)


class Layer(nn.Module):
    """Self-attention, cross-attention and a feed-forward, each behind a norm and a residual connection."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(width), SelfAttention(width, heads)
        self.cross_norm, self.cross_attention = nn.LayerNorm(width), CrossAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, feed_forward)
        self.feed_out = nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states_BQD: Tensor,
        reading: Reading,
        memory: Memory,
        projection: MemoryProjection,
        projected: Projected | None,
        cache: Cache | None,
    ) -> Tensor:
        states = states_BQD + self.dropout(self.self_attention(self.self_norm(states_BQD), reading, cache))
        crossed = self.cross_attention(
            self.cross_norm(states), memory.states_KMD, memory.mask_KM, projection, projected
        )
        states = states + self.dropout(crossed)
        fed = self.feed_out(nn.functional.gelu(self.feed_in(self.feed_norm(states))))
        return states + self.dropout(fed)


class Decoder(nn.Module):
    """A causal transformer with cross-attention.

    Parameters
    ----------
    vocabulary: number of symbols V.
    memory_width, molecule_width: widths of the encoders' states (``molecule_width=0``: no molecules).
    width, layers, heads, feed_forward, dropout: as everywhere; ``feed_forward=0`` means twice the width.
    cross_attention: ``{kv_heads, shared}``: key-value heads (0: as many as heads), and whether all layers
    share one projection. pointers: whether positions are pointers; without them the choices are the V symbols
    alone. prompt_everywhere: whether every column is told the prompt (see :meth:`told`), which otherwise self-attention has
    to find, from hundreds of columns away in answers of one token a residue.
    """

    def __init__(
        self,
        vocabulary: int,
        memory_width: int,
        molecule_width: int = 0,
        width: int = 256,
        layers: int = 4,
        heads: int = 8,
        feed_forward: int = 0,
        dropout: float = 0.1,
        cross_attention: Mapping[str, Any] | None = None,
        pointers: bool = True,
        prompt_everywhere: bool = False,
    ) -> None:
        super().__init__()
        options = {"kv_heads": 0, "shared": False, **(cross_attention or {})}
        self._plain = {
            "width": width, "layers": layers, "heads": heads, "feed_forward": feed_forward, "dropout": dropout,
            "cross_attention": options,
        }  # fmt: skip
        if prompt_everywhere:
            self._plain["prompt_everywhere"] = True
        kv_heads = options["kv_heads"] or heads
        if heads % kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, got heads={heads}, kv_heads={kv_heads}")
        self.vocabulary, self.width, self.heads = vocabulary, width, heads
        self.prompt_everywhere = prompt_everywhere
        self.table = nn.Embedding(vocabulary, width)
        self.memory_in = nn.Sequential(nn.LayerNorm(memory_width), nn.Linear(memory_width, width))
        self.molecule_in = (
            nn.Sequential(nn.LayerNorm(molecule_width), nn.Linear(molecule_width, width))
            if molecule_width
            else None
        )
        self.parts = nn.Embedding(3, width)
        self.memory_norm = nn.LayerNorm(width)
        self.aligned_in = nn.Linear(width, width, bias=False)
        self.summary_in = nn.Linear(2 * width, width, bias=False)
        self.projections = nn.ModuleList(
            MemoryProjection(width, kv_heads, width // heads)
            for _ in range(1 if options["shared"] else layers)
        )
        self.layers = nn.ModuleList(
            Layer(width, heads, feed_forward or 2 * width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, vocabulary, bias=False)
        self.pointer_in = nn.Linear(width, width) if pointers else None
        self.pointer_query = nn.Linear(width, width) if pointers else None
        self.pointer_key = nn.Linear(width, width) if pointers else None
        self.dropout = nn.Dropout(dropout)
        self.apply(self._start)

    def to_plain(self) -> dict[str, Any]:
        """The keywords of this decoder's size, from which it is rebuilt; vocabulary and widths come from
        their owners.
        """
        return dict(self._plain)

    def at_stage(self, symbols: int) -> Decoder:
        """This decoder as it was when it knew the first ``symbols`` of its vocabulary and no more: all weights are shared.

        Its scores have the shapes they had then, which is what makes them the same to the last bit.
        """
        if symbols == self.vocabulary:
            return self
        earlier, score = copy.copy(self), copy.copy(self.score)
        # Copies are shallow: without tables of their own, what is replaced would be replaced in both.
        earlier._modules, score._parameters = dict(self._modules), dict(self.score._parameters)
        score.weight = nn.Parameter(self.score.weight.detach()[:symbols], requires_grad=False)
        score.out_features = symbols
        earlier.score, earlier.vocabulary = score, symbols
        return earlier

    @staticmethod
    def _start(module: nn.Module) -> None:
        # A symbol starts as large as the residue's state that it may be added to: smaller ones drown in it, and what is asked
        # with them (docs/decisions/0015).
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def remember(
        self,
        states_KMD: Tensor,
        molecule_KMD: Tensor | None,
        mask_KM: Tensor,
        part_KM: Tensor,
        offset_KM: Tensor,
    ) -> Memory:
        """The memory of K inputs, from encoder states at each place (zero where a place belongs to another part).

        Its keys and values are not computed: that is :meth:`project`.
        """
        states = self.memory_in(states_KMD)
        if self.molecule_in is not None and molecule_KMD is not None:
            states = torch.where((part_KM == 2)[..., None], self.molecule_in(molecule_KMD), states)
        states = states + self.parts(part_KM) + waves(offset_KM, self.width).to(states.dtype)
        states = self.memory_norm(states) * mask_KM[..., None]
        pointer_keys = None if self.pointer_key is None else self.pointer_key(states)
        return Memory(states, mask_KM, (), pointer_keys, self._summarise(states, mask_KM, part_KM))

    def project(self, memory: Memory, tokens: int | None = None) -> Memory:
        """The memory with keys and values of every layer, if they pay for ``tokens`` tokens asked of each (``None``: they do).

        Counted in multiplications: once for each place and projection, against what attending to the states costs more for
        each token and layer.
        """
        if memory.projected:
            return memory
        places, width = memory.states_KMD.shape[1:]
        projecting = places * sum(weight.numel() for weight in self.projections.parameters())
        attending = len(self.layers) * 2 * width * (width + places * (self.heads - 1))
        if tokens is not None and tokens * attending <= projecting:
            return memory
        return replace(memory, projected=tuple(project(memory.states_KMD) for project in self.projections))

    def _summarise(self, states_KMD: Tensor, mask_KM: Tensor, part_KM: Tensor) -> Tensor:
        """The mean state of the first chain and that of the rest, as one state: the short way from a whole protein to
        an answer about all of it, which attention would have to find.
        """
        means = []
        for chosen_KM in (mask_KM & (part_KM == 0), mask_KM & (part_KM > 0)):
            count_K1 = chosen_KM.sum(1, keepdim=True).clamp(min=1)
            means.append((states_KMD * chosen_KM[..., None]).sum(1) / count_K1)
        return self.summary_in(torch.cat(means, dim=-1))

    def told(self, tokens_BT: Tensor, start_B: Tensor) -> Tensor | None:
        """What every column of a row is told of its prompt, ``[B, D]``: the sum of the symbols behind ``<bos>``, as large as
        one of them. ``start_B`` columns of ``tokens_BT`` are the prompt. ``None`` where columns are not told.
        """
        if not self.prompt_everywhere:
            return None
        columns_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        asked_BT1 = ((columns_T > 0) & (columns_T < start_B[:, None]))[..., None]
        symbols_BTD = self.table(tokens_BT.clamp(max=self.vocabulary - 1))
        count_B1 = (start_B - 1).clamp(min=1)[:, None]
        told_BD: Tensor = (symbols_BTD * asked_BT1).sum(1) * count_B1.to(symbols_BTD.dtype).rsqrt()
        return told_BD

    def embed(self, tokens_BQ: Tensor, aligned_BQ: Tensor, memory: Memory, pointing: bool = True) -> Tensor:
        """Token states: a symbol's row of the table, or the pointed residue's state; plus the aligned
        residue's state and the summary of the whole memory.

        ``pointing=False`` promises that no token points, which saves looking.
        """
        states = self.table(tokens_BQ.clamp(max=self.vocabulary - 1))
        if self.pointer_in is not None and pointing:
            places_BQ = (tokens_BQ - self.vocabulary).clamp(min=0)
            pointed = self.pointer_in(take_places(memory.states_KMD, places_BQ))
            states = torch.where((tokens_BQ >= self.vocabulary)[..., None], pointed, states)
        aligned = take_places(memory.states_KMD, aligned_BQ.clamp(min=0)) * (aligned_BQ >= 0)[..., None]
        rows = len(tokens_BQ)
        summary_B1D = memory.summary_KD.repeat_interleave(rows // len(memory.summary_KD), dim=0)[:, None]
        return states + self.aligned_in(aligned) + summary_B1D

    def forward(
        self,
        tokens_BQ: Tensor,
        aligned_BQ: Tensor,
        memory: Memory,
        columns_BQ: Tensor | None = None,
        caches: list[Cache] | None = None,
        *,
        told_BD: Tensor | None = None,
        seen: int | None = None,
        pointing: bool = True,
    ) -> Tensor:
        """Hidden states ``[B, Q, D]`` of the columns given; the B rows stand in equal groups, one a memory.

        Without caches the columns are 0..Q-1 and each sees those up to itself. With caches (one a layer) the columns
        ``columns_BQ`` are written there and see all that was written before them; ``seen`` bounds the columns written so
        far where the host knows, so that the rest of the cache is not read. ``told_BD`` is what :meth:`told` gave. For
        ``pointing`` see :meth:`embed`.
        """
        if columns_BQ is None:
            columns_BQ = torch.arange(tokens_BQ.shape[1], device=tokens_BQ.device).expand(tokens_BQ.shape)
        reading = Reading(columns_BQ, Turns.of(columns_BQ, self.width // self.heads), None)
        if caches:
            columns_T = torch.arange(seen or caches[0].keys_BTHE.shape[1], device=columns_BQ.device)
            reading = reading._replace(seen_B1QT=(columns_T <= columns_BQ[..., None])[:, None])
        states = self.embed(tokens_BQ, aligned_BQ, memory, pointing)
        if self.prompt_everywhere:
            assert told_BD is not None
            states = states + told_BD[:, None]
        states = self.dropout(states)
        for place, layer in enumerate(self.layers):
            shared = place % len(self.projections)
            projected = memory.projected[shared] if memory.projected else None
            cache = caches[place] if caches else None
            states = layer(states, reading, memory, self.projections[shared], projected, cache)
        return self.norm(states)

    def choices(self, states_BQD: Tensor, memory: Memory) -> Tensor:
        """Scores ``[B, Q, S]`` (logits, float32) over the V symbols, then the M places; padding places are
        ``-inf``.
        """
        scores_BQV = self.score(states_BQD).float()
        if self.pointer_query is None or memory.pointer_keys_KMD is None:
            return scores_BQV
        rows, columns, width = states_BQD.shape
        memories, places, _ = memory.pointer_keys_KMD.shape
        queries_KQD = (self.pointer_query(states_BQD) * width**-0.5).view(memories, -1, width)
        scores_KQM = (queries_KQD @ memory.pointer_keys_KMD.transpose(1, 2)).float()
        scores_KQM = scores_KQM.masked_fill(~memory.mask_KM[:, None, :], float("-inf"))
        return torch.cat([scores_BQV, scores_KQM.view(rows, columns, places)], dim=-1)

    def caches(self, rows: int, columns: int) -> list[Cache]:
        """Empty caches for a decode of ``rows`` rows that never needs more than ``columns`` columns."""
        return [
            Cache.empty(rows, columns, self.heads, self.width // self.heads, self.table.weight)
            for _ in self.layers
        ]


def take_places(states_KMD: Tensor, places_BQ: Tensor) -> Tensor:
    """The states at ``places_BQ`` of each row's memory: ``[B, Q, D]``."""
    memories, _, width = states_KMD.shape
    places_KQ = places_BQ.reshape(memories, -1)
    taken_KQD = states_KMD.gather(1, places_KQ[..., None].expand(-1, -1, width))
    return taken_KQD.view(*places_BQ.shape, width)
