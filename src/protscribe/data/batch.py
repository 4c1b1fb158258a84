"""The one batch of tensors that training, evaluation and prediction share.

Shape legend: N distinct chains, L residues (padded), K memories (distinct inputs: one chain, two, perhaps a
molecule), M places of a memory (padded), J distinct molecules, A molecule tokens, B questions, T tokens of
prompt and answer (padded).

Every chain is encoded once, however many questions are asked of it, and every memory is joined once. A question's
tokens stand from column 0 on: prompt, answer, and nothing between, so that causal attention needs no padding mask.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from protscribe.transfer import upload

CHAIN_1, CHAIN_2, MOLECULE = 0, 1, 2
"""Parts of a memory."""


@dataclass(frozen=True)
class Batch:
    """Tensors of some questions. All int64 but masks (bool) and weights (float32).

    ``source_KM`` picks each memory's states out of the N * L encoded residues, then the J * A molecule
    tokens, laid end to end (-1: padding); ``part_KM`` says which part of the input a place belongs to and
    ``offset_KM`` its 0-based place therein. ``tokens_BT`` begins with ``start_B`` prompt tokens.
    ``targets_BT`` is the token after each column and ``weights_BT`` what it counts in the loss: 0 outside the
    answer. ``answer_BT`` marks columns that hold answer tokens, the ones that prefix masking may hide.
    ``questions`` are the rows' own :class:`~protscribe.data.collate.Question`, ``memory_of`` is
    ``memory_of_B`` for the host, and ``lengths`` are those of the N chains. ``states_NLE`` are the N chains'
    states where they were stored before (float16 or float32). ``aligned_BT`` is the memory place of the residue
    that the *target* of a column answers for (-1: none). ``numbers`` are the questions' places in the order of their
    epoch, where they belong to one. ``unjoined`` tells the host that memory k is chain k alone, padded alike.
    """

    residues_NL: Tensor
    residue_mask_NL: Tensor
    source_KM: Tensor
    part_KM: Tensor
    offset_KM: Tensor
    memory_of_B: Tensor
    tokens_BT: Tensor
    start_B: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    answer_BT: Tensor
    aligned_BT: Tensor
    molecules_JA: Tensor | None = None
    molecule_mask_JA: Tensor | None = None
    states_NLE: Tensor | None = None
    questions: tuple[Any, ...] = ()
    memory_of: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    unjoined: bool = False

    @property
    def memory_mask_KM(self) -> Tensor:
        return self.source_KM >= 0

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device; nothing waits for the copies."""
        moved: dict[str, Any] = {
            field.name: upload(value, device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)

    def pin_memory(self) -> Batch:
        pinned: dict[str, Any] = {
            field.name: value.pin_memory()
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **pinned)
