"""``protscribe serve``: a bundle's answers over HTTP, and a page to ask from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import DONE, Command


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.serving.run.serve`."""
    from protscribe.serving.run import serve

    settings = as_keywords(config)
    check_keywords(serve, settings)
    return settings


def _serve(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.serving.run import serve

    serve(**check(config))
    return DONE


SERVE = Command("answer a bundle's tasks over HTTP, with a page to ask from", _serve, check)
