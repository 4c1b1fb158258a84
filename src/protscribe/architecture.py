"""A model's shape as plain data, and the model of a shape. What a bundle's manifest holds of a network,
without its weights.

``{"encoder": ..., "decoder": ..., "molecule_encoder": ... or None}``: the encoders' kinds come from the
closed tables of ``protscribe.encoders``, the decoder's entry holds keywords of
:class:`~protscribe.nn.decoder.Decoder`. What follows from the lexicon (size of the vocabulary, pointers or
position tokens) and from the encoders (widths) is no part of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from protscribe.data.lexicon import Lexicon
from protscribe.encoders import build_encoder, build_molecule_encoder
from protscribe.errors import ConfigError, nearest
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe

PARTS = ("encoder", "decoder", "molecule_encoder")
FROM_ELSEWHERE = ("vocabulary", "memory_width", "molecule_width", "pointers")
"""Keywords of the decoder that the lexicon and the encoders decide."""
SIZES = {
    name: parameter.default
    for name, parameter in inspect.signature(Decoder).parameters.items()
    if name not in FROM_ELSEWHERE
}
"""The other keywords of the decoder, and what they are where an architecture does not say."""
CROSS_ATTENTION = ("kv_heads", "shared")


def build_model(architecture: Mapping[str, Any], lexicon: Lexicon) -> Scribe:
    """The model of an architecture, with random weights: a bundle's are loaded over them.

    Raises :class:`~protscribe.errors.ConfigError`: ``config.missing`` or ``config.unknown`` for a part, kind
    or keyword, ``config.value`` for values that do not fit together.
    """
    check_names("the architecture", architecture, PARTS)
    for part in ("encoder", "decoder"):
        if not isinstance(architecture.get(part), Mapping):
            raise ConfigError("config.missing", f"the architecture lacks a description of its {part}")
    encoder = build_encoder(architecture["encoder"])
    described = architecture.get("molecule_encoder")
    molecule_encoder = build_molecule_encoder(described) if described is not None else None
    return Scribe(
        encoder, build_decoder(architecture["decoder"], encoder, molecule_encoder, lexicon), molecule_encoder
    )


def build_decoder(
    sizes: Mapping[str, Any], encoder: nn.Module, molecule_encoder: nn.Module | None, lexicon: Lexicon
) -> Decoder:
    """A decoder of the given sizes over these encoders' states, for this lexicon. Raises as
    :func:`build_model` does."""
    check_names("the decoder", sizes, SIZES)
    check_names("the decoder's cross_attention", sizes.get("cross_attention") or {}, CROSS_ATTENTION)
    widths: Any = encoder, molecule_encoder
    try:
        return Decoder(
            vocabulary=len(lexicon.vocabulary),
            memory_width=widths[0].width,
            molecule_width=0 if molecule_encoder is None else widths[1].width,
            pointers=lexicon.positions == "pointers",
            **sizes,
        )
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(
            "config.value", f"the decoder's sizes {dict(sizes)} do not fit together: {error}"
        ) from error


def describe_model(model: Scribe) -> dict[str, Any]:
    """The architecture of a model, as plain data that JSON can hold: the inverse of :func:`build_model`."""
    parts: Any = model
    return {
        "encoder": parts.encoder.to_plain(),
        "decoder": model.decoder.to_plain(),
        "molecule_encoder": None if model.molecule_encoder is None else parts.molecule_encoder.to_plain(),
    }


def check_names(owner: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ``config.unknown`` for a name in ``given`` that is not known."""
    names = tuple(known)
    for name in given:
        if name not in names:
            raise ConfigError("config.unknown", f"{owner} has no {name!r}; {nearest(str(name), names)}")
