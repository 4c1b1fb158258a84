"""``protscribe evaluate``: a bundle judged on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.sources import labelled_sources
from protscribe.errors import ConfigError


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.run.evaluate`, but for the sources, which are still names."""
    from protscribe.configuration import check_node
    from protscribe.evaluation.run import evaluate

    settings = as_keywords(config, {"bundle": "bundle_path"})
    check_keywords(evaluate, settings, apart=("sources", "mixture"), supplied=("sources", "root"))
    for problem in check_node(settings.get("mixture"), "mixture"):
        raise ConfigError(*problem)
    return settings


def _evaluate(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    from protscribe.evaluation.run import evaluate

    sources = labelled_sources(settings, config, folder, "say what to evaluate on")
    result = evaluate(sources=sources, **settings)
    print(result.to_text())
    if settings.get("output"):
        print(f"report: {settings['output']}")
    details = [failure.detail for task in result.tasks for failure in task.rejected]
    return tell_rejected(len(details), details)


EVALUATE = Command("judge a bundle on held-out rows, beside baselines", _evaluate, check)
