"""Several evaluations of one model trained with several seeds: mean, spread and interval of every metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from protscribe.errors import ConfigError, InputError, Where
from protscribe.evaluation.result import METHODS, number
from protscribe.outputs.atomic import pending_file

FILE = "evaluation.json"


@dataclass(frozen=True)
class Spread:
    """One metric over ``seeds`` trainings, on the same test rows.

    ``deviation`` is the standard deviation between seeds; ``lower`` and ``upper`` bound the mean by Student's t. They say what
    training again changes, not what other test proteins would: that is each evaluation's own interval. NaN where undefined.
    """

    mean: float
    deviation: float
    lower: float
    upper: float
    values: tuple[float, ...]

    @property
    def seeds(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, values: Sequence[float | None], level: float = 0.95) -> Spread:
        """Of one value a seed; where one of them is undefined, so is all but the values."""
        known = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        mean, count = float(known.mean()), len(known)
        if count < 2:
            return cls(mean, math.nan, math.nan, math.nan, tuple(known.tolist()))
        deviation = float(known.std(ddof=1))
        reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * deviation / math.sqrt(count)
        return cls(mean, deviation, mean - reach, mean + reach, tuple(known.tolist()))


@dataclass(frozen=True)
class SeedResult:
    """By task, method and metric the spread over seeds; ``gains`` by task and method, in the main metric."""

    metrics: Mapping[str, Mapping[str, Mapping[str, Spread]]]
    gains: Mapping[str, Mapping[str, Spread]]
    level: float
    count: int

    def to_plain(self) -> dict[str, Any]:
        """Lists, mappings, texts and numbers; what is undefined is None."""

        def plain(part: Any) -> Any:
            if isinstance(part, Spread):
                return {"seeds": part.seeds, **{k: plain(v) for k, v in asdict(part).items()}}
            if isinstance(part, Mapping):
                return {name: plain(inner) for name, inner in part.items()}
            if isinstance(part, (list, tuple)):
                return [plain(inner) for inner in part]
            return None if isinstance(part, float) and math.isnan(part) else part

        return {
            "level": self.level,
            "seeds": self.count,
            "metrics": plain(self.metrics),
            "gains": plain(self.gains),
        }

    def to_markdown(self) -> str:
        """A row a task and metric, a column a method: mean and standard deviation over seeds."""
        named = {name for of_task in self.metrics.values() for name in of_task}
        methods = [name for name in METHODS if name in named] + sorted(named - set(METHODS))
        lines = [
            "| task | metric | " + " | ".join(METHODS.get(name, name) for name in methods) + " |",
            "|---|---|" + "---:|" * len(methods),
        ]
        for task, of_task in self.metrics.items():
            for metric in next(iter(of_task.values())):
                cells = [_cell(of_task[name][metric]) if name in of_task else "" for name in methods]
                lines.append(f"| {task} | {metric} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def write(self, folder: str | Path) -> None:
        """Writes ``seeds.json`` and ``seeds.md``. Raises :class:`~protscribe.errors.OutputError` ``output.write``."""
        contents = {
            "json": json.dumps(self.to_plain(), indent=1, allow_nan=False) + "\n",
            "md": self.to_markdown(),
        }
        for suffix, text in contents.items():
            with pending_file(Path(folder) / f"seeds.{suffix}") as pending:
                pending.stream.write(text.encode())


def _cell(spread: Spread) -> str:
    return (
        number(spread.mean)
        if math.isnan(spread.deviation)
        else f"{number(spread.mean)} ± {number(spread.deviation)}"
    )


def merge_seeds(folders: Sequence[str | Path], *, level: float = 0.95) -> SeedResult:
    """Evaluations of the same tasks on the same test rows, one a seed, from the folders they were written to.

    Raises :class:`~protscribe.errors.InputError` ``input.not_found`` or ``.format`` for a folder without an evaluation, and
    :class:`~protscribe.errors.ConfigError` ``evaluation.seeds`` where a folder is given twice, or two evaluations have not the
    same tasks, methods, metrics and numbers of test rows.
    """
    if not folders:
        raise ConfigError("evaluation.seeds", "give at least one folder with an evaluation")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ConfigError("evaluation.seeds", "a folder is given twice: it would count as two trainings")
    found = [_read(Path(folder) / FILE) for folder in folders]
    shapes = [_shape(tasks) for tasks in found]
    for folder, shape in zip(folders[1:], shapes[1:], strict=True):
        if shape != shapes[0]:
            raise ConfigError(
                "evaluation.seeds",
                f"{folder} and {folders[0]} have not the same tasks, methods, metrics and numbers of test rows; "
                "evaluate all seeds in the same way",
            )
    metrics: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for task, first in found[0].items():
        metrics[task] = {
            method: {
                metric: Spread.of(
                    [tasks[task]["methods"][method]["metrics"][metric] for tasks in found], level
                )
                for metric in told["metrics"]
            }
            for method, told in first["methods"].items()
        }
        gains[task] = {
            method: Spread.of([tasks[task]["gains"][method]["value"] for tasks in found], level)
            for method in first["gains"]
        }
    return SeedResult(metrics, gains, level, len(found))


def _read(path: Path) -> dict[str, Any]:
    try:
        tasks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    except OSError as error:
        raise InputError(
            "input.not_found", f"there is no evaluation: {error.strerror}", Where(file=str(path))
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            "input.format", "this is not what protscribe evaluate writes", Where(file=str(path))
        ) from None
    return tasks


def _shape(tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        task: (told["count"], {method: list(of["metrics"]) for method, of in told["methods"].items()})
        for task, told in tasks.items()
    }
