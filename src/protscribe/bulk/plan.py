"""The plan of a folder of answers: what is read, what is asked of which bundle, and the bounds of its shards.

It is written before anything is answered, as ``plan.json``, sealed with a digest, and never changed. Whoever works on the
folder
compares what it was asked with it: the same command goes on, another one is refused with what differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protscribe.bulk.survey import Cut
from protscribe.checkpoint.manifest import digest_file, read_sealed, seal, to_plain
from protscribe.data.reading import Part
from protscribe.errors import CheckpointError, OutputError, Where
from protscribe.outputs.atomic import pending_file
from protscribe.outputs.tables import Asked
from protscribe.planning import MOST_RECORDS, MULTIPLE
from protscribe.task import Task

PLAN = "plan.json"
FORMAT = 1
"""Number of the format of plans and shards. A library reads its own and all older ones."""
NEEDS = "0.1.0"
"""The first version of this library that reads :data:`FORMAT`."""

SHARD_RECORDS = 16_384
"""Records of a shard, about, where nobody says how many shards there are to be."""
MOST_SHARDS = 99_999

BUCKETS = {"padded_to": MULTIPLE, "records_side_by_side": MOST_RECORDS}
"""By what records are put into batches within a shard (see :mod:`protscribe.planning`)."""


@dataclass(frozen=True)
class Question:
    """What writers and counters must know of a task: nothing that needs the bundle."""

    asked: Asked
    chains: int = 1
    molecule: bool = False

    @classmethod
    def of(cls, task: Task, ranked: bool, guaranteed: bool = False) -> Question:
        return cls(Asked.of(task, ranked, guaranteed), task.chains, task.molecule)

    def fits(self, chains: int, molecule: bool) -> bool:
        """Whether it can be asked of a record with so many chains, with a molecule or without."""
        return self.chains == chains and (molecule or not self.molecule)


@dataclass(frozen=True)
class Plan:
    """What a folder of answers is to hold.

    ``input``: name (without folders), ``bytes``, ``sha256``, and how many ``records``, ``residues`` and records that cannot
    be read (``rejected``) it has. ``bundle``: the seal of its manifest. ``versions``: of this library and of what
    computes. ``settings``: whatever changes an answer. ``questions``: one a task; ``named``: whether the tasks were named, so
    that each is asked of every record, or left open, so that those are asked that fit. ``formats``: suffixes of what each
    shard holds. ``digest``: of all this, as it stands in ``plan.json``.
    """

    input: Mapping[str, Any]
    bundle: str
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    questions: tuple[Question, ...]
    named: bool
    formats: tuple[str, ...]
    shards: tuple[Cut, ...]
    digest: str = ""

    @property
    def asked(self) -> list[Asked]:
        return [question.asked for question in self.questions]

    @property
    def tasks(self) -> list[str] | None:
        """The tasks as a predictor is asked for them."""
        return [question.asked.task for question in self.questions] if self.named else None

    def expected(self, chains: int, molecule: bool) -> int:
        """How many outcomes a record has; one that no task fits is rejected once."""
        if self.named:
            return len(self.questions)
        return sum(question.fits(chains, molecule) for question in self.questions) or 1

    def records(self, shard: int) -> int:
        """Records of a shard (0-based)."""
        part = self.shards[shard].part
        return part.stop - part.first

    def to_plain(self) -> dict[str, Any]:
        shards = [
            [cut.part.first, cut.part.stop, cut.part.offset, cut.part.lines, cut.digest]
            for cut in self.shards
        ]
        questions = [
            {**question.asked._asdict(), "chains": question.chains, "molecule": question.molecule}
            for question in self.questions
        ]
        return {
            "format": FORMAT, "needs_library": NEEDS, "input": dict(self.input), "bundle": self.bundle,
            "versions": dict(self.versions), "settings": to_plain(self.settings), "buckets": BUCKETS, "named": self.named,
            "questions": to_plain(questions), "formats": list(self.formats), "shards": shards,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Plan:
        questions = []
        for one in plain["questions"]:
            told = dict(one)
            chains, molecule = told.pop("chains"), told.pop("molecule")
            told["labels"] = tuple(told["labels"])
            questions.append(Question(Asked(**told), chains, molecule))
        return cls(
            input=plain["input"],
            bundle=plain["bundle"],
            versions=plain["versions"],
            settings=plain["settings"],
            questions=tuple(questions),
            named=plain["named"],
            formats=tuple(plain["formats"]),
            shards=tuple(Cut(Part(*place), digest) for *place, digest in plain["shards"]),
            digest=plain["seal"],
        )


def write_plan(folder: Path, plan: Plan) -> Plan:
    """Writes ``plan.json`` and gives the plan with its digest. Raises :class:`~protscribe.errors.OutputError`
    ``output.write``."""
    with pending_file(folder / PLAN) as pending:
        pending.stream.write(seal(plan.to_plain()))
    return read_plan(folder)


def read_plan(folder: Path | str) -> Plan:
    """The plan of a folder.

    Raises :class:`~protscribe.errors.OutputError`: ``output.no_plan``, ``output.plan`` for one that is damaged or of a newer
    library.
    """
    path = Path(folder) / PLAN
    where = Where(file=str(path))
    if not path.is_file():
        message = "there is no plan here, so no batch prediction was begun; protscribe predict output=FOLDER/ begins one"
        raise OutputError("output.no_plan", message, where)
    try:
        return Plan.from_plain(read_sealed(path, FORMAT))
    except OSError as error:
        raise OutputError("output.plan", f"cannot be read: {error.strerror}", where) from None
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        said = error.message if isinstance(error, CheckpointError) else "cannot be understood"
        message = f"{said}. Remove the folder to begin anew; finished shards hold the plan's digest and cannot be used"
        raise OutputError("output.plan", message, where) from None


def describe_input(path: str) -> dict[str, Any]:
    """Name, size and SHA-256 of an input; of a folder, of the Parquet files in it."""
    found = Path(path)
    files = sorted(found.glob("*.parquet")) if found.is_dir() else [found]
    digests = [digest_file(file) for file in files]
    if found.is_dir():
        import hashlib

        digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
    return {"name": found.name, "bytes": size_of(path), "sha256": digests[0]}


def size_of(path: str) -> int:
    """Bytes of an input."""
    found = Path(path)
    return sum(
        file.stat().st_size for file in (sorted(found.glob("*.parquet")) if found.is_dir() else [found])
    )


def check_same(folder: Path, plan: Plan, asked: Plan, *, digested: bool) -> None:
    """Raises :class:`~protscribe.errors.OutputError` ``output.plan_differs`` with all that another plan has different.

    Where the input was not ``digested``, its size alone is compared; each shard is compared with what was planned when it is
    read.
    """
    lines = _differences("input", *(_known(one, digested) for one in (plan, asked)))
    for name in ("bundle", "versions", "settings", "formats"):
        lines += _differences(name, getattr(plan, name), getattr(asked, name))
    lines += _differences("tasks", _questions(plan), _questions(asked))
    if asked.shards and len(asked.shards) != len(plan.shards):
        lines.append(f"shards: {len(plan.shards)} there, {len(asked.shards)} here")
    if lines:
        message = (
            "the answers in this folder are to other questions; give another output, or the same command again. "
            f"What differs: {'; '.join(lines[:10])}"
        )
        raise OutputError("output.plan_differs", message, Where(file=str(folder)))


def same_input(plan: Plan, asked: Plan, *, digested: bool) -> bool:
    """Whether two plans are for one input, as far as that was looked at."""
    return _known(plan, digested) == _known(asked, digested)


def _known(plan: Plan, digested: bool) -> dict[str, Any]:
    return {key: plan.input[key] for key in (("bytes", "sha256") if digested else ("bytes",))}


def _questions(plan: Plan) -> list[str]:
    return [question.asked.task for question in plan.questions]


def _differences(name: str, there: Any, here: Any) -> list[str]:
    there, here = (json.loads(json.dumps(to_plain(one))) for one in (there, here))
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = dict.fromkeys([*there, *here])
        pairs: Sequence[tuple[str, Any, Any]] = [
            (f"{name}.{key}", there.get(key), here.get(key)) for key in keys
        ]
    else:
        pairs = [(name, there, here)]
    return [f"{key}: {_short(one)} there, {_short(other)} here" for key, one, other in pairs if one != other]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
