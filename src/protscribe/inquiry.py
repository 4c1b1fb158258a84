"""One round of questions to a model: checked, batched, asked, and their answers read as predictions, in input order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from protscribe.codecs.protocol import DigitTree, Draws, Evidence, Greedy, Readout
from protscribe.data.collate import Collator, Question
from protscribe.data.lengths import LengthPolicy, apply_length_policy
from protscribe.data.lexicon import Lexicon
from protscribe.errors import ConfigError, DeviceError, ProtscribeError, TaskError, TrainingError, Where
from protscribe.generation.answering import Answered, Asking, Way, answer
from protscribe.nn.model import Scribe
from protscribe.planning import AHEAD, MOST_RECORDS, Refused, Unit, answer_tokens, check_budget, plan
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

Outcome = Prediction | Refused | Failure
Answer = Answered | ProtscribeError


class Asked(NamedTuple):
    """A question that can be asked, about a record as the encoder gets it, and what to bear in mind about its answer."""

    question: Question
    status: str


@dataclass(frozen=True)
class Settings:
    """How a round is asked.

    ``long``: what happens to proteins beyond the encoder's limit. ``readout``: ``"risk"`` or ``"greedy"`` for all tasks,
    ``None`` for each task's own. ``batch_residues``: residues encoded side by side, padding included.
    """

    long: LengthPolicy = "error"
    readout: Way | None = None
    batch_residues: int = 2048

    def __post_init__(self) -> None:
        check_budget(self.batch_residues)
        if self.readout not in (None, "risk", "greedy"):
            raise ConfigError("config.value", f"readout must be 'risk' or 'greedy', got {self.readout!r}")


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

    def outcomes(
        self, items: Iterable[ProteinRecord | Failure], tasks: Sequence[Task], *, all_of_them: bool
    ) -> Iterator[Outcome]:
        """One outcome a question, in the order of ``items`` and ``tasks``; failures among the items pass through.

        ``all_of_them``: every task is asked of every record; otherwise those that fit its chains and molecule.
        """
        slots: list[Outcome | None] = []
        units: list[Unit[Asked]] = []
        records = residues = 0
        for item in items:
            if isinstance(item, Failure):
                slots.append(item)
                continue
            units.append(self._ask_of(item, tasks, all_of_them, slots))
            records, residues = records + 1, residues + sum(item.lengths)
            if records >= MOST_RECORDS or residues >= AHEAD * self.settings.batch_residues:
                yield from self._filled(slots, units)
                slots, units, records, residues = [], [], 0, 0
        yield from self._filled(slots, units)

    def evidence(self, records: Sequence[ProteinRecord], task: Task) -> list[Answered]:
        """What the model says about each record, before an answer is read from it. Raises at a record that cannot be asked."""
        slots: list[Outcome | None] = []
        units = [self._ask_of(record, [task], True, slots) for record in records]
        for slot in slots:
            if isinstance(slot, Refused):
                raise slot.error
        found: dict[int, Answered] = {}
        for place, _, answered in self._answered(units):
            if isinstance(answered, ProtscribeError):
                raise answered
            found[place] = answered
        return [found[place] for place in range(len(records))]

    # From records to questions

    def _ask_of(
        self, record: ProteinRecord, tasks: Sequence[Task], all_of_them: bool, slots: list[Outcome | None]
    ) -> Unit[Asked]:
        """The questions about a record, each with a slot of its own, which those that cannot be asked fill at once."""
        unit: Unit[Asked] = Unit(record)
        chosen = tasks if all_of_them else [task for task in tasks if _misfit(record, task) is None]
        if not chosen:
            slots.append(Refused(_no_task(record, tasks), record))
        for task in chosen:
            place = len(slots)
            try:
                asked = self._question(record, task)
            except ProtscribeError as error:
                slots.append(Refused(error, record, task.name))
                continue
            slots.append(None)
            unit.record = asked.question.record
            greedy = self._way(task) == "greedy"
            unit.add(place, asked, *answer_tokens(task, asked.question.record, self.asking.draws, greedy))
        # Questions about the same memory stand together, which saves copying it.
        unit.questions.sort(key=lambda one: (one[1].question.task.molecule, one[1].question.task.symmetric))
        return unit

    def _question(self, record: ProteinRecord, task: Task) -> Asked:
        misfit = _misfit(record, task)
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
        for batch in plan([unit for unit in units if unit.questions], self.settings.batch_residues):
            questions = [question for unit in batch for question in unit.questions]
            answers = self._asked([asked for _, asked in questions], [len(unit.questions) for unit in batch])
            for (place, asked), answered in zip(questions, answers, strict=True):
                yield place, asked, answered

    def _asked(self, asked: list[Asked], sizes: list[int]) -> list[Answer]:
        """Answers of a batch; where memory does not suffice, of its halves, cut between records while there are several."""
        try:
            batch = self.collate([one.question for one in asked]).to(self.device)
            ways = [self._way(one.question.task) for one in asked]
            return [*answer(self.model, self.lexicon, batch, ways=ways, settings=self.asking)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
        # Outside of the handler, whose traceback would keep the failed batch's tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(asked) == 1:
            return [_no_memory(asked[0], reason)]
        sizes = sizes if len(sizes) > 1 else [1] * len(asked)
        half = len(sizes) // 2
        cut = sum(sizes[:half])
        return [*self._asked(asked[:cut], sizes[:half]), *self._asked(asked[cut:], sizes[half:])]

    def _read(self, asked: Asked, answered: Answer) -> Prediction | Refused:
        record, task, _ = asked.question
        if isinstance(answered, ProtscribeError):
            return Refused(answered, record, task.name)
        if not _is_finite(answered):
            message = f"the model's scores for task {task.name!r} are not finite; its weights or its precision are at fault"
            return Refused(TrainingError("predict.not_finite", message, _where(record)), record, task.name)
        readout = self.readouts.get(task.name, Readout())
        reading = task.codec.read(answered.evidence, task.arrange(record), readout)
        return task.prediction(
            record,
            reading,
            off_grammar=answered.off_grammar,
            readout="greedy" if isinstance(answered.evidence, Greedy) else "risk",
            status=asked.status,
            chain=chain_named(task),
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


def _misfit(record: ProteinRecord, task: Task) -> TaskError | None:
    """Why a task cannot be asked of a record, or ``None``."""
    if len(record.chains) != task.chains:
        words = {1: "one chain", 2: "two chains"}
        message = (
            f"task {task.name!r} reads {words[task.chains]}, this record has {words[len(record.chains)]}"
        )
        return TaskError("task.chains", message, _where(record))
    if task.molecule and record.molecule is None:
        message = f"task {task.name!r} reads a molecule as well; give a SMILES string (the column smiles, or smiles=...)"
        return TaskError("task.molecule", message, _where(record))
    return None


def _no_task(record: ProteinRecord, tasks: Sequence[Task]) -> ProtscribeError:
    misfits = [misfit for task in tasks if (misfit := _misfit(record, task)) is not None]
    code, why = (misfits[0].code, f": {misfits[0].message}") if misfits else ("task.none", "")
    return TaskError(code, f"none of the model's {len(tasks)} tasks fits this record{why}", _where(record))


def _no_memory(asked: Asked, reason: str) -> DeviceError:
    record, task, _ = asked.question
    message = (
        f"task {task.name!r} about {'+'.join(map(str, record.lengths))} residues does not fit into memory, even alone; "
        f"use another device, fewer draws, or long=truncate or window ({reason})"
    )
    return DeviceError("device.oom", message, _where(record))


def _is_finite(answered: Answered) -> bool:
    evidence: Evidence = answered.evidence
    greedy = evidence.greedy if isinstance(evidence, Draws) else evidence
    sure = np.asarray(greedy.log_probability if isinstance(greedy, Greedy) else greedy.probabilities)
    # Of a number no bin is left where none has a finite chance; a set of residues may well have no candidate.
    some = sure.size > 0 or not isinstance(evidence, DigitTree)
    return some and bool(np.isfinite(answered.off_grammar) and np.isfinite(sure).all())


def _where(record: ProteinRecord) -> Where:
    return Where(record=record.id, line=record.line)
