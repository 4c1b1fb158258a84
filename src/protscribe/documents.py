"""Reading YAML and JSON that nobody vouches for, into plain data: mappings, lists, texts, numbers, truth values, null.

YAML is read by the 1.2 core schema, which is what people expect: ``1e-4`` is a number, ``no`` and ``2024-01-01`` are texts.
Nothing that a document says can run code, repeat a key unseen, or grow beyond the limits here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from protscribe.errors import ConfigError, Where

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 100_000
"""Nodes of a YAML document, each counted as often as aliases repeat it."""


def read_yaml(source: Path | str) -> Any:
    """The plain data of a YAML file (a ``Path``) or of YAML text (a ``str``).

    Raises :class:`~protscribe.errors.ConfigError` with ``config.not_found``, ``config.too_large`` (over 1 MB, 50 levels
    or 100,000 nodes), ``config.duplicate_key``, ``config.forbidden`` (a tag such as ``!!python/object``) or ``config.syntax``.
    """
    file = str(source) if isinstance(source, Path) else None
    text = _text(source, MAX_BYTES) if isinstance(source, Path) else source
    if len(text) > MAX_BYTES:
        raise ConfigError(
            "config.too_large", f"{len(text)} characters; at most {MAX_BYTES} are read", Where(file=file)
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError("config.syntax", "a lone surrogate is no text", Where(file=file))
    try:
        _check_depth(text, file)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, file)
            return loader.construct_document(node)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Refused("config.syntax", f"a value does not fit its tag: {error}") from None
        finally:
            loader.dispose()
    except _Refused as refused:
        raise ConfigError(refused.code, str(refused), Where(file=file, line=refused.line)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        line = mark.line + 1 if mark else None
        raise ConfigError(
            "config.syntax", f"this is not YAML: {problem}", Where(file=file, line=line)
        ) from None


def read_json(path: Path, *, limit: int = MAX_BYTES) -> Any:
    """The plain data of a JSON file of at most ``limit`` bytes.

    Raises :class:`~protscribe.errors.ConfigError` with ``config.not_found``, ``config.too_large``, ``config.duplicate_key`` or
    ``config.syntax`` (``NaN`` and ``Infinity``, which are not JSON, included).
    """
    text = _text(path, limit)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Refused as refused:
        raise ConfigError(refused.code, str(refused), Where(file=str(path))) from None
    except RecursionError:
        raise ConfigError(
            "config.too_large", "lists or objects are nested too deeply", Where(file=str(path))
        ) from None
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(
            "config.syntax", f"this is not JSON: {error}", Where(file=str(path), line=line)
        ) from None


class _Refused(Exception):
    """Carries a code and a line out of a parser."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


def _text(path: Path, limit: int) -> str:
    where = Where(file=str(path))
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ConfigError("config.not_found", f"cannot be read: {error.strerror}", where) from None
    if len(content) > limit:
        raise ConfigError("config.too_large", f"more than {limit} bytes", where)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("config.syntax", f"byte {error.start + 1} is not UTF-8 text", where) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _Refused("config.duplicate_key", f"the key {repeated!r} stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused("config.syntax", f"{name} is not JSON")


def _check_depth(text: str, file: str | None) -> None:
    """Refuse deep nesting while it is still a flat stream of events: composing a tree recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise ConfigError(
                "config.too_large", f"nested deeper than {MAX_DEPTH} levels", Where(file=file, line=line)
            )


def _check_size(root: yaml.Node, file: str | None) -> None:
    """Refuse documents that aliases blow up, before anything is built from them."""
    count = 0
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} nodes" if count > MAX_NODES else f"deeper than {MAX_DEPTH} levels"
            raise ConfigError("config.too_large", f"{what} once its aliases are followed", Where(file=file))
        if isinstance(node, yaml.SequenceNode):
            stack.extend((child, depth + 1) for child in node.value)
        elif isinstance(node, yaml.MappingNode):
            stack.extend((child, depth + 1) for pair in node.value for child in pair)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the YAML 1.2 core schema and without repeated keys."""

    yaml_implicit_resolvers: ClassVar[dict[str | None, list[Any]]] = {}


_MERGE = "tag:yaml.org,2002:merge"


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, Hashable):
            raise _Refused("config.syntax", "a list or a mapping cannot be a key", line)
        if key in seen:
            raise _Refused("config.duplicate_key", f"the key {key!r} stands twice", line)
        seen.add(key)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    if len(text) > 4_000:
        raise _Refused("config.too_large", "a number of more than 4,000 digits", node.start_mark.line + 1)
    return int(text, base)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    if text.endswith(".nan"):
        return math.nan
    return float(text.replace(".inf", "inf"))


def _refuse_tag(loader: _Loader, node: yaml.Node) -> NoReturn:
    line = node.start_mark.line + 1
    raise _Refused(
        "config.forbidden", f"the tag {node.tag!r} is not allowed: documents hold plain data only", line
    )


def _prepare(loader: type[_Loader]) -> None:
    core = "tag:yaml.org,2002:"
    for tag, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
         list("-+.0123456789")),
        ("merge", r"<<", ["<"]),
    ):  # fmt: skip
        loader.add_implicit_resolver(core + tag, re.compile(rf"^(?:{pattern})$"), first)
    loader.add_constructor(core + "map", _construct_mapping)
    loader.add_constructor(core + "int", _construct_int)
    loader.add_constructor(core + "float", _construct_float)
    for tag in ("timestamp", "binary", "set", "omap", "pairs"):
        loader.add_constructor(core + tag, _refuse_tag)
    loader.add_constructor(None, _refuse_tag)


_prepare(_Loader)
