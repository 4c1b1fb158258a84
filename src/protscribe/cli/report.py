"""``protscribe report``: a page for people from what an evaluation wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import DONE, Command


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.report.write_report`."""
    from protscribe.evaluation.report import write_report

    settings = as_keywords(config)
    check_keywords(write_report, settings)
    return settings


def _report(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.evaluation.report import write_report

    for path in write_report(**check(config)):
        print(f"report: {path}")
    return DONE


REPORT = Command("make the page of an evaluation again, from its files", _report, check, bare="folder")
