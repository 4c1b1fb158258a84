"""What any predictor must beat first: the answer that looks at no protein. And what all baselines share.

Which others there are stands in ``protscribe.evaluation.rivals.choice``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import (
    Codec,
    Evidence,
    First,
    Greedy,
    Inclusion,
    Marginals,
    Reading,
    Readout,
)
from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.errors import TaskError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.metrics import better, decision_metric, evaluate_task
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Symbol

Guess = Callable[[ProteinRecord], Reading]

ALL, NONE = Readout(threshold=0.0), Readout(threshold=1.1)
"""Readouts that take every candidate, and none."""

MOST_JUDGED = 2000
"""Training proteins on which two simple answers are compared."""


def majority(task: Task, train: Sequence[Example], records: Sequence[ProteinRecord]) -> list[Prediction]:
    """The answer of least loss that looks at no protein, learned from training answers, for every record.

    The most frequent class, label set, set of paths or short text; the mean (the median where the task is judged by mean
    absolute error) of numbers; the most frequent label or token at every residue; for sites, all candidate
    residues or none, whichever is better on training data, with each residue type's share of sites as probability; for residue
    pairs, all at the most frequent distance or none; one segment of the most frequent label. Raises :class:`TaskError`
    ``task.no_data`` without training examples.
    """
    if not train:
        raise TaskError("task.no_data", f"task {task.name!r}: a baseline needs training examples")
    guess = _GUESSES[task.codec.kind](task, train)
    return [predicted(task, record, guess(record), "majority") for record in records]


def predicted(task: Task, record: ProteinRecord, reading: Reading, readout: str) -> Prediction:
    """A reading as the prediction of a baseline."""
    return task.prediction(record, reading, readout=readout)


def included(probabilities: NDArray[Any]) -> Inclusion:
    """Inclusion probabilities that come from no draws."""
    return Inclusion(probabilities, np.zeros(len(probabilities)), 0, Greedy((), 0.0))


def domain_texts(codec: Codec, record: ProteinRecord) -> list[str]:
    """The texts of the symbols of an answer's domain, in its order."""
    domain = codec.grammar(record).domain  # type: ignore[union-attr]
    return [token.text for token in domain.tokens() if isinstance(token, Symbol)]


def written(codec: Codec, example: Example) -> set[str]:
    """The texts of the symbols that write an answer: with all nodes above, where it is a path."""
    tokens = codec.encode(example.answer, example.record).tokens
    return {token.text for token in tokens if isinstance(token, Symbol)}


def _read(codec: Codec, evidence: Callable[[ProteinRecord], Evidence], readout: Readout = ALL) -> Guess:
    return lambda record: codec.read(evidence(record), record, readout)


def _shares(counts: Mapping[Any, int], names: Sequence[Any]) -> NDArray[np.float64]:
    table = np.array([counts.get(name, 0) for name in names], dtype=np.float64)
    shares: NDArray[np.float64] = table / max(table.sum(), 1)
    return shares


def _category(task: Task, train: Sequence[Example]) -> Guess:
    shares = _shares(Counter(example.answer for example in train), task.codec.labels)  # type: ignore[attr-defined]
    return _read(task.codec, lambda record: First(shares))


def _commonest(train: Sequence[Example], codec: Codec) -> tuple[Any, float]:
    """The most frequent whole answer (the first of equals) and its share."""
    counts = Counter(codec.canonical(example.answer, example.record) for example in train)
    answer, count = counts.most_common(1)[0]
    return answer, count / len(train)


def _label_set(task: Task, train: Sequence[Example]) -> Guess:
    answer, share = _commonest(train, task.codec)
    counts = Counter(label for example in train for label in written(task.codec, example))
    names = domain_texts(task.codec, train[0].record)
    chances = {name: counts[name] / len(train) for name in names}
    reading = Reading(answer, share, "share of this answer in training", probabilities=chances)
    return lambda record: reading


def _number(task: Task, train: Sequence[Example]) -> Guess:
    values = [example.answer for example in train]
    value = float(np.median(values) if decision_metric(task) == "mae" else np.mean(values))
    reading = Reading(value, 0.0, "the same for every protein")
    return lambda record: reading


def _dense(task: Task, train: Sequence[Example]) -> Guess:
    """Residue labels, and texts of one token a residue. Residues that are not scored carry no weight."""
    counts: Counter[str] = Counter()
    for example in train:
        encoded = task.codec.encode(example.answer, example.record)
        weighted = zip(encoded.tokens, encoded.weights, strict=True)
        counts.update(token.text for token, weight in weighted if weight and isinstance(token, Symbol))
    shares = _shares(counts, domain_texts(task.codec, train[0].record))
    chain = getattr(task.codec, "chain", 1) - 1
    return _read(task.codec, lambda record: Marginals(np.tile(shares, (record.lengths[chain], 1))))


def _text(task: Task, train: Sequence[Example]) -> Guess:
    if task.codec.dense:
        return _dense(task, train)
    answer, share = _commonest(train, task.codec)
    reading = Reading(answer, share, "share of this answer in training")
    return lambda record: reading


def _sites(task: Task, train: Sequence[Example]) -> Guess:
    codec = task.codec
    chain = codec.chains - 1
    seen, marked = Counter[str](), Counter[str]()
    for example in train:
        residues = example.record.chains[chain]
        seen.update(residues[index] for index in candidate_indices(codec, example.record))
        marked.update(residues[position - 1] for position in example.answer)
    rates = {letter: marked[letter] / count for letter, count in seen.items()}

    def evidence(record: ProteinRecord) -> Inclusion:
        residues = record.chains[chain]
        return included(
            np.array([rates.get(residues[i], 0.0) for i in candidate_indices(codec, record)], dtype=float)
        )

    return _better(task, train, _read(codec, evidence, ALL), _read(codec, evidence, NONE))


def _segments(task: Task, train: Sequence[Example]) -> Guess:
    counts: Counter[str] = Counter()
    for example in train:
        for label, start, end in example.answer:
            counts[label] += end - start + 1
    label, count = counts.most_common(1)[0]
    share = count / counts.total()
    chain = task.codec.chains - 1
    return lambda record: Reading(
        (Segment(label, 1, record.lengths[chain]),), share, "share of this label in training"
    )


def _pairs(task: Task, train: Sequence[Example]) -> Guess:
    counts = Counter(second - first for example in train for first, second in example.answer)
    distance = counts.most_common(1)[0][0] if counts else 0
    meaning = "the same rule for every protein"

    def diagonal(record: ProteinRecord) -> Reading:
        grammar = task.codec.grammar(record)
        rows = range(1, record.lengths[0] + 1)
        pairs = [(row, row + distance) for row in rows if 1 <= row + distance <= grammar.columns]  # type: ignore[union-attr]
        return Reading(tuple(pairs[: grammar.high]), 0.0, meaning)  # type: ignore[union-attr]

    return _better(task, train, diagonal, lambda record: Reading((), 0.0, meaning))


def _better(task: Task, train: Sequence[Example], first: Guess, second: Guess) -> Guess:
    """The better one of two on training data; the second one where they are as good."""
    judged = train[:MOST_JUDGED]
    metric = decision_metric(task)
    records = [example.record for example in judged]
    truths = [example.answer for example in judged]
    values = []
    for guess in (first, second):
        predictions = [predicted(task, record, guess(record), "majority") for record in records]
        values.append(evaluate_task(task, truths, predictions, records, metrics=[metric])[metric])
    return first if better(metric)(*values) else second


_GUESSES: dict[str, Callable[[Task, Sequence[Example]], Guess]] = {
    "category": _category,
    "category_set": _label_set,
    "category_path": _label_set,
    "number": _number,
    "residue_labels": _dense,
    "residue_set": _sites,
    "segments": _segments,
    "residue_pairs": _pairs,
    "sequence": _text,
}
