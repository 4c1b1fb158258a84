"""The figures of a report, from numbers that an evaluation wrote."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from protscribe.evaluation.palette import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Picture,
    tidy,
)
from protscribe.evaluation.report.drawing import BAND, GRID, PAPER, style

MARKERS = ("s", "D", "^", "v", "P", "X", "<", ">", "h", "p")
COLOURS = (GREY, ORANGE, GREEN, PURPLE, SKY, VERMILLION)

Bounds = tuple[float, float, float]
"""A value and its interval; the bounds may be NaN."""


class Point(NamedTuple):
    """A value with its interval, NaN where there is none, and what it is of."""

    label: str
    value: float
    lower: float = math.nan
    upper: float = math.nan


def forest(
    rows: Sequence[tuple[str, Mapping[str, Bounds]]], ours: str, titles: Mapping[str, str], label: str
) -> Picture:
    """One band a row, one marker a method with its interval: ``ours`` filled and on top, the others below it in order."""
    names = list(dict.fromkeys(name for _, methods in rows for name in methods))
    names.sort(key=lambda name: name != ours)
    step = 0.8 / max(len(names), 1)
    height = max(0.2 * len(names), 0.42)
    with style():
        picture = Picture(
            figsize=(5.2, height * len(rows) + 0.75 + 0.2 * -(-len(names) // 3)), layout="constrained"
        )
        axes = picture.subplots()
        for band, (_, methods) in enumerate(rows):
            if band % 2 == 0:
                axes.axhspan(band - 0.5, band + 0.5, color=BAND, linewidth=0, zorder=0)
            for rank, name in enumerate(names):
                if name in methods and not math.isnan(methods[name][0]):
                    _marker(axes, methods[name], band - 0.4 + step * (rank + 0.5), _look(name, names, ours))
        axes.set_yticks(range(len(rows)), ["\n".join(textwrap.wrap(name, 26)) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)
        _tidy(axes)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        handles = [
            Line2D([], [], label=titles.get(name, name), linewidth=1.2, **_look(name, names, ours))
            for name in names
        ]
        picture.legend(handles=handles, loc="outside upper left", ncols=min(3, len(names)), frameon=False)
    return picture


def _look(name: str, names: Sequence[str], ours: str) -> dict[str, Any]:
    if name == ours:
        return {"color": BLUE, "marker": "o", "markersize": 6.5, "zorder": 5}
    if name == "greedy":
        return {"color": BLUE, "marker": "o", "markersize": 5.5, "markerfacecolor": PAPER, "zorder": 4}
    rank = [other for other in names if other not in (ours, "greedy")].index(name)
    return {
        "color": COLOURS[rank % len(COLOURS)], "marker": MARKERS[rank % len(MARKERS)], "markersize": 4.5, "zorder": 3,
    }  # fmt: skip


def _marker(axes: Any, bounds: Bounds, at: float, look: Mapping[str, Any]) -> None:
    value, lower, upper = bounds
    if not math.isnan(lower):
        axes.plot([lower, upper], [at, at], color=look["color"], linewidth=1.2, zorder=2)
    axes.plot([value], [at], linestyle="", **look)


def _tidy(axes: Any) -> None:
    tidy(axes)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def scatter(truths: NDArray[Any], values: NDArray[Any], unit: str) -> Picture:
    """Measured against predicted numbers, with the line on which they are equal."""
    shown = f" ({unit})" if unit else ""
    low, high = min(truths.min(), values.min()), max(truths.max(), values.max())
    margin = 0.04 * (high - low or 1.0)
    ends = (low - margin, high + margin)
    with style():
        picture = Picture(figsize=(3.7, 3.5), layout="constrained")
        axes = picture.subplots()
        axes.plot(ends, ends, color=GREY, linewidth=0.8, zorder=1)
        axes.scatter(
            truths, values, s=14 if len(truths) < 400 else 6, color=BLUE, alpha=0.45, linewidths=0, zorder=2
        )
        axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"measured{shown}", ylabel=f"predicted{shown}")
        tidy(axes)
    return picture


def errors(differences: NDArray[Any], unit: str) -> Picture:
    """How far off numbers are, and to which side."""
    with style():
        picture = Picture(figsize=(3.7, 3.5), layout="constrained")
        axes = picture.subplots()
        counts, edges = np.histogram(differences, bins="auto")
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.7)
        axes.axvline(0, color=BLACK, linewidth=0.8)
        axes.set(xlabel=f"predicted - measured{f' ({unit})' if unit else ''}", ylabel="proteins")
        tidy(axes)
    return picture


def reliability(
    confidences: Sequence[float], accuracies: Sequence[float], spread: tuple[Sequence[float], Sequence[float]]
) -> Picture:
    """How often what was said with a confidence came true, beside how often it would if confidences were exact; below, as
    ``spread`` (counts and edges, which are those of both panels), how many were said with which.
    """
    top = spread[1][-1]
    with style():
        picture = Picture(figsize=(3.7, 4.0), layout="constrained")
        axes, below = picture.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        low, high = np.minimum(confidences, accuracies), np.maximum(confidences, accuracies)
        axes.vlines(confidences, low, high, color=SKY, linewidth=3)
        axes.plot(confidences, accuracies, color=BLUE, marker="o", markersize=5, linestyle="")
        axes.set(xlim=(0, top), ylim=(0, 1.02 * top), ylabel="how often so")
        below.stairs(*spread, fill=True, color=BLUE, alpha=0.7)
        below.locator_params(axis="x", nbins=5)
        below.set(xlabel="confidence", ylabel="how many")
        tidy(axes)
        tidy(below)
    return picture


def bars(points: Sequence[Point], label: str, *, colour: str = BLUE) -> Picture:
    """One bar a name, the first on top."""
    with style():
        picture = Picture(figsize=(3.4, 0.26 * len(points) + 0.6), layout="constrained")
        axes = picture.subplots()
        axes.barh(range(len(points)), [point.value for point in points], color=colour, alpha=0.8, height=0.7)
        axes.set_yticks(
            range(len(points)), [textwrap.shorten(point.label, 36, placeholder="...") for point in points]
        )
        axes.set_ylim(len(points) - 0.5, -0.5)
        axes.set_xlabel(label)
        _tidy(axes)
        axes.tick_params(axis="y", length=0)
    return picture


def levels(groups: Sequence[tuple[str, Sequence[Point]]], label: str) -> Picture:
    """Values with intervals of the bands of several divisions, one division below the other."""
    names = [(title, point) for title, points in groups for point in points]
    with style():
        picture = Picture(figsize=(4.6, 0.27 * len(names) + 0.4 * len(groups) + 0.6), layout="constrained")
        parts = picture.subplots(
            len(groups),
            1,
            squeeze=False,
            sharex=True,
            height_ratios=[len(points) + 0.6 for _, points in groups],
        )[:, 0]
        for axes, (title, points) in zip(parts, groups, strict=True):
            for place, point in enumerate(points):
                if not math.isnan(point.value):
                    look = {"color": BLUE, "marker": "o", "markersize": 5.5, "zorder": 3}
                    _marker(axes, (point.value, point.lower, point.upper), place, look)
            axes.set_yticks(range(len(points)), [point.label for point in points])
            axes.set_ylim(len(points) - 0.5, -0.5)
            axes.set_title(title, loc="left")
            _tidy(axes)
            axes.tick_params(axis="y", length=0)
        parts[-1].set_xlabel(label)
    return picture


def curve(
    across: Sequence[float], up: Sequence[float], labels: tuple[str, str], straight: float | None = None
) -> Picture:
    """One curve over shares from 0 to 1; ``straight`` is a level to compare it with."""
    with style():
        picture = Picture(figsize=(3.7, 3.0), layout="constrained")
        axes = picture.subplots()
        if straight is not None:
            axes.axhline(straight, color=GREY, linewidth=0.8, linestyle="--")
        axes.plot(across, up, color=BLUE, linewidth=1.5)
        axes.set(xlim=(0, 1), xlabel=labels[0], ylabel=labels[1])
        axes.set_ylim(bottom=0)
        tidy(axes)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    return picture
