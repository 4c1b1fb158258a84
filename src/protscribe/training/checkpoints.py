"""When a run saves what it needs to go on, and what that is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, cast

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from protscribe.data.workers import Ears
from protscribe.errors import CheckpointError, ConfigError, Preempted, ProtscribeError, TrainingError
from protscribe.interruption import interruption
from protscribe.training import saving
from protscribe.training.position import (
    Position,
    Resumable,
    after_epoch,
    before_validation,
    begin,
    between_turns,
    call_when_settled,
    finished,
)
from protscribe.training.table import MetricsTable
from protscribe.transfer import read_back

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Part = Literal["training", "validation"]

GO, SAVE, STOP = 0, 1, 2
"""What a process wishes to do after a step; of several processes the highest wish is done."""

PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)
"""Types that a checkpoint may hold beside tensors, lists, tuples, sets and mappings: torch reads them without running code."""


class Checkpoints(Checkpoint):
    """Saves checkpoints of a run into ``folder``, from which it goes on as if never interrupted, and picks the best.

    One is saved ``every_minutes`` minutes and ``every_steps`` optimizer steps (0: not by minutes, not by steps), and at the
    end of every epoch. Kept are the last ``keep``, at least two, and the one whose ``monitor`` was best at the end of its
    epoch, by ``mode``; without a ``monitor`` none is the best. ``folder=None`` saves nothing. ``resumed`` is to be set to
    the checkpoint that the run goes on from.

    Where a signal asks the run to stop (see :mod:`~protscribe.interruption`), the step in progress is finished, a
    checkpoint saved and :class:`~protscribe.errors.Preempted` raised; a validation in progress is given up, and runs again
    from its beginning when the run goes on. With several processes all stop at the same step, whichever heard the signal,
    and the first one writes.

    Every trainer with this callback needs :func:`~protscribe.training.position.make_resumable`. Raises
    :class:`~protscribe.errors.OutputError` ``output.write`` and ``output.locked``, and
    :class:`~protscribe.errors.TrainingError` ``train.not_finite``: weights that are not finite are not saved.
    """

    def __init__(
        self,
        folder: str | Path | None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        every_minutes: float = 10.0,
        every_steps: int = 0,
        keep: int = 2,
    ) -> None:
        for name, value, low in (
            ("every_minutes", every_minutes, 0),
            ("every_steps", every_steps, 0),
            ("keep", keep, 2),
        ):
            if not value >= low:
                raise ConfigError("config.value", f"checkpoints: {name} must be at least {low}, got {value}")
        if mode not in ("min", "max"):
            raise ConfigError("config.value", f"checkpoints: mode must be min or max, got {mode!r}")
        self.folder = None if folder is None else Path(folder)
        self.monitor, self.mode, self.keep = monitor, mode, keep
        self.every_minutes, self.every_steps = every_minutes, every_steps
        self.resumed: Path | None = None
        self.last: Path | None = None
        self.best: Path | None = None
        self.best_score: float | None = None
        self._metrics: dict[str, float] = {}
        self._logged: list[int] = []
        self._position: Position | None = None
        self._validated = False
        self._saved_at, self._saved_step = time.monotonic(), 0
        self._held = ExitStack()

    # The course of a run

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage == "fit" and self.folder is not None:
            _on_first(trainer, self._take_folder)

    def _take_folder(self) -> None:
        assert self.folder is not None
        self._held.enter_context(saving.locked(self.folder))
        with saving.reporting(self.folder):
            saving.sweep(self.folder)
        inside = self.resumed is not None and self.resumed.parent.resolve() == self.folder.resolve()
        saving.set_aside(
            self.folder, after=self.resumed.name if self.resumed is not None and inside else None
        )

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.resumed is None or not trainer.strategy.restore_checkpoint_after_setup:
            self._begin(trainer)

    def _begin(self, trainer: lightning.Trainer) -> None:
        """Once a checkpoint, if there is one, is loaded, and the metrics of before are forgotten."""
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        for logger, rows in zip(trainer.loggers, self._logged or [0] * len(trainer.loggers), strict=False):
            if isinstance(logger, MetricsTable):
                logger.rewind(rows)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self._metrics.items()})
        call_when_settled(trainer, partial(self._after_turn, trainer), partial(self._after_epoch, trainer))

    def _after_turn(self, trainer: lightning.Trainer) -> None:
        wish = self._agreed(trainer, "training")
        if wish != GO:
            self._save(trainer, between_turns(trainer))
        self._stop_if(trainer, wish)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if _fitting(trainer):
            wish = self._agreed(trainer, "training")
            if wish != GO:
                self._save(trainer, before_validation(trainer))
            self._stop_if(trainer, wish)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if _fitting(trainer):
            wish = self._agreed(trainer, "validation")
            if wish == STOP:
                self._save(trainer, before_validation(trainer))
            self._stop_if(trainer, wish)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validated = self._validated or _fitting(trainer)

    def _after_epoch(self, trainer: lightning.Trainer) -> None:
        seen = _read(trainer.callback_metrics).get(self.monitor or "") if self._validated else None
        self._validated = False
        self._save(trainer, after_epoch(trainer), seen)
        self._stop_if(trainer, self._agreed(trainer, "training"))

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._held.close()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._held.close()

    # When

    def _agreed(self, trainer: lightning.Trainer, part: Part) -> int:
        """What all processes do: the highest of their wishes."""
        asked = interruption().signal is not None or _worker_signalled(trainer, part)
        wish = STOP if asked else SAVE if self._due(trainer) else GO
        if trainer.world_size == 1:
            return wish
        highest = trainer.strategy.reduce(
            torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"
        )
        return int(read_back("agreed", highest)[0])

    def _due(self, trainer: lightning.Trainer) -> bool:
        minutes, steps = (time.monotonic() - self._saved_at) / 60, trainer.global_step - self._saved_step
        return bool(
            (self.every_minutes and minutes >= self.every_minutes)
            or (self.every_steps and steps >= self.every_steps)
        )

    def _stop_if(self, trainer: lightning.Trainer, wish: int) -> None:
        if wish != STOP:
            return
        # Lightning kills this process if it sees one that it started end before it.
        getattr(trainer.strategy.launcher, "procs", []).clear()
        name = interruption().name
        if self.last is None:
            raise Preempted("train.preempted", f"{name} ended training; nothing of it is saved")
        raise Preempted(
            "train.preempted",
            f"{name} ended training at step {trainer.global_step}; go on with resume={self.last}",
        )

    # What

    def _save(self, trainer: lightning.Trainer, position: Position, score: float | None = None) -> None:
        """Saves a checkpoint, which all processes must ask for; ``score`` is what the best is chosen by."""
        if self.folder is None:
            return
        folder, before = self.folder, (self.best, self.best_score)
        name = _on_first(trainer, lambda: saving.next_name(folder, position.steps))
        if score is not None and self._better(score):
            self.best, self.best_score = folder / name, score
        self._position = position
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, Resumable):
            data.reached = (position.epoch, position.turns)
        try:
            # With sharded weights every process gives its part.
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            _on_first(trainer, lambda: self._write(folder, name, state, finished(trainer, position)))
        except BaseException:
            self.best, self.best_score = before
            raise
        finally:
            self._position = None
        self.last = folder / name
        self._saved_at, self._saved_step = time.monotonic(), position.steps

    def _better(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        return self.best_score is None or (
            score < self.best_score if self.mode == "min" else score > self.best_score
        )

    def _write(self, folder: Path, name: str, state: Mapping[str, Any], over: bool) -> None:
        _check_plain(state, "")
        _check_finite(state, self.last)
        facts = {**state["run"], "finished": over, "samples": state.get("ScribeData", {}).get("samples")}
        saving.save(
            folder, name, lambda file: torch.save(state, cast(IO[bytes], file)), {"run": _numbers_only(facts)}
        )
        best = [self.best.name] if self.best is not None and self.best.parent == folder else []
        saving.keep(folder, self.keep, best)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds where the run stands, in place of the states of Lightning's loops."""
        if self._position is None:
            return
        del checkpoint["loops"]
        checkpoint["run"] = {
            "position": asdict(self._position),
            "best": None if self.best is None else self.best.name,
            "best_score": self.best_score,
            "metrics": _read(trainer.callback_metrics),
            "logged": [logger.rows if isinstance(logger, MetricsTable) else 0 for logger in trainer.loggers],
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        run = checkpoint["run"]
        self._metrics, self._logged = run["metrics"], run["logged"]
        assert self.resumed is not None, "resumed says which checkpoint is loaded"
        self.last = self.resumed
        if run["best"] is not None:
            best = self.last.parent / run["best"]
            try:
                saving.check(best)
                self.best, self.best_score = best, run["best_score"]
            except CheckpointError as error:
                log.warning(
                    "the best checkpoint so far cannot be read, later ones are compared anew: %s", error
                )
        begin(trainer, Position(**run["position"]))
        if trainer.strategy.restore_checkpoint_after_setup:
            self._begin(trainer)


def _on_first(trainer: lightning.Trainer, act: Callable[[], Answer]) -> Answer:
    """Acts on the first process; all get the answer, or raise the error."""
    answer: Answer | None = None
    failure: ProtscribeError | None = None
    if trainer.is_global_zero:
        try:
            answer = act()
        except ProtscribeError as error:
            failure = error
    answer, failure = trainer.strategy.broadcast((answer, failure))
    if failure is not None:
        raise failure
    return answer  # type: ignore[return-value]


def _read(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Metrics as numbers. One question to the device."""
    if not metrics:
        return {}
    device = next(iter(metrics.values())).device
    (values,) = read_back("saved", torch.stack([value.to(device).float() for value in metrics.values()]))
    return dict(zip(metrics, values.tolist(), strict=True))


def _fitting(trainer: lightning.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _worker_signalled(trainer: lightning.Trainer, part: Part) -> bool:
    ears: Ears | None = getattr(getattr(trainer, "datamodule", None), "ears", None)
    return ears is not None and ears.heard(part)


def _check_plain(value: Any, place: str) -> None:
    """Raises where a state holds what could only be read back by running code."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_plain(key, f"{place} (a key)")
            _check_plain(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple | set):
        for number, part in enumerate(value):
            _check_plain(part, f"{place}[{number}]")
    elif not isinstance(value, (*PLAIN, Tensor)):
        raise ConfigError(
            "config.value",
            f"a checkpoint cannot hold {place}, of type {type(value).__qualname__}: "
            "state that is saved must be tensors, numbers, texts, lists and mappings",
        )


def _tensors(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _tensors(part, f"{place}[{number}]")


def _check_finite(state: Mapping[str, Any], last: Path | None) -> None:
    """Raises where a weight, or what an optimizer remembers of it, is not finite. One question to the device."""
    named = [
        *_tensors(state["state_dict"], ""),
        *_tensors(state.get("optimizer_states", []), "optimizer"),
    ]
    floating = [(name, tensor) for name, tensor in named if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, tensor in floating:
        by_device.setdefault(tensor.device, []).append((name, torch.isfinite(tensor).all()))
    for found in by_device.values():
        (fine,) = read_back("saved", torch.stack([answer for _, answer in found]))
        bad = [name for (name, _), good in zip(found, fine.tolist(), strict=True) if not good]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise TrainingError(
                "train.not_finite",
                f"{', '.join(bad[:5])}{more} not finite, so nothing is saved; last good checkpoint: {last or 'none yet'}",
            )


def _numbers_only(value: Any) -> Any:
    """Plain data as JSON can hold it: numbers that are not finite become texts."""
    if isinstance(value, Mapping):
        return {key: _numbers_only(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
