"""``protscribe audit``: how close the test proteins of sources are to what is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords, several
from protscribe.cli.command import DONE, Command
from protscribe.cli.sources import find_sources
from protscribe.errors import ConfigError


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.evaluation.auditing.audit_sources`, but for the sources, which are still names."""
    from protscribe.evaluation.auditing import audit_sources

    settings = as_keywords(config)
    settings["against"] = several(settings.get("against"))
    check_keywords(audit_sources, settings, apart=("sources",), supplied=("sources", "tasks", "root"))
    return settings


def _audit(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.catalogue import read_task
    from protscribe.evaluation.auditing import audit_sources

    settings = check(config)
    named = several(settings.pop("sources"))
    if not named:
        raise ConfigError("config.missing", "say what to audit: source=NAME or source=[A,B]")
    sources = list(find_sources(dict.fromkeys(named), config, folder).values())
    tasks = {source.task: read_task(source.task, folder) for source in sources}
    for one in audit_sources(sources, tasks, **settings):
        print(one.to_text())
    if settings.get("output"):
        print(f"report: {settings['output']}")
    return DONE


AUDIT = Command("say how close test proteins are to what is trained on", _audit, check)
