"""One evaluation: a bundle on held-out rows of its tasks, beside baselines, with intervals."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from protscribe.data.examples import Example, read_source, records_of, shared_sequences
from protscribe.data.lengths import LengthPolicy
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError, nearest
from protscribe.evaluation.answers import labels_of
from protscribe.evaluation.bands import DIVISIONS, Division, find_bands, judge_bands
from protscribe.evaluation.breakdown import break_down
from protscribe.evaluation.cases import FILE, write_cases
from protscribe.evaluation.leakage import Audit, audit_rows
from protscribe.evaluation.measures.hierarchy import Hierarchy, read_hierarchy
from protscribe.evaluation.metrics import METRICS, Resampled, collect, metrics_of, resample, score
from protscribe.evaluation.provenance import describe_model
from protscribe.evaluation.report import write_report
from protscribe.evaluation.report.picture import plot_report
from protscribe.evaluation.result import EvaluationResult, MethodResult, TaskResult
from protscribe.evaluation.rivals.choice import (
    USUAL,
    Baseline,
    Fitting,
    Learnable,
    answers_of,
    chosen_baselines,
)
from protscribe.evaluation.truths import is_written, parse_truth
from protscribe.evaluation.units import SEARCHED, column_values, find_units
from protscribe.homology import can_search
from protscribe.predictor import Predictor
from protscribe.progress import Advance
from protscribe.progress import progress as telling
from protscribe.records import Failure, Prediction
from protscribe.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """The labelled rows of one task: for fitting baselines, for choosing, and for judging."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    rejected: tuple[Failure, ...]
    shared: int
    units: tuple[int, ...]
    drawn: str
    audit: Audit | None


def evaluate(
    bundle_path: str,
    sources: Sequence[Source],
    *,
    split: Split = "test",
    baselines: Sequence[str] | str = USUAL,
    fitting_limit: int | None = 2000,
    mlp_layers: int = 2,
    mlp_width: int | None = 256,
    greedy: bool = True,
    limit: int | None = None,
    clusters: str | None = None,
    bands: Sequence[Division] = DIVISIONS,
    hierarchies: Mapping[str, str] | None = None,
    audit: bool | Literal["auto"] = "auto",
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    long: LengthPolicy = "window",
    strict_split: bool = False,
    root: str | Path = ".",
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """A bundle's answers about the rows of ``split``, judged by each task's metrics, beside baselines.

    Parameters
    ----------
    bundle_path: a bundle folder or a Hub name. sources: where the labelled rows lie; the rows of several sources of one
        task are judged together. Relative paths in them count from ``root``.
    baselines: names from :data:`~protscribe.evaluation.rivals.choice.BASELINES`, or ``"all"``; learned from the sources'
        training rows. ``fitting_limit``, ``mlp_layers`` and ``mlp_width`` are those of
        :class:`~protscribe.evaluation.rivals.choice.Fitting`.
        greedy: also judge the greedy string.
    limit: at most so many rows a task, drawn with ``seed``. resamples, level: of the bootstrap over proteins for each
        task's main metric; of ordered pairs over the partners that pairs share. clusters: a column whose values are drawn whole
        in their place, or ``"mmseqs"``: clusters at 40% identity are made.
    bands: in which parts of the test the main metric is also taken. hierarchies: by task of label sets, a table with the
        columns ``parent`` and ``child``, for Fmax and average precision.
    audit: whether to search the judged proteins among those of the training rows first, which bands by identity need;
        ``"auto"``: where the extra ``homology`` is installed.
    long: what happens to proteins beyond the encoder's limit. strict_split: make it an error that test proteins also occur in
        training.
    output: a folder for ``evaluation.json``, ``evaluation.csv``, ``evaluation.txt``, ``answers.parquet`` (every judged
        protein), and the report made from them: ``report.html``, ``report.md`` and ``report.png``.

    Rows whose label or sequence cannot be read are counted as rejected; what cannot be predicted, and labels that the model
    cannot write, count as wrong. Raises
    :class:`~protscribe.errors.TaskError` ``task.no_data`` for a task without rows in ``split``, ``task.unknown`` for one that
    the bundle lacks, ``task.shared_sequences`` under ``strict_split``, and :class:`~protscribe.errors.ConfigError`
    ``config.value``.
    """
    _check(sources, bands, limit, resamples, level)
    names = chosen_baselines(baselines)
    fitting = Fitting(fitting_limit, mlp_layers, mlp_width, seed)
    predictor = Predictor.load(bundle_path, device=device)
    by_task: dict[str, list[Source]] = {}
    for source in sources:
        by_task.setdefault(predictor.tasks[source.task].name, []).append(source)
    judged = {name: predictor.tasks[name] for name in by_task}
    trees = _hierarchies(hierarchies or {}, judged, root)
    judging = _Judging(predictor, names, fitting, greedy, resamples, level, long, tuple(bands), trees)
    # Every task has its readings, the answers of each method, and the bootstrap.
    steps = len(by_task) * (3 + len(names) + greedy)
    results = []
    with telling("evaluate", steps, unit="steps", shown=progress) as advance:
        for name, of_task in by_task.items():
            task = predictor.tasks[name]
            rows = _read(task, of_task, split, limit, seed, strict_split, root, clusters, audit, bool(names))
            advance(1)
            results.append(judging.judge(task, of_task, rows, advance))
    told = {
        "split": split,
        "seed": seed,
        "resamples": resamples,
        "level": level,
        "limit": limit,
        "long": long,
        "clusters": clusters,
        "fitting_limit": fitting_limit,
    }
    manifest = predictor.bundle.manifest
    of_bundle = {"bundle": str(bundle_path), **{key: manifest.get(key) for key in ("created", "vocabulary")}}
    of_bundle["model"] = describe_model(manifest, bundle_path)
    result = EvaluationResult(tuple(results), {**of_bundle, **told})
    if output is not None:
        result.write(output)
        write_cases(Path(output) / FILE, result.tasks)
        plot_report(result, Path(output) / "report.png")
        write_report(output)
    return result


def _hierarchies(
    paths: Mapping[str, str], tasks: Mapping[str, Task], root: str | Path
) -> dict[str, Hierarchy]:
    for name in paths:
        if name not in tasks:
            raise ConfigError("config.value", f"hierarchies: no task {name!r} here; {nearest(name, tasks)}")
        if (kind := tasks[name].codec.kind) != "category_set":
            raise ConfigError(
                "config.value",
                f"hierarchies: {name!r} asks for a {kind}; only label sets have a hierarchy to be given",
            )
    return {name: read_hierarchy(Path(root) / path) for name, path in paths.items()}


def _check(
    sources: Sequence[Source], bands: Sequence[str], limit: int | None, resamples: int, level: float
) -> None:
    for name in bands:
        if name not in DIVISIONS:
            raise ConfigError("config.value", f"no bands by {name!r}; {nearest(str(name), DIVISIONS)}")
    if not sources:
        raise ConfigError("config.value", "evaluation needs at least one source of labelled rows")
    if resamples < 1 or not 0 < level < 1 or (limit is not None and limit < 1):
        message = f"resamples={resamples}, level={level}, limit={limit}"
        raise ConfigError(
            "config.value", f"resamples and limit must be at least 1 and level between 0 and 1, got {message}"
        )


def _read(
    task: Task,
    sources: Sequence[Source],
    split: Split,
    limit: int | None,
    seed: int,
    strict: bool,
    root: str | Path,
    clusters: str | None,
    audit: bool | Literal["auto"],
    learning: bool,
) -> Rows:
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    rejected: list[Failure] = []
    fitted: tuple[Split, ...] = ("train", "validation")
    named_units: list[Hashable] = []
    for source in sources:
        for name in fitted:
            # Without baselines, nothing is chosen.
            if name != split and (name == "train" or learning):
                # What is wrong with a training row was said in training.
                parts[name] += _examples(source, task, name, root, [])
        found = _examples(source, task, split, root, rejected, judged=True)
        parts["test"] += found
        if clusters and clusters != SEARCHED:
            values = column_values(source, clusters, root)
            named_units += [values[example.record.ordinal] for example in found]
    if not parts["test"]:
        named = ", ".join(repr(source.name) for source in sources)
        raise TaskError("task.no_data", f"task {task.name!r}: no usable row in split {split!r} of {named}")
    shared = shared_sequences(records_of(parts["train"]), records_of(parts["test"]), strict=strict)
    places = np.arange(len(parts["test"]))
    if limit is not None and len(places) > limit:
        places = np.sort(np.random.default_rng(seed).choice(len(places), limit, replace=False))
    test = [parts["test"][place] for place in places]
    records = [example.record for example in test]
    drawn_by = [named_units[place] for place in places] if named_units else []
    units, drawn = find_units(task, records, clusters, drawn_by)
    known = [one.chains for one in records_of(parts["train"])]
    wanted = bool(known) and (can_search() if audit == "auto" else audit)
    found_near = audit_rows([one.chains for one in records], known) if wanted else None
    return Rows(
        parts["train"], parts["validation"], test, tuple(rejected), shared, tuple(units), drawn, found_near
    )


def _examples(
    source: Source, task: Task, split: Split, root: str | Path, rejected: list[Failure], judged: bool = False
) -> list[Example]:
    parse = parse_truth(task.codec) if judged else None
    try:
        return read_source(source, task, split, root=root, on_error="collect", failures=rejected, parse=parse)
    except TaskError as error:
        if error.code != "task.no_data":
            raise
        return []


@dataclass(frozen=True)
class _Judging:
    """How tasks are judged in one evaluation."""

    predictor: Predictor
    baselines: tuple[Baseline, ...]
    fitting: Fitting
    greedy: bool
    resamples: int
    level: float
    long: LengthPolicy
    bands: tuple[Division, ...]
    hierarchies: Mapping[str, Hierarchy]

    def judge(self, task: Task, sources: Sequence[Source], rows: Rows, advance: Advance) -> TaskResult:
        ours = self._ask(task, rows.test)
        advance(1)
        answers: dict[str, Sequence[Prediction | Failure]] = {"protscribe": ours}
        if self.greedy:
            # For one token the greedy string is the most probable one: nothing new to ask.
            same = task.codec.asks in ("first", "greedy")
            answers["greedy"] = ours if same else self._ask(task, rows.test, "greedy")
            advance(1)
        given = Learnable(self.predictor, task, rows.train, rows.validation, rows.test)
        for name in self.baselines:
            found = answers_of(name, given, self.fitting)
            if found is not None:
                answers[name] = found
            advance(1)
        result = self._result(task, sources, rows, answers)
        advance(1)
        return result

    def _ask(
        self, task: Task, examples: Sequence[Example], readout: Literal["greedy"] | None = None
    ) -> list[Prediction | Failure]:
        records = [example.record for example in examples]
        return list(self.predictor.stream(records, [task.name], long=self.long, readout=readout))

    def _result(
        self,
        task: Task,
        sources: Sequence[Source],
        rows: Rows,
        answers: Mapping[str, Sequence[Prediction | Failure]],
    ) -> TaskResult:
        truths = [example.answer for example in rows.test]
        records = [example.record for example in rows.test]
        names = metrics_of(task)
        tree = self.hierarchies.get(task.name)
        tree = tree and tree.among(labels_of(task.codec))
        judged = {
            method: collect(task, truths, predictions, records, tree)
            for method, predictions in answers.items()
        }
        draw: dict[str, Any] = {"resamples": self.resamples, "seed": self.fitting.seed}
        resampled: dict[str, Resampled] = {}
        methods: dict[str, MethodResult] = {}
        for method, predictions in answers.items():
            if method != "protscribe" and predictions is answers["protscribe"]:
                # What is the same as ours has the same value in every resample.
                resampled[method], methods[method] = resampled["protscribe"], methods["protscribe"]
                continue
            resampled[method] = resample(names[0], judged[method], groups=rows.units, **draw)
            methods[method] = MethodResult(
                scores=score(judged[method]), main=resampled[method].interval(self.level)
            )
        ours = resampled["protscribe"]
        higher = METRICS[names[0]].higher
        gains = {
            method: (ours.above(other) if higher else other.above(ours)).interval(self.level)
            for method, other in resampled.items()
            if method != "protscribe"
        }
        divisions, left_out = find_bands(self.bands, rows.train, rows.test, task.codec.kind, rows.audit)
        bands = judge_bands(
            divisions, names[0], judged, "protscribe", level=self.level, groups=rows.units, **draw
        )
        return TaskResult(
            task=task,
            sources=tuple(source.name for source in sources),
            metrics=names,
            methods=methods,
            gains=gains,
            count=len(rows.test),
            training=len(rows.train),
            rejected=rows.rejected,
            shared=rows.shared,
            examples=tuple(rows.test),
            predictions=tuple(answers["protscribe"]),
            unwritten=sum(not is_written(task.codec, one.answer, one.record) for one in rows.test),
            units=max(rows.units) + 1,
            drawn=rows.drawn,
            bands=bands,
            breakdown=break_down(judged["protscribe"]),
            remarks=tuple(left_out),
            audit=rows.audit,
        )
