"""One training run, from sources to a bundle. What ``protscribe train`` calls; a Python function like any
other."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger

from protscribe.configuration import check_seed
from protscribe.data.datamodule import ScribeData
from protscribe.data.ledger import Sampled
from protscribe.data.mixture import Mixture
from protscribe.data.source import Source
from protscribe.encoders import load_encoder
from protscribe.encoders.state_cache import StateStore
from protscribe.errors import ConfigError, DeviceError, OutputError, Where, nearest
from protscribe.interruption import listening
from protscribe.nn.decoder import Decoder
from protscribe.nn.execution import recompute_activations
from protscribe.records import Failure
from protscribe.task import Task
from protscribe.training.account import Account
from protscribe.training.building import build_model, grow_model
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.export import export
from protscribe.training.fitting import find_resumed, fit, load_weights
from protscribe.training.module import Objective, OptimizerFactory, ScheduleFactory, ScribeTraining
from protscribe.training.position import epochs_begun, make_resumable
from protscribe.training.rates import Rates
from protscribe.training.start import Grow, load_start
from protscribe.training.states import KeepStates, check_fixed
from protscribe.training.strategies import environments, forget_earlier_run

if TYPE_CHECKING:
    from protscribe.evaluation.change import Changes

log = logging.getLogger(__name__)

SUPPLIED = ("tasks", "sources", "root", "config")
"""Keywords of :func:`train` that no configuration holds."""
SUPPLIED_TO: Mapping[str, tuple[str, ...]] = {
    "data": ("mixture", "tasks", "sources", "root", "seed", "encoder_limit", "known", "lexicon", "staged"),
    "decoder": ("vocabulary", "memory_width", "molecule_width", "pointers"),
    "optimizer": ("params",),
    "schedule": ("optimizer", "total_steps"),
    "trainer": (
        "default_root_dir", "callbacks", "logger", "enable_checkpointing", "enable_progress_bar",
        "enable_model_summary", "use_distributed_sampler", "reload_dataloaders_every_n_epochs", "plugins",
    ),
}  # fmt: skip
"""Keywords that :func:`train` gives to the factories it is given: a configuration may not set them."""


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind. ``metrics`` are the validation metrics of the last epoch, by name;
    ``best_score`` that of the weights in the bundle.

    ``padding_share`` (0..1) is the share of computed residues and tokens that was padding; ``failures`` are
    the rows left out with ``data.on_error=collect``. ``changes`` says what every task could before and can after, where the
    run started from a bundle. ``sampled`` is what was sampled of each entry of the mixture. ``seconds`` is the
    time of the fit, without reading,
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
    changes: Changes | None = None
    sampled: Mapping[str, Sampled] = field(default_factory=dict)


@listening()
def train(
    folder: str,
    mixture: Mixture,
    data: Callable[..., ScribeData],
    optimizer: OptimizerFactory,
    schedule: ScheduleFactory,
    trainer: Callable[..., lightning.Trainer],
    encoder: Mapping[str, Any] | None = None,
    decoder: Callable[..., Decoder] | None = None,
    bundle: str | None = None,
    grow: Grow = "all",
    replay: float = 0.0,
    measured_rows: int | None = 500,
    adaptation: Mapping[str, Any] | None = None,
    molecule_encoder: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
    rates: Rates | None = None,
    activation_checkpointing: bool = False,
    state_cache: StateStore | None = None,
    callbacks: Mapping[str, Callback | None] | None = None,
    logger: Mapping[str, Logger | None] | None = None,
    seed: int = 0,
    resume: str | None = None,
    choose_readouts: bool = True,
    calibrate: bool = True,
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
    bundle: a bundle to start from, in place of an encoder and a decoder, which may be given if they are equal to its own.
        grow: what of it is trained, see :class:`~protscribe.training.start.Start`. replay: the share of samples that come from
        what the bundle was trained on, as far as ``sources`` has it. measured_rows: at most so many held-out rows of each task
        show what it could before and can after (0: all, ``None``: that is not asked), see
        :func:`~protscribe.evaluation.change.measure_changes`.
    objective: what is learnt from an answer. rates: how fast each part learns.
    activation_checkpointing: whether activations are computed a second time in the backward pass in place of being kept, see
        :func:`protscribe.nn.execution.recompute_activations`.
    state_cache: where the states of an encoder that is not trained are kept, so that it reads each protein once.
    callbacks, logger: of Lightning, by a name of their own; ``None`` leaves one out.
    seed: of weights, orders, and what is hidden.
    resume: a checkpoint of this run, or ``"last"`` for the newest one in ``folder/checkpoints`` that is intact, where
        there is any: the run goes on as if it had never been interrupted.
    choose_readouts: whether thresholds and statistics are chosen on validation data. calibrate: whether calibrations, and the
        thresholds of guarantees, are fitted on it before (not without choosing), see
        :mod:`protscribe.evaluation.confidence.trust`.
    config: is stored in the bundle for people to read.

    Raises
    ------
    Every :class:`~protscribe.errors.ProtscribeError` of reading and loading;
    :class:`~protscribe.errors.TrainingError` ``train.not_finite``; :class:`~protscribe.errors.OutputError`
    ``output.write`` or ``output.locked``; :class:`~protscribe.errors.Preempted` ``train.preempted`` where a signal ended
    the run.
    """
    check_seed(seed)
    forget_earlier_run()
    place = Path(folder)
    _check_writable(place)
    kept = [callback for callback in (callbacks or {}).values() if callback is not None]
    saved = _checkpoints(kept)
    resumed = find_resumed(resume, saved.folder or place / "checkpoints")
    fitted = _trainer(trainer, place, kept, [one for one in (logger or {}).values() if one is not None])
    lightning.seed_everything(seed, verbose=False)
    start = None
    if bundle is not None:
        start = load_start(
            bundle, grow, place, encoder=encoder, decoder=decoder, molecule_encoder=molecule_encoder
        )
        tasks = {**start.bundle.tasks, **tasks}
        mixture = start.with_replay(mixture, sources, replay)
    elif encoder is None or decoder is None:
        raise ConfigError("config.missing", "give an encoder and a decoder, or a bundle to start from")
    model_encoder: Any = load_encoder(encoder or {}) if start is None else start.bundle.model.encoder
    read = data(
        mixture=mixture,
        tasks=tasks,
        sources=sources,
        root=root,
        seed=seed,
        encoder_limit=model_encoder.limit,
        **({} if start is None else start.for_data()),
    )
    read.read()
    model = (
        build_model(model_encoder, adaptation or {}, molecule_encoder, decoder, read)
        if start is None
        else grow_model(start, adaptation or {}, read, seed)
    )
    if activation_checkpointing:
        recompute_activations(*model.blocks())
    module = ScribeTraining(
        model,
        read.lexicon,
        read.tasks,
        optimizer,
        schedule,
        objective,
        seed,
        still=grow == "symbols" and start is not None,
        fixed={} if start is None else start.fixed(),
        rates=rates,
    )
    # A bundle is loaded for inference, and Lightning leaves every part in the mode it is in.
    module.train()
    _check_monitors(kept, read)
    account = Account(read)
    # Before the callback that saves checkpoints, which hold what is counted here.
    fitted.callbacks.insert(0, account)  # type: ignore[attr-defined]
    if state_cache is not None:
        check_fixed(model.encoder)
        fitted.callbacks.insert(0, KeepStates(state_cache, read))  # type: ignore[attr-defined]
    began = time.monotonic()
    fit(fitted, module, read, resumed)
    module.gather()
    model = module.model
    seconds = time.monotonic() - began
    best, last, score = saved.best, saved.last, saved.best_score
    if best is not None and fitted.is_global_zero:
        load_weights(module, best)
    written = place / "bundle"
    if fitted.is_global_zero:
        provenance = {
            "steps": fitted.global_step,
            "epochs": epochs_begun(fitted),
            "seed": seed,
            "best_score": score,
            "mixture": mixture.to_plain(),
            "sampled": {name: sampled._asdict() for name, sampled in account.ledger.whole().items()},
            "sources": {name: entry.source for name, entry in mixture.entries.items()},
            "licences": _licences(mixture, sources),
            "encoder": dict(encoder or {}),
        }
        if start is not None:
            provenance = start.inherited(provenance, read.lexicon, read.tasks)
        export(written, model, read, choose_readouts, calibrate, config, provenance, start)
    changes = None
    if fitted.is_global_zero and start is not None and measured_rows is not None:
        device = "cuda" if fitted.strategy.root_device.type == "cuda" else "cpu"
        changes = start.changes(
            written, mixture, sources, rows=measured_rows, seed=seed, root=root, device=device
        )
        changes.write(place)
    return TrainResult(
        folder=place,
        bundle=written,
        best_checkpoint=best,
        last_checkpoint=last,
        best_score=score,
        metrics={name: float(value) for name, value in fitted.callback_metrics.items()},
        steps=fitted.global_step,
        epochs=epochs_begun(fitted),
        seconds=seconds,
        padding_share=read.padding_share(),
        failures=tuple(read.failures),
        changes=changes,
        sampled=account.ledger.whole(),
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
        made = factory(
            default_root_dir=folder,
            callbacks=callbacks,
            logger=loggers or False,
            enable_progress_bar=shown,
            enable_model_summary=False,
            # The batches of each epoch are planned for every process alike; Lightning's own sampler would undo that.
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            plugins=environments(),
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        # The library's own sentence is the best there is; which of the two it is about, only its words say.
        about_device = any(word in str(error).lower() for word in ("accelerator", "gpu", "cuda", "device"))
        if about_device:
            raise DeviceError(
                "device.missing", f"{error}; use trainer=cpu, or a machine that has it"
            ) from error
        raise ConfigError("config.value", f"trainer: {error}") from error
    return make_resumable(made)


def _checkpoints(callbacks: list[Callback]) -> Checkpoints:
    """The callback that keeps checkpoints; one that keeps none is added where there is none."""
    if any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        raise ConfigError(
            "config.value",
            "callbacks: Lightning's ModelCheckpoint saves what a run cannot go on from exactly, and may leave half a file; "
            "use protscribe.training.checkpoints.Checkpoints (callbacks=default)",
        )
    found = [callback for callback in callbacks if isinstance(callback, Checkpoints)]
    if len(found) > 1:
        raise ConfigError(
            "config.value", "callbacks: a run keeps its checkpoints in one place; give one Checkpoints"
        )
    if not found:
        found.append(Checkpoints(None))
        callbacks.append(found[0])
    return found[0]
