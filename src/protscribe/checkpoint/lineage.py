"""What a bundle says it was trained on, from its manifest alone. Pure Python.

A source never travels in a bundle; its name does, so that whoever has the rows can train on them again or see whether
the model has forgotten them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def trained_tasks(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a bundle's tasks."""
    return tuple(manifest["readouts"])


def trained_on(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of all mixtures a bundle was trained on, by name: ``{task, source, weight}``.

    Bundles written before these were kept name sources only; an entry then has its task's name. What is no such entry, or
    about a task that the bundle does not have, is left out.
    """
    provenance = manifest["provenance"]
    told = provenance.get("mixture")
    if not isinstance(told, Mapping):
        sources = provenance.get("sources")
        named = sources if isinstance(sources, Mapping) else {}
        told = {name: {"task": name, "source": source, "weight": 1.0} for name, source in named.items()}
    return {
        str(name): dict(entry) for name, entry in told.items() if _is_entry(entry, trained_tasks(manifest))
    }


def _is_entry(entry: Any, tasks: tuple[str, ...]) -> bool:
    if not isinstance(entry, Mapping) or set(entry) != {"task", "source", "weight"}:
        return False
    weight = entry["weight"]
    return (
        entry["task"] in tasks
        and isinstance(entry["source"], str)
        and isinstance(weight, (int, float))
        and math.isfinite(weight)
        and weight > 0
    )
