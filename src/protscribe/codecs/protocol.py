"""What a codec is, what it reads its answers from, and the tables of kinds.

A codec owns the language of one kind of answer. It is a frozen dataclass of plain values (its keywords stand
in a task's YAML), imports numpy at most, and gives, for a record: the symbols it needs, the grammar of its
answers, the tokens of an answer (:meth:`Codec.encode`) and the answer of tokens (:meth:`Codec.decode`). At
prediction it asks for one kind of *evidence* about the model's distribution and reads the answer of least
expected risk from it (:meth:`Codec.read`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from protscribe.grammar import Grammar
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Token

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Asks = Literal["first", "marginals", "digits", "inclusion", "draws", "greedy"]
"""Which evidence a codec reads by default.

``first``      the distribution of the first token
``marginals``  of every token of a dense answer, from one pass with the whole answer masked
``digits``     of a number, digit by digit
``inclusion``  for every token of an ascending domain, the probability that the answer contains it
``draws``      answers drawn from the model
``greedy``     the token by token most probable answer
"""


@dataclass(frozen=True)
class Encoded:
    """An answer as tokens, with the weight each carries in the loss (1 unless a residue is not to be scored).

    The end symbol is not part of it; it follows by itself and has weight 1.
    """

    tokens: tuple[Token, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, tokens: tuple[Token, ...]) -> Encoded:
        return cls(tokens, (1.0,) * len(tokens))


@dataclass(frozen=True)
class Greedy:
    """The constrained greedy answer and its log probability (natural, renormalised over allowed tokens).

    ``steps``, where it was asked for: the probability of each token after those before it.
    """

    tokens: tuple[Token, ...]
    log_probability: float
    steps: tuple[float, ...] | None = None


@dataclass(frozen=True)
class First:
    """``probabilities`` [n] over the tokens of the grammar's domain for the first token; sums to 1."""

    probabilities: Floats


@dataclass(frozen=True)
class Marginals:
    """``probabilities`` [length, n]: for each place of a dense answer, over the tokens of the domain; rows sum to 1."""

    probabilities: Floats


@dataclass(frozen=True)
class DigitTree:
    """A distribution over counts of steps, as bins: ``probabilities`` [n] of a count in ``first`` [n] .. ``last`` [n].

    Bins are disjoint and ascending, both ends belong to them, and the probabilities sum to 1. A bin of more than one count
    is a prefix of digits that was not followed further.
    """

    first: Integers
    last: Integers
    probabilities: Floats

    @classmethod
    def of_leading(cls, probabilities: Floats, most: int, places: int, base: int = 10) -> DigitTree:
        """From the joint distribution ``[base] * depth`` of the leading digits of numbers 0..``most`` of ``places`` digits."""
        span = base ** (places - probabilities.ndim)
        first = np.arange(probabilities.size, dtype=np.int64) * span
        possible = first <= most
        chances = probabilities.reshape(-1)[possible]
        return cls(first[possible], np.minimum(first + span - 1, most)[possible], chances / chances.sum())


@dataclass(frozen=True)
class Inclusion:
    """``probabilities`` [n] that the answer contains each token of the grammar's domain, and what they rest on.

    Averaged over ``draws`` sampled prefixes; ``standard_error`` [n] of that average; both ``None`` where every answer was
    followed and the probabilities are exact. Of paths in a tree the first one is followed (exactly, where no level has more
    inner nodes than are followed), and only later ones are averaged and have an error. ``greedy`` is the greedy answer.
    """

    probabilities: Floats
    standard_error: Floats | None
    draws: int | None
    greedy: Greedy


@dataclass(frozen=True)
class Draws:
    """Answers drawn independently from the constrained model, each of equal weight, beside the greedy one."""

    answers: tuple[tuple[Token, ...], ...]
    greedy: Greedy

    def standard_error(self, frequencies: Floats) -> Floats:
        """Of frequencies among the drawn answers; NaN where fewer than two were drawn."""
        count = len(self.answers)
        variances = frequencies * (1 - frequencies)
        errors: Floats = np.sqrt(variances / (count - 1)) if count > 1 else np.full_like(frequencies, np.nan)
        return errors


Evidence = Greedy | First | Marginals | DigitTree | Inclusion | Draws


class Bin(NamedTuple):
    """A number lies in ``low``..``high`` (both included, in the task's unit) with this ``probability``."""

    low: float
    high: float
    probability: float


@dataclass(frozen=True)
class Reading:
    """An answer read from evidence.

    ``score`` in 0..1 and ``score_meaning`` say how sure it is. ``probabilities`` by label, by residue, by token or by
    :class:`Bin` where the evidence has them; where they were estimated, ``standard_error`` in the same form and from how many
    ``draws``. ``lower`` and ``upper`` bound a number at ``interval_level``, ``quantiles`` are those of its distribution.
    """

    value: Any
    score: float
    score_meaning: str
    probabilities: Any = None
    lower: float | None = None
    upper: float | None = None
    interval_level: float | None = None
    standard_error: Any = None
    draws: int | None = None
    quantiles: Mapping[float, float] | None = None

    @classmethod
    def of_greedy(cls, value: Any, evidence: Greedy) -> Reading:
        """The greedy answer, scored by the probability of its whole string."""
        return cls(
            value, float(np.exp(evidence.log_probability)), "probability of the whole answer, as written"
        )


@dataclass(frozen=True)
class Readout:
    """What was chosen on validation data, beside the codec: stored in the bundle, one a task.

    ``threshold`` is the inclusion probability at which a member enters a set. ``statistic`` is ``"mean"`` or
    ``"median"`` for numbers. ``way`` is ``"risk"`` (least expected risk, the default) or ``"greedy"``.
    """

    threshold: float = 0.5
    statistic: Literal["mean", "median"] = "mean"
    way: Literal["risk", "greedy"] = "risk"
    level: float = 0.9


@runtime_checkable
class Codec(Protocol):
    """One kind of answer. Implementations are frozen dataclasses, one a file in this folder."""

    kind: ClassVar[str]
    """The name in YAML and in a bundle: ``category``, ``number``, ..."""

    @property
    def asks(self) -> Asks:
        """The evidence its default readout needs."""

    @property
    def dense(self) -> bool:
        """Whether token t answers for residue t (of candidates, for the t-th one): the decoder then sees that residue, and the
        marginal readout exists."""

    @property
    def chains(self) -> int:
        """How many chains a record must at least have."""

    @property
    def block(self) -> str:
        """The vocabulary block of its labels; a task fills in its own name where this is empty."""

    def blocks(self) -> tuple[Block, ...]:
        """The symbols it needs in the vocabulary."""

    def fill(self, cells: Iterable[Any]) -> Codec:
        """This codec with labels that its YAML left open (``labels: []``) taken from training cells, sorted.

        Returns itself where nothing is open.
        """

    def parse(self, cell: Any, record: ProteinRecord, base: int = 1) -> Any:
        """A typed answer from a table's cell; positions in the cell count from ``base`` (0 or 1).

        Raises :class:`~protscribe.errors.LabelError`. Never repairs a value silently.
        """

    def canonical(self, answer: Any, record: ProteinRecord) -> Any:
        """The one way this answer is written: what ``decode(encode(answer))`` gives."""

    def encode(self, answer: Any, record: ProteinRecord) -> Encoded:
        """The tokens of an answer. Raises :class:`~protscribe.errors.LabelError` where it does not fit the record."""

    def decode(self, tokens: tuple[Token, ...], record: ProteinRecord) -> Any:
        """The answer that complete tokens write."""

    def grammar(self, record: ProteinRecord) -> Grammar:
        """The language of this record's answers."""

    def read(self, evidence: Evidence, record: ProteinRecord, readout: Readout) -> Reading:
        """The answer of least expected risk under the evidence, or the greedy one where ``evidence`` is Greedy."""
