"""The page in a real browser: asking, being refused; on a desk, on a phone, in the dark; nothing pasted becomes markup."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs protscribe[serve]")
pytest.importorskip("websockets", reason="the browser is driven over a web socket")

from tests.serving.browser import CHROMIUM, Page, browser
from tests.small import TASKS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

CHAIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
EVIL = "<img/src=x/onerror=window.hit=1>"
DONE = "!document.getElementById('answers').hidden || document.getElementById('problem').textContent !== ''"
WHOLE = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(tab: Page, address: str) -> Page:
    tab.size(1200, 900)
    tab.open("about:blank")
    tab.said.clear()
    tab.asked.clear()
    tab.open(address)
    tab.wait("document.body.dataset.ready === 'yes'")
    return tab


def paste(page: Page, text: str, tasks: list[str] | None = None) -> None:
    page.run(f"document.getElementById('proteins').value = {json.dumps(text)}")
    if tasks is not None:
        page.run("document.getElementById('none').click()")
        for name in tasks:
            page.run(f"document.querySelector('input[value={name}]').click()")


def ask(page: Page) -> None:
    page.run("document.getElementById('ask').click()")
    page.wait("!document.getElementById('ask').disabled")
    page.wait(DONE)


def text(page: Page, selector: str) -> Any:
    return page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)")


def test_answers_and_tracks_of_what_is_pasted(page: Page, address: str) -> None:
    paste(page, f">mine told\n{CHAIN}\n{CHAIN}\n>other\nMKTAY\n")
    page.run("document.getElementById('proteins').dispatchEvent(new Event('input'))")
    assert text(page, "#count") == [f"{2 * len(CHAIN) + 5} residues in 2 proteins."]
    ask(page)
    asked = [
        name for name, task in TASKS.items() if task.chains == 1 and not task.molecule and name != "allele"
    ]
    assert text(page, "#problem") == [""]
    assert text(page, "#results tbody th") == 2 * [TASKS[name].title for name in asked]
    tracks = [name for name in asked if name in ("fold", "sites", "parts", "letters")]
    assert text(page, "#results figure h4") == 2 * [TASKS[name].title for name in tracks]
    letters = page.run(
        "[...document.querySelectorAll('#results figure')].slice(0, 4).map((one) => "
        "[...one.querySelectorAll('text.residue')].map((letter) => letter.textContent).join(''))"
    )
    assert letters == 4 * [2 * CHAIN]
    assert page.run("document.activeElement.id") == "answers-title"
    assert page.said == []
    assert set(page.asked) - {"about:blank", "data:,"} == {
        f"{address}{name}" for name in ("", "page.css", "page.js", "tasks", "predict")
    }


def test_a_track_shows_what_was_answered(page: Page) -> None:
    paste(page, CHAIN, ["sites"])
    ask(page)
    answer = page.run("last.predictions[0]")
    bars = page.run("[...document.querySelectorAll('#results rect')].map((bar) => bar.getAttribute('class'))")
    assert bars.count("hit") == sum(
        answer["probabilities"][place - 1] > 0.001 for place in answer["prediction"]
    )
    page.run("document.querySelector('#results figure details').open = true")
    page.wait("document.querySelectorAll('#results figure tbody tr').length > 0")
    rows = page.run(
        "[...document.querySelectorAll('#results figure tbody tr')].map((row) => "
        "[...row.cells].map((cell) => cell.textContent))"
    )
    assert [row[1] for row in rows] == list(CHAIN)
    assert [int(row[0]) for row in rows if row[2] == "yes"] == answer["prediction"]
    assert "'sites'" not in text(page, "#curl")[0]
    assert '"tasks":["sites"]' in text(page, "#curl")[0]


def test_pairs_molecules_and_fields(page: Page) -> None:
    paste(page, CHAIN, ["bind", "allele", "epitope"])
    page.run("document.getElementById('second').value = 'MKVLA'")
    ask(page)
    assert "task.chains" in text(page, "#results")[0], "a task about one chain is not asked of two"
    assert text(page, "#results tbody th") == ["the bind task", "the epitope task"]
    assert page.run("document.querySelectorAll('#results figure text.residue').length") == 5
    page.run("document.getElementById('second').value = ''")
    page.run("document.getElementById('smiles').value = 'CCO'")
    paste(page, CHAIN, ["ligand", "allele"])
    ask(page)
    assert text(page, "#results tbody th") == ["the ligand task", "the allele task"]


def test_what_is_wrong_is_said(page: Page) -> None:
    ask(page)
    assert "Paste a sequence" in text(page, "#problem")[0]
    paste(page, "MK1T", ["place"])
    ask(page)
    assert "is no residue letter" in text(page, "#problem")[0]
    assert page.run("document.getElementById('answers').hidden")
    paste(page, CHAIN, [])
    ask(page)
    assert "at least one question" in text(page, "#problem")[0]


def test_nothing_that_comes_from_elsewhere_is_markup(page: Page) -> None:
    paste(page, f">{EVIL}\n{CHAIN}\n>b\nM{EVIL}\n", ["place", "fold"])
    ask(page)
    assert EVIL in text(page, "#results h3")[0]
    assert page.run("document.querySelectorAll('main img, header b').length") == 0
    assert page.run("window.hit === undefined")
    assert "small <b>bundle</b>" in text(page, "#bundle")[0]


@pytest.mark.parametrize(("width", "phone"), [(1200, False), (390, True), (320, True)])
def test_it_fits_and_every_control_has_a_name(page: Page, width: int, phone: bool) -> None:
    page.size(width, 800, phone=phone)
    paste(page, f">a_protein_with_a_very_long_name_{'x' * 60}\n{CHAIN}")
    ask(page)
    assert page.run(WHOLE), page.run("document.documentElement.scrollWidth")
    nameless = page.run(
        "[...document.querySelectorAll('textarea, input, select, button')].filter((one) => "
        "!(one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert nameless == []
    assert page.run(
        "[...document.querySelectorAll('svg[role=img]')].every((one) => one.getAttribute('aria-label'))"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(page: Page, dark: bool) -> None:
    """Contrast of text and its paper as WCAG 2.2 has it, 4.5 at least."""
    page.size(1200, 900, dark=dark)
    paste(page, CHAIN, ["place"])
    ask(page)
    ratios = page.run("""(() => {
      const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
          .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return ["body", ".note", "#results td.answer", "summary", "button.link", "dd"].map((selector) => {
        const ink = light(getComputedStyle(document.querySelector(selector)).color);
        return [selector, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), paper];
      });
    })()""")
    assert all((paper < 0.1) == dark for _, _, paper in ratios)
    assert min(ratio for _, ratio, _ in ratios) >= 4.5, ratios
