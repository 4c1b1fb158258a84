"""Checking a run's configuration: every node's keys are the keywords of the constructor it names, and nothing
else.

Works on plain data, after composition; knows no Hydra. All that is found wrong is reported in one error.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from protscribe.documents import read_yaml
from protscribe.errors import ConfigError, nearest

PACKAGES = ("protscribe", "torch", "lightning")
"""The only packages a run configuration may name constructors from."""

DIRECTIVES = ("_target_", "_partial_")
TARGET, PARTIAL = DIRECTIVES


class Problem(typing.NamedTuple):
    """One thing that is wrong with a configuration: a stable code, and a sentence that names the key."""

    code: str
    message: str


def check_call(
    function: Callable[..., Any],
    config: Mapping[str, Any],
    *,
    supplied: Collection[str] = (),
    runtime: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Raise one :class:`ConfigError` with all that keeps ``function(**config)`` from being called as
    configured.

    ``supplied`` are keywords of the function, and ``runtime``, for each top-level node, keywords of its
    constructor, that only a run can supply (sizes, totals, what was read); a configuration may not set them.
    The error's code is that of its first problem: ``config.unknown_key``, ``config.missing``,
    ``config.type``, ``config.forbidden``, ``config.fixed`` or ``config.value``.
    """
    problems = list(_check_keywords(function, config, "", partial=False, supplied=supplied))
    for key, node in config.items():
        problems += check_node(node, str(key), (runtime or {}).get(str(key), ()))
    if problems:
        lines = [problem.message for problem in problems]
        message = lines[0] if len(lines) == 1 else f"{len(lines)} problems:\n  " + "\n  ".join(lines)
        raise ConfigError(problems[0].code, message)


def check_node(node: Any, path: str, runtime: Collection[str] = ()) -> Iterator[Problem]:
    """What is wrong with a node and the nodes below it, as messages that begin with the key's full name."""
    if isinstance(node, Mapping):
        if TARGET in node:
            yield from _check_target(node, path, runtime)
        for key, value in node.items():
            yield from check_node(value, f"{path}.{key}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for place, value in enumerate(node):
            yield from check_node(value, f"{path}.{place}")


def _check_target(node: Mapping[str, Any], path: str, runtime: Collection[str]) -> Iterator[Problem]:
    try:
        function = find_target(node[TARGET], path)
    except ConfigError as error:
        yield Problem(error.code, error.message)
        return
    partial = node.get(PARTIAL, False)
    if not isinstance(partial, bool):
        yield Problem("config.type", f"{path}.{PARTIAL} must be true or false, got {partial!r}")
    for key in node:
        if str(key).startswith("_") and key not in DIRECTIVES:
            yield Problem(
                "config.unknown_key",
                f"{path}: the directive {key!r} is not known; {nearest(str(key), DIRECTIVES)}",
            )
        if key in runtime:
            yield Problem(
                "config.fixed", f"{path}.{key} is set by the run itself, not by configuration; remove it"
            )
    values = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    yield from _check_keywords(function, values, path, partial=bool(partial))


def _check_keywords(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    path: str,
    *,
    partial: bool,
    supplied: Collection[str] = (),
) -> Iterator[Problem]:
    owner = path or "the configuration"
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in supplied
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    hints = _hints(function)
    for key, value in values.items():
        full = f"{path}.{key}" if path else key
        if key not in parameters:
            if not takes_any:
                yield Problem("config.unknown_key", f"{owner} has no key {key!r}; {nearest(key, parameters)}")
        elif not _is_node(value) and not fits(value, hints.get(key, Any)):
            yield Problem(
                "config.type", f"{full} must be {_show(hints[key])}, got {value!r} ({type(value).__name__})"
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in values and not partial:
            yield Problem("config.missing", f"{owner} lacks the key {name!r}")


def find_target(name: Any, path: str = "") -> Callable[..., Any]:
    """The constructor of a dotted name, from :data:`PACKAGES` only; nothing else is imported.

    Raises :class:`ConfigError` ``config.forbidden`` for another package and ``config.unknown_key`` for a name
    that is not there.
    """
    where = f"{path}.{TARGET}" if path else TARGET
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) < 2 or parts[0] not in PACKAGES or not all(part.isidentifier() for part in parts):
        raise ConfigError(
            "config.forbidden",
            f"{where}: {name!r} is not allowed; only constructors of {', '.join(PACKAGES)} are",
        )
    found: Any = None
    for stop in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:stop]))
        except ModuleNotFoundError:
            continue
        for part in parts[stop:]:
            found = getattr(found, part, None)
        break
    if not callable(found):
        raise ConfigError("config.unknown_key", f"{where}: there is no constructor {name!r}")
    home = (getattr(found, "__module__", None) or "").split(".")[0]
    if home not in PACKAGES:
        raise ConfigError(
            "config.forbidden", f"{where}: {name!r} comes from {home!r}, not from {', '.join(PACKAGES)}"
        )
    return found  # type: ignore[no-any-return]


def check_yaml_files(folder: Path) -> None:
    """Raise :class:`ConfigError` for a YAML file below a user's folder that no configuration may hold.

    ``config.too_large``, ``config.duplicate_key``, ``config.forbidden`` (a tag that would build an object) or
    ``config.syntax``, naming file and line.
    """
    for path in sorted(folder.rglob("*.yaml")):
        read_yaml(path)


def check_seed(seed: Any) -> None:
    """Raise ``config.value`` unless a seed is a whole number in 0..2**32 - 1, what every generator
    accepts."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ConfigError("config.value", f"seed must be a whole number in 0..{2**32 - 1}, got {seed!r}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    owner = function.__init__ if inspect.isclass(function) else function
    try:
        return typing.get_type_hints(inspect.unwrap(owner))
    except (NameError, TypeError, AttributeError):
        return {}  # names that exist for type checkers only: types of this constructor go unchecked


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and TARGET in value


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be meant by an annotation. Only plain types are judged; others accept
    anything but text."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return any(value == part and type(value) is type(part) for part in typing.get_args(hint))
    if origin is typing.Annotated:
        return fits(value, typing.get_args(hint)[0])
    if hint is Any or isinstance(hint, (str, typing.TypeVar, typing.ForwardRef)):
        return True
    plain = origin or hint
    if plain is None or plain is type(None):
        return value is None
    if plain is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if plain in (bool, str):
        return isinstance(value, plain)
    if inspect.isclass(plain) and issubclass(plain, Path):
        return isinstance(value, str)
    if inspect.isclass(plain) and issubclass(plain, Mapping):
        return isinstance(value, Mapping)
    if inspect.isclass(plain) and issubclass(plain, (list, tuple, set, frozenset, Collection)):
        return isinstance(value, Sequence) and not isinstance(value, str)
    return value is not None and not isinstance(value, (str, int, float))


def _show(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    return names.get(hint, str(hint).replace("typing.", ""))
