"""Fitting a model so that it can be interrupted at any time, and go on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import lightning
import torch
from torch import nn

from protscribe.data.workers import Ears
from protscribe.errors import Preempted
from protscribe.interruption import interruption
from protscribe.training import saving
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.watch import watched


def find_resumed(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint that a run goes on from: the path given, exactly, or for ``"last"`` the newest one in ``folder`` that is
    intact, if there is any.

    Raises :class:`~protscribe.errors.CheckpointError`, see :func:`~protscribe.training.saving.check` and
    :func:`~protscribe.training.saving.newest_intact`.
    """
    if resume is None:
        return None
    if resume == "last":
        return saving.newest_intact(folder)
    saving.check(Path(resume))
    return Path(resume)


def fit(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    resumed: Path | None,
) -> None:
    """Fits a module from the beginning or from a checkpoint.

    Raises :class:`~protscribe.errors.Preempted` ``train.preempted`` where a signal ended it. The trainer is one that
    :func:`~protscribe.training.position.make_resumable` has made ready.
    """
    # Lightning would end the run in the middle of an epoch, with nothing saved, and signal other processes itself.
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, Checkpoints):
            callback.resumed = resumed
    state = None if resumed is None else str(resumed / saving.STATE)
    ears: Ears | None = getattr(data, "ears", None)
    try:
        with interruption().deferred(), watched(trainer), nullcontext() if ears is None else ears.fitting():
            trainer.fit(module, datamodule=data, ckpt_path=state, weights_only=True)
    except SystemExit:
        # What Lightning makes of a KeyboardInterrupt; a user of the Python function keeps the interpreter.
        if trainer.interrupted:
            _preempted()
        raise
    finally:
        # After an error Lightning leaves the workers of its loaders alone.
        trainer.fit_loop.teardown()


def load_weights(module: nn.Module, checkpoint: Path) -> None:
    """Gives a module the weights of a checkpoint, once that is found to be intact."""
    saving.check(checkpoint)
    state = torch.load(checkpoint / saving.STATE, map_location="cpu", weights_only=True)
    module.load_state_dict(state["state_dict"])


def _preempted() -> NoReturn:
    raise Preempted(
        "train.preempted", "an interrupt ended training; resume=last goes on from what is saved"
    ) from None


def _nothing() -> None:
    """What a trainer does about signals."""
