"""Choosing, on validation data, how answers are read: a threshold for sets, the mean or the median for numbers.

The evidence is asked for once; all readouts are tried on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from protscribe.codecs.protocol import Evidence, Readout
from protscribe.data.examples import Example
from protscribe.evaluation.metrics import METRICS, Scores, decision_metric, evaluate_task
from protscribe.evaluation.rivals.majority import predicted
from protscribe.records import ProteinRecord
from protscribe.task import Task

log = logging.getLogger(__name__)

Way = Literal["risk", "greedy"]

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, *(round(0.05 * step, 2) for step in range(1, 20)), 0.98)
"""Inclusion probabilities that are tried; close together near 0, where rare sites lie."""


class Answered(Protocol):
    """What a predictor found out about one question."""

    @property
    def evidence(self) -> Evidence: ...


class Asker(Protocol):
    """The part of :class:`~protscribe.predictor.Predictor` that choosing needs."""

    @property
    def tasks(self) -> Mapping[str, Task]: ...

    def evidence(
        self, records: Sequence[ProteinRecord], task: str, way: Way = "risk"
    ) -> Sequence[Answered]: ...


def choose_readouts(
    predictor: Asker,
    examples_by_task: Mapping[str, Sequence[Example]],
    *,
    limit: int | None = 500,
    ways: Sequence[Way] = ("risk",),
) -> dict[str, Readout]:
    """The readout of each task that gives the best value of its main metric on (the first ``limit``) examples.

    Where the main metric looks at probabilities only, the task's first metric that looks at answers decides. ``ways`` with
    ``"greedy"`` also tries the greedy string, at the cost of a second round of decoding. Tasks without examples keep the
    default readout.
    """
    chosen = {}
    for name, examples in examples_by_task.items():
        task = predictor.tasks[name]
        kept = list(examples)[:limit]
        if not kept:
            log.warning("task %s: no validation examples, the default readout is kept", name)
            chosen[name] = Readout()
            continue
        records = [example.record for example in kept]
        trials: list[tuple[Readout, float]] = []
        for way in ways:
            evidence = [answered.evidence for answered in predictor.evidence(records, name, way=way)]
            candidates = [Readout(way="greedy")] if way == "greedy" else candidate_readouts(task)
            trials += try_readouts(task, kept, evidence, candidates)
        chosen[name] = best_of(task, trials)
    return chosen


def candidate_readouts(task: Task) -> list[Readout]:
    """The readouts that make a difference for a kind of answer."""
    codec = task.codec
    if codec.asks == "inclusion" or codec.kind == "residue_pairs":
        return [Readout(threshold=threshold) for threshold in THRESHOLDS]
    if codec.asks == "digits":
        return [Readout(statistic="mean"), Readout(statistic="median")]
    return [Readout()]


def try_readouts(
    task: Task, examples: Sequence[Example], evidence: Sequence[Evidence], readouts: Iterable[Readout]
) -> list[tuple[Readout, float]]:
    """Each readout with the value of the task's deciding metric."""
    metric = decision_metric(task)
    tried = []
    for readout in readouts:
        scores = score_evidence(task, examples, evidence, readout, [metric])
        tried.append((readout, scores[metric]))
    return tried


def score_evidence(
    task: Task,
    examples: Sequence[Example],
    evidence: Sequence[Evidence],
    readout: Readout,
    metrics: Sequence[str] = (),
) -> Scores:
    """The metrics of answers that are read from ``evidence`` in one way."""
    records = [task.arrange(example.record) for example in examples]
    predictions = [
        predicted(task, record, task.codec.read(found, record, readout), readout.way)
        for record, found in zip(records, evidence, strict=True)
    ]
    truths = [example.answer for example in examples]
    return evaluate_task(task, truths, predictions, records, metrics=metrics)


def best_of(task: Task, trials: Sequence[tuple[Readout, float]]) -> Readout:
    """The readout of the best value; of equal ones, that whose threshold is nearest to 0.5, then the first."""
    sign = 1.0 if METRICS[decision_metric(task)].higher else -1.0

    def rank(trial: tuple[Readout, float]) -> tuple[float, float]:
        readout, value = trial
        defined = sign * value if value == value else float("-inf")
        return round(defined, 9), -abs(readout.threshold - 0.5)

    return max(trials, key=rank)[0]
