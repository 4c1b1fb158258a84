"""Encoders of proteins and molecules: a closed table of kinds, made from plain data.

transformers, fair-esm and peft are imported when something that needs them is made, so that ``mini`` starts quickly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from protscribe.encoders.adaptation import adapt, merge
from protscribe.encoders.esm2 import Esm2Encoder
from protscribe.encoders.fair_esm import FairEsmEncoder
from protscribe.encoders.huggingface import HuggingFaceEncoder
from protscribe.encoders.mini import MiniEncoder
from protscribe.encoders.molecule import CharacterMolecule, MoleculeEncoder
from protscribe.encoders.protocol import Encoder
from protscribe.encoders.stacked import StackedEncoder
from protscribe.encoders.unirep import UniRepEncoder
from protscribe.encoders.windows import Windowed, encode_windows
from protscribe.errors import ConfigError, nearest

__all__ = [
    "ENCODERS",
    "MOLECULE_ENCODERS",
    "Encoder",
    "Windowed",
    "adapt",
    "build_encoder",
    "build_molecule_encoder",
    "encode_windows",
    "load_encoder",
    "load_molecule_encoder",
    "merge",
]

ENCODERS: dict[str, type[nn.Module]] = {
    kind.kind: kind
    for kind in (
        MiniEncoder,
        UniRepEncoder,
        Esm2Encoder,
        FairEsmEncoder,
        HuggingFaceEncoder,
        StackedEncoder,
    )
}
MOLECULE_ENCODERS: dict[str, type[nn.Module]] = {
    kind.kind: kind for kind in (CharacterMolecule, MoleculeEncoder)
}

OURS = ("mini", "stacked", "character")
"""Kinds that start untrained unless a name is given; all others want ``weights: untrained`` said."""


def build_encoder(plain: Mapping[str, Any]) -> nn.Module:
    """The architecture that :meth:`Encoder.to_plain` described, with random weights: load a bundle's over them.

    Raises :class:`~protscribe.errors.ConfigError`: ``config.unknown`` for a kind or keyword that is not known,
    ``config.missing`` for one that lacks, ``config.value`` for a value that does not fit.
    """
    return _build(ENCODERS, "encoder", plain)


def build_molecule_encoder(plain: Mapping[str, Any]) -> nn.Module:
    """As :func:`build_encoder`, for molecules."""
    return _build(MOLECULE_ENCODERS, "molecule encoder", plain)


def load_encoder(plain: Mapping[str, Any]) -> nn.Module:
    """The encoder that a configuration asks for.

    ``{kind: esm2, name: facebook/esm2_t6_8M_UR50D, local_files_only: true}`` has pretrained weights;
    ``{kind: esm2, weights: untrained, layers: 6, width: 320, heads: 20}`` and ``{kind: mini, width: 128}`` are untrained,
    since they are asked for by name. ``{kind: stacked, base: {...}}`` nests another encoder's. Raises as
    :func:`build_encoder` and the kind's own ``load``.
    """
    return _load(ENCODERS, "encoder", plain)


def load_molecule_encoder(plain: Mapping[str, Any]) -> nn.Module:
    """As :func:`load_encoder`, for molecules: ``{kind: molecule, name: ...}`` or ``{kind: character, width: 128}``."""
    return _load(MOLECULE_ENCODERS, "molecule encoder", plain)


def _build(table: Mapping[str, type[nn.Module]], noun: str, plain: Mapping[str, Any]) -> nn.Module:
    kind, rest = _kind(table, noun, plain)
    if isinstance(rest.get("base"), Mapping):
        rest["base"] = _build(table, noun, rest["base"])
    built: nn.Module = _call(table[kind], f"{noun} {kind!r}", rest)
    return built


def _load(table: Mapping[str, type[nn.Module]], noun: str, plain: Mapping[str, Any]) -> nn.Module:
    kind, rest = _kind(table, noun, plain)
    name, weights = rest.pop("name", None), rest.pop("weights", None)
    if isinstance(rest.get("base"), Mapping):
        rest["base"] = _load(table, noun, rest["base"])
    if weights not in (None, "untrained") or (weights and name):
        raise ConfigError(
            "config.value",
            f"{noun} {kind!r}: give either name (pretrained) or weights: untrained, got {dict(plain)}",
        )
    chosen: Any = table[kind]
    if name is None:
        if weights is None and kind not in OURS:
            raise ConfigError(
                "config.missing",
                f"{noun} {kind!r}: give name (a hub name or a folder), or weights: untrained with the shape",
            )
        built: nn.Module = _call(chosen, f"{noun} {kind!r}", rest)
        return built
    load: Any = getattr(chosen, "load", None)
    if load is None:
        raise ConfigError("config.value", f"{noun} {kind!r} has no pretrained weights, got name={name!r}")
    first = next(iter(inspect.signature(load).parameters))
    return _call(load, f"{noun} {kind!r}", {first: name, **rest})


def _kind(
    table: Mapping[str, type[nn.Module]], noun: str, plain: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    rest = dict(plain)
    kind = rest.pop("kind", None)
    if kind not in table:
        raise ConfigError("config.unknown", f"unknown {noun} kind {kind!r}; {nearest(str(kind), table)}")
    return str(kind), rest


def _call(made: Callable[..., nn.Module], what: str, keywords: Mapping[str, Any]) -> nn.Module:
    parameters = inspect.signature(made).parameters
    for keyword in keywords:
        if keyword not in parameters:
            raise ConfigError(
                "config.unknown", f"{what} has no setting {keyword!r}; {nearest(keyword, parameters)}"
            )
    lacking = [name for name, one in parameters.items() if one.default is one.empty and name not in keywords]
    if lacking:
        raise ConfigError("config.missing", f"{what} lacks {', '.join(lacking)}")
    try:
        return made(**keywords)
    except (TypeError, ValueError) as error:
        raise ConfigError("config.value", f"{what}: {error}") from error
