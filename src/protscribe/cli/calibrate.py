"""``protscribe calibrate``: calibrations and guarantees of a trained bundle, fitted on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords, several
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.composition import build
from protscribe.cli.sources import find_sources
from protscribe.errors import ConfigError


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.trust.calibrate_bundle`, but for the sources, which are still names."""
    from protscribe.configuration import check_node
    from protscribe.evaluation.trust import calibrate_bundle

    settings = as_keywords(config)
    check_keywords(calibrate_bundle, settings, apart=("sources", "mixture"), supplied=("sources", "root"))
    for problem in check_node(settings.get("mixture"), "mixture"):
        raise ConfigError(*problem)
    return settings


def _calibrate(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    from protscribe.evaluation.trust import calibrate_bundle

    named: dict[str, str | None] = dict.fromkeys(several(settings.pop("sources")) or ())
    if (mixture := build(settings.pop("mixture", None))) is not None:
        named |= {entry.source: entry.task for entry in mixture.entries.values()}
    if not named:
        raise ConfigError(
            "config.missing", "say on what to calibrate: source=NAME, source=[A,B] or mixture=NAME"
        )
    result = calibrate_bundle(sources=list(find_sources(named, config, folder).values()), **settings)
    print(result.to_text())
    if result.folder is not None:
        print(f"bundle: {result.folder}")
    return tell_rejected(len(result.rejected), [failure.detail for failure in result.rejected])


CALIBRATE = Command("fit calibrations and guarantees of a trained bundle on held-out rows", _calibrate, check)
