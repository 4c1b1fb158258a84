"""Frozen encoder states of proteins as features, for heads beside the decoder.

Shape legend: N proteins, L residues, D width, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from protscribe.alphabet import PAD_RESIDUE, residue_ids
from protscribe.encoders.windows import encode_windows
from protscribe.nn.model import Scribe
from protscribe.records import ProteinRecord
from protscribe.task import Task

Floats = NDArray[np.float32]

BATCH_RESIDUES = 16_384


@dataclass(frozen=True)
class States:
    """Frozen encoder states of chains, computed in batches of chains of similar length."""

    model: Scribe

    def of_chains(self, chains: Iterable[str], keep: Callable[[Floats], Floats]) -> dict[str, Floats]:
        """``keep(states_LD)`` of every distinct chain."""
        found: dict[str, Floats] = {}
        batch: list[str] = []
        for chain in sorted(set(chains), key=len):
            if batch and (len(batch) + 1) * len(chain) > BATCH_RESIDUES:
                found |= self._encode(batch, keep)
                batch = []
            batch.append(chain)
        return found | (self._encode(batch, keep) if batch else {})

    @torch.inference_mode()
    def _encode(self, chains: list[str], keep: Callable[[Floats], Floats]) -> dict[str, Floats]:
        residues = np.full((len(chains), len(chains[-1])), PAD_RESIDUE, dtype=np.int64)
        for row, chain in enumerate(chains):
            residues[row, : len(chain)] = residue_ids(chain)
        residues_NL = torch.from_numpy(residues).to(self.model.device)
        mask_NL = residues_NL != PAD_RESIDUE
        limit = getattr(self.model.encoder, "limit", None) or residues.shape[1]
        states_NLD = encode_windows(
            self.model.encoder, residues_NL, mask_NL, limit, overlap=min(128, limit // 2)
        )
        states = states_NLD.float().cpu().numpy()
        # A kept slice would hold on to the whole batch.
        return {chain: keep(states[row, : len(chain)]).copy() for row, chain in enumerate(chains)}

    def of_molecules(self, molecules: Iterable[str]) -> dict[str, Floats]:
        """The mean state of every distinct molecule."""
        encoder = self.model.molecule_encoder
        assert encoder is not None, "a task with molecules needs a molecule encoder"
        return {molecule: self._molecule(encoder, molecule) for molecule in set(molecules)}

    @torch.inference_mode()
    def _molecule(self, encoder: Any, molecule: str) -> Floats:
        ids_JA, mask_JA = (part.to(self.model.device) for part in encoder.tokenize([molecule]))
        states: Floats = encoder(ids_JA, mask_JA)[0][mask_JA[0]].float().mean(dim=0).cpu().numpy()
        return states


def _mean(states_LD: Floats) -> Floats:
    mean: Floats = states_LD.mean(axis=0)
    return mean


def pooled_features(task: Task, states: States, records: Sequence[ProteinRecord]) -> Floats:
    """``[N, F]``: mean states of the chains (of two also product and distance), of the molecule, and the conditions."""
    means = states.of_chains((chain for record in records for chain in record.chains[: task.chains]), _mean)
    molecules: dict[str, Floats] = {}
    if task.molecule:
        molecules = states.of_molecules(record.molecule for record in records if record.molecule)
    rows = []
    for record in records:
        parts = [means[chain] for chain in record.chains[: task.chains]]
        if len(parts) == 2:
            parts += [parts[0] * parts[1], np.abs(parts[0] - parts[1])]
        if record.molecule and task.molecule:
            parts.append(molecules[record.molecule])
        rows.append(np.concatenate([*parts, condition_features(task, record)]))
    return np.stack(rows).astype(np.float32)


def condition_features(task: Task, record: ProteinRecord) -> Floats:
    """One column a known value of each condition."""
    return np.array(
        [
            condition.symbol(record).text == value
            for condition in task.conditions
            for value in condition.values
        ],
        dtype=np.float32,
    )


ResidueFeatures = list[tuple[ProteinRecord, Floats]]


def residue_features(
    task: Task, states: States, records: Sequence[ProteinRecord], chain: int
) -> ResidueFeatures:
    """Each record with ``[L, F]``: the states of the residues of 0-based ``chain``, and the conditions."""
    found = states.of_chains((record.chains[chain] for record in records), lambda states_LD: states_LD)
    rows = []
    for record in records:
        states_LD = found[record.chains[chain]]
        conditions = condition_features(task, record)
        if len(conditions):
            states_LD = np.hstack([states_LD, np.tile(conditions, (len(states_LD), 1))])
        rows.append((record, states_LD))
    return rows


@dataclass(frozen=True)
class StateFeatures:
    """Features of a task's proteins from frozen encoder states."""

    task: Task
    states: States

    def pooled(self, records: Sequence[ProteinRecord]) -> Floats:
        return pooled_features(self.task, self.states, records)

    def residues(self, records: Sequence[ProteinRecord], chain: int) -> ResidueFeatures:
        return residue_features(self.task, self.states, records, chain)
