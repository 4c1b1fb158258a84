"""What one partner alone tells about a pair: the mean label of each chain, or molecule, over its partners in training.

In many pair data sets a protein that binds much binds much in the test rows too; a model that gives no more than this has
learned nothing about the pair (Park and Marcotte 2012, Nature Methods).

Shape legend: N pairs, K classes or labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Evidence, First
from protscribe.data.examples import Example
from protscribe.errors import TaskError
from protscribe.evaluation.rivals.head import (
    POOLED,
    arranged,
    best_numbers,
    choose,
    for_choosing,
    number_predictions,
    pooled_targets,
    read_all,
    records_of,
)
from protscribe.evaluation.rivals.majority import domain_texts, included
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task

WEIGHTS = (1.0, 5.0, 20.0)
"""How many rows of the overall mean each partner's own mean is mixed with; tried on validation data."""


def has_partners(task: Task) -> bool:
    """Whether a pair is asked about as a whole: two chains, or a chain and a molecule."""
    return (task.chains == 2 or task.molecule) and task.codec.kind in POOLED


def partners(task: Task, record: ProteinRecord) -> list[tuple[str, str]]:
    """What a pair consists of, each with its role; in a symmetric pair both chains have one role."""
    roles = ("chain", "chain") if task.symmetric else ("first", "second")
    found = list(zip(roles, record.chains[: task.chains], strict=False))
    return [*found, ("molecule", record.molecule)] if task.molecule and record.molecule else found


def bias_baseline(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    *,
    seed: int = 0,
) -> list[Prediction]:
    """Predictions from each partner's mean label, which are combined as if partners spoke independently.

    Of classes and labels, odds over the overall ones are multiplied; of numbers, differences from the overall mean are added.
    A partner that training lacks says nothing. Raises :class:`TaskError` ``task.bias`` for tasks that ask about no pair and
    ``task.no_data`` without training examples.
    """
    if not has_partners(task):
        raise TaskError("task.bias", f"task {task.name!r} asks about no pair: there is no bias of a partner")
    kept, chosen = for_choosing(task, train, validation, None, seed)
    asked = arranged(task, test)
    codec: Any = task.codec
    names: list[str] = []
    if codec.kind != "number":
        names = list(codec.labels) if codec.kind == "category" else domain_texts(codec, kept[0].record)
    targets = pooled_targets(task, names, kept)
    if codec.kind == "category":
        targets = np.eye(len(names))[targets]
    means = [_Means(task, kept, targets.reshape(len(kept), -1), weight) for weight in WEIGHTS]
    if codec.kind == "number":
        numbers = best_numbers(task, [one.numbers for one in means], records_of(chosen), chosen)
        return number_predictions(task, numbers(records_of(asked)), records_of(asked), "bias")
    wrap = First if codec.kind == "category" else included
    seek, readout = choose(task, [partial(_evidence, one, wrap) for one in means], records_of(chosen), chosen)
    return read_all(task, seek, readout, "bias", records_of(asked), records_of(asked))


def _evidence(
    means: _Means, wrap: Callable[[Any], Evidence], records: Sequence[ProteinRecord]
) -> list[Evidence]:
    return [wrap(row) for row in means.shares(records)]


class _Means:
    """The mean of ``targets_NK`` over all pairs, and over those of each partner, mixed with ``weight`` rows of the former."""

    def __init__(self, task: Task, train: Sequence[Example], targets_NK: NDArray[Any], weight: float) -> None:
        self.task = task
        self.overall_K = targets_NK.mean(axis=0)
        sums: dict[Any, Any] = defaultdict(lambda: self.overall_K * weight)
        counts: dict[Any, float] = defaultdict(lambda: weight)
        for example, target_K in zip(train, targets_NK, strict=True):
            for partner in partners(task, example.record):
                sums[partner] = sums[partner] + target_K
                counts[partner] += 1
        self.by_partner = {partner: total / counts[partner] for partner, total in sums.items()}

    def _of(self, record: ProteinRecord) -> list[Any]:
        return [self.by_partner.get(partner, self.overall_K) for partner in partners(self.task, record)]

    def numbers(self, records: Sequence[ProteinRecord]) -> NDArray[np.float64]:
        """``[N]``: the overall mean and how much each partner's differs from it."""
        rows = [
            self.overall_K + sum(mean - self.overall_K for mean in self._of(record)) for record in records
        ]
        return np.array(rows, dtype=np.float64)[:, 0]

    def shares(self, records: Sequence[ProteinRecord]) -> NDArray[np.float64]:
        """``[N, K]``: class probabilities, or of each label by itself."""
        return np.stack([self._combined(self._of(record)) for record in records])

    def _combined(self, means: Sequence[Any]) -> Any:
        exclusive = self.task.codec.kind == "category"
        tiny = 1e-9
        yes_K = np.log(np.clip(self.overall_K, tiny, 1))
        no_K = np.log(np.clip(1 - self.overall_K, tiny, 1))
        total_yes, total_no = yes_K.copy(), no_K.copy()
        for mean_K in means:
            total_yes += np.log(np.clip(mean_K, tiny, 1)) - yes_K
            total_no += np.log(np.clip(1 - mean_K, tiny, 1)) - no_K
        if exclusive:
            chances = np.exp(total_yes - total_yes.max())
            return chances / chances.sum()
        return 1 / (1 + np.exp(np.clip(total_no - total_yes, -500, 500)))
