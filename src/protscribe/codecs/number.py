"""A measured quantity: stability, melting temperature, affinity."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from protscribe.codecs.labels import where
from protscribe.codecs.protocol import Asks, Bin, DigitTree, Encoded, Evidence, Greedy, Reading, Readout
from protscribe.errors import LabelError, TaskError
from protscribe.grammar import Digits, Symbols
from protscribe.records import ProteinRecord
from protscribe.vocabulary import DIGIT_BLOCK, Block, Symbol, Token

BASE = 10

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels at which a number's distribution is told beside its bins."""


@dataclass(frozen=True)
class Number:
    """A number in ``low``..``high`` (both included), in ``unit``, to the nearest ``step``.

    It is written as the count of steps above ``low``, in as many decimal digits as the range needs, most significant
    first; the grammar forbids anything above ``high``. It is read as the mean (least squared error) or the median (least
    absolute error) of the distribution over its digits, with a central interval: ``depth`` leading digits exactly,
    the rest along the most probable prefixes. Labels outside the range are errors, never clipped.
    """

    kind: ClassVar[str] = "number"
    dense: ClassVar[bool] = False
    chains: ClassVar[int] = 1
    asks: ClassVar[Asks] = "digits"

    low: float
    high: float
    step: float
    unit: str = ""
    depth: int = 2
    block: str = DIGIT_BLOCK

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise TaskError(
                "task.range", f"a number needs finite low < high, got low={self.low}, high={self.high}"
            )
        if not (math.isfinite(self.step) and 0 < self.step <= self.high - self.low):
            raise TaskError("task.range", f"step must lie in 0..{self.high - self.low}, got {self.step}")
        if self.depth < 1:
            raise TaskError("task.range", f"depth must be at least 1, got {self.depth}")

    @cached_property
    def most(self) -> int:
        """The largest count of steps."""
        return round((self.high - self.low) / self.step)

    @property
    def places(self) -> int:
        return len(str(self.most))

    @property
    def read_depth(self) -> int:
        """How many leading digits the readout follows in full."""
        return min(self.depth, self.places)

    def blocks(self) -> tuple[Block, ...]:
        return (Block(self.block, tuple(str(digit) for digit in range(BASE))),)

    def fill(self, cells: Iterable[Any]) -> Number:
        return self

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> float:
        if isinstance(cell, bool) or not isinstance(cell, (str, numbers.Real)):
            raise LabelError("label.type", f"expected a number, got {cell!r}", where(record))
        try:
            # Python also reads "1_000" and digits of other scripts, which no table means as a number.
            if isinstance(cell, str) and not (cell.isascii() and "_" not in cell):
                raise ValueError(cell)
            value = float(cell)
        except ValueError:
            raise LabelError(
                "label.type", f"expected a number such as -1.5, got {cell!r}", where(record)
            ) from None
        except OverflowError:
            value = math.inf
        return self._checked(value, record)

    def _checked(self, value: float, record: ProteinRecord) -> float:
        if math.isnan(value):
            raise LabelError("label.nan", "the label is not a number (NaN)", where(record))
        if math.isinf(value):
            raise LabelError("label.not_finite", f"the label is {value}", where(record))
        if not self.low <= value <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise LabelError(
                "label.range",
                f"{value}{unit} lies outside the declared range {self.low}..{self.high}",
                where(record),
            )
        return value

    def value_of(self, steps: int | float) -> float:
        """The quantity that a count of steps stands for, free of binary noise; a last step may be a short one."""
        return min(max(float(f"{self.low + steps * self.step:.12g}"), self.low), self.high)

    def canonical(self, answer: float, record: ProteinRecord) -> float:
        return self.value_of(self._steps(answer))

    def _steps(self, answer: float) -> int:
        return min(round((answer - self.low) / self.step), self.most)

    def encode(self, answer: float, record: ProteinRecord) -> Encoded:
        steps = self._steps(self._checked(float(answer), record))
        return Encoded.of(tuple(Symbol(self.block, digit) for digit in str(steps).zfill(self.places)))

    def near(self, answer: float, distance: float) -> float:
        """The number that far above ``answer`` (below, where negative), or the end of the range."""
        return min(max(answer + distance, self.low), self.high)

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> float:
        return self.value_of(int("".join(token.text for token in tokens if isinstance(token, Symbol))))

    def grammar(self, record: ProteinRecord) -> Digits:
        return Digits(Symbols(self.blocks()[0].symbols()), tuple(int(digit) for digit in str(self.most)))

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        if isinstance(evidence, Greedy):
            return Reading.of_greedy(self.decode(evidence.tokens, record), evidence)
        assert isinstance(evidence, DigitTree)
        first, last, chances = evidence.first, evidence.last, evidence.probabilities
        centre = (first + last) / 2
        below = np.cumsum(chances)

        def quantile(level: float) -> int:
            return min(int(np.searchsorted(below, level * below[-1] - 1e-12)), len(chances) - 1)

        tail = (1 - readout.level) / 2
        lower, upper = first[quantile(tail)], last[quantile(1 - tail)]
        steps = (
            float(centre[quantile(0.5)])
            if readout.statistic == "median"
            else float(chances @ centre / below[-1])
        )
        return Reading(
            value=self.value_of(steps),
            score=float(1 - (upper - lower) / self.most),
            score_meaning=f"share of the declared range outside the central {readout.level:.0%} interval",
            lower=self.value_of(int(lower)),
            upper=self.value_of(int(upper)),
            interval_level=readout.level,
            probabilities=tuple(
                Bin(self.value_of(low), self.value_of(high), chance)
                for low, high, chance in zip(first.tolist(), last.tolist(), chances.tolist(), strict=True)
            ),
            quantiles={level: self.value_of(float(centre[quantile(level)])) for level in QUANTILES},
        )
