"""The page and the Markdown text: well formed, self-contained, readable by everybody, and with nothing in them but what was
meant.
"""

import itertools
import re
from html.parser import HTMLParser

import html5lib
import pytest

from protscribe.evaluation.palette import BLUE, Picture
from protscribe.evaluation.report.document import (
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
from protscribe.evaluation.report.drawing import style, to_svg
from protscribe.evaluation.report.markdown import render_markdown
from protscribe.evaluation.report.page import render_page

NASTY = "$x_{ ^$ <script>alert(1)</script> & \"q\" 'a' {{ 7 * 7 }} {% raw %} | `code` *x* [l](http://evil.example/) ]]> --> \\"


def drawing(key, text="x"):
    with style():
        picture = Picture(figsize=(3, 2), layout="constrained")
        axes = picture.subplots()
        axes.plot([1, 2], [3, 4], color=BLUE, label=text)
        axes.set_xlabel(text)
        axes.legend()
    return Drawing(to_svg(picture, text, key), text, text)


def document(text="some words"):
    table = Table.of(
        (text, "n"),
        [(Cell(text, code=True), Cell("1", mark="good", shade=0.5))],
        text,
        numeric=[1],
        sortable=True,
    )
    blocks = (
        Heading("In short"), Paragraph(text, tone="lead"), Paragraph(text, tone="warning"), Listing((text, text)),
        Facts(((text, text),)), Heading(text), table, drawing("one", text), Side((drawing("two"), drawing("three"))),
        Heading("Again", 3), Heading("Again", 3),
        Fold(text, (Heading("Again", 3), table, Code(text))),
    )  # fmt: skip
    return Document(text, text, blocks)


class Reader(HTMLParser):
    """All that a page holds: tags with attributes, and text by the element it stands in."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def check_page(page):
    """What holds for every page of ours."""
    html5lib.HTMLParser(strict=True).parse(page)
    reader = Reader(page)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        for name, value in attributes.items():
            if name in ("src", "srcset", "action", "data", "poster"):
                raise AssertionError(f"{tag} {name}={value}")
            if name in ("href", "xlink:href"):
                assert value.startswith("#"), value
                assert value[1:] in ids
            assert not name.startswith("on")
            assert "url(" not in (value or "") or re.fullmatch(r"[^(]*url\(#[\w-]+\).*", value)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in reader.of("svg"))
    assert all(cell["scope"] in ("row", "col") for cell in reader.of("th"))
    assert len(reader.of("caption")) == len(reader.of("table"))
    assert reader.of("html") == [{"lang": "en"}]
    return reader


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
@pytest.mark.parametrize("text", ["some words", NASTY], ids=["plain", "nasty"])
def test_page_is_well_formed_and_escapes_everything(text):
    reader = check_page(render_page(document(text)))
    shown = [data for tag, data in reader.texts if tag not in ("script", "style")]
    # Every block but figures says the text; in a figure it stands in one piece as well.
    assert "".join(shown).count(text) >= 12
    assert reader.of("svg")[0]["aria-label"] == text


def test_equal_headings_have_places_of_their_own():
    reader = check_page(render_page(document()))
    places = [attributes["id"] for tag, attributes in reader.tags if tag == "h3"]
    assert places == ["again", "again-2", "again-3"]


def test_a_heading_cannot_take_the_place_of_the_page_itself():
    reader = check_page(
        render_page(Document("t", "s", (Heading("Main"), Heading("main 2"), Heading("main"))))
    )
    assert [attributes["id"] for tag, attributes in reader.tags if tag == "h2"] == [
        "main-2",
        "main-2-2",
        "main-3",
    ]


def test_the_same_document_gives_the_same_bytes():
    assert render_page(document()) == render_page(document())
    assert render_markdown(document()) == render_markdown(document())


def test_figures_take_the_colours_of_the_page():
    svg = drawing("one").svg
    assert "var(--blue" in svg
    assert BLUE.lower() not in svg.replace("var(--blue, #0072b2)", "")
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert re.findall(r'id="([^"]*)"', svg)
    assert all(name.startswith("one-") for name in re.findall(r'id="([^"]*)"', svg))


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
@pytest.mark.parametrize("text", ["some words", NASTY], ids=["plain", "nasty"])
def test_markdown_holds_no_markup_from_data(text):
    lines = render_markdown(document(text)).splitlines()
    assert lines[0].startswith("# ")
    rows = [line for line in lines if line.startswith("|")]
    # Bars that are data are escaped: every row has as many cells as the head.
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {3}
    outside = "\n".join(lines).split("```")[0]
    assert "<script" not in re.sub(r"\\<", "", outside)
    assert not re.search(r"(?<!\\)\]\(", outside)


def test_code_in_markdown_keeps_its_fence():
    text = render_markdown(Document("t", "s", (Code("a\n```\nb"),)))
    assert "````\na\n```\nb\n````" in text
