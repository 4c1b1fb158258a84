"""A linear head on the states of the bundle's own encoder: the baseline that the decoder must be compared with.

Pooled answers (classes, label sets, paths, numbers) are read from the mean state of each chain, per-residue answers from the
state of each residue; conditions are appended one-hot. Regularisation and thresholds are chosen on validation data. The head
sees the same training examples as the decoder, at most ``limit`` of them, and the encoder is not changed.

Shape legend: N proteins, L residues, U training residues, D width, F features, K labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from protscribe.codecs.protocol import Evidence, First, Marginals, Reading, Readout
from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.errors import TaskError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.baselines import domain_texts, included, predicted, written
from protscribe.evaluation.metrics import better, decision_metric
from protscribe.evaluation.readouts import best_of, candidate_readouts, score_evidence, try_readouts
from protscribe.evaluation.states import Floats, ResidueFeatures, States, pooled_features, residue_features
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task

TRAINING_RESIDUES = 60_000
"""Most residues that a per-residue head is fitted on: whole proteins, in order, until there are as many."""

TOGETHER = 128
"""Test proteins whose residue states are held at once."""

STRENGTHS = (0.001, 0.01, 0.1)
STRENGTHS_OF_RESIDUES = (0.01, 0.1)
"""Inverse regularisation strengths that are tried on validation data; fewer where a fit has many rows."""

POOLED = ("category", "category_set", "category_path", "number")
DENSE = ("residue_labels", "residue_set", "segments", "sequence")


class Bundled(Protocol):
    """The part of :class:`~protscribe.predictor.Predictor` that a head needs."""

    @property
    def bundle(self) -> Any: ...


def has_head(task: Task) -> bool:
    """Whether a linear head can answer: not for residue pairs and texts of free length."""
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
    limit: int = 2000,
    seed: int = 0,
) -> list[Prediction]:
    """Predictions of a linear head for every ``test`` example, in order.

    ``limit`` bounds the training examples (drawn with ``seed``) and the validation examples; without validation examples a
    fifth of the training examples serves for choosing. Raises :class:`TaskError` ``task.head`` for answers that no linear
    head gives and ``task.no_data`` without training examples.
    """
    if not has_head(task):
        raise TaskError(
            "task.head", f"task {task.name!r}: there is no linear head for answers of kind {task.codec.kind}"
        )
    kept = _drawn(_arranged(task, train), limit, seed)
    chosen = _drawn(_arranged(task, validation), limit, seed)
    if not kept:
        raise TaskError("task.no_data", f"task {task.name!r}: a head needs training examples")
    if not chosen:
        cut = max(1, len(kept) // 5)
        chosen, kept = kept[:cut], kept[cut:] or kept
    states = States(predictor.bundle.model)
    fit = _fit_pooled if task.codec.kind in POOLED else _fit_dense
    return fit(task, states, kept, chosen, _arranged(task, test))


def _arranged(task: Task, examples: Iterable[Example]) -> list[Example]:
    return [Example(task.arrange(example.record), example.answer) for example in examples]


def _drawn(examples: list[Example], limit: int, seed: int) -> list[Example]:
    if len(examples) <= limit:
        return examples
    places = np.random.default_rng(seed).choice(len(examples), limit, replace=False)
    return [examples[place] for place in sorted(places)]


# Pooled answers ----------------------------------------------------------------------------------------------------------


def _fit_pooled(
    task: Task, states: States, train: list[Example], validation: list[Example], test: list[Example]
) -> list[Prediction]:
    features = partial(pooled_features, task, states)
    train_NF, validation_NF, test_NF = (
        features([example.record for example in part]) for part in (train, validation, test)
    )
    if task.codec.kind == "number":
        return _numbers(task, train_NF, train, test_NF, test)
    if task.codec.kind == "category":
        names = list(task.codec.labels)  # type: ignore[attr-defined]
        targets = np.array([names.index(example.answer) for example in train])
        models = [_classifier(train_NF, targets, strength) for strength in STRENGTHS]
        seekers: list[Seek] = [partial(_firsts, model, size=len(names)) for model in models]
    else:
        names = domain_texts(task.codec, train[0].record)
        texts = [written(task.codec, example) for example in train]
        table_NK = np.array([[name in answer for name in names] for answer in texts], dtype=np.int64)
        models = [_labeller(train_NF, table_NK, strength) for strength in STRENGTHS]
        seekers = [partial(_inclusions, model) for model in models]
    seek, readout = _choose(task, seekers, validation_NF, validation)
    return _answer(task, seek, readout, test_NF, [example.record for example in test])


Seek = Callable[[Any], list[Evidence]]
"""Evidence from features."""


def _choose(
    task: Task, seekers: Sequence[Seek], features: Any, validation: list[Example]
) -> tuple[Seek, Readout]:
    """The fitted model and the readout that are best on validation data."""
    metric, best = decision_metric(task), None
    is_better = better(metric)
    for seek in seekers:
        evidence = seek(features)
        readout = best_of(task, try_readouts(task, validation, evidence, candidate_readouts(task)))
        value = score_evidence(task, validation, evidence, readout, [metric])[metric]
        if best is None or is_better(value, best[0]):
            best = (value, seek, readout)
    assert best is not None
    return best[1:]


def _answer(
    task: Task, seek: Seek, readout: Readout, features: Any, records: Sequence[ProteinRecord]
) -> list[Prediction]:
    return [
        predicted(task, record, task.codec.read(found, record, readout), "head")
        for record, found in zip(records, seek(features), strict=True)
    ]


def _numbers(
    task: Task, train_NF: Floats, train: list[Example], test_NF: Floats, test: list[Example]
) -> list[Prediction]:
    """Ridge regression, its strength by leave-one-out, clipped to the declared range."""
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
    model.fit(train_NF.astype(np.float64), np.array([example.answer for example in train]))
    codec: Any = task.codec
    values = np.clip(model.predict(test_NF.astype(np.float64)), codec.low, codec.high)
    meaning = "not given by a linear head"
    return [
        predicted(task, example.record, Reading(float(value), 0.0, meaning), "head")
        for example, value in zip(test, values, strict=True)
    ]


def _classifier(features_NF: Floats, targets_N: NDArray[Any], strength: float) -> Any:
    """Logistic regression; where training has one class only, that class."""
    if len(np.unique(targets_N)) < 2:
        return int(targets_N[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features_NF, targets_N)


def _chances(model: Any, features_NF: Floats, size: int) -> NDArray[np.float64]:
    """``[N, K]`` class probabilities; classes that training lacks have 0."""
    chances_NK = np.zeros((len(features_NF), size))
    if isinstance(model, int):
        chances_NK[:, model] = 1.0
    else:
        chances_NK[:, model.classes_] = model.predict_proba(features_NF)
    return chances_NK


def _firsts(model: Any, features_NF: Floats, size: int) -> list[Evidence]:
    return [First(row) for row in _chances(model, features_NF, size)]


def _labeller(features_NF: Floats, table_NK: NDArray[np.int64], strength: float) -> Any:
    """One logistic regression a label, fitted together: a network without hidden layer."""
    # Its penalty is divided by the number of rows, as the loss is: alpha is the inverse of LogisticRegression's C.
    network = MLPClassifier(
        hidden_layer_sizes=(), solver="lbfgs", alpha=1 / strength, max_iter=200, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), network).fit(features_NF, table_NK)


def _inclusions(model: Any, features_NF: Floats) -> list[Evidence]:
    return [included(np.asarray(row, dtype=np.float64)) for row in model.predict_proba(features_NF)]


# Answers per residue -------------------------------------------------------------------------------------------------------


def _fit_dense(
    task: Task, states: States, train: list[Example], validation: list[Example], test: list[Example]
) -> list[Prediction]:
    chain = getattr(task.codec, "chain", 1) - 1
    names = [] if task.codec.kind == "residue_set" else _residue_labels(task)
    train, validation = (_within(part, chain, TRAINING_RESIDUES) for part in (train, validation))

    def features_of(examples: Sequence[Example]) -> ResidueFeatures:
        return residue_features(task, states, [example.record for example in examples], chain)

    features_UF, targets_U = _training_residues(task, names, features_of(train), train)
    models = [_classifier(features_UF, targets_U, strength) for strength in STRENGTHS_OF_RESIDUES]
    if task.codec.kind == "segments":
        answer = partial(_segments, task, names, models[-1])
    else:
        seekers = [partial(_dense_evidence, task, names, model) for model in models]
        seek, readout = _choose(task, seekers, features_of(validation), validation)
        answer = partial(_answer, task, seek, readout)
    predictions: list[Prediction] = []
    # A few proteins at a time: residue states of a whole test set may not fit into memory.
    for start in range(0, len(test), TOGETHER):
        part = test[start : start + TOGETHER]
        predictions += answer(features_of(part), [example.record for example in part])
    return predictions


def _residue_labels(task: Task) -> list[str]:
    codec: Any = task.codec
    return list(codec.alphabet if codec.kind == "sequence" else codec.labels)


def _within(examples: list[Example], chain: int, most: int) -> list[Example]:
    """Whole proteins from the start until their residues are as many as ``most``; at least one."""
    ends = np.cumsum([example.record.lengths[chain] for example in examples])
    return examples[: max(1, int(np.searchsorted(ends, most, side="right")))]


def _training_residues(
    task: Task, names: list[str], features: ResidueFeatures, examples: list[Example]
) -> tuple[Floats, NDArray[np.int64]]:
    """Features ``[U, F]`` and targets ``[U]`` of all residues that count."""
    ranks = {name: rank for rank, name in enumerate(names)}
    inputs, targets = [], []
    for (record, features_LF), example in zip(features, examples, strict=True):
        if task.codec.kind == "residue_set":
            indices = candidate_indices(task.codec, record)
            inputs.append(features_LF[indices])
            targets.append(np.isin(indices + 1, list(example.answer)).astype(np.int64))
            continue
        if task.codec.kind == "segments":
            labels = [label for label, start, end in example.answer for _ in range(end - start + 1)]
            weights: Sequence[float] = [1.0] * len(labels)
        else:
            encoded = task.codec.encode(example.answer, record)
            labels = [token.text for token in encoded.tokens]  # type: ignore[union-attr]
            weights = encoded.weights
        scored = np.flatnonzero(weights)
        inputs.append(features_LF[scored])
        targets.append(np.array([ranks[labels[place]] for place in scored], dtype=np.int64))
    return np.concatenate(inputs), np.concatenate(targets)


def _dense_evidence(task: Task, names: list[str], model: Any, features: ResidueFeatures) -> list[Evidence]:
    if task.codec.kind == "residue_set":
        return [_site_evidence(task, model, record, features_LF) for record, features_LF in features]
    return [Marginals(_chances(model, features_LF, len(names))) for _, features_LF in features]


def _site_evidence(task: Task, model: Any, record: ProteinRecord, features_LF: Floats) -> Evidence:
    indices = candidate_indices(task.codec, record)
    if not len(indices):
        return included(np.zeros(0))
    return included(_chances(model, features_LF[indices], 2)[:, 1])


def _segments(
    task: Task, names: list[str], model: Any, features: ResidueFeatures, records: Sequence[ProteinRecord]
) -> list[Prediction]:
    """The most probable label of each residue, equal neighbours joined."""
    answers = []
    for record, (_, features_LF) in zip(records, features, strict=True):
        chances_LK = _chances(model, features_LF, len(names))
        best_L = chances_LK.argmax(axis=1)
        residues = [Segment(names[rank], place, place) for place, rank in enumerate(best_L.tolist(), start=1)]
        reading = Reading(
            task.codec.canonical(residues, record),
            float(chances_LK.max(axis=1).mean()),
            "mean probability of the label, over residues",
        )
        answers.append(predicted(task, record, reading, "head"))
    return answers
