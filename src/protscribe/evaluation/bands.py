"""The main metric in parts of a test: by length, by training rows with the label, by the nearest training protein."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from protscribe.data.examples import Example
from protscribe.evaluation.answers import Answers
from protscribe.evaluation.leakage import BANDS as IDENTITY_BANDS
from protscribe.evaluation.leakage import Audit
from protscribe.evaluation.metrics import Interval, metric_of, resample
from protscribe.evaluation.units import numbered
from protscribe.homology import can_search

log = logging.getLogger(__name__)

Division = Literal["length", "label_frequency", "identity"]
DIVISIONS: tuple[Division, ...] = get_args(Division)

LENGTHS = (0, 15, 30, 50, 100, 200, 400, 800, 1600)
"""Where bands of length begin, in residues of the longest chain."""
FREQUENCIES = (0, 1, 10, 100, 1000)
"""Where bands of training rows with a label begin; of a set, its rarest label counts."""

Named = list[str | None]
"""The band of each test row; ``None`` is in none."""


@dataclass(frozen=True)
class Band:
    """One part of the test rows: ours with an interval, and the value of every method."""

    name: str
    count: int
    ours: Interval
    methods: Mapping[str, float]


def find_bands(
    divisions: Sequence[Division],
    train: Sequence[Example],
    test: Sequence[Example],
    kind: str,
    audit: Audit | None = None,
) -> tuple[dict[str, Named], list[str]]:
    """The band of each test row in each division, and sentences about the divisions that cannot be made.

    ``audit`` is that of the test rows among the training rows, ``None`` where there was none.
    """
    found: dict[str, Named] = {}
    left_out = []
    if "length" in divisions:
        lengths = [max(example.record.lengths) for example in test]
        found["length"] = [_between(length, LENGTHS) for length in lengths]
    if "label_frequency" in divisions and kind in LABELLED and train:
        found["label_frequency"] = _frequencies(train, test, kind)
    if "identity" in divisions and train:
        if audit is not None:
            found["identity"] = [_identity(value) for value in audit.identities.tolist()]
        else:
            needs = "audit=true" if can_search() else "pip install 'protscribe[homology]'"
            left_out.append(f"no bands by identity to training: that needs {needs}")
    return found, left_out


LABELLED = ("category", "category_set", "category_path")


def _frequencies(train: Sequence[Example], test: Sequence[Example], kind: str) -> Named:
    def labels(answer: Any) -> Sequence[str]:
        return (answer,) if kind == "category" else answer

    counts = Counter(label for example in train for label in set(labels(example.answer)))
    return [
        _between(min(counts[label] for label in labels(example.answer)), FREQUENCIES)
        if labels(example.answer)
        else None
        for example in test
    ]


def _between(value: int, starts: Sequence[int]) -> str:
    place = int(np.searchsorted(starts, value, side="right")) - 1
    low = starts[place]
    if place + 1 == len(starts):
        return f"{low:,} or more"
    high = starts[place + 1] - 1
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _identity(value: float) -> str:
    return next(name for name, low, high in IDENTITY_BANDS if low <= value < high)


def judge_bands(
    bands: Mapping[str, Named],
    metric: str,
    judged: Mapping[str, Answers],
    ours: str,
    *,
    resamples: int,
    seed: int,
    level: float,
    groups: Sequence[int],
) -> dict[str, tuple[Band, ...]]:
    """The metric in every band that holds a test row, in the order of the bands."""
    found = {}
    for division, names in bands.items():
        parts = []
        for name in sorted({name for name in names if name is not None}, key=_rank(division)):
            rows = [row for row, band in enumerate(names) if band == name]
            part = {method: answers.rows(rows) for method, answers in judged.items()}
            drawn = resample(
                metric,
                part[ours],
                resamples=resamples,
                seed=seed,
                groups=numbered(groups[row] for row in rows),
            )
            every = np.ones(len(rows), dtype=np.int64)
            values = {
                method: drawn.value
                if method == ours
                else metric_of(metric, answers.codec.kind).prepare(answers)(every)
                for method, answers in part.items()
            }
            parts.append(Band(name, len(rows), drawn.interval(level), values))
        found[division] = tuple(parts)
    return found


def _rank(division: str) -> Callable[[str], float]:
    if division == "identity":
        order = [name for name, _, _ in IDENTITY_BANDS]
        return lambda name: order.index(name)
    return lambda name: float(name.split("-")[0].split(" ")[0].replace(",", ""))
