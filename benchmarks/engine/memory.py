"""Bytes that attention over a memory holds, counted while the product answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from protscribe.generation.settings import Beam
from protscribe.nn.attention import CrossAttention, MemoryProjection, Projected
from protscribe.nn.decoder import Decoder, Memory
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord


class _Watch(TorchDispatchMode):
    """Remembers the storages that operations read, and the bytes of those they make with as many places as the memory."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places
        self.known: set[int] = set()
        self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [one for one in tree_leaves((args, kwargs or {})) if isinstance(one, Tensor)]
        self.known |= {one.untyped_storage().data_ptr() for one in given}
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and self.places in one.shape:
                storage = one.untyped_storage()
                if storage.data_ptr() not in self.known:
                    self.made += storage.nbytes()
                    self.known.add(storage.data_ptr())
        return result


def cross_attention_bytes(
    predictor: Predictor, records: Sequence[ProteinRecord], tasks: Sequence[str], beams: int
) -> int:
    """Bytes of all keys and values of the memory while ``tasks`` are asked of ``records``, greedily or with beams.

    Keys and values are asked for however few the tokens: the product answers a single short question without any.
    The sum over storages of keys and values that cross-attention is given, each counted once, and the most that one call of
    it makes besides with as many places as the memory.
    """
    plain = CrossAttention.forward
    held: dict[int, Tensor] = {}
    most = 0

    def watched(
        self: CrossAttention,
        states_BQD: Tensor,
        memory_KMD: Tensor,
        mask_KM: Tensor,
        projection: MemoryProjection,
        projected: Projected,
    ) -> Tensor:
        nonlocal most
        for tensor in projected:
            # Held on to, so that no other tensor can take its place in memory.
            held[tensor.untyped_storage().data_ptr()] = tensor
        with _Watch(memory_KMD.shape[1]) as watch:
            result = plain(self, states_BQD, memory_KMD, mask_KM, projection, projected)
        most = max(most, watch.made)
        return result

    project = Decoder.project

    def always(self: Decoder, memory: Memory, tokens: int | None = None) -> Memory:
        return project(self, memory)

    with (
        torch.inference_mode(),
        patch.object(CrossAttention, "forward", watched),
        patch.object(Decoder, "project", always),
    ):
        if beams > 1:
            predictor.n_best_many(records, tasks, beams, search=Beam(width=beams), on_error="raise")
        else:
            predictor.predict_many(records, tasks, readout="greedy", on_error="raise")
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values()) + most
