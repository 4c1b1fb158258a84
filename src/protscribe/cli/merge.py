"""``protscribe merge``: one file of all the shards of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.bulk.merge`."""
    from protscribe.bulk import merge

    settings = as_keywords(config)
    check_keywords(merge, settings)
    return settings


def _merge(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.bulk import merge

    result = merge(**check(config))
    print(f"{result.answers} answers about {result.records} records")
    for path in result.paths:
        print(f"predictions: {path}")
    return tell_rejected(result.rejected, [f"see {result.rejected_path}"])


MERGE = Command("write the answers of a complete folder to one file", _merge, check, bare="folder")
