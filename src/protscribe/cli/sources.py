"""Finding what a configuration only names: sources, the entries of a mixture, what a bundle was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import several
from protscribe.cli.composition import build
from protscribe.errors import ConfigError

NAMED_ENTRIES = ("tasks", "sources")
"""Keys of a training run that become entries of its mixture."""


def find_sources(
    named: Mapping[str, str | None], config: Mapping[str, Any], folder: Path | None
) -> dict[str, Any]:
    """Sources by name, from the catalogue or, where the name is a table's, from the table itself; ``named``
    gives tasks."""
    from protscribe.catalogue import find_source
    from protscribe.data.bare_tables import table_source
    from protscribe.data.files import is_table

    found = {}
    for name, task in named.items():
        if task is not None and is_table(name):
            found[name] = table_source(name, task)
        else:
            found[name] = find_source(name, _variables(config), folder)
    return found


def labelled_sources(
    settings: dict[str, Any], config: Mapping[str, Any], folder: Path | None, ask: str
) -> list[Any]:
    """The sources that ``sources`` and ``mixture`` name, both taken out of ``settings``.

    Raises :class:`~protscribe.errors.ConfigError` ``config.missing``, which begins with ``ask``, where there is none.
    """
    named: dict[str, str | None] = dict.fromkeys(several(settings.pop("sources")) or ())
    if (mixture := build(settings.pop("mixture", None))) is not None:
        named |= {entry.source: entry.task for entry in mixture.entries.values()}
    if not named:
        raise ConfigError("config.missing", f"{ask}: source=NAME, source=[A,B] or mixture=NAME")
    return list(find_sources(named, config, folder).values())


def with_entries(config: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The configuration with tasks and sources that were only named as entries of its mixture."""
    from protscribe.catalogue import name_entries

    tasks, sources = (several(config.get(key)) or [] for key in NAMED_ENTRIES)
    if not tasks and not sources:
        return config
    mixture = config.get("mixture") or {"_target_": "protscribe.data.mixture.Mixture", "entries": {}}
    entries = {**mixture["entries"], **name_entries(tasks, sources, folder)}
    return {**config, "mixture": {**mixture, "entries": entries}}


def beginning(bundle: str | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Tasks of the bundle that a run starts from, and the sources it names, each with its task."""
    from protscribe.checkpoint.hub import find_bundle
    from protscribe.checkpoint.lineage import trained_on, trained_tasks
    from protscribe.checkpoint.manifest import read_manifest

    if bundle is None:
        return (), {}
    manifest = read_manifest(find_bundle(bundle))
    named = {entry["source"]: entry["task"] for entry in trained_on(manifest).values()}
    return trained_tasks(manifest), named


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """What stands for ``${...}`` in the files of sources: folders, and the environment's variables of this
    project."""
    paths = {f"paths.{name}": str(folder) for name, folder in (config.get("paths") or {}).items()}
    ours = {name: value for name, value in os.environ.items() if name.startswith("PROTSCRIBE_")}
    return paths | {f"oc.env:{name}": value for name, value in ours.items()}
