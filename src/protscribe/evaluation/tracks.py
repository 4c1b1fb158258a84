"""An answer about residues as a track along the sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from protscribe.codecs.segments import painted
from protscribe.errors import TaskError
from protscribe.evaluation.palette import BLUE, GREY, PALE, VERMILLION, Picture, label_colours, tidy
from protscribe.records import Prediction

MOST_ROWS = 24
"""Rows of one picture; a longer protein gets longer rows."""

MOST_LETTERS = 125
"""Residues a row up to which letters are written."""

MOST_NAMED = 12
"""Sites of a row up to which each is named."""


def plot_track(prediction: Prediction, *, truth: Any = None, width: int = 60) -> Picture:
    """The answer along the protein, ``width`` residues a row (longer proteins wrap), with its probabilities where it has them.

    Sites: the probability of every residue, predicted sites named (``S12``). Labels, segments and strings: a strip of labels,
    and the probability of each label above it (of two labels, of the second). ``truth``, a true answer of the same kind, is
    drawn beside it. Positions are 1-based.
    Raises :class:`~protscribe.errors.TaskError` ``task.no_track`` for an answer that is not about residues.
    """
    chain = (prediction.chain or 1) - 1
    if not _has_track(prediction):
        raise TaskError(
            "task.no_track",
            f"an answer of task {prediction.task!r} ({prediction.kind}) is not about single residues",
        )
    residues = prediction.record.chains[chain]
    width = min(max(width, -(-len(residues) // MOST_ROWS)), len(residues))
    rows = -(-len(residues) // width)
    plain = prediction.probabilities is None and prediction.kind != "residue_set"
    figure = Picture(figsize=(11, 0.75 + (0.7 if plain else 1.25) * rows), layout="constrained")
    grid = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(grid):
        draw_row(axes, prediction, truth, row * width, width)
    grid[-1].set_xlabel("position", fontsize=8)
    figure.suptitle(
        f"{prediction.id}: {prediction.task}, {len(residues)} residues",
        fontsize=10,
        x=0.01,
        ha="left",
        parse_math=False,
    )
    handles = track_legend(prediction, truth)
    figure.legend(handles=handles, loc="upper right", ncols=min(len(handles), 6), fontsize=8, frameon=False)
    return figure


def _has_track(prediction: Prediction) -> bool:
    if prediction.kind in ("residue_set", "residue_labels", "segments"):
        return True
    return prediction.kind == "sequence" and len(_labels(prediction, prediction.value)) == len(
        prediction.record.chains[(prediction.chain or 1) - 1]
    )


def draw_row(axes: Any, prediction: Prediction, truth: Any, start: int, width: int) -> None:
    """``width`` residues from the 0-based index ``start`` on, on matplotlib axes."""
    residues = prediction.record.chains[(prediction.chain or 1) - 1]
    draw = _draw_sites if prediction.kind == "residue_set" else _draw_labels
    draw(axes, prediction, residues, truth, start, min(start + width, len(residues)))
    mark_places(axes, residues, start, width)


def mark_places(axes: Any, residues: str, start: int, width: int) -> None:
    """The x axis of a row: 1-based positions, letters where there is room."""
    axes.set_xlim(start + 0.4, start + width + 0.6)
    stop = min(start + width, len(residues))
    ticks = [place for place in range(start + 1, stop + 1) if place == start + 1 or place % 10 == 0]
    axes.set_xticks([place for place in ticks if place == start + 1 or place - start > 4])
    tidy(axes)
    if width <= MOST_LETTERS:
        for place in range(start, stop):
            axes.text(
                place + 1, -0.04, residues[place], ha="center", va="top", fontsize=7, family="monospace",
                transform=axes.get_xaxis_transform(), color=GREY,
            )  # fmt: skip
        axes.tick_params(axis="x", pad=11, length=0)


def _steps(axes: Any, heights: NDArray[Any], start: int, colour: str, **keys: Any) -> None:
    """One step a residue, filled: a single shape, where bars would be one each."""
    edges = np.arange(start, start + len(heights) + 1) + 0.5
    axes.stairs(heights, edges, fill=True, color=colour, linewidth=0, **{"baseline": 0, **keys})


# Sites -------------------------------------------------------------------------------------------------------------------


def _draw_sites(axes: Any, prediction: Prediction, residues: str, truth: Any, start: int, stop: int) -> None:
    """One row of a residue set: a bar a residue, predicted members coloured and named, true ones marked above."""
    members = set(prediction.value)
    places = np.arange(start + 1, stop + 1)
    chances = prediction.probabilities
    heights: NDArray[Any] = np.isin(places, list(members)).astype(float)
    if chances is not None:
        heights = np.asarray(chances, dtype=float)[start:stop]
    here = [place for place in places.tolist() if place in members]
    _steps(axes, heights, start, PALE)
    axes.bar(here, heights[np.array(here, dtype=int) - start - 1], width=0.85, color=BLUE)
    top = _top(chances)
    if len(here) <= MOST_NAMED:
        # A name is about three residues wide where a row has sixty; neighbours take turns in height, above all their bars.
        before, lifted, near = -np.inf, False, 3 * (stop - start) / 60
        for place in here:
            lifted = place - before <= near and not lifted
            before = place
            around = heights[max(0, int(place - near) - start - 1) : int(place + near) - start]
            at = min(float(around.max()), top) + (0.16 if lifted else 0.03) * top
            name = f"{residues[place - 1]}{place}"
            axes.text(place, at, name, ha="center", va="bottom", fontsize=6.5, color=BLUE)
    if truth is not None:
        true = [place for place in truth if start < place <= stop]
        if true:
            axes.plot(true, np.full(len(true), 1.38 * top), "v", color=VERMILLION, markersize=5)
    axes.set_ylim(0, 1.5 * top)
    axes.set_yticks([0, top / 2, top], ["0", f"{top / 2:g}", f"{top:g}"])
    axes.set_ylabel("probability" if chances is not None else "member", fontsize=8)


def _top(chances: Any) -> float:
    """The end of the probability axis, the same for all rows: rare sites have small probabilities, and must be seen."""
    highest = 1.0 if chances is None else float(np.max(chances, initial=0.0))
    return next((top for top in (0.1, 0.2, 0.4) if highest <= top), 1.0)


# Labels ------------------------------------------------------------------------------------------------------------------


def _labels(prediction: Prediction, value: Any) -> list[str]:
    if prediction.kind == "segments":
        return painted(value)
    text = str(value)
    return text.split(" ") if " " in text else list(text)


def _known_labels(prediction: Prediction, truth: Any) -> list[str]:
    chances = prediction.probabilities
    if chances is not None and len(chances) and isinstance(chances[0], Mapping):
        return list(chances[0])
    values = [prediction.value] if truth is None else [prediction.value, truth]
    return sorted({label for value in values for label in _labels(prediction, value)} - {"-"})


def _draw_labels(axes: Any, prediction: Prediction, residues: str, truth: Any, start: int, stop: int) -> None:
    """One row of labels: probabilities stacked from 0 to 1, below them the predicted labels, and the true ones."""
    names = _known_labels(prediction, truth)
    colours = label_colours(names)
    chances = prediction.probabilities
    if chances is not None and isinstance(chances[0], Mapping):
        table_nL = np.array([[row[name] for row in chances[start:stop]] for name in names])
        if len(names) == 2:
            _steps(axes, table_nL[1], start, colours[names[1]], alpha=0.55)
        else:
            tops_nL = table_nL.cumsum(axis=0)
            for name, tops, heights in zip(names, tops_nL, table_nL, strict=True):
                _steps(axes, tops, start, colours[name], baseline=tops - heights, alpha=0.55)
    elif chances is not None:
        _steps(axes, np.asarray(chances, dtype=float)[start:stop], start, GREY, alpha=0.55)
    strips = [_labels(prediction, prediction.value)] + ([] if truth is None else [_labels(prediction, truth)])
    for strip, labels in enumerate(strips):
        level = -0.3 * (strip + 1)
        _strip(axes, labels[start:stop], start, level, colours)
    named = [(-0.15 - 0.3 * strip, name) for strip, name in enumerate(("answer", "truth")[: len(strips)])]
    scale = [] if chances is None else [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]
    axes.set_ylim(-0.3 * len(strips) - 0.03, 1.0 if scale else 0.0)
    axes.set_yticks(*zip(*named, *scale, strict=True))
    if scale:
        axes.set_ylabel(f"P({names[1]})" if len(names) == 2 else "probability", fontsize=8, y=0.7)


def _strip(axes: Any, labels: Sequence[str], start: int, level: float, colours: Mapping[str, str]) -> None:
    """Coloured runs of equal labels; what is not scored stays white."""
    begin = 0
    for place in range(1, len(labels) + 1):
        if place == len(labels) or labels[place] != labels[begin]:
            if labels[begin] in colours:
                run = (start + begin + 0.5, place - begin)
                axes.broken_barh([run], (level + 0.04, 0.22), facecolor=colours[labels[begin]])
            begin = place


def track_legend(prediction: Prediction, truth: Any) -> list[Any]:
    """What the colours of a track mean, as handles of a legend."""
    if prediction.kind == "residue_set":
        found: list[Any] = [Patch(color=BLUE, label="predicted"), Patch(color=PALE, label="other residues")]
        mark = Line2D([], [], marker="v", color=VERMILLION, linestyle="", label="true")
        return [*found, mark] if truth is not None else found
    names = _known_labels(prediction, truth)
    colours = label_colours(names)
    shown = names[:12]
    return [Patch(color=colours[name], label=name) for name in shown]
