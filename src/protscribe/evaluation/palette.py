"""Colours that people with any colour vision can tell apart (Okabe and Ito 2008), and how our figures look."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE, GREY = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#8C8C8C",
)
LABELS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, BLACK)
"""For labels of residues, in declared order; beyond these, grey."""

PALE = "#D9D9D9"


def label_colours(labels: list[str]) -> dict[str, str]:
    """A colour for each label; the two of a yes-no pair are grey and blue, so that the positive one stands out."""
    if len(labels) == 2:
        return {labels[0]: PALE, labels[1]: BLUE}
    return {label: LABELS[rank] if rank < len(LABELS) else GREY for rank, label in enumerate(labels)}


class Picture(Figure):
    """A figure that notebooks show once, without the state of pyplot."""

    def _repr_png_(self) -> bytes:
        import io

        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
        return buffer.getvalue()


def tidy(axes: Any) -> None:
    """No frame but the axes that carry numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
