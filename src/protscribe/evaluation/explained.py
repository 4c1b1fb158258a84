"""An explanation as tracks along the sequence: what attention read, above; what hiding residues did to the answer, below."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from protscribe.evaluation.palette import BLUE, GREY, ORANGE, VERMILLION, Picture
from protscribe.evaluation.tracks import MOST_ROWS, mark_places

if TYPE_CHECKING:
    from protscribe.explanation import Explanation


def plot_explanation(
    explanation: Explanation, *, truth: Any = None, width: int = 80, chain: int = 1, captioned: bool = True
) -> Picture:
    """Both tracks of ``chain`` (from 1), ``width`` residues a row (longer proteins wrap).

    Above, attention as a multiple of an even share; below, the change when the residue is hidden, downwards where the answer
    loses by it. Called residues are marked by triangles below, residues of ``truth`` (1-based) by triangles above.
    ``captioned``: say below the tracks what they are not.
    """
    residues = explanation.prediction.record.chains[chain - 1]
    attention = explanation.attention[chain - 1] * sum(map(len, explanation.attention))
    changes = explanation.occlusion[chain - 1]
    width = min(max(width, -(-len(residues) // MOST_ROWS)), len(residues))
    rows = -(-len(residues) // width)
    caption = textwrap.wrap(explanation.caption, 150) if captioned else []
    height = 1.5 * rows + 0.75 + 0.17 * len(caption)
    picture = Picture(figsize=(11, height), layout="constrained")
    grid = picture.subplots(rows, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(grid):
        start = row * width
        stop = min(start + width, len(residues))
        _draw(axes, attention, changes, start, stop)
        _mark(axes, explanation, truth, chain, start, stop)
        mark_places(axes, residues, start, width)
    grid[-1].set_xlabel("position", fontsize=8)
    of_chain = f", chain {chain}" if len(explanation.attention) > 1 else ""
    told = f"{explanation.subject} = {explanation.probability:.3f}{of_chain}"
    title = f"{explanation.prediction.id}: {explanation.prediction.task}, {told}"
    picture.suptitle(title, fontsize=10, x=0.01, ha="left", parse_math=False)
    handles = _legend(explanation, truth, chain)
    picture.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False)
    if caption:
        picture.supxlabel("\n".join(caption), fontsize=7.5, x=0.01, ha="left", color=GREY)
    return picture


def _draw(axes: Any, attention: Any, changes: Any, start: int, stop: int) -> None:
    """Two halves of one panel: attention from 0 up, changes from 0 down, each to its own largest value over the protein."""
    most = max(float(attention.max()), 1e-12)
    largest = max(float(np.abs(changes).max()), 1e-12)
    edges = np.arange(start, stop + 1) + 0.5
    axes.stairs(
        1.15 + attention[start:stop] / most, edges, baseline=1.15, fill=True, color=ORANGE, linewidth=0
    )
    axes.stairs(changes[start:stop] / largest, edges, baseline=0, fill=True, color=BLUE, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axhline(1.15, color=GREY, linewidth=0.6)
    even = 1.15 + 1 / most
    if even < 2.1:
        axes.axhline(even, color=GREY, linewidth=0.6, linestyle=":")
    low = -1.0 if changes.min() < 0 else 0.0
    high = 1.0 if changes.max() > 0 else 0.0
    ticks = [
        (place, f"{place * largest:+.2g}" if place else "0")
        for place in sorted({low, 0.0, high})
        if place < 0.9
    ]
    axes.set_yticks(*zip(*ticks, (1.15, "0"), (2.15, f"{most:.2g}x"), strict=True))
    axes.set_ylim(low - 0.3, 2.5)


def _mark(axes: Any, explanation: Explanation, truth: Any, chain: int, start: int, stop: int) -> None:
    if not _has_sites(explanation, chain):
        return
    called = [place for place in explanation.prediction.value if start < place <= stop]
    low = axes.get_ylim()[0]
    axes.plot(called, np.full(len(called), low + 0.14), "^", color=BLUE, markersize=5)
    true = [place for place in truth or () if start < place <= stop]
    axes.plot(true, np.full(len(true), 2.36), "v", color=VERMILLION, markersize=5)


def _has_sites(explanation: Explanation, chain: int) -> bool:
    return explanation.prediction.kind == "residue_set" and (explanation.prediction.chain or 1) == chain


def _legend(explanation: Explanation, truth: Any, chain: int) -> list[Any]:
    found: list[Any] = [
        Patch(color=ORANGE, label="attention (dotted: an even share)"),
        Patch(color=BLUE, label=f"{explanation.change} when hidden"),
    ]
    if _has_sites(explanation, chain):
        found.append(Line2D([], [], marker="^", color=BLUE, linestyle="", label="called"))
        if truth is not None:
            found.append(Line2D([], [], marker="v", color=VERMILLION, linestyle="", label="true"))
    return found
