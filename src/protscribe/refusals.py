"""Questions that cannot be asked or answered, and why: errors that name the record, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from protscribe.errors import DeviceError, ProtscribeError, TaskError, TrainingError, Where
from protscribe.records import ProteinRecord
from protscribe.task import Task


def misfit_of(record: ProteinRecord, task: Task) -> TaskError | None:
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


def no_task(record: ProteinRecord, tasks: Sequence[Task]) -> ProtscribeError:
    misfits = [misfit for task in tasks if (misfit := misfit_of(record, task)) is not None]
    code, why = (misfits[0].code, f": {misfits[0].message}") if misfits else ("task.none", "")
    return TaskError(code, f"none of the model's {len(tasks)} tasks fits this record{why}", _where(record))


def no_memory(record: ProteinRecord, task: Task, reason: str) -> DeviceError:
    message = (
        f"task {task.name!r} about {'+'.join(map(str, record.lengths))} residues does not fit into memory, even alone; "
        f"use another device, fewer draws, or long=truncate or window ({reason})"
    )
    return DeviceError("device.oom", message, _where(record))


def no_time(record: ProteinRecord, task: Task, limit: float | None) -> DeviceError:
    message = (
        f"task {task.name!r} about {'+'.join(map(str, record.lengths))} residues took longer than record_seconds={limit}; "
        "give more, or long=truncate or window"
    )
    return DeviceError("predict.time_limit", message, _where(record))


def not_finite(record: ProteinRecord, task: Task) -> TrainingError:
    message = (
        f"the model's scores for task {task.name!r} are not finite; its weights or its precision are at fault"
    )
    return TrainingError("predict.not_finite", message, _where(record))


def _where(record: ProteinRecord) -> Where:
    return Where(record=record.id, line=record.line)
