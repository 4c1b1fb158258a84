"""``protscribe status``: how far a folder of answers is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import DONE, PREEMPTED, Command


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.bulk.read_status`."""
    from protscribe.bulk import read_status

    settings = as_keywords(config)
    check_keywords(read_status, settings)
    return settings


def _status(config: dict[str, Any], folder: Path | None) -> int:
    """0 where all shards are done, else 75: there is something to go on with."""
    from protscribe.bulk import read_status

    status = read_status(**check(config))
    print(status)
    return DONE if status.is_complete else PREEMPTED


STATUS = Command("say how far a folder of answers is", _status, check, bare="folder")
