"""One training run, from sources to a bundle. What ``protscribe train`` calls; a Python function like any
other."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from protscribe.configuration import check_seed
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Mixture
from protscribe.data.source import Source
from protscribe.encoders import Windowed, adapt, load_encoder, load_molecule_encoder, merge
from protscribe.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    OutputError,
    Preempted,
    Where,
    nearest,
)
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.records import Failure
from protscribe.task import Task
from protscribe.training.module import Objective, OptimizerFactory, ScheduleFactory, ScribeTraining

log = logging.getLogger(__name__)

SUPPLIED = ("tasks", "sources", "root", "config")
"""Keywords of :func:`train` that no configuration holds."""
SUPPLIED_TO: Mapping[str, tuple[str, ...]] = {
    "data": ("mixture", "tasks", "sources", "root", "seed", "encoder_limit"),
    "decoder": ("vocabulary", "memory_width", "molecule_width", "pointers"),
    "optimizer": ("params",),
    "schedule": ("optimizer", "total_steps"),
    "trainer": (
        "default_root_dir", "callbacks", "logger", "enable_checkpointing", "enable_progress_bar",
        "enable_model_summary", "use_distributed_sampler", "reload_dataloaders_every_n_epochs",
    ),
}  # fmt: skip
"""Keywords that :func:`train` gives to the factories it is given: a configuration may not set them."""


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind. ``metrics`` are the validation metrics of the last epoch, by name;
    ``best_score`` that of the weights in the bundle.

    ``padding_share`` (0..1) is the share of computed residues and tokens that was padding; ``failures`` are
    the rows left out with ``data.on_error=collect``. ``seconds`` is the time of the fit, without reading,
    readouts and export.
    """

    folder: Path
    bundle: Path
    best_checkpoint: Path | None
    last_checkpoint: Path | None
    best_score: float | None
    metrics: Mapping[str, float]
    steps: int
    epochs: int
    seconds: float
    padding_share: float
    failures: tuple[Failure, ...] = field(default=())


def train(
    folder: str,
    mixture: Mixture,
    data: Callable[..., ScribeData],
    encoder: Mapping[str, Any],
    decoder: Callable[..., Decoder],
    optimizer: OptimizerFactory,
    schedule: ScheduleFactory,
    trainer: Callable[..., lightning.Trainer],
    adaptation: Mapping[str, Any] | None = None,
    molecule_encoder: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
    callbacks: Mapping[str, Callback | None] | None = None,
    logger: Mapping[str, Logger | None] | None = None,
    seed: int = 0,
    resume: str | None = None,
    choose_readouts: bool = True,
    *,
    tasks: Mapping[str, Task],
    sources: Mapping[str, Source],
    root: str | Path = ".",
    config: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Trains one model on a mixture and writes its bundle to ``folder/bundle``.

    Parameters
    ----------
    folder: of this run; checkpoints go to ``folder/checkpoints`` where the callbacks say so.
    mixture: what is trained on. tasks, sources: by name, at least what the mixture names. root: where
        relative paths of sources begin.
    encoder, molecule_encoder: as :func:`protscribe.encoders.load_encoder` takes them; adaptation: as
        :func:`protscribe.encoders.adapt` does (default: full).
    data, decoder, optimizer, schedule, trainer: factories that lack only what the run itself supplies.
    objective: what is learnt from an answer. callbacks, logger: of Lightning, by a name of their own;
        ``None`` leaves one out.
    seed: of weights, orders, and what is hidden.
    resume: a checkpoint of this run, or ``"last"`` for ``folder/checkpoints/last.ckpt``, which may be
        missing.
    choose_readouts: whether thresholds and statistics are chosen on validation data. config: is stored in the
        bundle for people to read.

    Raises
    ------
    Every :class:`~protscribe.errors.ProtscribeError` of reading and loading;
    :class:`~protscribe.errors.TrainingError` ``train.not_finite``; :class:`~protscribe.errors.OutputError`
    ``output.write``; :class:`~protscribe.errors.Preempted` ``train.preempted`` where a signal ended the fit.
    """
    check_seed(seed)
    place = Path(folder)
    _check_writable(place)
    kept = [callback for callback in (callbacks or {}).values() if callback is not None]
    fitted = _trainer(trainer, place, kept, [one for one in (logger or {}).values() if one is not None])
    lightning.seed_everything(seed, verbose=False)
    model_encoder = load_encoder(encoder)
    read = data(
        mixture=mixture, tasks=tasks, sources=sources, root=root, seed=seed, encoder_limit=model_encoder.limit
    )
    read.read()
    model = _build(model_encoder, adaptation or {}, molecule_encoder, decoder, read)
    module = ScribeTraining(model, read.lexicon, read.tasks, optimizer, schedule, objective, seed)
    _check_monitors(kept, read)
    began = time.monotonic()
    _fit(fitted, module, read, _resumed(resume, place))
    seconds = time.monotonic() - began
    best, last, score = _checkpoints(fitted)
    if best is not None:
        module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    bundle = place / "bundle"
    if fitted.is_global_zero:
        provenance = {
            "steps": fitted.global_step,
            "epochs": fitted.current_epoch,
            "seed": seed,
            "best_score": score,
            "sources": {name: entry.source for name, entry in mixture.entries.items()},
            "licences": _licences(mixture, sources),
            "encoder": dict(encoder),
        }
        _export(bundle, model, read, choose_readouts, config, provenance)
    return TrainResult(
        folder=place,
        bundle=bundle,
        best_checkpoint=best,
        last_checkpoint=last,
        best_score=score,
        metrics={name: float(value) for name, value in fitted.callback_metrics.items()},
        steps=fitted.global_step,
        epochs=fitted.current_epoch,
        seconds=seconds,
        padding_share=read.padding_share(),
        failures=tuple(read.failures),
    )


def _licences(mixture: Mixture, sources: Mapping[str, Source]) -> dict[str, str]:
    """The licence of each entry's data, where its source names one."""
    named = {name: sources[entry.source].licence for name, entry in mixture.entries.items()}
    return {name: licence for name, licence in named.items() if licence}


def _check_writable(folder: Path) -> None:
    """Lightning would say nothing about a folder that it cannot write to, and train for nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            "output.write",
            f"the run's folder cannot be written to: {error.strerror}",
            Where(file=str(folder)),
        ) from None


def _build(
    encoder: Any,
    adaptation: Mapping[str, Any],
    molecule_encoder: Mapping[str, Any] | None,
    decoder: Callable[..., Decoder],
    data: ScribeData,
) -> Scribe:
    for name in adaptation:
        known = list(inspect.signature(adapt).parameters)[1:]
        if name not in known:
            raise ConfigError("config.unknown_key", f"adaptation has no key {name!r}; {nearest(name, known)}")
    adapted: Any = adapt(encoder, **adaptation)
    if data.long == "window" and encoder.limit is not None:
        adapted = Windowed(adapted, encoder.limit)
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


def _check_monitors(callbacks: Sequence[Callback], data: ScribeData) -> None:
    """A metric that nobody logs is told before training, not after its first epoch."""
    known = ["train/loss"]
    for task, examples in data.validation.items():
        if examples:
            known += [f"valid/loss/{task}", f"valid/accuracy/{task}", f"valid/off_grammar/{task}"]
    if len(known) > 1:
        known.append("valid/loss")
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in known:
            raise ConfigError(
                "config.value",
                f"{type(callback).__name__} watches the metric {monitor!r}; {nearest(monitor, known)}",
            )


def _trainer(
    factory: Callable[..., lightning.Trainer], folder: Path, callbacks: list[Callback], loggers: list[Logger]
) -> lightning.Trainer:
    shown = sys.stderr.isatty()
    if shown:
        callbacks = [*callbacks, RichProgressBar()]
    try:
        return factory(
            default_root_dir=folder,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=shown,
            enable_model_summary=False,
            # The batches of each epoch are planned for every process alike; Lightning's own sampler would undo that.
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        # The library's own sentence is the best there is; which of the two it is about, only its words say.
        about_device = any(word in str(error).lower() for word in ("accelerator", "gpu", "cuda", "device"))
        if about_device:
            raise DeviceError(
                "device.missing", f"{error}; use trainer=cpu, or a machine that has it"
            ) from error
        raise ConfigError("config.value", f"trainer: {error}") from error


def _fit(trainer: lightning.Trainer, module: ScribeTraining, data: ScribeData, resume: Path | None) -> None:
    last = f"{trainer.default_root_dir}/checkpoints/last.ckpt"
    stopped = Preempted("train.preempted", f"a signal ended training; resume it with resume={last}")
    at_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except SIGTERMException:
        raise stopped from None
    except SystemExit:
        # Lightning turns Ctrl-C into an exit; a user of the Python function keeps the interpreter.
        if trainer.interrupted:
            raise stopped from None
        raise
    finally:
        # ... and with it the right to interrupt what comes next, which Lightning takes away.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, at_interrupt)


def _resumed(resume: str | None, folder: Path) -> Path | None:
    if resume is None:
        return None
    path = folder / "checkpoints" / "last.ckpt" if resume == "last" else Path(resume)
    if path.is_file():
        return path
    if resume == "last":
        return None
    raise CheckpointError(
        "checkpoint.not_found", "there is no such checkpoint to resume from", Where(file=resume)
    )


def _checkpoints(trainer: lightning.Trainer) -> tuple[Path | None, Path | None, float | None]:
    """The best checkpoint (of a callback that watches a metric), the last one (of a callback that does not),
    the best score."""
    best = last = score = None
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or not callback.best_model_path:
            continue
        if callback.monitor is None:
            last = Path(callback.best_model_path)
        elif best is None:
            best = Path(callback.best_model_path)
            score = float(callback.best_model_score) if callback.best_model_score is not None else None
    return best, last, score


def _export(
    folder: Path,
    model: Scribe,
    data: ScribeData,
    choose: bool,
    config: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
) -> None:
    """Writes the bundle: low-rank additions merged, readouts chosen on validation data."""
    from protscribe.checkpoint import Bundle, save_bundle
    from protscribe.codecs.protocol import Readout
    from protscribe.evaluation import readouts
    from protscribe.predictor import Predictor

    encoder: Any = model.encoder
    model.encoder = merge(encoder.encoder if isinstance(encoder, Windowed) else encoder)
    model.to("cpu").eval()
    chosen = {name: Readout() for name in data.tasks}
    asked = {name: examples for name, examples in data.validation.items() if examples}
    if choose and asked:
        bundle = Bundle(model=model, lexicon=data.lexicon, tasks=data.tasks, readouts=chosen, manifest={})
        chosen |= readouts.choose_readouts(Predictor(bundle, "cpu"), asked)
    save_bundle(
        folder,
        model=model,
        lexicon=data.lexicon,
        tasks=data.tasks,
        readouts=chosen,
        config=config,
        provenance=provenance,
    )
