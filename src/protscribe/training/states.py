"""A run that reads the states of its frozen encoder from disk, see :mod:`protscribe.encoders.state_cache`."""

from __future__ import annotations

import logging
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from protscribe.data.datamodule import ScribeData
from protscribe.encoders import Windowed
from protscribe.encoders.adaptation import Adapted
from protscribe.encoders.state_cache import StateStore
from protscribe.errors import ConfigError
from protscribe.progress import progress
from protscribe.training.strategies import Sharded

log = logging.getLogger(__name__)


class KeepStates(Callback):
    """Before the first epoch, stores the states of all proteins of a run that are not in the store, and has the loaders read
    them. Of several processes each encodes its share; the store is a folder that all of them see.

    Raises :class:`~protscribe.errors.ConfigError` ``config.value`` where training changes what would be stored.
    """

    def __init__(self, store: StateStore, data: ScribeData) -> None:
        self.store, self.data = store, data

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        module: Any = pl_module
        encoder = module.model.encoder
        check_fixed(encoder)
        if isinstance(trainer.strategy, Sharded):
            raise ConfigError(
                "config.value", "state_cache: an encoder in shards has no states that one process could store"
            )
        windows = (encoder.window, encoder.overlap) if isinstance(encoder, Windowed) else None
        kept = self.store.open(encoder.below_module, windows)
        chains = self.data.chains()
        missing = len(kept.missing(chains)) // trainer.world_size
        share: dict[str, Any] = {"rank": trainer.global_rank, "world": trainer.world_size}
        if trainer.strategy.root_device.type == "cpu":
            share["residues"] = getattr(encoder.below_module, "together", None)
        with progress("store states", missing, unit="proteins", shown=trainer.is_global_zero) as advance:
            for count in kept.fill(chains, encoder.below, trainer.strategy.root_device, **share):
                advance(count)
        trainer.strategy.barrier("states")
        kept.refresh()
        log.info("states of %d proteins, %.3g GB, are in %s", len(kept.places), kept.bytes / 1e9, kept.folder)
        self.data.read_states = kept.read


def check_fixed(encoder: Any) -> None:
    """Raises unless what an adapted encoder would have stored stays as it is."""
    windowed = isinstance(encoder, Windowed)
    adapted = encoder.encoder if windowed else encoder
    how = adapted.how if isinstance(adapted, Adapted) else "full"
    if how not in ("frozen", "top"):
        raise ConfigError(
            "config.value",
            f"state_cache is for adaptation=frozen and adaptation=top; with {how!r} states change in training",
        )
    if windowed and how == "top":
        raise ConfigError(
            "config.value",
            "state_cache: a stacked encoder that reads windows cannot go on from stored states",
        )
