"""``protscribe inspect``: what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import DONE, Command


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.inspection.describe_bundle`."""
    from protscribe.inspection import describe_bundle

    settings = as_keywords(config, {"bundle": "name"})
    check_keywords(describe_bundle, settings)
    return settings


def _inspect(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.inspection import describe_bundle, show

    show(describe_bundle(**check(config)))
    return DONE


INSPECT = Command("show a bundle's tasks, vocabulary, networks and provenance", _inspect, check)
