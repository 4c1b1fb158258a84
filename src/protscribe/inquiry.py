"""One round of questions to a model: checked, batched, asked, and their answers read as predictions, in input order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from protscribe.codecs.protocol import DigitTree, Draws, Evidence, Greedy, Readout
from protscribe.data.collate import Collator, Question
from protscribe.data.lengths import LengthPolicy, apply_length_policy
from protscribe.data.lexicon import Lexicon
from protscribe.deadline import OutOfTime, deadline
from protscribe.errors import ConfigError, ProtscribeError
from protscribe.generation.ahead import Encoded, Ready, one_ahead
from protscribe.generation.answering import Answered, Asking, Way, answer
from protscribe.nn.model import Scribe
from protscribe.planning import (
    AHEAD,
    MOST_RECORDS,
    Refused,
    Unit,
    answer_tokens,
    check_budget,
    merge_equal,
    plan,
)
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.refusals import misfit_of, no_memory, no_task, no_time, not_finite
from protscribe.task import Task
from protscribe.transfer import read_back
from protscribe.trust import Trust
from protscribe.trust.conformal import check_coverage, guarantee
from protscribe.trust.neighbours import Neighbours, States
from protscribe.voting import hear, split_rows, states_of

Outcome = Prediction | Refused | Failure
TasksOf = Callable[[ProteinRecord], Sequence[str] | None]


PROBABILITIES = ("probabilities", "standard_error", "draws", "quantiles")
"""What a reading says of probabilities."""

ABSTAINED = "abstained"
"""In a prediction's status: its score is below what was asked for."""
NOTHING_KNOWN = Trust()


class Asked(NamedTuple):
    """A question that can be asked, about a record as the encoder gets it, and what to bear in mind about its answer."""

    question: Question
    status: str


class Beside(NamedTuple):
    """A greedy answer, and the evidence that its probabilities are read from."""

    evidence: Evidence
    off_grammar: float
    beside: Evidence


Answer = Answered | Beside | ProtscribeError


@dataclass(frozen=True)
class Settings:
    """How a round is asked.

    ``long``: what happens to proteins beyond the encoder's limit. ``readout``: ``"risk"`` or ``"greedy"`` for all tasks,
    ``None`` for each task's own. ``batch_residues``: residues answered side by side, padding included. ``probabilities``:
    ask for those of greedy answers too. ``calibrated``: whether probabilities go through the bundle's calibrations.
    ``coverage``: of the guarantee that is wanted beside each answer. ``abstain_below``: scores (0..1) below it are marked.
    ``record_seconds``: a record that takes longer is rejected.
    """

    long: LengthPolicy = "error"
    readout: Way | None = None
    batch_residues: int = 2048
    probabilities: bool = False
    calibrated: bool = True
    coverage: float | None = None
    abstain_below: float | None = None
    record_seconds: float | None = None

    def __post_init__(self) -> None:
        check_budget(self.batch_residues)
        if self.readout not in (None, "risk", "greedy"):
            raise ConfigError("config.value", f"readout must be 'risk' or 'greedy', got {self.readout!r}")
        if self.record_seconds is not None and not self.record_seconds > 0:
            raise ConfigError("config.value", f"record_seconds must be above 0, got {self.record_seconds!r}")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ConfigError("config.value", f"abstain_below is a score, 0 to 1, got {self.abstain_below!r}")
        if self.coverage is not None and not self.calibrated:
            said = "guarantees were fitted on calibrated probabilities: leave calibrated=false out"
            raise ConfigError("config.value", said)

    @property
    def beside(self) -> bool:
        """Whether the usual evidence is wanted beside greedy answers too."""
        return self.probabilities or self.coverage is not None


@dataclass(frozen=True)
class Inquiry:
    """A model, what its answers are read by, and how it is asked. ``limit`` is the longest chain its encoder was trained on."""

    model: Scribe
    lexicon: Lexicon
    collate: Collator
    device: torch.device
    readouts: Mapping[str, Readout]
    limit: int | None
    asking: Asking
    settings: Settings
    trust: Mapping[str, Trust]
    neighbours: Mapping[str, Neighbours]

    def outcomes(
        self,
        items: Iterable[ProteinRecord | Failure],
        tasks: Sequence[Task],
        *,
        all_of_them: bool,
        tasks_of: TasksOf | None = None,
    ) -> Iterator[Outcome]:
        """One outcome a question, in the order of ``items`` and ``tasks``; failures among the items pass through.

        ``all_of_them``: every task is asked of every record; otherwise those that fit its chains and molecule. ``tasks_of``: of
        a record the tasks of these names are asked, or, where it gives ``None``, those that fit.
        """
        named = {task.name: task for task in tasks}
        slots: list[Outcome | None] = []
        units: list[Unit[Asked]] = []
        records = residues = 0
        for item in items:
            if isinstance(item, Failure):
                slots.append(item)
                continue
            names = None if tasks_of is None else tasks_of(item)
            chosen = tasks if names is None else [named[name] for name in names]
            every = all_of_them if tasks_of is None else names is not None
            units.append(self._ask_of(item, chosen, every, slots))
            records, residues = records + 1, residues + sum(item.lengths)
            if records >= MOST_RECORDS or residues >= AHEAD * self.settings.batch_residues:
                yield from self._filled(slots, units)
                slots, units, records, residues = [], [], 0, 0
        yield from self._filled(slots, units)

    def evidence(self, records: Sequence[ProteinRecord], task: Task) -> list[Answered]:
        """What the model says about each record, before an answer is read from it. Raises at a record that cannot be asked."""
        trust = self._trust(task)
        slots: list[Outcome | None] = []
        units = [self._ask_of(record, [task], True, slots) for record in records]
        for slot in slots:
            if isinstance(slot, Refused):
                raise slot.error
        found: dict[int, Answered] = {}
        for place, _, answered in self._answered(units):
            if isinstance(answered, ProtscribeError):
                raise answered
            assert isinstance(answered, Answered)
            found[place] = answered._replace(evidence=trust.calibrated(answered.evidence))
        return [found[place] for place in range(len(records))]

    def compared(self, records: Sequence[ProteinRecord], task: Task) -> States:
        """What known proteins are compared by, ``[R, F]``: the mean state of each record, or, where it is residues that vote,
        the states of its candidates, end to end. Raises at a record that cannot be asked."""
        units = [
            Unit(record, [(place, self._question(record, task))]) for place, record in enumerate(records)
        ]
        found: dict[int, States] = {}
        for unit_batch in plan(units, self.settings.batch_residues):
            questions = [question for unit in unit_batch for question in unit.questions]
            with torch.inference_mode():
                batch = self.collate([asked.question for _, asked in questions]).to(self.device)
                _, states_NLF = self.model.encode_to_compare(batch)
                states_RF = states_of(self.model, batch, states_NLF, {task.name})
            parts = split_rows(batch.questions, {task.name}, read_back("compared", states_RF)[0])
            for (place, _), (_, part_UF) in zip(questions, parts, strict=True):
                found[place] = part_UF
        return np.concatenate([found[place] for place in range(len(records))]).astype(np.float32)

    # From records to questions

    def _ask_of(
        self, record: ProteinRecord, tasks: Sequence[Task], all_of_them: bool, slots: list[Outcome | None]
    ) -> Unit[Asked]:
        """The questions about a record, each with a slot of its own, which those that cannot be asked fill at once."""
        unit: Unit[Asked] = Unit(record)
        chosen = tasks if all_of_them else [task for task in tasks if misfit_of(record, task) is None]
        if not chosen:
            slots.append(Refused(no_task(record, tasks), record))
        for task in chosen:
            place = len(slots)
            try:
                asked = self._question(record, task)
            except ProtscribeError as error:
                slots.append(Refused(error, record, task.name))
                continue
            slots.append(None)
            unit.record = asked.question.record
            for kind, tokens in self._cost(asked):
                unit.tokens[kind] += tokens
            unit.questions.append((place, asked))
        return unit

    def _question(self, record: ProteinRecord, task: Task) -> Asked:
        misfit = misfit_of(record, task)
        if misfit is not None:
            raise misfit
        used = apply_length_policy(record, self.limit, self.settings.long)
        self.lexicon.vocabulary.ids(task.prompt(used))
        unknown = any(record.fields.get(c.field) not in c.values for c in task.conditions)
        status = [
            *(["truncated"] if used.original_lengths is not None else []),
            *(["condition_unknown"] if unknown else []),
        ]
        return Asked(Question(used, task), ";".join(status) or "ok")

    def _cost(self, asked: Asked) -> Iterator[tuple[str, int]]:
        """The kinds of evidence a question needs, and how many answer tokens are decoded side by side for each."""
        record, task, _ = asked.question
        greedy = self._way(task) == "greedy"
        yield answer_tokens(task, record, greedy)
        if greedy and self.settings.beside:
            yield answer_tokens(task, record, False)

    def check(self, tasks: Sequence[Task]) -> None:
        """Raises :class:`~protscribe.errors.ConfigError` for a coverage that a task's held-out rows do not give."""
        if self.settings.coverage is not None:
            for task in tasks:
                check_coverage(task, self._trust(task).conformal, self.settings.coverage)

    def _trust(self, task: Task) -> Trust:
        return self.trust.get(task.name, NOTHING_KNOWN) if self.settings.calibrated else NOTHING_KNOWN

    def _way(self, task: Task) -> Way:
        return self.settings.readout or self.readouts.get(task.name, Readout()).way

    # From questions to answers

    def _filled(self, slots: list[Outcome | None], units: list[Unit[Asked]]) -> Iterator[Outcome]:
        for place, asked, answered in self._answered(units):
            slots[place] = self._read(asked, answered)
        for slot in slots:
            assert slot is not None, "every question has an outcome"
            yield slot

    def _answered(self, units: list[Unit[Asked]]) -> Iterator[tuple[int, Asked, Answer]]:
        """Answers by place. Equal proteins are encoded once, and what is asked of them twice is answered once."""
        merged, alike = merge_equal(units, self._key)
        batches = plan(merged, self.settings.batch_residues)
        for batch, ready in one_ahead(batches, self._encode_units, self.device):
            questions = [question for unit in batch for question in unit.questions]
            sizes = [len(unit.questions) for unit in batch]
            answers = self._asked([asked for _, asked in questions], sizes, ready)
            for (place, asked), answered in zip(questions, answers, strict=True):
                yield place, asked, answered
                for other, same in alike.get(place, ()):
                    yield other, same, answered

    def _key(self, asked: Asked) -> Hashable:
        """What questions about equal proteins must have in common to have the same answer."""
        record, task, _ = asked.question
        return task.name, task.prompt(record)

    def _asked(self, asked: list[Asked], sizes: list[int], ready: Ready | None = None) -> list[Answer]:
        """Answers of a batch; where memory or time does not suffice, of its halves, cut between records while there are
        several."""
        limit = self.settings.record_seconds
        try:
            with deadline(None if limit is None else limit * len(sizes)):
                return self._answers(asked, self._encode(asked) if ready is None else ready())
        except (RuntimeError, MemoryError) as error:
            late = isinstance(error, OutOfTime)
            if not late and not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
        # Outside of the handler, whose traceback would keep the failed batch's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(asked) == 1:
            record, task, _ = asked[0].question
            return [no_time(record, task, limit) if late else no_memory(record, task, reason)]
        sizes = sizes if len(sizes) > 1 else [1] * len(asked)
        half = len(sizes) // 2
        cut = sum(sizes[:half])
        return [*self._asked(asked[:cut], sizes[:half]), *self._asked(asked[cut:], sizes[half:])]

    def _encode_units(self, units: list[Unit[Asked]]) -> Encoded:
        return self._encode([asked for unit in units for _, asked in unit.questions])

    @torch.inference_mode()
    def _encode(self, asked: list[Asked]) -> Encoded:
        questions = [one.question for one in asked]
        questions += [questions[place] for place in self._beside(asked)]
        batch = self.collate(questions).to(self.device)
        batch = replace(batch, questions=self._meant(batch.questions))
        if not any(one.question.task.name in self.neighbours for one in asked):
            return Encoded(batch, self.model.join(batch, self.model.encode(batch)))
        states_NLD, states_NLF = self.model.encode_to_compare(batch)
        compared_RF = states_of(self.model, batch, states_NLF, self.neighbours)
        return Encoded(batch, self.model.join(batch, states_NLD), compared_RF)

    def _meant(self, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        """The questions of a batch as their answers are read: about the proteins that the encoder gets."""
        return questions

    def _beside(self, asked: list[Asked]) -> list[int]:
        """The places of greedy answers whose probabilities are asked for beside."""
        if not self.settings.beside:
            return []
        return [
            place
            for place, one in enumerate(asked)
            if self._way(one.question.task) == "greedy" and one.question.task.codec.kind != "sequence"
        ]

    def _answers(self, asked: list[Asked], encoded: Encoded) -> list[Answer]:
        """One pass over all; what is known beside a greedy answer is asked of the same memories."""
        beside = self._beside(asked)
        ways = [self._traced_way(one.question.task) for one in asked] + ["risk"] * len(beside)
        found = answer(
            self.model, self.lexicon, encoded.batch, ways=ways, settings=self.asking, memory=encoded.memory
        )
        answers: list[Any] = hear(self.neighbours, encoded, found)
        for place, more in zip(beside, answers[len(asked) :], strict=True):
            answers[place] = Beside(answers[place].evidence, answers[place].off_grammar, more.evidence)
        return answers[: len(asked)]

    def _traced_way(self, task: Task) -> Way:
        """The way of a task; where probabilities are wanted of a greedy sequence, they are those of its tokens."""
        way = self._way(task)
        traced = (
            self.settings.probabilities
            and task.codec.kind == "sequence"
            and "greedy" in (way, task.codec.asks)
        )
        return "traced" if traced else way

    def _read(self, asked: Asked, answered: Answer) -> Prediction | Refused:
        record, task, _ = asked.question
        if isinstance(answered, ProtscribeError):
            return Refused(answered, record, task.name)
        if not _is_finite(answered):
            return Refused(not_finite(record, task), record, task.name)
        readout, arranged = self.readouts.get(task.name, Readout()), task.arrange(record)
        trust, status = self._trust(task), asked.status
        reading = usual = task.codec.read(trust.calibrated(answered.evidence), arranged, readout)
        if isinstance(answered, Beside):
            usual = beside = task.codec.read(trust.calibrated(answered.beside), arranged, readout)
            kept = {name: getattr(beside, name) for name in PROBABILITIES}
            reading = replace(reading, **kept)
        calibrated = trust.calibration is not None and reading.probabilities is not None
        if calibrated and not isinstance(answered.evidence, Greedy):
            reading = replace(reading, score_meaning=f"{reading.score_meaning}, calibrated")
        promised, coverage, least = None, self.settings.coverage, self.settings.abstain_below
        if least is not None and reading.score < least:
            status = ABSTAINED if status == "ok" else f"{status};{ABSTAINED}"
        if coverage is not None:
            assert trust.conformal is not None, "a coverage is checked before questions are asked"
            promised = guarantee(task, arranged, usual, trust.conformal, coverage)
        return task.prediction(
            record,
            reading,
            off_grammar=answered.off_grammar,
            readout="greedy" if isinstance(answered.evidence, Greedy) else "risk",
            status=status,
            chain=chain_named(task),
            calibrated=calibrated,
            guarantee=promised,
        )


def chain_named(task: Task) -> int | None:
    """The chain (1 or 2) whose residues a task's answers name, of pairs of residues the second one's; ``None`` for none."""
    codec = task.codec
    if codec.kind == "residue_pairs":
        return codec.chains
    named = codec.dense or codec.kind in ("residue_set", "segments")
    return int(getattr(codec, "chain", 1)) if named else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, had too little memory for a computation."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _is_finite(answered: Answered | Beside) -> bool:
    evidence: Evidence = answered.evidence
    greedy = evidence.greedy if isinstance(evidence, Draws) else evidence
    sure = np.asarray(greedy.log_probability if isinstance(greedy, Greedy) else greedy.probabilities)
    # Of a number no bin is left where none has a finite chance; a set of residues may well have no candidate.
    some = sure.size > 0 or not isinstance(evidence, DigitTree)
    return some and bool(np.isfinite(answered.off_grammar) and np.isfinite(sure).all())
