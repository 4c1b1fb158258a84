"""The model of a run: made anew, or that of the bundle which training starts from, ready for what it is to learn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from protscribe.data.datamodule import ScribeData
from protscribe.encoders import Windowed, adapt, load_molecule_encoder
from protscribe.errors import ConfigError, nearest
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.training.start import Start


def _adapted(encoder: Any, adaptation: Mapping[str, Any], data: ScribeData) -> Any:
    for name in adaptation:
        known = list(inspect.signature(adapt).parameters)[1:]
        if name not in known:
            raise ConfigError("config.unknown_key", f"adaptation has no key {name!r}; {nearest(name, known)}")
    adapted: Any = adapt(encoder, **adaptation)
    if data.long == "window" and encoder.limit is not None:
        return Windowed(adapted, encoder.limit)
    return adapted


def grow_model(start: Start, adaptation: Mapping[str, Any], data: ScribeData, seed: int) -> Scribe:
    """The model of the bundle that training starts from, made ready for what it is to learn."""
    asking = [name for name, task in data.tasks.items() if task.molecule]
    model = start.bundle.model
    reader: Any = model.molecule_encoder
    if asking and reader is None:
        raise ConfigError(
            "config.fixed",
            f"the tasks {', '.join(asking)} have molecules as input, which the bundle {start.name} cannot read",
        )
    if reader is not None:
        data.tokenize_molecules = reader.tokenize
    if reader is not None and start.grow != "all":
        model.molecule_encoder = adapt(reader, "frozen")
    how = adaptation if start.grow == "all" else {"how": "frozen"}
    model.encoder = _adapted(model.encoder, how, data)
    return start.grown(data.lexicon, seed)


def build_model(
    encoder: Any,
    adaptation: Mapping[str, Any],
    molecule_encoder: Mapping[str, Any] | None,
    decoder: Callable[..., Decoder] | None,
    data: ScribeData,
) -> Scribe:
    assert decoder is not None
    adapted = _adapted(encoder, adaptation, data)
    reader: Any = None
    asking = [name for name, task in data.tasks.items() if task.molecule]
    if asking:
        if molecule_encoder is None:
            raise ConfigError(
                "config.missing",
                f"molecule_encoder is missing; the tasks {', '.join(asking)} have molecules as input",
            )
        reader = load_molecule_encoder(molecule_encoder)
        data.tokenize_molecules = reader.tokenize
    built = decoder(
        vocabulary=len(data.lexicon.vocabulary),
        memory_width=encoder.width,
        molecule_width=reader.width if reader is not None else 0,
        pointers=data.lexicon.positions == "pointers",
    )
    return Scribe(adapted, built, reader)
