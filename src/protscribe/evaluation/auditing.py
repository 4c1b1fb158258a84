"""An audit of sources: how close their test rows are to their training rows. What ``protscribe audit`` calls."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protscribe.data.examples import fill_task, read_source
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.leakage import Audit, audit_rows
from protscribe.homology import COVERAGE, SENSITIVITY, Criteria
from protscribe.outputs.atomic import pending_file
from protscribe.records import ProteinRecord
from protscribe.task import Task


@dataclass(frozen=True)
class TaskAudit:
    """The audit of one task's sources, whose test records are in the order of ``audit.identities``."""

    task: str
    sources: tuple[str, ...]
    records: tuple[ProteinRecord, ...]
    audit: Audit

    def to_text(self) -> str:
        return f"{self.task} ({', '.join(self.sources)}): {self.audit.to_text()}"


def audit_sources(
    sources: Sequence[Source],
    tasks: Mapping[str, Task],
    *,
    split: Split = "test",
    against: Sequence[Split] = ("train",),
    sensitivity: float = SENSITIVITY,
    coverage: float = COVERAGE,
    root: str | Path = ".",
    output: str | Path | None = None,
) -> list[TaskAudit]:
    """Searches the proteins of ``split`` among those of the splits ``against``, task by task.

    ``tasks`` are those of the sources by name; the rows of several sources of one task are searched together. ``output`` is
    a folder for ``audit.json`` and ``audit.csv`` (a line a test row: task, id, identity, identical). Rows that cannot be read
    are not looked at. Raises :class:`~protscribe.errors.TaskError` ``task.no_data`` for a task without rows in ``split`` or
    in ``against``, and :class:`~protscribe.errors.ConfigError` ``config.value`` or, without the extra ``homology``,
    ``config.missing``.
    """
    if split in against:
        raise ConfigError("config.value", f"the split {split!r} would be searched in itself")
    criteria = Criteria(coverage=coverage, sensitivity=sensitivity)
    by_task: dict[str, list[Source]] = {}
    for source in sources:
        by_task.setdefault(source.task, []).append(source)
    found = []
    for name, of_task in by_task.items():
        task = fill_task(tasks[name], of_task, root=root)
        asked = _records(of_task, task, [split], root)
        known = _records(of_task, task, against, root)
        for records, splits in ((asked, [split]), (known, against)):
            if not records:
                raise TaskError("task.no_data", f"task {name!r}: no usable row in {', '.join(splits)}")
        audit = audit_rows([record.chains for record in asked], [record.chains for record in known], criteria)
        found.append(TaskAudit(name, tuple(source.name for source in of_task), tuple(asked), audit))
    if output is not None:
        _write(found, Path(output))
    return found


def _records(
    sources: Sequence[Source], task: Task, splits: Sequence[Split], root: str | Path
) -> list[ProteinRecord]:
    found: list[ProteinRecord] = []
    for source in sources:
        for split in splits:
            try:
                examples = read_source(source, task, split, root=root, on_error="collect", failures=[])
            except TaskError as error:
                if error.code != "task.no_data":
                    raise
                continue
            found += [example.record for example in examples]
    return found


def _write(audits: Sequence[TaskAudit], folder: Path) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["task", "id", "identity", "identical"])
    for one in audits:
        rows = zip(one.records, one.audit.identities, one.audit.identical, strict=True)
        for record, identity, identical in rows:
            writer.writerow([one.task, record.id, f"{identity:.3f}", int(identical)])
    plain = {one.task: {"sources": list(one.sources), **one.audit.to_plain()} for one in audits}
    for name, text in (("audit.csv", table.getvalue()), ("audit.json", json.dumps(plain, indent=1) + "\n")):
        with pending_file(folder / name) as pending:
            pending.stream.write(text.encode("utf-8", "surrogateescape"))
