"""``protscribe calibrate``: calibrations and guarantees of a trained bundle, fitted on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.sources import labelled_sources
from protscribe.errors import ConfigError


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.confidence.trust.calibrate_bundle`; sources are still names."""
    from protscribe.configuration import check_node
    from protscribe.evaluation.confidence.trust import calibrate_bundle

    settings = as_keywords(config)
    check_keywords(calibrate_bundle, settings, apart=("sources", "mixture"), supplied=("sources", "root"))
    for problem in check_node(settings.get("mixture"), "mixture"):
        raise ConfigError(*problem)
    return settings


def _calibrate(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    from protscribe.evaluation.confidence.trust import calibrate_bundle

    sources = labelled_sources(settings, config, folder, "say on what to calibrate")
    result = calibrate_bundle(sources=sources, **settings)
    print(result.to_text())
    if result.folder is not None:
        print(f"bundle: {result.folder}")
    return tell_rejected(len(result.rejected), [failure.detail for failure in result.rejected])


CALIBRATE = Command("fit calibrations and guarantees of a trained bundle on held-out rows", _calibrate, check)
