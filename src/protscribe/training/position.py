"""Where a run stands, to the batch, and Lightning's loop made able to begin there.

Lightning's own way of resuming gives the first batches of an epoch again, passes over a validation that was due, and with
``max_steps`` takes the end of an epoch for that of the run (docs/decisions/0007). So its loops' states are not saved: a run
begins anew at a :class:`Position`, from which everything takes the course it would have taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import lightning
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop


@dataclass(frozen=True)
class Position:
    """``epoch`` is 0-based; ``turns`` are the batches of it that each process has trained on, after which a validation is
    due where ``validate``. ``steps`` counts optimizer steps and ``batches`` batches a process, both over all epochs;
    ``logged`` is the step number under which Lightning logs next; ``stopped``: a callback has asked to stop."""

    epoch: int
    turns: int
    validate: bool
    steps: int
    batches: int
    logged: int
    stopped: bool


@runtime_checkable
class Resumable(Protocol):
    """A data module whose order of batches depends on where training stands: it is told before its state is saved."""

    reached: tuple[int, int]
    """0-based epoch, and turns taken in it."""


def between_turns(trainer: lightning.Trainer) -> Position:
    """In :attr:`EpochLoop.after_turn`."""
    return _position(trainer)


def before_validation(trainer: lightning.Trainer) -> Position:
    """From ``on_validation_start`` to ``on_validation_batch_end``."""
    return _position(trainer, validate=True)


def after_epoch(trainer: lightning.Trainer) -> Position:
    """In :attr:`FitLoop.after_epoch`. An epoch that ended early (``max_steps``) is not over."""
    if _loop(trainer)._num_ready_batches_reached():
        return _position(trainer, turns=0)
    return _position(trainer, epoch=trainer.current_epoch - 1)


def finished(trainer: lightning.Trainer, position: Position) -> bool:
    """Whether nothing is left to train."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    return (
        position.stopped
        or (epochs is not None and 0 <= epochs <= position.epoch)
        or 0 <= steps <= position.steps
    ) and not position.validate


def epochs_begun(trainer: lightning.Trainer) -> int:
    """After a fit: how many epochs were trained on, the last one perhaps in part."""
    return trainer.current_epoch + (_loop(trainer)._turns > 0)


def total_steps(trainer: lightning.Trainer) -> int:
    """How many optimizer steps a run has from its beginning to its end, estimated from the length of its first epoch.

    Unlike Lightning's estimate this one is the same in a run that is resumed, whose first epoch is another one.
    """
    turns_at_first: Callable[[], int] | None = getattr(
        getattr(trainer, "datamodule", None), "turns_at_first", None
    )
    if turns_at_first is None or trainer.max_epochs == -1:
        return int(trainer.estimated_stepping_batches)
    limit = trainer.limit_train_batches
    turns = turns_at_first()
    turns = min(turns, limit) if isinstance(limit, int) else int(turns * limit)
    steps = -(-turns // trainer.accumulate_grad_batches) * max(trainer.max_epochs or 0, 1)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


def begin(trainer: lightning.Trainer, position: Position) -> None:
    """Sets a trainer that has not begun to a position."""
    loop = _loop(trainer)
    for epochs in (trainer.fit_loop.epoch_progress.total, trainer.fit_loop.epoch_progress.current):
        _set(epochs, position.epoch)
    _set(loop.batch_progress.total, position.batches)
    _set(loop.automatic_optimization.optim_progress.optimizer.step.total, position.steps)
    loop._batches_that_stepped = position.logged
    loop.begin_at(position.turns, position.validate)
    trainer.should_stop = position.stopped


class EpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, able to begin inside one.

    ``after_turn`` is called where an optimizer step was made, its metrics are logged, the validation that followed it, if
    any, is over, and the epoch goes on: Lightning has no hook at which all is settled, so that another run could go on.
    """

    def __init__(self, trainer: lightning.Trainer, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.after_turn: Callable[[], None] = _nothing
        self._turns, self.validate = 0, False

    def begin_at(self, turns: int, validate: bool) -> None:
        """Lets the next epoch begin after its first ``turns`` batches, with a validation or without."""
        self._turns, self.validate = turns, validate

    def reset(self) -> None:
        super().reset()
        _set(self.batch_progress.current, self._turns)
        self.batch_progress.is_last_batch = self._turns >= self.trainer.num_training_batches
        self._turns = 0

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        # The loader is new in every epoch, and so is its iterator; Lightning would make a second one here.
        data_fetcher.fetched += self.batch_progress.current.ready
        data_fetcher._start_profiler = self._on_before_fetch
        data_fetcher._stop_profiler = self._on_after_fetch

    @property
    def done(self) -> bool:
        return not self.validate and super().done

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self.validate:
            # What follows a batch is a validation, if one is due.
            self.validate = False
            return
        # Else the log would repeat, at steps that had no such task, what was logged of it last.
        for name in [name for name, result in self._results.items() if not result.meta.on_epoch]:
            del self._results[name]
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        super().on_advance_end(data_fetcher)
        if not self._is_training_done and not self._should_accumulate():
            self.after_turn()


class FitLoop(_FitLoop):
    """Lightning's loop over epochs. ``after_epoch`` is called when all of an epoch is over, its metrics logged included."""

    def __init__(self, trainer: lightning.Trainer, min_epochs: int | None, max_epochs: int | None) -> None:
        super().__init__(trainer, min_epochs, max_epochs)
        self.after_epoch: Callable[[], None] = _nothing

    @property
    def done(self) -> bool:
        # A run that has made all its steps is not over before its last validation.
        loop = self.epoch_loop
        return not (isinstance(loop, EpochLoop) and loop.validate) and super().done

    def on_advance_end(self) -> None:
        super().on_advance_end()
        self.after_epoch()


def make_resumable(trainer: lightning.Trainer) -> lightning.Trainer:
    """Gives a new trainer loops that can begin at a :class:`Position`. It must make its loaders anew every epoch."""
    assert getattr(trainer, "reload_dataloaders_every_n_epochs", 0) == 1
    old = trainer.fit_loop
    trainer.fit_loop = FitLoop(trainer, old.min_epochs, old.max_epochs)
    trainer.fit_loop.epoch_loop = EpochLoop(trainer, old.min_steps, old.max_steps)
    return trainer


def call_when_settled(
    trainer: lightning.Trainer, after_turn: Callable[[], None], after_epoch: Callable[[], None]
) -> None:
    """Has a trainer's loops call these, see :class:`EpochLoop` and :class:`FitLoop`."""
    assert isinstance(trainer.fit_loop, FitLoop)
    trainer.fit_loop.after_epoch, _loop(trainer).after_turn = after_epoch, after_turn


def _loop(trainer: lightning.Trainer) -> EpochLoop:
    loop = trainer.fit_loop.epoch_loop
    assert isinstance(loop, EpochLoop), "make_resumable comes first"
    return loop


def _position(
    trainer: lightning.Trainer,
    epoch: int | None = None,
    turns: int | None = None,
    validate: bool = False,
) -> Position:
    loop = _loop(trainer)
    return Position(
        epoch=trainer.current_epoch if epoch is None else epoch,
        turns=loop.batch_progress.current.ready if turns is None else turns,
        validate=validate,
        steps=trainer.global_step,
        batches=loop.batch_progress.total.ready,
        logged=loop._batches_that_stepped,
        stopped=trainer.should_stop,
    )


def _set(progress: Any, count: int) -> None:
    """Sets all of a tracker's counters."""
    for name in vars(progress):
        setattr(progress, name, count)


def _nothing() -> None:
    """What is called where nobody saves."""
