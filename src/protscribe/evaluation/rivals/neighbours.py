"""Answers of the most similar training proteins: k nearest neighbours by alignment, which every model of sequences must beat.

Whole proteins are compared by MMseqs2 (Steinegger and Soeding 2017), short chains, which it cannot search, by edit distance
(Levenshtein 1966); of a pair, the similarities of both partners are added, as Weber, Born and Rodriguez Martinez (2021,
TITAN) do with distances. Labels of residues are carried over along a global alignment (Needleman and Wunsch 1970, BLOSUM62).

Shape legend: Q asked proteins, N training proteins, L residues, K classes or labels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from protscribe.codecs.protocol import Evidence, First, Marginals
from protscribe.data.examples import Example
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.rivals.alignment import Transfer
from protscribe.evaluation.rivals.head import (
    POOLED,
    TRIED,
    arranged,
    best_numbers,
    choose,
    has_head,
    joined,
    number_predictions,
    pooled_targets,
    read_all,
    records_of,
    residue_names,
)
from protscribe.evaluation.rivals.majority import domain_texts, included
from protscribe.homology import Criteria, can_search, search
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task

COUNTS = (1, 3, 5, 10, 20)
"""Numbers of neighbours that are tried on validation data."""
COUNTS_OF_RESIDUES = (1, 3, 5)
TRIED_OF_RESIDUES = 200
"""Validation proteins on which neighbours' residues are tried: each takes an alignment a neighbour."""
SHORT = 30
"""Below this median length chains are compared by edit distance."""
MOST_LETTERS = 20_000_000_000
"""Products of lengths of :data:`TOGETHER` proteins and all known ones up to which edit distances are counted."""
TOGETHER = 128
"""Proteins that are compared at once."""
PURPOSE = "the baseline neighbours"


def neighbour_baseline(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    *,
    seed: int = 0,
) -> list[Prediction]:
    """Predictions from the nearest training proteins, weighed by their similarity; with none, from all of them.

    Neighbours that were asked under the same conditions come first. How many are listened to is chosen on validation data.
    Raises :class:`TaskError` ``task.head`` for residue pairs and texts of free length, ``task.no_data`` without training
    examples, and :class:`ConfigError` ``config.missing`` where a package is missing that can compare such chains.
    """
    if not has_head(task):
        raise TaskError(
            "task.head",
            f"task {task.name!r}: neighbours give no answers of kind {task.codec.kind}",
        )
    kept, asked = arranged(task, train), arranged(task, test)
    if not kept:
        raise TaskError("task.no_data", f"task {task.name!r}: a baseline needs training examples")
    pooled = task.codec.kind in POOLED
    most = TRIED if pooled else TRIED_OF_RESIDUES
    chosen, own = arranged(task, validation)[:most], np.zeros(0, dtype=np.int64)
    if not chosen:
        # Each of some training proteins is asked about, and is not its own neighbour.
        own = np.random.default_rng(seed).permutation(len(kept))[:most]
        chosen = [kept[row] for row in own]
    records = records_of([*chosen, *asked])
    counts = COUNTS if pooled else COUNTS_OF_RESIDUES
    found = Similarity(task, records_of(kept)).nearest(records, max(counts), own.tolist())
    near: Asked = list(zip(records, found, strict=True))
    voting = Pooled(task, kept) if pooled else Dense(task, kept)
    return voting.answer(near[: len(chosen)], chosen, near[len(chosen) :])


@dataclass(frozen=True)
class Near:
    """The rows of training that are nearest to one protein, nearest first, and their similarities, all above 0."""

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]

    def first(self, count: int) -> Near:
        return Near(self.rows[:count], self.weights[:count])


Asked = list[tuple[ProteinRecord, Near]]


# How similar --------------------------------------------------------------------------------------------------------------


class Similarity:
    """Compares records with those of training, in 0..1 a chain: identity (MMseqs2), or 1 - edits / longer length."""

    def __init__(self, task: Task, known: Sequence[ProteinRecord]) -> None:
        self.task = task
        self.distinct, self.places = [], []
        for place in range(task.chains):
            chains, places = _distinct([record.chains[place] for record in known])
            self.distinct.append(chains)
            self.places.append(places)
        self.prompts = [_prompt(task, record) for record in known]
        self.prompt_ids = {prompt: number for number, prompt in enumerate(dict.fromkeys(self.prompts))}
        self.asked_N = np.array([self.prompt_ids[prompt] for prompt in self.prompts])

    def nearest(self, records: Sequence[ProteinRecord], most: int, without: Sequence[int] = ()) -> list[Near]:
        """The ``most`` nearest of each, of those that are similar at all.

        ``without`` are the training rows that the first records are themselves: they are not their own neighbours.
        """
        # Each place of a chain is compared with the same one; where order means nothing, with the other one too.
        orders = [(0, 1), (1, 0)] if self.task.symmetric else [tuple(range(len(self.distinct)))]
        sides = [(place, other) for order in orders for place, other in enumerate(order)]
        tables = {side: self._searched([r.chains[side[1]] for r in records], side[0]) for side in sides}
        found: list[Near] = []
        for start in range(0, len(records), TOGETHER):
            part = records[start : start + TOGETHER]
            block = {
                side: table[start : start + TOGETHER].toarray()
                if table is not None
                else self._edited([r.chains[side[1]] for r in part], side[0])
                for side, table in tables.items()
            }
            totals = [
                sum(block[place, other][:, self.places[place]] for place, other in enumerate(order))
                for order in orders
            ]
            total_QN = np.max(np.stack(totals), axis=0)
            for row, record in enumerate(part):
                if start + row < len(without):
                    total_QN[row, without[start + row]] = 0
                found.append(self._nearest(record, total_QN[row], most))
        return found

    def _nearest(self, record: ProteinRecord, total_N: NDArray[Any], most: int) -> Near:
        same_N = self.asked_N == self.prompt_ids.get(_prompt(self.task, record), -1)
        # Whatever was asked in the same way stands before everything else.
        rank_N = total_N + np.where(total_N > 0, same_N, 0) * (len(self.distinct) + 1)
        rows = np.argsort(-rank_N, kind="stable")[:most]
        rows = rows[total_N[rows] > 0]
        return Near(rows, np.asarray(total_N[rows], dtype=np.float64))

    def _searched(self, asked: Sequence[str], place: int) -> Any:
        """Similarities ``[Q, distinct known chains]`` by MMseqs2, or ``None`` where chains are compared by edits."""
        known = self.distinct[place]
        if np.median([len(chain) for chain in known]) < SHORT or not can_search():
            return None
        chains, lines = _distinct(asked)
        return _by_search(chains, known)[lines]

    def _edited(self, asked: Sequence[str], place: int) -> NDArray[np.float32]:
        chains, lines = _distinct(asked)
        return _by_edits(chains, self.distinct[place])[lines]


def _distinct(chains: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The different ones, and which of them each is."""
    rank = {chain: number for number, chain in enumerate(dict.fromkeys(chains))}
    return list(rank), np.array([rank[chain] for chain in chains], dtype=np.int64)


def _by_search(asked: Sequence[str], known: Sequence[str]) -> Any:
    hits = search(asked, known, Criteria(most=50), PURPOSE)
    shape = (len(asked), len(known))
    # A copy may hide behind relatives, or be too short to be found.
    rank = {chain: number for number, chain in enumerate(known)}
    copies = [(row, rank[chain]) for row, chain in enumerate(asked) if chain in rank]
    rows, columns = np.array(copies, dtype=np.int64).reshape(-1, 2).T
    found = sparse.coo_array((hits.identities, (hits.queries, hits.targets)), shape=shape).tolil()
    found[rows, columns] = 1.0
    return found.tocsr()


def _by_edits(asked: Sequence[str], known: Sequence[str]) -> NDArray[np.float32]:
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist
    except ImportError:
        raise ConfigError(
            "config.missing",
            f"{PURPOSE} needs edit distances for these chains: pip install 'protscribe[neighbours]'",
        ) from None
    work = sum(map(len, asked)) * sum(map(len, known))
    if work > MOST_LETTERS:
        raise ConfigError(
            "config.missing",
            f"{PURPOSE}: {len(asked):,} chains against {len(known):,} are too many for edit distances; "
            "pip install 'protscribe[homology]' to search them with MMseqs2",
        )
    found: NDArray[np.float32] = cdist(
        asked, known, scorer=Levenshtein.normalized_similarity, dtype=np.float32
    )
    return found


def can_compare() -> bool:
    """Whether any package is installed that chains can be compared with."""
    return can_search() or importlib.util.find_spec("rapidfuzz") is not None


def _prompt(task: Task, record: ProteinRecord) -> tuple[str, ...]:
    """What is asked beside the chains: conditions, and the molecule."""
    told = tuple(condition.symbol(record).text for condition in task.conditions)
    return (*told, record.molecule or "") if task.molecule else told


# Whole proteins ------------------------------------------------------------------------------------------------------------


class Pooled:
    """Neighbours vote with their labels or numbers."""

    def __init__(self, task: Task, train: Sequence[Example]) -> None:
        self.task = task
        codec: Any = task.codec
        names: list[str] = []
        if codec.kind != "number":
            names = list(codec.labels) if codec.kind == "category" else domain_texts(codec, train[0].record)
        targets = pooled_targets(task, names, train)
        self.targets_NK = (
            np.eye(len(names))[targets] if codec.kind == "category" else targets.reshape(len(train), -1)
        )
        self.overall_K = self.targets_NK.mean(axis=0)

    def answer(self, held: Asked, validation: Sequence[Example], asked: Asked) -> list[Prediction]:
        records = [record for record, _ in asked]
        ways = [partial(self.means, count) for count in COUNTS]
        if self.task.codec.kind == "number":
            numbers = best_numbers(
                self.task, [partial(self.numbers, count) for count in COUNTS], held, validation
            )
            return number_predictions(self.task, numbers(asked), records, "neighbours")
        wrap = First if self.task.codec.kind == "category" else included
        seekers = [partial(_wrapped, way, wrap) for way in ways]
        seek, readout = choose(self.task, seekers, held, validation)
        return read_all(self.task, seek, readout, "neighbours", asked, records)

    def means(self, count: int, asked: Asked) -> NDArray[np.float64]:
        """``[Q, K]``: the weighed mean over the nearest ``count``."""
        rows = []
        for _, near in asked:
            near = near.first(count)
            rows.append(
                np.average(self.targets_NK[near.rows], axis=0, weights=near.weights)
                if len(near.rows)
                else self.overall_K
            )
        return np.stack(rows)

    def numbers(self, count: int, asked: Asked) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.means(count, asked)[:, 0]
        return found


def _wrapped(
    means: Callable[[Asked], NDArray[np.float64]], wrap: Callable[[Any], Evidence], asked: Asked
) -> list[Evidence]:
    return [wrap(row) for row in means(asked)]


# Residues ------------------------------------------------------------------------------------------------------------------


class Dense:
    """Neighbours vote residue by residue, where they align."""

    def __init__(self, task: Task, train: Sequence[Example]) -> None:
        self.task = task
        self.names = residue_names(task)
        self.transfer = Transfer(task, self.names, train)

    def answer(self, held: Asked, validation: Sequence[Example], asked: Asked) -> list[Prediction]:
        records = [record for record, _ in asked]
        if self.task.codec.kind == "segments":
            tables = (self.transfer.chances(record, near.rows, near.weights) for record, near in asked)
            return [
                joined(self.task, self.names, chances_LK, record, "neighbours")
                for chances_LK, record in zip(tables, records, strict=True)
            ]
        seekers = [partial(self._evidence, count) for count in COUNTS_OF_RESIDUES]
        seek, readout = choose(self.task, seekers, held, validation)
        return read_all(self.task, seek, readout, "neighbours", asked, records)

    def _evidence(self, count: int, asked: Asked) -> list[Evidence]:
        found: list[Evidence] = []
        for record, near in asked:
            near = near.first(count)
            chances_LK = self.transfer.chances(record, near.rows, near.weights)
            if self.task.codec.kind == "residue_set":
                found.append(included(chances_LK[candidate_indices(self.task.codec, record), 1]))
            else:
                found.append(Marginals(chances_LK))
        return found
