"""Every error that reaches a user: what is wrong, where, and what to do.

One root, :class:`ProtscribeError`, carries a stable ``code`` (``"seq.stop_inside"``), a message for a person and a
:class:`Where`. Any other exception type that reaches a user is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Where:
    """The place an error points to. All numbers are 1-based; what is not known is ``None``."""

    file: str | None = None
    line: int | None = None
    row: int | None = None
    record: str | None = None
    column: str | None = None
    position: int | None = None

    def __str__(self) -> str:
        parts = [self.file] if self.file else []
        for name in ("line", "row", "record", "column", "position"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name} {value!r}" if isinstance(value, str) else f"{name} {value}")
        return ", ".join(parts)


class ProtscribeError(Exception):
    """Root of all errors of this library.

    ``code`` is a stable string for programs, ``message`` a sentence for people, ``where`` the place.
    ``exit_status`` is what the command line returns for it: 2 for usage, configuration and input.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, code: str, message: str, where: Where | None = None) -> None:
        super().__init__(code, message, where)
        self.code = code
        self.message = message
        self.where = where or Where()

    def __str__(self) -> str:
        place = str(self.where)
        return f"{place}: {self.message} [{self.code}]" if place else f"{self.message} [{self.code}]"


class InputError(ProtscribeError):
    """A file could not be opened, read or understood."""


class SequenceError(InputError):
    """A FASTA file or a protein sequence is not what it should be."""


class TableError(InputError):
    """A CSV, TSV or Parquet table is not what it should be."""


class TaskError(ProtscribeError):
    """A task definition is wrong, or a task is not known."""


class LabelError(ProtscribeError):
    """A label does not fit its task or its protein."""


class ConfigError(ProtscribeError):
    """A configuration value is unknown, missing, out of range or forbidden."""


class CheckpointError(ProtscribeError):
    """A bundle or encoder folder is missing, damaged, foreign or does not fit."""


class DeviceError(ProtscribeError):
    """A device is not there, or its memory does not suffice."""


class OutputError(ProtscribeError):
    """An output could not be written; what was there before is intact."""


class TrainingError(ProtscribeError):
    """Training stopped because going on would be wrong (a loss that is not finite, no data)."""


class ProcessError(ProtscribeError):
    """Another of the processes that train together has failed, and says so itself; all end with its ``exit_status``."""

    def __init__(self, rank: int, world: int, said: str, status: int) -> None:
        super().__init__("train.other_process", f"rank {rank} of {world} failed: {said}")
        self.exit_status = status  # type: ignore[misc]
        self.told = (rank, world, said, status)

    def __reduce__(self) -> tuple[type[ProcessError], tuple[int, int, str, int]]:
        return ProcessError, self.told


class Preempted(ProtscribeError):
    """The process was asked to stop; the work can be resumed."""

    exit_status: ClassVar[int] = 75


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A tail for a message about an unknown name: the nearest known names, then all if they are few.

    >>> nearest("solubilty", ["solubility", "capsid"])
    "did you mean 'solubility'? known: capsid, solubility"
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.6)
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    guess = f"did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
    return f"{guess}known: {shown}" if names else f"{guess}none is known"
