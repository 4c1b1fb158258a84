"""``protscribe neighbours``: known proteins that vote beside the decoder of a trained bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.sources import labelled_sources
from protscribe.errors import ConfigError


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.confidence.neighbours.add_neighbours`; sources are still names."""
    from protscribe.configuration import check_node
    from protscribe.evaluation.confidence.neighbours import add_neighbours

    settings = as_keywords(config)
    check_keywords(add_neighbours, settings, apart=("sources", "mixture"), supplied=("sources", "root"))
    for problem in check_node(settings.get("mixture"), "mixture"):
        raise ConfigError(*problem)
    return settings


def _neighbours(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    from protscribe.evaluation.confidence.neighbours import add_neighbours

    sources = labelled_sources(settings, config, folder, "say whose proteins are to vote")
    result = add_neighbours(sources=sources, **settings)
    print(result.to_text())
    if result.folder is not None:
        print(f"bundle: {result.folder}")
    return tell_rejected(len(result.rejected), [failure.detail for failure in result.rejected])


NEIGHBOURS = Command("let known proteins vote beside the decoder of a trained bundle", _neighbours, check)
