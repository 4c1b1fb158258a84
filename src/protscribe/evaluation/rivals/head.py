"""Models that read features and answer tasks, above all a linear head on the states of the bundle's own encoder.

Pooled answers (classes, label sets, paths, numbers) are read from features of the whole protein or pair, per-residue answers
from features of each residue. Which model answers, and with which threshold, is chosen on validation data. The head sees the
same training examples as the decoder, at most ``limit`` of them, and the encoder is not changed.

Shape legend: N proteins, L residues, U training residues, F features, K labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Evidence, First, Marginals, Reading, Readout
from protscribe.codecs.segments import Segment, painted
from protscribe.data.examples import Example
from protscribe.errors import TaskError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.confidence.readouts import best_of, candidate_readouts, try_readouts
from protscribe.evaluation.metrics import METRICS, better, decision_metric, evaluate_task
from protscribe.evaluation.rivals.linear import Fit, Linear, Models, Predict, Rows
from protscribe.evaluation.rivals.majority import domain_texts, included, predicted, written
from protscribe.evaluation.rivals.states import Floats, ResidueFeatures, StateFeatures, States
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task

TRAINING_RESIDUES = 60_000
"""Most residues that a per-residue head is fitted on: whole proteins, in order, until there are as many."""

TRIED = 500
"""Validation proteins on which readouts are tried, as those of the model are."""

TOGETHER = 128
"""Test proteins whose residue features are held at once."""

POOLED = ("category", "category_set", "category_path", "number")
DENSE = ("residue_labels", "residue_set", "segments", "sequence")


class Bundled(Protocol):
    """The part of :class:`~protscribe.predictor.Predictor` that a head needs."""

    @property
    def bundle(self) -> Any: ...


class Features(Protocol):
    """What a model is told about proteins."""

    def pooled(self, records: Sequence[ProteinRecord]) -> Floats:
        """``[N, F]``, of proteins or pairs as wholes."""

    def residues(self, records: Sequence[ProteinRecord], chain: int) -> ResidueFeatures:
        """Each record with ``[L, F]``, of the residues of 0-based ``chain``."""


def has_head(task: Task) -> bool:
    """Whether a model of features can answer: not residue pairs and texts of free length."""
    return task.codec.kind in POOLED or (
        task.codec.kind in DENSE and (task.codec.dense or task.codec.kind != "sequence")
    )


def head_baseline(
    predictor: Bundled,
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    *,
    limit: int | None = 2000,
    seed: int = 0,
    models: Models | None = None,
    name: str = "head",
) -> list[Prediction]:
    """Predictions for every ``test`` example, in order, of ``models`` (linear ones) on frozen encoder states.

    Raises what :func:`answer_from` raises.
    """
    features = StateFeatures(task, States(predictor.bundle.model))
    return answer_from(
        features, models or Linear(), task, train, validation, test, name=name, limit=limit, seed=seed
    )


def answer_from(
    features: Features,
    models: Models,
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    *,
    name: str,
    limit: int | None = 2000,
    seed: int = 0,
) -> list[Prediction]:
    """The predictions, called ``name``, of the model that is best on validation data.

    ``limit`` bounds the training examples (drawn with ``seed``) and the validation examples; without validation examples a
    fifth of the training examples serves for choosing. Raises :class:`TaskError` ``task.head`` for answers that no head
    gives and ``task.no_data`` without training examples.
    """
    if not has_head(task):
        raise TaskError(
            "task.head", f"task {task.name!r}: there is no linear head for answers of kind {task.codec.kind}"
        )
    kept, chosen = for_choosing(task, train, validation, limit, seed)
    fit = _fit_pooled if task.codec.kind in POOLED else _fit_dense
    return fit(_Fitting(task, features, models, name), kept, chosen, arranged(task, test))


def for_choosing(
    task: Task, train: Sequence[Example], validation: Sequence[Example], limit: int | None, seed: int
) -> tuple[list[Example], list[Example]]:
    """Training and validation examples as a model sees them: arranged, at most ``limit``, and some of each."""
    kept = _drawn(arranged(task, train), limit, seed)
    chosen = _drawn(arranged(task, validation), limit, seed)
    if not kept:
        raise TaskError("task.no_data", f"task {task.name!r}: a head needs training examples")
    if not chosen:
        cut = max(1, len(kept) // 5)
        chosen, kept = kept[:cut], kept[cut:] or kept
    return kept, chosen


def arranged(task: Task, examples: Iterable[Example]) -> list[Example]:
    """The examples with their chains as the model sees them."""
    return [Example(task.arrange(example.record), example.answer) for example in examples]


def _drawn(examples: list[Example], limit: int | None, seed: int) -> list[Example]:
    if limit is None or len(examples) <= limit:
        return examples
    places = np.random.default_rng(seed).choice(len(examples), limit, replace=False)
    return [examples[place] for place in sorted(places)]


def records_of(examples: Iterable[Example]) -> list[ProteinRecord]:
    return [example.record for example in examples]


@dataclass(frozen=True)
class _Fitting:
    """What stays the same while the answers of one baseline are made."""

    task: Task
    features: Features
    models: Models
    name: str


Seek = Callable[[Any], list[Evidence]]
"""Evidence from features."""


def choose(
    task: Task, seekers: Sequence[Seek], features: Any, validation: Sequence[Example]
) -> tuple[Seek, Readout]:
    """The way to evidence, and the readout, that are best on (the first :data:`TRIED`) validation data.

    Where there are several ways and many readouts, each way is tried with every fourth readout, and the best one with all.
    """
    metric, best = decision_metric(task), None
    is_better = better(metric)
    readouts = candidate_readouts(task)
    tried = validation[:TRIED]
    for seek in seekers:
        evidence = seek(features[:TRIED])
        few = readouts if len(seekers) == 1 else readouts[1::4] or readouts
        value = max(
            (value for _, value in try_readouts(task, tried, evidence, few)),
            key=lambda one: _rank(metric, one),
        )
        if best is None or is_better(value, best[0]):
            best = (value, seek, evidence)
    assert best is not None
    _, seek, evidence = best
    return seek, best_of(task, try_readouts(task, tried, evidence, readouts))


def _rank(metric: str, value: float) -> float:
    return -math.inf if math.isnan(value) else value if METRICS[metric].higher else -value


def read_all(
    task: Task, seek: Seek, readout: Readout, name: str, features: Any, records: Sequence[ProteinRecord]
) -> list[Prediction]:
    """The answers of one way to evidence, read in one way."""
    return [
        predicted(task, record, task.codec.read(found, record, readout), name)
        for record, found in zip(records, seek(features), strict=True)
    ]


def best_numbers(
    task: Task,
    candidates: Sequence[Callable[[Any], NDArray[Any]]],
    features: Any,
    validation: Sequence[Example],
) -> Callable[[Any], NDArray[Any]]:
    """Of several ways to numbers ``[N]`` the one that is best on validation data."""
    metric, best = decision_metric(task), None
    records, truths = records_of(validation), [example.answer for example in validation]
    for predict in candidates if len(candidates) > 1 else ():
        answers = number_predictions(task, predict(features), records, "trial")
        value = evaluate_task(task, truths, answers, records, metrics=[metric])[metric]
        if best is None or better(metric)(value, best[0]):
            best = (value, predict)
    return candidates[0] if best is None else best[1]


def number_predictions(
    task: Task, values: NDArray[Any], records: Sequence[ProteinRecord], name: str
) -> list[Prediction]:
    """Numbers as predictions, clipped to the declared range."""
    codec: Any = task.codec
    clipped = np.clip(values, codec.low, codec.high).tolist()
    readings = (Reading(float(value), 0.0, f"not given by the baseline {name}") for value in clipped)
    return [predicted(task, record, reading, name) for record, reading in zip(records, readings, strict=True)]


# Pooled answers ----------------------------------------------------------------------------------------------------------


def _fit_pooled(
    fitting: _Fitting, train: list[Example], validation: list[Example], test: list[Example]
) -> list[Prediction]:
    task, models = fitting.task, fitting.models
    targets = partial(pooled_targets, task, _names(task))
    rows = Rows(fitting.features.pooled(records_of(train)), targets(train))
    held = Rows(fitting.features.pooled(records_of(validation)), targets(validation))
    asked = fitting.features.pooled(records_of(test))
    if task.codec.kind == "number":
        fitted = [fit(rows, held) for fit in models.regressors()]
        values = best_numbers(task, fitted, held.features, validation)(asked)
        return number_predictions(task, values, records_of(test), fitting.name)
    if task.codec.kind == "category":
        fits: Sequence[Fit] = models.classifiers(len(_names(task)), False)
        seekers: list[Seek] = [partial(_firsts, fit(rows, held)) for fit in fits]
    else:
        seekers = [partial(_inclusions, fit(rows, held)) for fit in models.labellers()]
    seek, readout = choose(task, seekers, held.features, validation)
    return read_all(task, seek, readout, fitting.name, asked, records_of(test))


def _names(task: Task) -> list[str]:
    """The classes, labels or nodes of a pooled answer."""
    codec: Any = task.codec
    if codec.kind == "number":
        return []
    return list(codec.labels) if codec.kind == "category" else domain_texts(codec, _NOBODY)


_NOBODY = ProteinRecord("", ("M",))
"""Label sets have one domain, whatever the protein is."""


def pooled_targets(task: Task, names: Sequence[str], examples: Sequence[Example]) -> NDArray[Any]:
    """Numbers ``[N]``, class numbers ``[N]``, or which labels or nodes are true ``[N, K]``."""
    if task.codec.kind == "number":
        return np.array([example.answer for example in examples], dtype=np.float64)
    ranks = {name: rank for rank, name in enumerate(names)}
    if task.codec.kind == "category":
        return np.array([ranks[example.answer] for example in examples], dtype=np.int64)
    table_NK = np.zeros((len(examples), len(names)), dtype=np.int64)
    for row, example in enumerate(examples):
        table_NK[row, [ranks[text] for text in written(task.codec, example)]] = 1
    return table_NK


def _firsts(predict: Predict, features_NF: Floats) -> list[Evidence]:
    return [First(row) for row in predict(features_NF)]


def _inclusions(predict: Predict, features_NF: Floats) -> list[Evidence]:
    return [included(row) for row in predict(features_NF)]


# Answers per residue -------------------------------------------------------------------------------------------------------


def _fit_dense(
    fitting: _Fitting, train: list[Example], validation: list[Example], test: list[Example]
) -> list[Prediction]:
    task = fitting.task
    chain = getattr(task.codec, "chain", 1) - 1
    names = residue_names(task)
    train, validation = (_within(part, chain, TRAINING_RESIDUES) for part in (train, validation))

    def features_of(examples: Sequence[Example]) -> ResidueFeatures:
        return fitting.features.residues(records_of(examples), chain)

    held_features = features_of(validation)
    rows = _residue_rows(task, names, features_of(train), train)
    held = _residue_rows(task, names, held_features, validation)
    models = [fit(rows, held) for fit in fitting.models.classifiers(max(len(names), 2), True)]
    if task.codec.kind == "segments":
        answer = partial(_segments, task, names, models[-1], fitting.name)
    else:
        seekers = [partial(_dense_evidence, task, model) for model in models]
        seek, readout = choose(task, seekers, held_features, validation)
        answer = partial(read_all, task, seek, readout, fitting.name)
    predictions: list[Prediction] = []
    # A few proteins at a time: residue states of a whole test set may not fit into memory.
    for start in range(0, len(test), TOGETHER):
        part = test[start : start + TOGETHER]
        predictions += answer(features_of(part), records_of(part))
    return predictions


def residue_names(task: Task) -> list[str]:
    """The labels of residues; none for sites, which a residue is or is not."""
    codec: Any = task.codec
    if codec.kind == "residue_set":
        return []
    return list(codec.alphabet if codec.kind == "sequence" else codec.labels)


def _within(examples: list[Example], chain: int, most: int) -> list[Example]:
    """Whole proteins from the start until their residues are as many as ``most``; at least one."""
    ends = np.cumsum([example.record.lengths[chain] for example in examples])
    return examples[: max(1, int(np.searchsorted(ends, most, side="right")))]


def _residue_rows(task: Task, names: list[str], features: ResidueFeatures, examples: list[Example]) -> Rows:
    """Features ``[U, F]`` and targets ``[U]`` of all residues that count."""
    ranks = {name: rank for rank, name in enumerate(names)}
    inputs, targets = [], []
    for (record, features_LF), example in zip(features, examples, strict=True):
        if task.codec.kind == "residue_set":
            indices = candidate_indices(task.codec, record)
            inputs.append(features_LF[indices])
            targets.append(np.isin(indices + 1, list(example.answer)).astype(np.int64))
            continue
        labels, weights = residue_texts(task, Example(record, example.answer))
        scored = np.flatnonzero(weights)
        inputs.append(features_LF[scored])
        targets.append(np.array([ranks[labels[place]] for place in scored], dtype=np.int64))
    return Rows(np.concatenate(inputs), np.concatenate(targets))


def residue_texts(task: Task, example: Example) -> tuple[list[str], Sequence[float]]:
    """The label of each residue, and whether it counts."""
    if task.codec.kind == "segments":
        labels = painted(example.answer)
        return labels, [1.0] * len(labels)
    encoded = task.codec.encode(example.answer, example.record)
    return [token.text for token in encoded.tokens], encoded.weights  # type: ignore[union-attr]


def _dense_evidence(task: Task, model: Predict, features: ResidueFeatures) -> list[Evidence]:
    if task.codec.kind != "residue_set":
        return [Marginals(model(features_LF)) for _, features_LF in features]
    return [
        included(model(features_LF[candidate_indices(task.codec, record)])[:, 1])
        for record, features_LF in features
    ]


def _segments(
    task: Task,
    names: list[str],
    model: Predict,
    name: str,
    features: ResidueFeatures,
    records: Sequence[ProteinRecord],
) -> list[Prediction]:
    return [
        joined(task, names, model(features_LF), record, name)
        for record, (_, features_LF) in zip(records, features, strict=True)
    ]


def joined(
    task: Task, names: Sequence[str], chances_LK: NDArray[Any], record: ProteinRecord, name: str
) -> Prediction:
    """Segments: the most probable label of each residue, equal neighbours joined."""
    best_L = chances_LK.argmax(axis=1)
    residues = [Segment(names[rank], place, place) for place, rank in enumerate(best_L.tolist(), start=1)]
    reading = Reading(
        task.codec.canonical(residues, record),
        float(chances_LK.max(axis=1).mean()),
        "mean probability of the label, over residues",
    )
    return predicted(task, record, reading, name)
