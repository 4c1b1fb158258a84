"""Calibrated probabilities: one logistic map a task, so that what is said with 80% is right eight times in ten.

The map is ``logit p' = slope * logit p + offset``. Each kind of evidence has the form of it that keeps its probabilities
consistent; what is greedy or drawn stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any

import numpy as np

from protscribe.codecs.protocol import Codec, DigitTree, Evidence, First, Floats, Inclusion, Marginals
from protscribe.errors import nearest

FURTHEST = 1e-9
"""Probabilities nearer to 0 or 1 than this are moved as if they were this near."""

CALIBRATED_KINDS = ("category", "category_set", "category_path", "number", "residue_labels", "residue_set")
"""Kinds of answer with probabilities that a map can be applied to, however they are written."""


def can_be_calibrated(codec: Codec) -> bool:
    """Whether a map can be applied to an answer's probabilities: those of drawn answers are shares of draws, and stay."""
    return codec.kind in CALIBRATED_KINDS or (codec.kind == "segments" and codec.dense)


@dataclass(frozen=True)
class Calibration:
    """A task's map, fitted on ``rows`` held-out proteins. ``1 / slope`` is a temperature.

    Of classes and labels of residues (:class:`First`, :class:`Marginals`) the logarithms are multiplied by ``slope`` and
    renormalised, with ``offset`` 0: temperature scaling (Guo and others 2017), after which the same label is the likeliest.
    Of members of sets (:class:`Inclusion`) each probability is mapped by itself, with both numbers (Platt 1999), since a
    member that is seldom written out may have a probability that is too low throughout. Of numbers (:class:`DigitTree`) the
    cumulative distribution is mapped (Kuleshov and others 2018, with another map), which sets its width and its bias right.
    """

    slope: float = 1.0
    offset: float = 0.0
    rows: int = 0

    def __post_init__(self) -> None:
        numbers = (self.slope, self.offset)
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers):
            raise TypeError(f"slope and offset must be numbers, got {numbers}")
        if not (all(map(isfinite, numbers)) and 0 < self.slope <= 100 and abs(self.offset) <= 100):
            raise ValueError(
                f"slope must be above 0 and at most 100, offset at most 100 from 0, got {numbers}"
            )
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or self.rows < 0:
            raise ValueError(f"rows must be a whole number, got {self.rows!r}")

    @property
    def temperature(self) -> float:
        return 1 / self.slope

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        known = {field.name for field in fields(cls)}
        for name in plain:
            if name not in known:
                raise ValueError(f"a calibration has no {name!r}; {nearest(str(name), known)}")
        return cls(**plain)

    def of_member(self, probabilities: Floats) -> Floats:
        """Single probabilities, such as those of members of sets, or a threshold for them; any shape."""
        logits = self.slope * logit(probabilities) + self.offset
        return sigmoid(logits)

    def of_choice(self, probabilities: Floats) -> Floats:
        """Distributions over choices, along the last axis."""
        logs = self.slope * np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
        weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
        chances: Floats = weights / weights.sum(axis=-1, keepdims=True)
        return chances

    def of_ordered(self, probabilities: Floats) -> Floats:
        """A distribution over ascending bins [n], by its cumulative distribution."""
        inner = np.cumsum(probabilities)[:-1] / probabilities.sum()
        below = np.concatenate([[0.0], np.maximum.accumulate(self.of_member(inner)), [1.0]])
        chances: Floats = np.diff(below)
        return chances


def calibrate(evidence: Evidence, calibration: Calibration) -> Evidence:
    """Evidence with calibrated probabilities; greedy and drawn answers as they are."""
    if isinstance(evidence, First):
        return First(calibration.of_choice(evidence.probabilities))
    if isinstance(evidence, Marginals):
        return Marginals(calibration.of_choice(evidence.probabilities))
    if isinstance(evidence, DigitTree):
        return replace(evidence, probabilities=calibration.of_ordered(evidence.probabilities))
    if isinstance(evidence, Inclusion):
        before = evidence.probabilities
        after = calibration.of_member(before)
        error = evidence.standard_error
        if error is not None:
            # To first order: how steep the map is at each probability.
            clipped = np.clip(before, FURTHEST, 1 - FURTHEST)
            error = error * calibration.slope * after * (1 - after) / (clipped * (1 - clipped))
        return replace(evidence, probabilities=after, standard_error=error)
    return evidence


def logit(probabilities: Floats) -> Floats:
    """``log(p / (1 - p))``, finite also at 0 and 1."""
    clipped = np.clip(probabilities, FURTHEST, 1 - FURTHEST)
    logits: Floats = np.log(clipped) - np.log1p(-clipped)
    return logits


def sigmoid(logits: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    return chances
