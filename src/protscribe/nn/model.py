"""The whole model: encode each chain once, join memories, decode. Ids in, logits out; it knows no task.

Shape legend: see ``protscribe.data.batch`` and ``protscribe.nn.decoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from protscribe.data.batch import Batch
from protscribe.nn.decoder import Decoder, Memory
from protscribe.vocabulary import MASK

TOGETHER = 1024
"""Residues that a CPU encodes together: what its caches hold (measured with ESM-2 8M's shape, 256 to 8,192)."""


class Scribe(nn.Module):
    """An encoder of residues, perhaps one of molecules, and a decoder."""

    def __init__(
        self, encoder: nn.Module, decoder: Decoder, molecule_encoder: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.molecule_encoder = molecule_encoder
        self.decoder = decoder

    @property
    def device(self) -> torch.device:
        return self.decoder.table.weight.device

    def blocks(self) -> Iterator[nn.Module]:
        """The repeated parts, which hold most weights and activations: blocks of the encoders, layers of the decoder."""
        for encoder in (self.encoder, self.molecule_encoder):
            if encoder is not None:
                yield from encoder.blocks()  # type: ignore[operator]
        yield from self.decoder.layers

    def remember(self, batch: Batch) -> Memory:
        """Encodes the batch's N chains and J molecules and joins them to its K memories."""
        return self.join(batch, self.encode(batch))

    def join(self, batch: Batch, states_NLD: Tensor) -> Memory:
        """The K memories of chains that are encoded, and of molecules that are not yet."""
        states_KMD = states_NLD
        flat_residues = states_NLD.flatten(0, 1)
        residues = flat_residues.shape[0]
        source_KM = batch.source_KM.clamp(min=0)
        mask_KM = batch.memory_mask_KM
        if not batch.unjoined:
            of_chains_KM = mask_KM & (source_KM < residues)
            states_KMD = flat_residues[source_KM.clamp(max=residues - 1)] * of_chains_KM[..., None]
        molecule_KMD = None
        if self.molecule_encoder is not None and batch.molecules_JA is not None:
            flat = self.molecule_encoder(batch.molecules_JA, batch.molecule_mask_JA).flatten(0, 1)
            molecule_KMD = flat[(source_KM - residues).clamp(min=0, max=flat.shape[0] - 1)]
        return self.decoder.remember(states_KMD, molecule_KMD, mask_KM, batch.part_KM, batch.offset_KM)

    def encode(self, batch: Batch) -> Tensor:
        """States of the batch's chains; in inference on a CPU some at a time, each lot as wide as its longest."""
        if batch.states_NLE is not None:
            known_NLD: Tensor = self.encoder.above(  # type: ignore[operator]
                batch.states_NLE, batch.residues_NL, batch.residue_mask_NL
            )
            return known_NLD
        return self._read(self.encoder, batch)

    def encode_to_compare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What :meth:`encode` gives, and the states ``[N, L, F]`` that known proteins are compared by: of a small encoder on
        top of a large one those of both, of another its own."""
        width: int = self.encoder.width  # type: ignore[assignment]
        states_NLF = self._read(getattr(self.encoder, "with_base", self.encoder), batch)
        # Laid out as those of :meth:`encode`, so that the same is computed from them.
        return states_NLF[..., -width:].contiguous(), states_NLF

    @staticmethod
    def _read(encoder: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> Tensor:
        residues_NL, mask_NL = batch.residues_NL, batch.residue_mask_NL
        if torch.is_grad_enabled() or residues_NL.device.type != "cpu" or not batch.lengths:
            return encoder(residues_NL, mask_NL)
        parts = []
        for first, stop, columns in lots(batch.lengths, TOGETHER):
            part = encoder(residues_NL[first:stop, :columns], mask_NL[first:stop, :columns])
            # A batch may be padded to a smaller multiple than a lot is.
            parts.append(pad(part, (0, 0, 0, residues_NL.shape[1] - part.shape[1])))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def pooled(self, batch: Batch, states_NLF: Tensor) -> Tensor:
        """The mean state of the first chain of each memory, ``[K, F]`` (float32)."""
        mask_NL1 = batch.residue_mask_NL[..., None]
        means_NF = (states_NLF.float() * mask_NL1).sum(1) / mask_NL1.sum(1).clamp(min=1)
        return means_NF[batch.source_KM[:, 0].clamp(min=0) // states_NLF.shape[1]]

    def forward(self, batch: Batch, hidden_BT: Tensor | None = None) -> Tensor:
        """Teacher forcing: logits ``[B, T, S]`` (float32) for the token after every column.

        ``hidden_BT`` (bool) says which input columns are replaced by ``<mask>``: training hides a random
        share of every dense answer's prefix, so that one pass with all of it hidden gives each residue's
        marginal.
        """
        memory = self.remember(batch)
        asked = -(-batch.tokens_BT.numel() // len(batch.source_KM))
        memory = self.decoder.project(memory, asked)
        if not stand_in_groups(batch.memory_of, len(batch.source_KM)):
            memory = memory.pick(batch.memory_of_B)
        tokens_BT = batch.tokens_BT
        if hidden_BT is not None:
            tokens_BT = tokens_BT.masked_fill(hidden_BT & batch.answer_BT, MASK)
        told_BD = self.decoder.told(tokens_BT, batch.start_B)
        states_BTD = self.decoder(tokens_BT, batch.aligned_BT, memory, told_BD=told_BD)
        return self.decoder.choices(states_BTD, memory)


def stand_in_groups(memory_of: Sequence[int], memories: int) -> bool:
    """Whether rows that ask ``memories`` memories stand in equal groups, one a memory and in their order: what the decoder
    needs to share a memory among them without copying it.

    >>> stand_in_groups([0, 0, 1, 1], 2), stand_in_groups([0, 1, 1], 2)
    (True, False)
    """
    each, rest = divmod(len(memory_of), memories)
    return rest == 0 and each > 0 and all(memory == row // each for row, memory in enumerate(memory_of))


def lots(lengths: Sequence[int], most: int, multiple: int = 8) -> Iterator[tuple[int, int, int]]:
    """Neighbouring chains that are encoded together: the first, the one after the last, and columns, rounded up.

    A lot has at most ``most`` residues after padding, or is one chain.

    >>> list(lots([30, 20, 20, 5], most=64))
    [(0, 2, 32), (2, 4, 24)]
    """
    first, columns = 0, 0
    for place, length in enumerate(lengths):
        wider = max(columns, -(-length // multiple) * multiple)
        if place > first and (place + 1 - first) * wider > most:
            yield first, place, columns
            first, wider = place, -(-length // multiple) * multiple
        columns = wider
    yield first, len(lengths), columns
