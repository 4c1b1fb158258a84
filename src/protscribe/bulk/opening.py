"""Opening a folder of answers: making its plan, or finding that it is the same as what is asked now."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import protscribe
from protscribe.bulk.lease import Lease, holding, is_alive, read_lease
from protscribe.bulk.plan import (
    MOST_SHARDS,
    PLAN,
    SHARD_RECORDS,
    Plan,
    Question,
    check_same,
    describe_input,
    read_plan,
    same_input,
    size_of,
    write_plan,
)
from protscribe.bulk.reading import Source, checked, cleaning_counts
from protscribe.bulk.shard import PARQUET, Paths, read_seal, sweep
from protscribe.bulk.survey import Survey, check_input, cut, take_survey
from protscribe.bulk.work import source_of
from protscribe.data.files import take_stamp
from protscribe.errors import ConfigError, OutputError, TaskError, nearest
from protscribe.generation.settings import Search
from protscribe.interruption import interruption
from protscribe.outputs.files import check_format, format_of
from protscribe.outputs.run import predict_file
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task

log = logging.getLogger(__name__)

PLAN_LOCK = ".plan.lock"

NO_ANSWER = (
    "bundle", "input", "output", "tasks", "device", "compile", "on_error", "progress", "revision", "local_files_only",
)  # fmt: skip
"""Keywords of ``predict_file`` that change no answer, or that a plan has elsewhere."""
READING = ("columns", "id_policy", "nucleotides", "allow_empty")
LOADING = ("draws", "seed", "precision")
WISHED = ("n_best", "search", "prefix", "candidates")
SETTINGS = {
    name: parameter.default
    for name, parameter in inspect.signature(predict_file).parameters.items()
    if name not in NO_ANSWER
}
"""What changes answers, with its defaults."""


@dataclass(frozen=True)
class Asked:
    """What a command asks of a folder. ``shards`` is ``None`` where any number will do."""

    bundle: str
    input: str
    folder: Path
    tasks: tuple[str, ...] | None
    shards: int | None
    formats: tuple[str, ...]
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        bundle: str,
        input: str,
        output: str,
        tasks: str | Sequence[str] | None,
        shards: int | None,
        formats: Sequence[str],
        asked: Mapping[str, Any],
    ) -> Asked:
        """Raises :class:`~protscribe.errors.ConfigError` and :class:`~protscribe.errors.OutputError` for what cannot be."""
        check_input(input)
        for name in asked:
            if name not in SETTINGS:
                raise ConfigError(
                    "config.unknown_key", f"there is no key {name!r}; {nearest(name, SETTINGS)}"
                )
        names = (tasks,) if isinstance(tasks, str) else None if tasks is None else tuple(dict.fromkeys(tasks))
        settings = {**SETTINGS, **asked}
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise OutputError("output.format", f"{output} is a file; give a folder, with '/' at its end")
        return cls(bundle, input, folder, names, shards, _formats(formats, settings["n_best"]), settings)

    def how(self) -> dict[str, Any]:
        """The keywords of a model's ``stream``."""
        known = (*READING, *LOADING, *WISHED)
        return {name: value for name, value in self.settings.items() if name not in known}

    def loading(self) -> dict[str, Any]:
        """The keywords of :class:`~protscribe.bulk.loading.LoadBundle`."""
        from protscribe.shortlist import Wish, plain_search

        n_best, search, prefix, candidates = (self.settings[name] for name in WISHED)
        wish = Wish(n_best, plain_search(search, n_best), prefix, candidates)
        return {**{name: self.settings[name] for name in LOADING}, "wish": wish}

    def plain_settings(self) -> dict[str, Any]:
        search: Search | None = self.settings["search"] if self.settings["n_best"] is not None else None
        plain = None if search is None else {"kind": search.name, **dataclasses.asdict(search)}
        return {**self.settings, "search": plain}


def _formats(formats: Sequence[str], n_best: int | None) -> tuple[str, ...]:
    given = [formats] if isinstance(formats, str) else list(formats)
    dotted = [one if one.startswith(".") else f".{one}" for one in given]
    for suffix in dotted:
        check_format(f"x{suffix}", ranked=n_best is not None)
        if format_of(f"x{suffix}") != suffix:
            raise OutputError("output.format", f"{suffix!r} is no format but the end of one")
    return tuple(dict.fromkeys([PARQUET, *dotted]))


def open_plan(
    asked: Asked, *, whole: bool, revision: str | None = None, local_files_only: bool = False
) -> tuple[Plan, Path]:
    """The plan of a folder and where its bundle lies; makes the plan where there is none.

    ``whole``: compare the whole input with what was planned, and not its size alone (each shard is compared when it is read).
    Of several processes one makes the plan while the others wait. A plan for the same input, of which no shard is done and on
    which nobody works, is replaced. Raises :class:`~protscribe.errors.OutputError` ``output.plan_differs``.
    """
    folder, seal, tasks = find_tasks(asked.bundle, revision, local_files_only)
    questions = questions_of(asked, tasks)
    while (plan := _fitting(asked, seal, questions, whole)) is None:
        try:
            with holding(asked.folder / PLAN_LOCK, Lease.mine(), "the plan of this folder"):
                sweep(asked.folder, PLAN)
                # Another process may have made it since.
                plan = _fitting(asked, seal, questions, whole) or make_plan(asked, seal, questions)
                return plan, folder
        except OutputError as error:
            if error.code != "output.locked":
                raise
            log.info("another process makes the plan of %s: waiting for it", asked.folder)
            time.sleep(1.0)
            interruption().check()
    _tidy(asked.folder)
    return plan, folder


def _fitting(asked: Asked, seal: str, questions: tuple[Question, ...], whole: bool) -> Plan | None:
    """The plan that is there; ``None`` where there is none, or one that may be replaced. Raises ``output.plan_differs``."""
    if not (asked.folder / PLAN).is_file():
        return None
    plan, here = read_plan(asked.folder), _outline(asked, seal, questions, whole)
    try:
        check_same(asked.folder, plan, here, digested=whole)
    except OutputError:
        if _is_begun(asked.folder, plan) or not same_input(plan, here, digested=whole):
            raise
        return None
    return plan


def _tidy(folder: Path) -> None:
    """Removes what a process left that was killed when it had made the plan; if another one is at it, that does so."""
    if any(folder.glob(".plan.*")):
        with suppress(OutputError), holding(folder / PLAN_LOCK, Lease.mine(), "the plan of this folder"):
            sweep(folder, PLAN)


def find_tasks(
    bundle: str, revision: str | None, local_files_only: bool
) -> tuple[Path, str, dict[str, Task]]:
    """Where a bundle lies, the seal of its manifest, and its tasks, without loading it."""
    from protscribe.checkpoint.hub import find_bundle
    from protscribe.checkpoint.manifest import TASKS, read_manifest, read_plain

    folder = find_bundle(bundle, revision=revision, local_files_only=local_files_only)
    manifest = read_manifest(folder)
    tasks = [Task.from_plain(plain, "a task of this bundle") for plain in read_plain(folder / TASKS)]
    return folder, manifest["seal"], {task.name: task for task in tasks}


def questions_of(asked: Asked, tasks: Mapping[str, Task]) -> tuple[Question, ...]:
    for name in asked.tasks or ():
        if name not in tasks:
            raise TaskError("task.unknown", f"the bundle has no task {name!r}; {nearest(name, tasks)}")
    ranked, guaranteed = asked.settings["n_best"] is not None, asked.settings.get("coverage") is not None
    names = tasks if asked.tasks is None else asked.tasks
    return tuple(Question.of(tasks[name], ranked, guaranteed) for name in names)


def _outline(asked: Asked, seal: str, questions: tuple[Question, ...], whole: bool) -> Plan:
    """A plan of what is asked, with no more of the input than is compared."""
    take_stamp_of(asked.input)
    told = describe_input(asked.input) if whole else {"bytes": size_of(asked.input)}
    return Plan(
        input=told,
        bundle=seal,
        versions=versions(),
        settings=asked.plain_settings(),
        questions=questions,
        named=asked.tasks is not None,
        formats=asked.formats,
        shards=(None,) * (asked.shards or 0),  # type: ignore[arg-type]
    )


def take_stamp_of(path: str) -> None:
    """Raises :class:`~protscribe.errors.InputError` for an input that is not there."""
    if not Path(path).is_dir():
        take_stamp(path)


def versions() -> dict[str, str]:
    """Of what decides about bytes."""
    return {"protscribe": protscribe.__version__} | {
        name: metadata.version(name) for name in ("torch", "pyarrow")
    }


Through = Callable[[Iterator[ProteinRecord | Failure]], Iterator[ProteinRecord | Failure]]


def look_through(
    asked: Asked, questions: Sequence[Question], through: Through = iter
) -> tuple[Survey, Source]:
    """Reads the whole input once, ``through`` what else wants to see the records.

    Raises what reading raises, also about records as a whole: repeated ids, nucleotides.
    """
    source = source_of(asked.input, asked.settings, questions, named=asked.tasks is not None)
    reading = source.reading()
    survey = take_survey(through(map(checked, reading.outcomes())))
    survey.changed = cleaning_counts(reading.counts)
    return survey, source


def make_plan(asked: Asked, seal: str, questions: tuple[Question, ...]) -> Plan:
    """Reads the whole input once, cuts it and writes the plan."""
    before = describe_input(asked.input)
    survey, source = look_through(asked, questions)
    usual = min(MOST_SHARDS, -(-survey.records // SHARD_RECORDS))
    shards = asked.shards or max(1, usual)
    outline = _outline(asked, seal, questions, whole=False)
    told = {
        **before,
        "records": survey.records,
        "residues": survey.residues,
        "rejected": dict(sorted(survey.rejected.items())),
        "changed": dict(sorted(survey.changed.items())),
    }
    cuts = cut(asked.input, survey, shards, source.options)
    return write_plan(asked.folder, dataclasses.replace(outline, input=told, shards=tuple(cuts)))


def _is_begun(folder: Path, plan: Plan) -> bool:
    """Whether a shard is done, or being done."""
    for shard in range(len(plan.shards)):
        if read_seal(folder, plan, shard, digests=False) is not None:
            return True
        lease = read_lease(Paths(folder, shard).lock)
        if lease is not None and is_alive(*lease):
            return True
    return False
