"""Questions to tensors. For the shape legend and what the tensors mean see ``protscribe.data.batch``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protscribe.alphabet import PAD_RESIDUE, residue_ids
from protscribe.codecs.residues import aligned_indices
from protscribe.data.batch import MOLECULE, Batch
from protscribe.data.batching import round_up
from protscribe.data.lexicon import Lexicon
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import BOS, EOS, PAD

ReadStates = Callable[[Sequence[str], int], Tensor | None]
"""Chains and columns to their states ``[N, columns, E]``, ``None`` where one is not stored."""

TokenizeMolecules = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""SMILES strings to ``ids_JA`` (int64) and ``mask_JA`` (bool)."""


class Question(NamedTuple):
    """One task asked of one record, with the answer where it is known."""

    record: ProteinRecord
    task: Task
    answer: object = None


COMPANION = -1
"""The number of a question that counts for nothing: it lets a process without a batch of its own take part in a step."""


class Numbered(NamedTuple):
    """A question and its 0-based number in the order of its epoch, or :data:`COMPANION`."""

    question: Question
    number: int


class Row(NamedTuple):
    """The tokens of one question as numbers, before padding."""

    numbers: list[int]
    start: int
    weights: list[float]
    aligned: NDArray[np.int64]


def places_of(question: Question) -> NDArray[np.int64]:
    """The memory places of the residues that the tokens of a dense answer are about; of other answers none."""
    record, codec = question.record, question.task.codec
    if not codec.dense:
        return np.zeros(0, dtype=np.int64)
    begin = sum(record.lengths[: getattr(codec, "chain", 1) - 1])
    return begin + np.asarray(aligned_indices(codec, record), dtype=np.int64)


def encode_question(question: Question, lexicon: Lexicon) -> Row:
    """Prompt and, where the answer is known, answer and end symbol of one question.

    ``weights`` belong to the answer's tokens and the end symbol. Raises
    :class:`~protscribe.errors.LabelError` for an answer that does not fit its record.
    """
    record, task, answer = question
    numbers = [BOS, *lexicon.vocabulary.ids(task.prompt(record))]
    start = len(numbers)
    weights: list[float] = []
    if answer is not None:
        encoded = task.codec.encode(answer, record)
        numbers += [*lexicon.numbers(encoded.tokens, record), EOS]
        weights = [*encoded.weights, 1.0]
    return Row(numbers, start, weights, places_of(question))


def _padded(rows: Sequence[NDArray[np.int64]], fill: int, length: int) -> Tensor:
    table = np.full((len(rows), length), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)


@dataclass(frozen=True)
class Collator:
    """Builds batches. ``multiple`` rounds padded lengths up, so that few distinct shapes occur, see
    :func:`~protscribe.data.batching.round_up`.

    ``stand_in`` is a SMILES string that batches without a molecule are given, which nothing attends to: in training, every
    process then has the molecule encoder take part in every step, as gradients that are averaged (and weights that are
    gathered) need.

    ``read_states`` finds states that were stored, so that a batch of stored chains is not encoded again.
    """

    lexicon: Lexicon
    tokenize_molecules: TokenizeMolecules | None = None
    multiple: int = 8
    stand_in: str | None = None
    read_states: ReadStates | None = None

    def __call__(self, questions: Sequence[Question]) -> Batch:
        """A batch of ``questions``; answers are part of it where they are known."""
        questions = tuple(
            question._replace(record=question.task.arrange(question.record)) for question in questions
        )
        rows = [encode_question(question, self.lexicon) for question in questions]
        return Batch(questions=questions, **self._inputs(questions), **self._texts(rows, questions))

    def numbered(self, drawn: Sequence[Numbered]) -> Batch:
        """A batch of an epoch's questions, which knows their numbers. Companions have no weight."""
        batch = self([question for question, _ in drawn])
        numbers = tuple(number for _, number in drawn)
        if COMPANION not in numbers:
            return replace(batch, numbers=numbers)
        counted_B1 = torch.tensor([[float(number != COMPANION)] for number in numbers])
        return replace(batch, numbers=numbers, weights_BT=batch.weights_BT * counted_B1)

    def _inputs(self, questions: tuple[Question, ...]) -> dict[str, Any]:
        chains: dict[str, int] = {}
        molecules: dict[str, int] = {}
        memories: dict[tuple[tuple[str, ...], str | None], int] = {}
        memory_of = []
        for record, task, _ in questions:
            used = record.chains[: task.chains]
            molecule = record.molecule if task.molecule else None
            for chain in used:
                chains.setdefault(chain, len(chains))
            if molecule is not None:
                molecules.setdefault(molecule, len(molecules))
            memory_of.append(memories.setdefault((used, molecule), len(memories)))
        longest = round_up(max(map(len, chains)), self.multiple)
        residues = np.full((len(chains), longest), PAD_RESIDUE, dtype=np.int64)
        for chain, place in chains.items():
            residues[place, : len(chain)] = residue_ids(chain)
        residues_NL = torch.from_numpy(residues)
        ids_JA, mask_JA = self._molecules(tuple(molecules))
        joined = [
            self._join(used, molecule, chains, molecules, longest, mask_JA) for used, molecule in memories
        ]
        length = round_up(max(len(source) for source, _, _ in joined), self.multiple)
        return {
            "residues_NL": residues_NL,
            "residue_mask_NL": residues_NL != PAD_RESIDUE,
            "states_NLE": self.read_states(list(chains), longest) if self.read_states else None,
            "lengths": tuple(map(len, chains)),
            "source_KM": _padded([source for source, _, _ in joined], -1, length),
            "part_KM": _padded([part for _, part, _ in joined], 0, length),
            "offset_KM": _padded([offset for _, _, offset in joined], 0, length),
            "memory_of_B": torch.tensor(memory_of),
            "memory_of": tuple(memory_of),
            # Both are numbered as they come, so that memories of one chain each are the chains, in their order.
            "unjoined": all(len(used) == 1 and molecule is None for used, molecule in memories),
            "molecules_JA": ids_JA,
            "molecule_mask_JA": mask_JA,
        }

    def _molecules(self, molecules: tuple[str, ...]) -> tuple[Tensor | None, Tensor | None]:
        if not molecules and self.tokenize_molecules is not None and self.stand_in is not None:
            molecules = (self.stand_in,)
        if not molecules:
            return None, None
        assert self.tokenize_molecules is not None, "a task with molecules needs a molecule encoder"
        return self.tokenize_molecules(molecules)

    @staticmethod
    def _join(
        used: tuple[str, ...],
        molecule: str | None,
        chains: dict[str, int],
        molecules: dict[str, int],
        longest: int,
        mask_JA: Tensor | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        # Of each part: its first place among all states, its number, its size.
        parts = [(chains[chain] * longest, place, len(chain)) for place, chain in enumerate(used)]
        if molecule is not None:
            assert mask_JA is not None
            first = len(chains) * longest + molecules[molecule] * mask_JA.shape[1]
            parts.append((first, MOLECULE, int(mask_JA[molecules[molecule]].sum())))
        offsets = [np.arange(size) for _, _, size in parts]
        source = [first + offset for (first, _, _), offset in zip(parts, offsets, strict=True)]
        part = [np.full(size, number) for _, number, size in parts]
        return np.concatenate(source), np.concatenate(part), np.concatenate(offsets)

    def _texts(self, rows: Sequence[Row], questions: Sequence[Question]) -> dict[str, Any]:
        answered = questions[0].answer is not None
        # The end symbol is only ever a target: the last column of an answered row is the token before it.
        width = max(len(row.numbers) for row in rows) - (1 if answered else 0)
        length = round_up(width, self.multiple) if answered else width
        shape = (len(rows), length)
        tokens, targets = np.full(shape, PAD, dtype=np.int64), np.full(shape, PAD, dtype=np.int64)
        weights = np.zeros(shape, dtype=np.float32)
        answer, aligned = np.zeros(shape, dtype=bool), np.full(shape, -1, dtype=np.int64)
        for place, row in enumerate(rows):
            inputs = row.numbers[:-1] if row.weights else row.numbers
            tokens[place, : len(inputs)] = inputs
            answer[place, row.start : len(inputs)] = True
            if row.weights:
                first, stop = row.start - 1, row.start - 1 + len(row.weights)
                targets[place, first:stop] = row.numbers[row.start :]
                weights[place, first:stop] = row.weights
                aligned[place, first : first + len(row.aligned)] = row.aligned
        return {
            "tokens_BT": torch.from_numpy(tokens),
            "start_B": torch.tensor([row.start for row in rows]),
            "targets_BT": torch.from_numpy(targets),
            "weights_BT": torch.from_numpy(weights),
            "answer_BT": torch.from_numpy(answer),
            "aligned_BT": torch.from_numpy(aligned),
        }
