"""Answers side by side with truths, and the (true, predicted) pairs that each protein contributes to a metric."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Codec
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task

Tally = Counter[tuple[Any, Any]]
"""How often each (true, predicted) pair occurs in one protein."""

MISSING = "<missing>"
"""What a missing answer says wherever one label was wanted: a label that is nowhere true."""


@dataclass(frozen=True)
class Answers:
    """Truths and predictions of one task, protein by protein; ``None`` is a missing prediction."""

    task: Task
    truths: Sequence[Any]
    predictions: Sequence[Prediction | None]
    records: Sequence[ProteinRecord]

    @property
    def codec(self) -> Codec:
        return self.task.codec

    def __iter__(self) -> Iterator[tuple[Any, Prediction | None, ProteinRecord]]:
        return zip(self.truths, self.predictions, self.records, strict=True)


# Pairs of a true and a predicted label ------------------------------------------------------------------------------------


def classes(answers: Answers) -> list[Tally]:
    """One pair a protein: its class."""
    return [
        Counter({(truth, MISSING if prediction is None else prediction.value): 1})
        for truth, prediction, _ in answers
    ]


def residues(answers: Answers) -> list[Tally]:
    """One pair a scored residue; what a true answer marks as unscored is left out."""
    unscored = getattr(answers.codec, "unscored", "")
    tallies = []
    for truth, prediction, _ in answers:
        predicted = "" if prediction is None else prediction.value
        tally: Tally = Counter(zip(truth, _filled(predicted, len(truth)), strict=True))
        tallies.append(
            Counter({pair: count for pair, count in tally.items() if pair[0] != unscored or not unscored})
        )
    return tallies


def tokens(answers: Answers) -> list[Tally]:
    """One pair a place of a text; the shorter text is filled up with what is nowhere true."""
    tallies: list[Tally] = []
    for truth, prediction, record in answers:
        wanted = [token.text for token in answers.codec.encode(truth, record).tokens]  # type: ignore[union-attr]
        found: list[str] = []
        if prediction is not None:
            found = [token.text for token in answers.codec.encode(prediction.value, prediction.record).tokens]  # type: ignore[union-attr]
        length = max(len(wanted), len(found))
        tallies.append(Counter(zip(_filled(wanted, length, None), _filled(found, length), strict=True)))
    return tallies


def segment_residues(answers: Answers) -> list[Tally]:
    """One pair a residue: the labels of the segments it lies in."""
    tallies: list[Tally] = []
    for truth, prediction, _ in answers:
        wanted = _painted(truth)
        found = [] if prediction is None else _painted(prediction.value)
        tallies.append(Counter(zip(wanted, _filled(found, len(wanted)), strict=True)))
    return tallies


def _painted(segments: Iterable[Any]) -> list[str]:
    return [label for label, start, end in segments for _ in range(end - start + 1)]


def _filled(items: Sequence[str], length: int, fill: str | None = MISSING) -> list[str | None]:
    kept = list(items[:length])
    return [*kept, *[fill] * (length - len(kept))]


# Pairs of truth values: is it a member, is it called one --------------------------------------------------------------------


def _overlap(wanted: set[Any], found: set[Any] | None, others: int | None = None) -> Tally:
    """Right calls, misses and false calls; with the number of ``others``, what is no member and was not called.

    A missing answer misses every member and calls one that is none, so that it is wrong whatever the truth is.
    """
    if found is None:
        right, missed, false_calls = 0, len(wanted), 1 if others is None else min(others, 1)
    else:
        right = len(wanted & found)
        missed, false_calls = len(wanted) - right, len(found) - right
    silent = 0 if others is None else max(others - false_calls, 0)
    tally = {(1, 1): right, (1, 0): missed, (0, 1): false_calls, (0, 0): silent}
    return Counter({pair: count for pair, count in tally.items() if count})


def sites(answers: Answers) -> list[Tally]:
    """One pair a candidate residue."""
    tallies = []
    for truth, prediction, record in answers:
        wanted = set(truth)
        found = None if prediction is None else set(prediction.value)
        tallies.append(_overlap(wanted, found, len(candidate_indices(answers.codec, record)) - len(wanted)))
    return tallies


def residue_pairs(answers: Answers) -> list[Tally]:
    """One pair of truth values a residue pair that is true or called; the many that are neither are not counted."""
    return [
        _overlap(set(truth), None if prediction is None else set(prediction.value))
        for truth, prediction, _ in answers
    ]


def boundaries(answers: Answers) -> list[Tally]:
    """One pair a boundary between segments: the last residue before it and the labels on both sides."""
    return [
        _overlap(_boundaries(truth), None if prediction is None else _boundaries(prediction.value))
        for truth, prediction, _ in answers
    ]


def _boundaries(segments: Sequence[Any]) -> set[tuple[int, str, str]]:
    return {(before[2], before[0], after[0]) for before, after in itertools.pairwise(segments)}


def candidate_indices(codec: Codec, record: ProteinRecord) -> NDArray[np.int64]:
    """The residues, 0-based, that an answer of a ``residue_set`` may hold."""
    return np.array(codec.grammar(record).domain.indices, dtype=np.int64)  # type: ignore[union-attr]
