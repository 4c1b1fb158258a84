"""Finding and reading the shipped tasks and sources: the YAML files of ``configs/``, without Hydra or torch.

A user's own folder of configurations (``extra``, the command line's ``--config-dir``) comes before the shipped one: a task
there has precedence over a shipped task of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protscribe.data.files import is_table
from protscribe.data.source import Source
from protscribe.documents import read_yaml
from protscribe.errors import ConfigError, TaskError, Where, nearest
from protscribe.task import Task

TASKS, SOURCES = "task", "source"

_REFERENCE = re.compile(r"\$\{([^${}]+)\}")


def configs_folder() -> Path:
    """The shipped configurations: inside the installed package, or of the checkout that the package is imported from.

    Raises :class:`~protscribe.errors.ConfigError` ``config.not_found`` where there is neither.
    """
    package = Path(__file__).resolve().parent
    places = (package / "configs", package.parents[1] / "configs")
    for place in places:
        if (place / TASKS).is_dir():
            return place
    looked = " and ".join(map(str, places))
    raise ConfigError("config.not_found", f"no shipped configurations in {looked}; install protscribe again")


def task_names(extra: Path | None = None) -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(_files(TASKS, extra)))


def source_names(extra: Path | None = None) -> tuple[str, ...]:
    """The names of all sources, sorted."""
    return tuple(sorted(_files(SOURCES, extra)))


def read_task(name: str, extra: Path | None = None) -> Task:
    """The task of that name.

    Raises :class:`~protscribe.errors.TaskError` ``task.unknown``, with the nearest names, and whatever is wrong with its file.
    """
    files = _files(TASKS, extra)
    if name not in files:
        raise TaskError("task.unknown", f"there is no task {name!r}; {nearest(name, files)}")
    plain = _mapping(files[name], name)
    return Task.from_plain(plain, origin=str(files[name]))


def all_tasks(extra: Path | None = None) -> dict[str, Task]:
    """Every task by name, in the order of the names."""
    return {name: read_task(name, extra) for name in task_names(extra)}


def find_source(name: str, variables: Mapping[str, str], extra: Path | None = None) -> Source:
    """The source of that name; its rows are read by :func:`protscribe.data.examples.read_source`.

    ``variables`` says what stands for each ``${...}`` in its file: ``{"paths.data": "data"}`` for the demo's tables,
    ``{"oc.env:PROTSCRIBE_DATA": FOLDER}`` for others. Raises :class:`~protscribe.errors.ConfigError` with
    ``config.unknown_source`` (and the nearest names) or ``config.interpolation``.
    """
    files = _files(SOURCES, extra)
    if name not in files:
        raise ConfigError("config.unknown_source", f"there is no source {name!r}; {nearest(name, files)}")
    plain = _mapping(files[name], name)
    return Source.from_plain(_filled(plain, variables, files[name]), origin=str(files[name]))


def name_entries(
    tasks: Sequence[str], sources: Sequence[str], extra: Path | None = None
) -> dict[str, dict[str, str]]:
    """Entries of a mixture, ``{task, source}`` by name, for tasks and sources that are only named.

    A source of the catalogue says which task it is of; a table file is of the one task that is named. A task without a
    source gets the one of its own name, or the only one there is.

    Raises :class:`~protscribe.errors.ConfigError`: ``config.missing`` where that does not say which rows are meant,
    ``config.unknown_source``, and ``config.value`` for a source of a task that was not asked for.
    """
    files = _files(SOURCES, extra)
    pairs: list[tuple[str, str]] = []
    for source in sources:
        if is_table(source):
            if len(tasks) != 1:
                raise ConfigError(
                    "config.missing",
                    f"say which task the rows of {source} are of: +task=NAME +source={source}",
                )
            pairs.append((tasks[0], source))
            continue
        if source not in files:
            raise ConfigError(
                "config.unknown_source", f"there is no source {source!r}; {nearest(source, files)}"
            )
        task = str(_mapping(files[source], source).get("task"))
        if tasks and task not in tasks:
            raise ConfigError(
                "config.value", f"source {source!r} is of task {task!r}, not of {', '.join(tasks)}"
            )
        pairs.append((task, source))
    for task in tasks:
        if task not in dict(pairs):
            pairs.append((task, _own_source(task, files)))
    entries: dict[str, dict[str, str]] = {}
    for task, source in pairs:
        name = (
            task
            if task not in entries
            else f"{task}_{sum(one['task'] == task for one in entries.values()) + 1}"
        )
        entries[name] = {"task": task, "source": source}
    return entries


def _own_source(task: str, files: Mapping[str, Path]) -> str:
    found = [name for name, path in files.items() if _mapping(path, name).get("task") == task]
    if task in found or len(found) == 1:
        return task if task in found else found[0]
    told = f"there are several: {', '.join(sorted(found))}" if found else "there is none in the catalogue"
    raise ConfigError(
        "config.missing",
        f"say where the rows of task {task!r} lie, +source=NAME or +source=TABLE.csv: {told}",
    )


def _files(group: str, extra: Path | None) -> dict[str, Path]:
    """The YAML files of a group by name, found recursively; later folders give way to earlier ones."""
    found: dict[str, Path] = {}
    for folder in (extra, configs_folder()):
        here: dict[str, Path] = {}
        for path in sorted((folder / group).rglob("*.yaml")) if folder is not None else ():
            if path.stem in here:
                message = f"two files are named {path.stem!r}: {here[path.stem]} and {path}; rename one"
                raise ConfigError("config.duplicate_key", message, Where(file=str(path)))
            here[path.stem] = path
        found = here | found
    return found


def _mapping(path: Path, name: str) -> dict[str, Any]:
    """What a file holds. The name inside must be the file's: it is what users, mixtures and bundles say."""
    plain = read_yaml(path)
    where = Where(file=str(path))
    if not isinstance(plain, dict):
        raise ConfigError("config.type", f"expected keys and values, got {type(plain).__name__}", where)
    if plain.get("name") != name:
        message = f"its name is {plain.get('name')!r}, its file is named {name!r}; make them the same"
        raise ConfigError("config.value", message, where)
    return plain


def _filled(value: Any, variables: Mapping[str, str], path: Path) -> Any:
    """Plain data with every ``${...}`` in its texts replaced."""
    if isinstance(value, dict):
        return {key: _filled(item, variables, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables, path) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in variables:
            message = f"{match[0]} is not known; {nearest(match[1], variables)}"
            raise ConfigError("config.interpolation", message, Where(file=str(path)))
        return variables[match[1]]

    return _REFERENCE.sub(replace, value)
