"""A document as Markdown, for a repository or a terminal: the same words and tables; of figures what is to be seen in them."""

from __future__ import annotations

import re

from protscribe.evaluation.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Drawing,
    Facts,
    Fold,
    Heading,
    Listing,
    Paragraph,
    Side,
    Table,
)

MARKUP = re.compile(r"([\\`*_\[\]<>#|~$&])")


def render_markdown(document: Document) -> str:
    """Markdown with tables as on GitHub. Whatever the blocks say is escaped."""
    parts = [f"# {plain(document.title)}", plain(document.subtitle)]
    parts += [_block(block) for block in document.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """A text in which nothing is markup, on one line."""
    return MARKUP.sub(r"\\\1", " ".join(text.split()))


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {plain(text)}"
        case Paragraph(text, tone):
            return {"warning": "> **Warning.** ", "note": "> "}.get(tone, "") + plain(text)
        case Listing(points):
            return "\n".join(f"- {plain(point)}" for point in points)
        case Facts(rows):
            return "\n".join(f"- **{plain(name)}**: {plain(text)}" for name, text in rows)
        case Table():
            return _table(block)
        case Drawing(_, alt, caption, _):
            return f"> Figure: {plain(caption)} {plain(alt)}"
        case Side(drawings):
            return "\n\n".join(map(_block, drawings))
        case Code(text):
            return _code(text)
        case Fold(summary, blocks):
            return "\n\n".join([f"**{plain(summary)}**", *map(_block, blocks)])


def _table(table: Table) -> str:
    rules = ["---:" if column in table.numeric else "---" for column in range(len(table.head))]
    lines = [
        [plain(title) for title in table.head],
        rules,
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join([f"{plain(table.caption)}\n", *(f"| {' | '.join(line)} |" for line in lines)])


def _cell(cell: Cell) -> str:
    text = plain(cell.text)
    return f"**{text}**" if text and cell.mark in ("main", "good", "bad") else text


def _code(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
