"""What a report is made of: headings, texts, tables and figures, without saying how they look. Pure Python.

The page and the Markdown text are two renderings of the same blocks, so that they cannot tell different things. All texts are
plain: nothing in them is markup, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Heading:
    """``level`` is 2 to 4; the title of the document is the only one of level 1."""

    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.text.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Paragraph:
    """Running text; ``tone`` sets it apart: a caption-like note, a warning, or the one sentence to remember."""

    text: str
    tone: Literal["plain", "note", "warning", "lead"] = "plain"


@dataclass(frozen=True)
class Listing:
    """Points of equal rank."""

    points: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names with what there is to say about each."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """A cell of a table. ``mark`` says in a word what is good or bad about it (shown as a colour beside the text, never
    instead of it), ``shade`` in 0..1 how strong a background it has, ``code`` that it is set in equal widths.
    """

    text: str
    mark: Literal["", "good", "bad", "even", "main"] = ""
    shade: float | None = None
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first cell of each row names it. ``numeric`` are the 0-based columns set to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    numeric: tuple[int, ...] = ()
    sortable: bool = False

    @classmethod
    def of(
        cls,
        head: Sequence[str],
        rows: Iterable[Sequence[Cell | str]],
        caption: str,
        *,
        numeric: Iterable[int] = (),
        sortable: bool = False,
    ) -> Table:
        """Texts become cells."""
        cells = tuple(
            tuple(cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row) for row in rows
        )
        return cls(tuple(head), cells, caption, tuple(numeric), sortable)


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG with nothing from outside in it. ``alt`` says in words what is to be seen; ``wide`` ones scroll on a
    narrow screen instead of shrinking beyond reading.
    """

    svg: str
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    text: str


@dataclass(frozen=True)
class Side:
    """Figures that stand side by side where there is room."""

    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when asked for, and always in print."""

    summary: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Listing | Facts | Table | Drawing | Code | Side | Fold


@dataclass(frozen=True)
class Document:
    """A title, a line below it, and the blocks."""

    title: str
    subtitle: str
    blocks: tuple[Block, ...]

    def headings(self, level: int = 2) -> list[Heading]:
        return [block for block in self.blocks if isinstance(block, Heading) and block.level == level]
