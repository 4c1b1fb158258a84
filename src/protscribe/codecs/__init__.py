"""The closed table of answer kinds, and reading a codec from plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from protscribe.codecs.category import Category
from protscribe.codecs.category_path import CategoryPath
from protscribe.codecs.category_set import CategorySet
from protscribe.codecs.number import Number
from protscribe.codecs.protocol import Codec
from protscribe.codecs.residue_labels import ResidueLabels
from protscribe.codecs.residue_pairs import ResiduePairs
from protscribe.codecs.residue_set import ResidueSet
from protscribe.codecs.segments import Segments
from protscribe.codecs.sequence import SequenceText
from protscribe.errors import TaskError, nearest

_CLASSES: tuple[type[Codec], ...] = (
    Category,
    CategorySet,
    CategoryPath,
    Number,
    ResidueLabels,
    ResidueSet,
    Segments,
    ResiduePairs,
    SequenceText,
)

KINDS: dict[str, type[Any]] = {codec.kind: codec for codec in _CLASSES}

LATER = {"residue_set": (("written", "pointers"),), "segments": (("written", "pointers"),)}
"""Keywords that came when bundles had been written already, with what they are without: a bundle that needs none of them can
be read by the libraries of then."""


def codec_from_plain(plain: Mapping[str, Any], origin: str = "codec") -> Codec:
    """A codec from ``{"kind": ..., its keywords}``. Lists become tuples; unknown kinds and keywords are errors."""
    values = dict(plain)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise TaskError("task.codec", f"{origin}: unknown kind {kind!r}; {nearest(str(kind), KINDS)}")
    known = [field.name for field in dataclasses.fields(KINDS[kind])]
    for key in values:
        if key not in known:
            raise TaskError(
                "task.key", f"{origin}: {kind} has no keyword {key!r}; {nearest(str(key), known)}"
            )
    try:
        codec: Codec = KINDS[kind](**{key: _frozen(value) for key, value in values.items()})
    except TypeError as error:
        raise TaskError("task.key", f"{origin}: {kind}: {error}") from None
    return codec


def codec_to_plain(codec: Codec) -> dict[str, Any]:
    """The inverse of :func:`codec_from_plain`. What :data:`LATER` names is left out where it says nothing new."""
    fields = dataclasses.fields(codec)  # type: ignore[arg-type]
    plain = {field.name: _thawed(getattr(codec, field.name)) for field in fields}
    told = {name: value for name, value in plain.items() if (name, value) not in LATER.get(codec.kind, ())}
    return {"kind": codec.kind, **told}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _thawed(value: Any) -> Any:
    return [_thawed(item) for item in value] if isinstance(value, tuple) else value
