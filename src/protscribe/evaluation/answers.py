"""Answers side by side with truths, and the (true, predicted) pairs that each protein contributes to a metric."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Codec
from protscribe.codecs.segments import painted
from protscribe.evaluation.measures.hierarchy import Hierarchy
from protscribe.evaluation.truths import is_written
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Symbol

Tally = Counter[tuple[Any, Any]]
"""How often each (true, predicted) pair occurs in one protein."""

MISSING = "<missing>"
"""What a missing answer says wherever one label was wanted: a label that is nowhere true."""


@dataclass(frozen=True)
class Answers:
    """Truths and predictions of one task, protein by protein; ``None`` is a missing prediction.

    A truth may hold labels that the task has no symbol for (see :mod:`protscribe.evaluation.truths`): each is a miss.
    ``hierarchy`` says, where one is given, which labels of a set stand above which.
    """

    task: Task
    truths: Sequence[Any]
    predictions: Sequence[Prediction | None]
    records: Sequence[ProteinRecord]
    hierarchy: Hierarchy | None = None

    @property
    def codec(self) -> Codec:
        return self.task.codec

    def __iter__(self) -> Iterator[tuple[Any, Prediction | None, ProteinRecord]]:
        return zip(self.truths, self.predictions, self.records, strict=True)

    def rows(self, rows: Sequence[int]) -> Answers:
        """The answers of some rows."""
        return Answers(
            self.task,
            [self.truths[row] for row in rows],
            [self.predictions[row] for row in rows],
            [self.records[row] for row in rows],
            self.hierarchy,
        )

    def spelt(self, truth: Any, record: ProteinRecord) -> Any:
        """A truth in its one spelling; one that the task cannot write stays as it is, and equals no answer."""
        return self.codec.canonical(truth, record) if is_written(self.codec, truth, record) else truth

    def nodes(self, answer: Iterable[str]) -> set[str]:
        """The labels of a set with all above them: of paths every node on the way, of others what a hierarchy says."""
        labels = set(answer)
        if self.codec.kind == "category_path":
            separator = self.codec.separator  # type: ignore[attr-defined]
            levels = (label.split(separator) for label in labels)
            return {separator.join(path[:depth]) for path in levels for depth in range(1, len(path) + 1)}
        return labels if self.hierarchy is None else self.hierarchy.closed(labels)

    def chances(self, prediction: Prediction) -> Mapping[str, float]:
        """Probabilities by label or node; where a prediction has none, those it holds have probability 1."""
        chances = prediction.probabilities
        if not chances:
            return dict.fromkeys(self.nodes(prediction.value), 1.0)
        found: Mapping[str, float] = chances if self.hierarchy is None else self.hierarchy.raised(chances)
        return found


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
        tally: Tally = Counter(zip(truth, filled(predicted, len(truth)), strict=True))
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
        tallies.append(Counter(zip(filled(wanted, length, None), filled(found, length), strict=True)))
    return tallies


def segment_residues(answers: Answers) -> list[Tally]:
    """One pair a residue: the labels of the segments it lies in."""
    tallies: list[Tally] = []
    for truth, prediction, _ in answers:
        wanted = painted(truth)
        found = [] if prediction is None else painted(prediction.value)
        tallies.append(Counter(zip(wanted, filled(found, len(wanted)), strict=True)))
    return tallies


def filled(items: Sequence[str], length: int, fill: str | None = MISSING) -> list[str | None]:
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


def near_boundaries(answers: Answers, tolerance: int) -> list[Tally]:
    """The same, a true boundary being found by a predicted one at most ``tolerance`` residues away, each at most once."""
    tallies = []
    for truth, prediction, _ in answers:
        wanted, found = (
            _by_sides(part) for part in (truth, None if prediction is None else prediction.value)
        )
        tallies.append(_near(wanted, None if prediction is None else found, tolerance))
    return tallies


def _by_sides(segments: Sequence[Any] | None) -> dict[tuple[str, str], list[int]]:
    places: dict[tuple[str, str], list[int]] = {}
    for place, before, after in sorted(_boundaries(segments or ())):
        places.setdefault((before, after), []).append(place)
    return places


def near_sites(answers: Answers, tolerance: int) -> list[Tally]:
    """Right calls, misses and false calls of residues, called at most ``tolerance`` residues away, each at most once."""
    return [
        _near({"": list(truth)}, None if prediction is None else {"": list(prediction.value)}, tolerance)
        for truth, prediction, _ in answers
    ]


def _near(wanted: Mapping[Any, Sequence[int]], found: Mapping[Any, Sequence[int]] | None, most: int) -> Tally:
    true = sum(map(len, wanted.values()))
    if found is None:
        return _overlap(set(range(true)), None)
    right = sum(matched(places, found.get(sides, ()), most) for sides, places in wanted.items())
    tally = {(1, 1): right, (1, 0): true - right, (0, 1): sum(map(len, found.values())) - right}
    return Counter({pair: count for pair, count in tally.items() if count})


def matched(wanted: Sequence[int], found: Sequence[int], most: int) -> int:
    """How many pairs, one of each and at most ``most`` apart, can be made at once; each residue is in one pair.

    From the left, the first that can be paired are: with one tolerance for all no other choice makes more pairs.
    """
    count = place = 0
    rest = sorted(found)
    for position in sorted(wanted):
        while place < len(rest) and rest[place] < position - most:
            place += 1
        if place < len(rest) and rest[place] <= position + most:
            count, place = count + 1, place + 1
    return count


def labels_of(codec: Codec) -> tuple[str, ...]:
    """The labels or nodes of a task that answers with a set of them, in declared order."""
    (block,) = codec.blocks()
    return tuple(token.text for token in block.symbols() if isinstance(token, Symbol))


def levels(answers: Answers, depth: int) -> list[bool]:
    """Whether each answer is right down to a level: equal sets of paths cut after ``depth`` levels."""
    separator = answers.codec.separator  # type: ignore[attr-defined]

    def cut(paths: Iterable[str]) -> set[str]:
        return {separator.join(path.split(separator)[:depth]) for path in paths}

    return [
        prediction is not None and cut(truth) == cut(prediction.value) for truth, prediction, _ in answers
    ]


def candidate_indices(codec: Codec, record: ProteinRecord) -> NDArray[np.int64]:
    """The residues, 0-based, that an answer of a ``residue_set`` may hold."""
    return np.array(codec.indices(record), dtype=np.int64)  # type: ignore[attr-defined]
