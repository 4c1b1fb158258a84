"""The nouns that travel through the library: a record, a prediction, a failure. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protscribe.errors import ProtscribeError


@dataclass(frozen=True)
class ProteinRecord:
    """One input row: one protein, or two, perhaps with a molecule and conditioning fields.

    ``id`` is kept exactly as it was written. ``chains`` holds one or two cleaned sequences (see
    :func:`protscribe.alphabet.clean`). ``molecule`` is a SMILES string. ``fields`` are conditioning values by name
    (organism, kingdom, ligand, allele). ``ordinal`` is the 0-based row of the input, ``line`` the 1-based line where
    the record began; both serve messages and output order. ``original_lengths`` is set where a chain was truncated:
    the lengths before the cut.
    """

    id: str
    chains: tuple[str, ...]
    molecule: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    ordinal: int = 0
    line: int | None = None
    original_lengths: tuple[int, ...] | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Residues in each chain."""
        return tuple(len(chain) for chain in self.chains)

    @property
    def sequence(self) -> str:
        """The first chain."""
        return self.chains[0]


@dataclass(frozen=True)
class Guarantee:
    """An answer that was widened until it is missed seldom enough; see :mod:`protscribe.trust.conformal`.

    ``value`` is by kind of answer: ``category``, ``category_set`` and ``category_path`` a tuple of classes, labels or nodes;
    ``number`` (lower, upper) in the task's unit; ``residue_set`` a tuple of 1-based positions, ``residue_pairs`` of pairs of
    them; ``residue_labels`` and ``segments`` a tuple of labels for each residue. It may be empty. ``level`` is the coverage
    asked for, ``rows`` how many held-out proteins vouch for it, and ``meaning`` what exactly holds, for proteins like those.
    """

    value: Any
    level: float
    rows: int
    meaning: str


@dataclass(frozen=True)
class Prediction:
    """One typed answer.

    ``value`` is the answer in human terms (positions are 1-based). ``score`` lies in 0..1 and means what
    ``score_meaning`` says. ``lower`` and ``upper`` bound a number at ``interval_level``; ``quantiles`` maps levels to the
    quantiles of its distribution. ``off_grammar`` is the mean probability that the model put on symbols its grammar forbade.

    ``probabilities``, where there are any, are by kind of answer: ``category`` {class: probability}; ``category_set`` and
    ``category_path`` {label or node: probability that the answer holds it}; ``number`` one
    :class:`~protscribe.codecs.protocol.Bin` (low, high, probability) after the other; ``residue_set`` one value a residue;
    ``residue_labels`` and ``segments`` {label: probability} for each residue; ``residue_pairs`` {(i, j): probability} of the
    pairs that were drawn; ``sequence`` the probability of each token; of given candidates {candidate as text: its share among
    them}. Where they are estimates, ``standard_error`` has the same form and ``draws`` says from how many drawn answers;
    both are ``None`` where probabilities are exact. ``alternatives`` are the other answers that were asked for, best first.
    ``chain`` is the chain (1 or 2) whose residues the answer labels or names, of pairs of residues the second one's;
    ``None`` where it names none. ``status`` is ``"ok"``, or says what to bear in mind: ``"truncated"``,
    ``"condition_unknown"``, ``"abstained"`` (the score is below what was asked for), ``"escalated"`` (a cascade's larger model
    answered), joined by ``;`` where several hold. ``calibrated`` says that the probabilities went through the bundle's
    calibration; ``guarantee`` is the answer with the coverage that was asked for, if one was.
    """

    id: str
    task: str
    kind: str
    value: Any
    score: float
    score_meaning: str
    record: ProteinRecord
    probabilities: Any = None
    lower: float | None = None
    upper: float | None = None
    interval_level: float | None = None
    unit: str | None = None
    off_grammar: float | None = None
    readout: str = "greedy"
    status: str = "ok"
    chain: int | None = None
    standard_error: Any = None
    draws: int | None = None
    quantiles: Mapping[float, float] | None = None
    alternatives: Any = ()
    calibrated: bool = False
    guarantee: Guarantee | None = None

    @property
    def abstained(self) -> bool:
        """Whether the score is below the threshold that was asked for: better not rely on it."""
        return "abstained" in self.status.split(";")

    def __repr__(self) -> str:
        from protscribe.predictions import summary

        return summary(self)

    def _repr_html_(self) -> str:
        from protscribe.predictions import prediction_html

        return prediction_html(self)

    def plot(self, **options: Any) -> Any:
        """A track along the sequence, for answers about residues; ``options`` go to
        :func:`protscribe.evaluation.tracks.plot_track`. Raises :class:`~protscribe.errors.TaskError`
        ``task.no_track`` for an answer that names no residue."""
        from protscribe.evaluation.tracks import plot_track

        return plot_track(self, **options)


@dataclass(frozen=True)
class Failure:
    """A record that was rejected: which, with which code, why."""

    ordinal: int
    id: str
    code: str
    detail: str
    task: str | None = None

    @classmethod
    def of(cls, error: ProtscribeError, ordinal: int, id: str, task: str | None = None) -> Failure:
        return cls(ordinal=ordinal, id=id, code=error.code, detail=str(error), task=task)
