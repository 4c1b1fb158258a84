"""Which residues of a protein are hidden from the encoder that must restore them.

Masked language modelling (Devlin et al. 2019), with single residues as for ESM (Rives et al. 2021,
https://doi.org/10.1073/pnas.2016239118) or with spans as for SpanBERT (Joshi et al. 2020): neighbours hidden together cannot
be guessed from each other. Pure numpy.

Shape legend: N proteins, L residues (padded).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protscribe.alphabet import RESIDUES
from protscribe.errors import ConfigError

STANDARD = 20
"""The first so many residue ids are the standard amino acids: they alone are hidden and asked for."""
HIDDEN = RESIDUES.index("X")
"""What stands in place of a hidden residue. X means "any residue" in real sequences too, so that the encoder needs no letter
of its own for it, and learns what to make of the X that users have."""
UNASKED = -100
"""The target of a residue that is not asked for; what ``torch.nn.functional.cross_entropy`` ignores by default."""


class Masked(NamedTuple):
    """Residue ids as the encoder sees them, and the ids to restore, :data:`UNASKED` elsewhere. Both ``[N, L]`` int64."""

    residues_NL: NDArray[np.int64]
    targets_NL: NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """``share`` (0..1) of the residues is asked for, one by one (``"single"``) or in ``"span"`` s of mean length ``span``.

    Of what is asked for, ``shown`` stays as it is, ``swapped`` is replaced by a random residue, the rest by X.
    """

    kind: Literal["single", "span"] = "span"
    share: float = 0.15
    span: float = 3.0
    longest_span: int = 10
    swapped: float = 0.1
    shown: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("single", "span"):
            raise ConfigError("config.value", f"masking: kind must be 'single' or 'span', got {self.kind!r}")
        for name, good in (
            ("share", 0 < self.share < 1),
            ("span", 1 <= self.span <= self.longest_span),
            ("swapped", 0 <= self.swapped <= 1),
            ("shown", 0 <= self.shown <= 1 - self.swapped),
        ):
            if not good:
                raise ConfigError("config.value", f"masking: {name} is out of range: {getattr(self, name)}")

    def apply(self, residues_NL: NDArray[np.int64], draw: np.random.Generator) -> Masked:
        """Hides residues of a padded batch. A function of its arguments; padding is neither hidden nor asked for."""
        asked_NL = self._choose(residues_NL.shape, draw) & (residues_NL < STANDARD)
        targets_NL = np.where(asked_NL, residues_NL, UNASKED)
        chance_NL = draw.random(residues_NL.shape)
        random_NL = draw.integers(0, STANDARD, residues_NL.shape)
        hidden_NL = np.where(chance_NL < self.swapped, random_NL, HIDDEN)
        seen_NL = np.where(asked_NL & (chance_NL < 1 - self.shown), hidden_NL, residues_NL)
        return Masked(seen_NL, targets_NL)

    def _choose(self, shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.bool_]:
        if self.kind == "single":
            return draw.random(shape) < self.share
        rows, length = shape
        # Spans may overlap. A residue stays uncovered where none of the places before it begins a span that reaches it, so
        # that this rate of beginnings covers the share that is wanted.
        lengths = np.arange(1, self.longest_span + 1)
        odds = (1 - 1 / self.span) ** (lengths - 1)
        odds /= odds.sum()
        rate = 1 - (1 - self.share) ** (1 / float((odds * lengths).sum()))
        padded = length + self.longest_span
        begins = draw.random((rows, padded)) < rate
        spans = draw.choice(lengths, size=(rows, padded), p=odds) * begins
        # +1 where a span begins, -1 after its end: the running sum counts the spans over each place.
        edges = np.zeros((rows, padded + self.longest_span + 1), dtype=np.int64)
        np.add.at(edges, np.nonzero(begins), 1)
        row, place = np.nonzero(begins)
        np.add.at(edges, (row, place + spans[row, place]), -1)
        covered = edges.cumsum(axis=1) > 0
        chosen: NDArray[np.bool_] = covered[:, self.longest_span : self.longest_span + length]
        return chosen
