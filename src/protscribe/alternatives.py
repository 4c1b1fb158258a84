"""Several answers to one question, best first: what they are, and how they are shown. No torch."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

CANDIDATES = "candidates"
"""The readout of predictions that were chosen among given answers."""


@dataclass(frozen=True)
class Alternative:
    """One answer out of several.

    ``value`` is in human terms (positions are 1-based), ``text`` the same as a table's cell holds it. ``log_probability`` is
    the natural log of the probability that the model gives to the whole answer, among all answers that the task allows for this
    protein (and, where a prefix was given, that begin with it); ``probability`` is that probability. ``score`` is what the
    alternatives were ranked by: the log probability, divided by the length normalisation where a beam search has one.
    """

    value: Any
    probability: float
    log_probability: float
    score: float
    text: str = ""

    @classmethod
    def of(cls, value: Any, log_probability: float, score: float, text: str) -> Alternative:
        return cls(value, min(math.exp(log_probability), 1.0), log_probability, score, text)

    def __repr__(self) -> str:
        return f"<{_cut(self.text)}, probability {self.probability:.3g}, log probability {self.log_probability:.4g}>"


class Alternatives(tuple[Alternative, ...]):
    """Distinct answers, best first: a tuple that shows itself as a table."""

    __slots__ = ()

    @property
    def mass(self) -> float:
        """The probability that the answer is one of these."""
        return math.fsum(one.probability for one in self)

    def to_frame(self) -> DataFrame:
        """One row an alternative: ``rank`` (from 1), ``value``, ``probability``, ``log_probability``, ``score``."""
        import pandas

        rows = [
            (rank, one.value, one.probability, one.log_probability, one.score)
            for rank, one in enumerate(self, start=1)
        ]
        return pandas.DataFrame(rows, columns=["rank", "value", "probability", "log_probability", "score"])

    def _rows(self) -> Iterable[tuple[str, str, str, str]]:
        for rank, one in enumerate(self, start=1):
            yield str(rank), f"{one.probability:.3g}", f"{one.log_probability:.2f}", _cut(one.text)

    def __repr__(self) -> str:
        rows = [HEAD, *self._rows()]
        widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
        lines = (
            "  ".join([*(f"{c:>{w}}" for c, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows
        )
        return "\n".join([*lines, f"({self.mass:.3g} of the probability in all)"])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{self.mass:.3g} of the probability in all</p>"
        )


HEAD = ("rank", "probability", "log", "answer")


def _cut(text: str, most: int = 80) -> str:
    if not text:
        return "(empty)"
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
