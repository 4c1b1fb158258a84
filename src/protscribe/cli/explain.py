"""``protscribe explain``: what answers rest on, as far as one can look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords, several
from protscribe.cli.command import Command, tell_rejected


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.explaining.explain_file`."""
    from protscribe.evaluation.explaining import explain_file

    settings = as_keywords(config)
    settings["tasks"] = several(settings.get("tasks"))
    check_keywords(explain_file, settings)
    return settings


def _explain(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.evaluation.explaining import explain_file

    result = explain_file(**check(config))
    print(f"{result.explained} answers about {result.records} records looked into: {result.table}")
    if result.known is not None:
        print(f"known proteins that are near: {result.known}")
    for path in result.pictures[:5]:
        print(f"picture: {path}")
    if len(result.pictures) > 5:
        print(f"and {len(result.pictures) - 5} more pictures beside them")
    return tell_rejected(len(result.failures), [failure.detail for failure in result.failures])


EXPLAIN = Command("show which residues answers rest on: attention and occlusion", _explain, check)
