"""Inquiries whose answers come from a shortlist: the n best ones, given candidates, or the best one with a given beginning.

Planning, batches, halves where memory does not suffice and failures are those of every :class:`~protscribe.inquiry.Inquiry`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protscribe.alternatives import CANDIDATES, Alternative, Alternatives
from protscribe.codecs.labels import known_label, members_of, text_of
from protscribe.codecs.protocol import Reading
from protscribe.errors import ConfigError, LabelError, ProtscribeError, TrainingError, Where
from protscribe.generation.ahead import Encoded
from protscribe.generation.ranking import Ranked, judge_answers, search_answers
from protscribe.generation.settings import Beam, Search
from protscribe.inquiry import Asked, Inquiry, chain_named
from protscribe.planning import Refused
from protscribe.predictions import answer_text
from protscribe.prefix import Prefix, prefix_tokens
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Token

Candidates = Sequence[Any] | Mapping[str, Sequence[Any]]
"""Answers for every record, or for each record by its id; each written as a table's cell or as a typed answer."""


ANYWHERE = ("category", "category_set", "category_path", "number")
"""Kinds whose answers may be the same for every protein."""


@dataclass(frozen=True)
class Wish:
    """What is asked for beyond one usual answer: ``count`` alternatives found by ``search``, or the most probable of
    ``candidates``; ``prefix`` is what answers must begin with. With neither count nor candidates: the greedy answer with that
    prefix.
    """

    count: int | None = None
    search: Search | None = None
    prefix: Prefix | None = None
    candidates: Candidates | None = None

    def __post_init__(self) -> None:
        if self.count is not None and (
            isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1
        ):
            raise ConfigError("config.value", f"n_best must be a whole number, 1 or more, got {self.count!r}")
        if self.candidates is not None:
            if self.count is not None or self.prefix is not None:
                raise ConfigError(
                    "config.value",
                    "candidates are judged as they are: give neither n_best nor prefix with them",
                )
            if isinstance(self.candidates, str) or not isinstance(self.candidates, (Sequence, Mapping)):
                raise ConfigError("config.type", f"candidates must be a list, got {self.candidates!r}")
            if not self.candidates:
                raise ConfigError("config.value", "candidates must be at least one answer, got none")
        if self.search is not None and self.count is None:
            raise ConfigError("config.value", "a search is for alternatives: say how many with n_best")

    def __bool__(self) -> bool:
        return any(wish is not None for wish in (self.count, self.prefix, self.candidates))

    def check(self, tasks: Sequence[Task], readout: str | None, probabilities: bool) -> None:
        """Raises :class:`~protscribe.errors.ConfigError` ``config.value`` for what does not go together."""
        wished = [name for name in ("prefix", "candidates") if getattr(self, name) is not None]
        if wished and len(tasks) != 1:
            raise ConfigError("config.value", f"{wished[0]} belongs to one task: name it, got {len(tasks)}")
        for task in tasks if wished else ():
            if task.codec.kind in ANYWHERE:
                self._check_anywhere(task)
        if self and readout == "risk":
            raise ConfigError(
                "config.value",
                "a prefix, candidates and n_best are about whole answers, readout: risk is not; leave one out",
            )
        if self and probabilities:
            raise ConfigError(
                "config.value",
                "probabilities=true is for usual answers; alternatives and candidates have theirs in any case",
            )

    def _check_anywhere(self, task: Task) -> None:
        """What is wrong for every record is told at once."""
        record = ProteinRecord("any", ("A",) * task.chains)
        try:
            prefix_tokens(task, self.prefix, record)
            if isinstance(self.candidates, Sequence):
                for cell in self.candidates:
                    candidate_tokens(task, cell, record)
        except LabelError as error:
            raise ConfigError("config.value", error.message) from error

    @property
    def found_by(self) -> Search:
        return (self.search or Beam()) if self.count is not None else Beam(width=1)

    @property
    def name(self) -> str:
        """How answers are read, for :attr:`Prediction.readout`."""
        if self.candidates is not None:
            return CANDIDATES
        return "greedy" if self.count is None else self.found_by.name


@dataclass(frozen=True)
class Shortlist(Inquiry):
    """An inquiry for a :class:`Wish`."""

    wish: Wish

    def _question(self, record: ProteinRecord, task: Task) -> Asked:
        asked = super()._question(record, task)
        # What does not fit the record is refused before anything is computed.
        self._beginning(asked)
        self._given(asked)
        return asked

    def _cost(self, asked: Asked) -> Iterator[tuple[str, int]]:
        record, task, _ = asked.question
        if self.wish.candidates is not None:
            given = self._given(asked)
            yield CANDIDATES, len(given) * (max(map(len, given)) + 1)
            return
        search = self.wish.found_by.at_least(self.wish.count or 1)
        rows = search.width if isinstance(search, Beam) else search.draws
        yield "search", rows * (task.codec.grammar(record).longest + 1)

    def _beginning(self, asked: Asked) -> tuple[Token, ...]:
        record, task, _ = asked.question
        return prefix_tokens(task, self.wish.prefix, task.arrange(record))

    def _given(self, asked: Asked) -> list[tuple[Token, ...]]:
        """The candidates as tokens, each once."""
        record, task, _ = asked.question
        wished = self.wish.candidates
        if wished is None:
            return []
        cells = wished.get(record.id, ()) if isinstance(wished, Mapping) else wished
        if not cells:
            message = f"no candidates are given for this record of task {task.name!r}"
            raise LabelError("label.candidates", message, Where(record=record.id, line=record.line))
        return list(dict.fromkeys(candidate_tokens(task, cell, task.arrange(record)) for cell in cells))

    def _key(self, asked: Asked) -> Hashable:
        # Candidates may be given for each record.
        return super()._key(asked), tuple(self._given(asked))

    def _answers(self, asked: list[Asked], encoded: Encoded) -> list[Any]:
        batch, memory, _ = encoded
        if self.wish.candidates is not None:
            given = [self._given(one) for one in asked]
            return [*judge_answers(self.model, self.lexicon, batch, given, memory)]
        beginnings = [self._beginning(one) for one in asked]
        search, count = self.wish.found_by, self.wish.count or 1
        return [*search_answers(self.model, self.lexicon, batch, search, count, beginnings, memory)]

    def _read(self, asked: Asked, answered: Any) -> Prediction | Refused:
        record, task, _ = asked.question
        if isinstance(answered, ProtscribeError):
            return Refused(answered, record, task.name)
        ranked: Ranked = answered
        logs = [one.log_probability for one in ranked.answers]
        if not logs or not all(map(math.isfinite, logs)):
            message = f"the model's scores for task {task.name!r} are not finite; its weights or its precision are at fault"
            where = Where(record=record.id, line=record.line)
            return Refused(TrainingError("predict.not_finite", message, where), record, task.name)
        alternatives = _alternatives(task, task.arrange(record), ranked)
        told: dict[str, Any] = {"readout": self.wish.name, "status": asked.status, "chain": chain_named(task)}
        if self.wish.candidates is not None or self.wish.count is not None:
            told["alternatives"] = alternatives
        return task.prediction(record, self._reading(alternatives), **told)

    def _reading(self, alternatives: Alternatives) -> Reading:
        best = alternatives[0]
        if self.wish.candidates is None:
            given = "" if self.wish.prefix is None else ", given its prefix"
            return Reading(
                best.value, best.probability, f"probability of the whole answer, as written{given}"
            )
        weights = [math.exp(one.log_probability - best.log_probability) for one in alternatives]
        shares = [weight / math.fsum(weights) for weight in weights]
        return Reading(
            best.value,
            shares[0],
            "probability of the candidate, among those given",
            probabilities={one.text: share for one, share in zip(alternatives, shares, strict=True)},
        )


def _alternatives(task: Task, record: ProteinRecord, ranked: Ranked) -> Alternatives:
    values = [task.codec.decode(one.tokens, record) for one in ranked.answers]
    return Alternatives(
        Alternative.of(value, one.log_probability, score, answer_text(task.codec.kind, value))
        for value, one, score in zip(values, ranked.answers, ranked.scores, strict=True)
    )


def candidate_tokens(task: Task, cell: Any, record: ProteinRecord) -> tuple[Token, ...]:
    """The tokens of a candidate, written as a table's cell, by its labels or as a typed answer.

    Raises :class:`~protscribe.errors.LabelError`: what the task has against it, or ``label.candidates`` where it leaves
    residues open.
    """
    codec: Any = task.codec
    values: tuple[str, ...] = getattr(codec, "values", ())
    if values:
        written = dict(zip(codec.labels, values, strict=True))

        def named(item: Any) -> str:
            # Answers name classes by their labels, tables may name them otherwise; both are understood.
            text = text_of(item, record)
            return text if text in values else written[known_label(text, codec.labels, (), record)]

        cell = (
            named(cell)
            if codec.kind == "category"
            else [*map(named, members_of(cell, codec.separator, record))]
        )
    encoded = codec.encode(codec.parse(cell, record), record)
    if 0.0 in encoded.weights:
        place = encoded.weights.index(0.0) + 1
        raise LabelError(
            "label.candidates",
            "a candidate must say every residue's label; use a prefix for a beginning",
            Where(record=record.id, line=record.line, position=place),
        )
    return tuple(encoded.tokens)


def plain_search(search: Search | None, count: int | None) -> Search | None:
    """The search of a configuration, which always has one: left out where no alternatives are asked for and it was not
    chosen."""
    return None if count is None and search == Beam() else search
