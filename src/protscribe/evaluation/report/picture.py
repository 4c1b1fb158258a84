"""One picture of an evaluation: every task's main metric beside its baselines, a scatter of numbers, and a track."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from protscribe.codecs.protocol import Codec
from protscribe.evaluation.metrics import METRICS, decision_metric, evaluate_task
from protscribe.evaluation.palette import BLACK, BLUE, GREY, ORANGE, Picture, tidy
from protscribe.evaluation.result import METHODS, EvaluationResult, TaskResult, number
from protscribe.evaluation.tracks import draw_row, track_legend
from protscribe.outputs.atomic import pending_file
from protscribe.records import Prediction

STYLES = {
    "protscribe": {"color": BLUE, "marker": "o", "markersize": 7, "zorder": 5},
    "greedy": {"color": BLUE, "marker": "o", "markersize": 6, "markerfacecolor": "white", "zorder": 4},
    "majority": {"color": GREY, "marker": "s", "markersize": 5, "zorder": 2},
    "composition": {"color": GREY, "marker": "^", "markersize": 5, "zorder": 2},
    "neighbours": {"color": GREY, "marker": "v", "markersize": 5, "zorder": 2},
    "head": {"color": ORANGE, "marker": "D", "markersize": 5, "zorder": 3},
    "mlp": {"color": ORANGE, "marker": "P", "markersize": 6, "zorder": 3},
    "bias": {"color": GREY, "marker": "x", "markersize": 5, "zorder": 2},
}
OFFSETS = {
    **{"protscribe": -0.28, "greedy": -0.2, "head": -0.1, "mlp": -0.02},
    **{"neighbours": 0.06, "composition": 0.14, "bias": 0.22, "majority": 0.3},
}
"""Where a method's marker stands within its task's band, so that intervals do not cover each other."""

TRACK_RESIDUES = 120
"""Residues of the example track: the stretch with most true residues."""


def plot_report(result: EvaluationResult, path: str | Path) -> None:
    """Writes a PNG. Raises :class:`~protscribe.errors.OutputError` ``output.write``."""
    picture = draw_report(result)
    buffer = BytesIO()
    picture.savefig(buffer, format="png", dpi=150)
    with pending_file(Path(path)) as pending:
        pending.stream.write(buffer.getvalue())


def draw_report(result: EvaluationResult) -> Picture:
    """The report as a figure: panels that the tasks give rise to, from top to bottom."""
    shares = [task for task in result.tasks if not METRICS[task.metrics[0]].in_unit]
    errors = [task for task in result.tasks if METRICS[task.metrics[0]].in_unit]
    numbers = next((task for task in result.tasks if task.task.codec.kind == "number"), None)
    example = next(filter(None, (_example(task) for task in result.tasks)), None)
    bands = 0.62 * max(len(shares), 2) + 0.9
    lower = 3.6 if numbers or errors else 0.0
    heights = [height for height in (bands if shares else 0, lower, 2.1 if example else 0) if height]
    picture = Picture(figsize=(9.5, sum(heights) + 0.9), layout="constrained")
    parts = iter(picture.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if shares:
        _draw_bands(next(parts).subplots(), shares, "value of the main metric (higher is better)")
    if lower:
        _draw_lower(next(parts), numbers, errors)
    if example:
        _draw_example(next(parts), *example)
    level = result.provenance.get("level", 0.95)
    picture.suptitle(
        f"Held-out proteins: Protscribe beside its baselines, {level:.0%} intervals",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    return picture


# Main metrics ------------------------------------------------------------------------------------------------------------


def _draw_bands(axes: Any, tasks: Sequence[TaskResult], label: str) -> None:
    """One band a task, one marker a method, with its interval."""
    for band, task in enumerate(tasks):
        if band % 2 == 0:
            axes.axhspan(band - 0.5, band + 0.5, color="#F4F4F4", zorder=0)
        for name in METHODS:
            if name in task.methods:
                _draw_marker(axes, task, name, band)
    axes.set_yticks(range(len(tasks)), [_band_name(task) for task in tasks])
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    if all(not METRICS[task.metrics[0]].in_unit for task in tasks):
        low = min(axes.get_xlim()[0], 0.0)
        axes.set_xlim(max(low, -1.05) - 0.02, 1.02)
        axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.grid(axis="x", color="#E2E2E2", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel(label, fontsize=9)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    shown = [name for name in METHODS if any(name in task.methods for task in tasks)]
    handles = [Line2D([], [], label=METHODS[name], **{"linewidth": 1.2, **STYLES[name]}) for name in shown]  # type: ignore[arg-type]
    axes.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False
    )


def _draw_marker(axes: Any, task: TaskResult, name: str, band: int) -> None:
    found = task.methods[name].main
    if math.isnan(found.value):
        return
    at = band + OFFSETS[name]
    if not math.isnan(found.lower):
        axes.plot([found.lower, found.upper], [at, at], color=STYLES[name]["color"], linewidth=1.2, zorder=2)
    axes.plot([found.value], [at], linestyle="", **STYLES[name])
    if name == "protscribe":
        axes.annotate(
            number(found.value), (max(found.value, np.nan_to_num(found.upper, nan=found.value)), at),
            xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5, color=BLUE,
        )  # fmt: skip


def _band_name(task: TaskResult) -> str:
    return f"{_title(task)}\n{task.title_of(task.metrics[0])}, n = {task.count:,}"


def _title(task: TaskResult) -> str:
    return textwrap.shorten(task.task.title, 44, placeholder=" ...")


# Numbers -----------------------------------------------------------------------------------------------------------------


def _draw_lower(part: Any, numbers: TaskResult | None, errors: Sequence[TaskResult]) -> None:
    """A scatter on the left; on the right, tasks that are judged in their own unit."""
    panels = part.subplots(1, 2, width_ratios=[1, 1.15])
    if numbers is not None:
        _draw_scatter(panels[0], numbers)
    if not errors:
        _draw_errors_of(panels[1], numbers)
        return
    _draw_bands(panels[1], errors, "error, in the unit of each task (lower is better)")


def _draw_scatter(axes: Any, task: TaskResult) -> None:
    truths, values = _numbers(task)
    codec: Any = task.task.codec
    unit = f" ({codec.unit})" if codec.unit else ""
    low, high = min(truths.min(), values.min()), max(truths.max(), values.max())
    margin = 0.04 * (high - low or 1.0)
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
    size = 14 if len(truths) < 400 else 6
    axes.scatter(truths, values, s=size, color=BLUE, alpha=0.45, linewidths=0, zorder=2)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axes.set_xlabel(f"measured{unit}", fontsize=9)
    axes.set_ylabel(f"predicted{unit}", fontsize=9)
    said = ", ".join(
        f"{METRICS[metric].title.split()[0]} {number(task.methods['protscribe'].scores[metric])}"
        for metric in task.metrics
        if metric in ("spearman", "pearson")
    )
    axes.set_title(f"{_title(task)}\nn = {len(truths):,}{', ' if said else ''}{said}", fontsize=9, loc="left")
    tidy(axes)


def _numbers(task: TaskResult) -> tuple[Any, Any]:
    pairs = [
        (example.answer, found.value)
        for example, found in zip(task.examples, task.predictions, strict=True)
        if isinstance(found, Prediction)
    ]
    truths, values = np.array(pairs, dtype=float).reshape(-1, 2).T
    return truths, values


def _draw_errors_of(axes: Any, task: TaskResult | None) -> None:
    """How far off the numbers are, and how often the stated interval holds the truth."""
    assert task is not None
    truths, values = _numbers(task)
    codec: Any = task.task.codec
    found = [one for one in task.predictions if isinstance(one, Prediction)]
    axes.hist(values - truths, bins="auto", color=BLUE, alpha=0.7)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_xlabel(f"predicted - measured{f' ({codec.unit})' if codec.unit else ''}", fontsize=9)
    axes.set_ylabel("proteins", fontsize=9)
    bounded = [
        one.lower <= truth <= one.upper
        for one, truth in zip(found, truths, strict=True)
        if one.lower is not None and one.upper is not None
    ]
    title = f"Errors\nmedian size {number(float(np.median(np.abs(values - truths))))}"
    if bounded:
        title += f"; {np.mean(bounded):.0%} within their {found[0].interval_level:.0%} interval"
    axes.set_title(title, fontsize=9, loc="left")
    tidy(axes)


# An example --------------------------------------------------------------------------------------------------------------


def _example(task: TaskResult) -> tuple[TaskResult, Any, Prediction] | None:
    """The test protein of median quality among those with something to find: neither the best nor the worst."""
    codec = task.task.codec
    if codec.kind not in ("residue_set", "residue_labels", "segments"):
        return None
    metric = decision_metric(task.task)
    ranked = []
    for place, (example, found) in enumerate(zip(task.examples, task.predictions, strict=True)):
        if isinstance(found, Prediction) and _has_something(codec, example.answer):
            scores = evaluate_task(task.task, [example.answer], [found], [example.record], metrics=[metric])
            ranked.append((scores[metric], place))
    ranked = sorted(pair for pair in ranked if not math.isnan(pair[0]))
    if not ranked:
        return None
    place = ranked[len(ranked) // 2][1]
    found = task.predictions[place]
    assert isinstance(found, Prediction)
    return task, task.examples[place].answer, found


def _has_something(codec: Codec, answer: Any) -> bool:
    return len(answer) > 0 if codec.kind == "residue_set" else len(set(answer) - {"-"}) > 1


def _draw_example(part: Any, task: TaskResult, truth: Any, found: Prediction) -> None:
    axes = part.subplots()
    chain = found.record.chains[(found.chain or 1) - 1]
    start = _busiest(found, truth, len(chain))
    draw_row(axes, found, truth, start, TRACK_RESIDUES)
    stop = min(start + TRACK_RESIDUES, len(chain))
    span = f"residues {start + 1} to {stop} of {len(chain)}"
    axes.set_title(
        f"{_title(task)}: {found.id}, of median quality, {span}", fontsize=9, loc="left", parse_math=False
    )
    handles = track_legend(found, truth)
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        fontsize=7.5,
        frameon=False,
    )


def _busiest(found: Prediction, truth: Any, length: int) -> int:
    """The 0-based start of the stretch with most true sites, or most changes of label."""
    marks = np.zeros(max(length, 1))
    if found.kind == "residue_set":
        marks[np.array(truth) - 1] = 1
    elif found.kind == "residue_labels":
        changes = [place for place in range(1, length) if truth[place] != truth[place - 1]]
        marks[changes] = 1
    else:
        marks[[end - 1 for _, _, end in truth]] = 1
    if length <= TRACK_RESIDUES:
        return 0
    counts = np.convolve(marks, np.ones(TRACK_RESIDUES), mode="valid")
    best = np.flatnonzero(counts == counts.max())
    return int(best[len(best) // 2])
