"""The log of a run as one table that goes on with it."""

from __future__ import annotations

import csv
import io
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from protscribe.outputs.atomic import pending_file, reporting

log = logging.getLogger(__name__)


class MetricsTable(Logger):
    """Writes metrics to a CSV file, a row each time something is logged, with the columns ``step`` and ``epoch``.

    ``rows`` counts them. A run that is resumed cuts the table off where its checkpoint was saved (:meth:`rewind`), and goes
    on: there is one row for what was logged once. A new run begins a new table. Raises
    :class:`~protscribe.errors.OutputError` ``output.write``.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)
        self.rows = 0
        self._columns: list[str] | None = None

    @property
    def name(self) -> str:
        return self._path.stem

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._path.parent)

    @rank_zero_only
    def log_hyperparams(self, *given: Any, **named: Any) -> None:
        """A configuration is kept elsewhere, see ``hydra/`` and the bundle."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._columns is None:
            self.rewind(0)
        assert self._columns is not None
        row: dict[str, Any] = {**metrics, "step": step}
        if new := set(row) - set(self._columns):
            before, self._columns = self._read(), sorted({*self._columns, *new})
            self._write([*before, row])
        else:
            with reporting(self._path), self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._render([row]))
        self.rows += 1

    @rank_zero_only
    def rewind(self, rows: int) -> None:
        """Cuts the table off after its first ``rows`` rows."""
        kept = list(itertools.islice(self._read(), rows))
        if len(kept) < rows:
            log.warning(
                "%s has %d rows, of %d that were written before; it goes on after these",
                self._path,
                len(kept),
                rows,
            )
        self._columns = list(kept[0]) if kept else []
        self.rows = len(kept)
        self._write(kept)

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The whole table; who looks meanwhile finds the old one."""
        with pending_file(self._path) as pending:
            header = self._render([{column: column for column in self._columns or ()}]) if rows else ""
            pending.stream.write((header + self._render(rows)).encode())

    def _render(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._columns or ()).writerows(rows)
        return text.getvalue()
