"""What a bundle holds and which tasks there are, as tables for a terminal. No model is built for it.

A bundle's files are checked against its manifest first, as when it is loaded.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from protscribe.codecs.protocol import Readout
from protscribe.errors import CheckpointError, TaskError, Where, nearest
from protscribe.task import Task
from protscribe.trust import CELLS, Trust
from protscribe.trust import neighbours as near
from protscribe.vocabulary import Vocabulary

WIDTH = 200
"""Columns of an output that is no terminal: wide enough that no cell of the usual tasks is cut."""


def describe_bundle(
    name: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> RenderableType:
    """Tasks, vocabulary, networks, readouts and provenance of a bundle: a folder, a released one's name, or ``org/name`` on the
    Hub.

    Raises :class:`~protscribe.errors.CheckpointError` for a bundle that is missing, damaged, foreign or too new.
    """
    from protscribe.checkpoint.hub import find_bundle
    from protscribe.checkpoint.manifest import MANIFEST, TASKS, VOCABULARY, read_manifest, read_plain

    folder = find_bundle(name, revision=revision, local_files_only=local_files_only)
    manifest = read_manifest(folder)
    try:
        tasks = [Task.from_plain(plain, "a task of this bundle") for plain in read_plain(folder / TASKS)]
        vocabulary = Vocabulary.from_json(read_plain(folder / VOCABULARY))
        readouts = {task.name: Readout(**manifest["readouts"][task.name]) for task in tasks}
        trust = {name: Trust.from_plain(plain) for name, plain in manifest.get("trust", {}).items()}
        return Group(
            _headline(folder, manifest),
            tasks_table(tasks, readouts),
            *([_trust_table(trust)] if trust else []),
            *([_neighbours_table(voting)] if (voting := manifest.get("neighbours")) else []),
            _vocabulary_table(vocabulary, manifest),
            _networks_table(manifest, folder),
            _pairs_table("provenance", _flat(manifest["provenance"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"cannot be understood ({type(error).__name__}: {error})"
        raise CheckpointError("checkpoint.corrupt", message, Where(file=str(folder / MANIFEST))) from error


def tasks_table(tasks: Iterable[Task], readouts: Mapping[str, Readout] | None = None) -> Table:
    """One row a task: what is read, how it is answered, and, of a bundle's tasks, how answers are read."""
    columns = ("task", "answer", "choices", "input", *(["readout"] if readouts is not None else []), "title")
    table = _table("tasks", columns)
    for task in tasks:
        told = [] if readouts is None else [_readout(task, readouts[task.name])]
        _add(table, task.name, task.codec.kind, choices_of(task), inputs_of(task), *told, task.title)
    return table


def describe_tasks(tasks: Iterable[Task] | None = None) -> RenderableType:
    """Tasks as a table, with the paper or database behind each; ``None``: the catalogue of shipped ones."""
    if tasks is None:
        from protscribe.catalogue import all_tasks

        tasks = all_tasks().values()
    table = _table("tasks", ("task", "answer", "choices", "input", "main metric", "title", "reference"))
    for task in tasks:
        metric = task.metrics[0] if task.metrics else ""
        _add(
            table,
            task.name,
            task.codec.kind,
            choices_of(task),
            inputs_of(task),
            metric,
            task.title,
            task.reference,
        )
    return table


def inputs_of(task: Task) -> str:
    """What a task reads, in words: ``two chains, molecule, organism``."""
    parts = ["two chains" if task.chains == 2 else "one chain", *(["molecule"] if task.molecule else [])]
    return ", ".join([*parts, *(condition.field for condition in task.conditions)])


def choices_of(task: Task, most: int = 6) -> str:
    """What an answer may say, in words: its labels, or how many there are; a range with its unit; which residues."""
    codec: Any = task.codec
    if codec.kind == "number":
        return f"{codec.low:g} to {codec.high:g}{f' {codec.unit}' if codec.unit else ''} by {codec.step:g}"
    if codec.kind == "residue_set":
        return f"residues {codec.candidates or 'of any type'}" + (
            f", chain {codec.chain}" if task.chains == 2 else ""
        )
    if codec.kind == "residue_pairs":
        return (
            "residue of chain 1, residue of chain 2"
            if codec.between
            else f"residues {codec.separation} apart or more"
        )
    for name, noun in (("labels", "labels"), ("paths", "paths"), ("alphabet", "tokens")):
        texts: Sequence[str] = getattr(codec, name, ())
        if texts:
            return ", ".join(texts) if len(texts) <= most else f"{len(texts)} {noun}"
    return "taken from the data"


def show(described: RenderableType, file: TextIO | None = None) -> None:
    """Prints a description, to standard output where no file is given; wide and without colours where that is no terminal."""
    console = Console(file=file or sys.stdout)
    if not console.is_terminal:
        console = Console(file=file or sys.stdout, width=WIDTH)
    console.print(described)


def _headline(folder: Path, manifest: Mapping[str, Any]) -> Text:
    told = f"format {manifest['format']}, written {manifest['created']} by protscribe {manifest['library']}"
    return Text(f"{folder}\n{told}")


def _trust_table(trust: Mapping[str, Trust]) -> Table:
    """What held-out rows said: how probabilities are calibrated, and which coverages can be asked for."""
    table = _table("trust", ("task", *CELLS))
    for name, known in trust.items():
        _add(table, name, *known.cells())
    return table


def _neighbours_table(voting: Mapping[str, Mapping[str, Any]]) -> Table:
    """Whose known proteins vote beside the decoder, and how much they count."""
    table = _table("neighbours that vote", ("task", *near.CELLS))
    for name, plain in voting.items():
        _add(table, name, *near.cells(plain))
    return table


def _vocabulary_table(vocabulary: Vocabulary, manifest: Mapping[str, Any]) -> Table:
    known_by = f"fingerprint {vocabulary.fingerprint[:12]}, positions as {manifest['positions']}"
    title = f"vocabulary: {len(vocabulary)} symbols, {known_by}"
    table = _table(title, ("block", "symbols", "first ones"))
    sizes: dict[str, list[str]] = {}
    for symbol in vocabulary.symbols:
        sizes.setdefault(symbol.block, []).append(symbol.text)
    for block, texts in sizes.items():
        _add(table, block, f"{len(texts):,}", ", ".join(texts[:6]) + (", ..." if len(texts) > 6 else ""))
    return table


def _networks_table(manifest: Mapping[str, Any], folder: Path) -> Table:
    from protscribe.checkpoint.manifest import WEIGHTS

    size = (folder / WEIGHTS).stat().st_size
    table = _table(f"networks: {size / 1e6:.1f} MB of weights", ("part", "parameters", "architecture"))
    for part, count in manifest["parameters"].items():
        described = manifest["architecture"][part]
        if described is not None:
            _add(
                table,
                part.replace("_", " "),
                f"{count:,}",
                ", ".join(f"{key}={_said(v)}" for key, v in _flat(described)),
            )
    return table


def _pairs_table(title: str, pairs: Iterable[tuple[str, Any]]) -> Table:
    table = _table(title, ("key", "value"))
    for key, value in pairs:
        _add(table, key, _said(value))
    return table


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _readout(task: Task, readout: Readout) -> str:
    if readout.way == "greedy":
        return "greedy string"
    asks = task.codec.asks
    if asks == "digits":
        return f"{readout.statistic}, {readout.level:.0%} interval"
    if asks in ("inclusion", "draws") and task.codec.kind != "segments":
        return f"probability >= {readout.threshold:.3g}"
    return "greedy string" if asks == "greedy" else "most probable"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("symbols", "parameters") else "left", overflow="fold"
        )
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(escape(cell) for cell in cells))


class Tasks(Mapping[str, Task]):
    """The tasks of a model by name; shown as a table."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = dict(tasks)

    def __getitem__(self, name: str) -> Task:
        found = self._tasks.get(name)
        if found is None:
            raise TaskError(
                "task.unknown", f"this model has no task {name!r}; {nearest(str(name), self._tasks)}"
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name, kind of answer, what goes in, and title, of every task."""
        return [(name, task.codec.kind, inputs_of(task), task.title) for name, task in self.items()]

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column), default=0) for column in list(zip(*rows, strict=True))[:3]]
        lines = (
            "  ".join([*(f"{c:{w}}" for c, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("task", "answer", "input", "title"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
