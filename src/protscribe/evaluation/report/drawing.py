"""Figures as SVG that take the page's colours, so that the same figure is read on a light and on a dark page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from protscribe.evaluation.palette import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Picture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BAND, GRID, PAPER = "#F4F4F4", "#E2E2E2", "#FFFFFF"

NAMES: Mapping[str, str] = {
    BLACK: "currentColor",
    BLUE: "var(--blue, #0072b2)",
    ORANGE: "var(--orange, #e69f00)",
    GREEN: "var(--green, #009e73)",
    VERMILLION: "var(--vermillion, #d55e00)",
    PURPLE: "var(--purple, #cc79a7)",
    SKY: "var(--sky, #56b4e9)",
    YELLOW: "var(--yellow, #f0e442)",
    GREY: "var(--grey, #8c8c8c)",
    PALE: "var(--pale, #d9d9d9)",
    BAND: "var(--band, #f4f4f4)",
    GRID: "var(--grid, #e2e2e2)",
    PAPER: "var(--paper, #ffffff)",
}
"""What a colour of ours is called in the page's style; where there is none, it stays what it is."""

SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "protscribe",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8.5,
}

_COLOUR = re.compile("|".join(re.escape(colour.lower()) for colour in NAMES))
_LOWER = {colour.lower(): name for colour, name in NAMES.items()}
_DROPPED = re.compile(r"\s*<(metadata|style)\b.*?</\1>", flags=re.DOTALL)
"""Who made the figure with what, and a rule that would hold for the whole page."""
_FONT = re.compile(r" font-family: [^;\"]*;")
_ID = re.compile(r' id="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|xlink:href="#)([^")]+)')


@contextmanager
def style() -> Iterator[None]:
    """How figures of a report look, while they are drawn and written; nothing is set for anybody else."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


def to_svg(picture: Picture, alt: str, key: str) -> str:
    """An ``<svg>`` that scales to its place. ``alt`` is what it is called; ``key``, unlike any other figure's in the page,
    keeps its inner names apart from theirs. The same picture gives the same text.
    """
    key = re.sub(r"[^a-zA-Z0-9]", "-", key)
    buffer = io.StringIO()
    with style():
        picture.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = _DROPPED.sub("", text)
    text = _FONT.sub(lambda found: " font-family: monospace;" if "Mono" in found.group() else "", text)
    text = _COLOUR.sub(lambda found: _LOWER[found.group()], text)
    used = {found for _, found in _REFERENCE.findall(text)}
    text = _ID.sub(lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", text)
    text = _REFERENCE.sub(rf"\g<1>{key}-\g<2>", text)
    head, _, rest = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label={quoteattr(alt)}>{rest}'
