"""``protscribe split``: a table cut into splits between which no proteins are related."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.splits.split_file`, and ``audit``."""
    from protscribe.splits import split_file

    settings = as_keywords(config)
    check_keywords(split_file, settings, apart=("audit",))
    return settings


def _split(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.evaluation.leakage import audit_rows
    from protscribe.homology import Criteria
    from protscribe.splits import split_file

    settings = check(config)
    audit = settings.pop("audit")
    result = split_file(**settings)
    print(result.to_text())
    if audit:
        criteria = Criteria(coverage=settings["coverage"], sensitivity=settings["sensitivity"])
        for name in (name for name in result.counts if name.startswith("test")):
            print(f"{name}: {audit_rows(result.rows_of(name), result.rows_of('train'), criteria).to_text()}")
    print(f"split: {settings['output']}")
    return tell_rejected(len(result.failures), [failure.detail for failure in result.failures])


SPLIT = Command("cut a table into splits between which no proteins are related", _split, check)
