"""A document as one HTML page that needs nothing else: styles, figures and the script that sorts tables are in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from protscribe.evaluation.report.document import Block, Document, Fold, Heading

if TYPE_CHECKING:
    from jinja2 import Template


def render_page(document: Document) -> str:
    """HTML, the same text for the same document. Whatever the blocks say is escaped."""
    anchors = _anchors(document)
    return _template().render(
        document=document,
        anchor=lambda heading: anchors[id(heading)],
        style=_part("page.css"),
        script=_part("page.js"),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(_part("page.html"))


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").rstrip("\n")


def _anchors(document: Document) -> dict[int, str]:
    """The id in the page of every heading, by the heading's identity: several may say the same words, and each has its own."""
    seen: Counter[str] = Counter({"main": 1})
    found: dict[int, str] = {}
    for heading in _headings(document.blocks):
        name = heading.anchor
        while name in seen:
            seen[heading.anchor] += 1
            name = f"{heading.anchor}-{seen[heading.anchor]}"
        seen[name] += 1
        found[id(heading)] = name
    return found


def _headings(blocks: tuple[Block, ...]) -> Iterator[Heading]:
    for block in blocks:
        if isinstance(block, Heading):
            yield block
        elif isinstance(block, Fold):
            yield from _headings(block.blocks)
