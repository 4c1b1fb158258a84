"""How far long work is: a bar on a terminal or in a notebook, a line in the log now and then anywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two lines in the log."""

Advance = Callable[[int], None]


@contextmanager
def progress(
    what: str, total: int | None = None, *, unit: str = "records", shown: bool = True
) -> Iterator[Advance]:
    """Yields a function to call with the number of units that are done since its last call.

    ``total`` is how many there will be, where that is known. With ``shown=False`` nothing is said at all.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not shown:
        yield lambda count: None
    elif console.is_terminal or console.is_jupyter:
        with _bar(console, what, total, unit) as advance:
            yield advance
    else:
        yield from _lines(what, total, unit)


@contextmanager
def _bar(console: object, what: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Speed(ProgressColumn):
        def render(self, task: Task) -> str:
            return f"{task.finished_speed or task.speed or 0:.1f}/s"

    assert isinstance(console, Console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        Speed(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _lines(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    began = told = time.monotonic()
    done = 0

    def tell(now: float) -> None:
        of = f" of {total}" if total is not None else ""
        rate = done / (now - began) if now > began else 0.0
        left = f", {(total - done) / rate:.0f} s left" if total is not None and rate and done < total else ""
        log.info("%s: %d%s %s in %.0f s, %.1f %s/s%s", what, done, of, unit, now - began, rate, unit, left)

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        if now - told >= EVERY:
            tell(now)
            told = now

    yield advance
    tell(time.monotonic())


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """What the library logs (how far long work is, what a user should know) goes to standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("protscribe: %(message)s"))
    logger = logging.getLogger("protscribe")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
