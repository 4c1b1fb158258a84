"""Checking what was composed: the keywords of the function behind a command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from protscribe.configuration import check_call, check_seed

FOLDERS_ONLY = ("name", "paths")
"""Top-level keys from which folders are built, and nothing else."""


def as_keywords(config: Mapping[str, Any], renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The keys of a configuration as a function's keywords; ``renamed`` are keys that have another name there."""
    names = renamed or {}
    return {names.get(key, key): value for key, value in config.items() if key not in FOLDERS_ONLY}


def check_keywords(
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    *,
    apart: Collection[str] = (),
    supplied: Collection[str] = (),
    runtime: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Raise one :class:`~protscribe.errors.ConfigError` with all that keeps a function from being called so.

    ``apart`` are keys that the command reads itself; ``supplied`` and ``runtime`` are as in
    :func:`~protscribe.configuration.check_call`.
    """
    rest = {key: value for key, value in settings.items() if key not in apart}
    check_call(function, rest, supplied=supplied, runtime=runtime)
    if "seed" in settings:
        check_seed(settings["seed"])


def several(value: Any) -> Any:
    """``tasks=capsid`` means ``tasks=[capsid]``."""
    return [value] if isinstance(value, str) else value
