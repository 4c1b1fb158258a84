"""The Lightning module: what one training step and one validation step do.

Shape legend: B rows, T columns, V symbols, S = V + M choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from protscribe.architecture import describe_model
from protscribe.data.batch import Batch
from protscribe.data.lexicon import Lexicon
from protscribe.errors import ConfigError, TrainingError
from protscribe.generation.forced import off_grammar_mass
from protscribe.nn.model import Scribe
from protscribe.training.chance import draw, fold
from protscribe.training.loss import balance_lengths, soft_digits, token_losses
from protscribe.training.position import total_steps
from protscribe.training.rates import Rates, current_rates, scale_rates, weight_groups
from protscribe.training.reduction import StepMean, full, processes, total
from protscribe.training.sharding import shard, twin
from protscribe.training.strategies import Sharded
from protscribe.training.tally import Tally
from protscribe.transfer import is_true, upload

OFF_GRAMMAR_ROWS = 64
"""So many validation rows of each task tell how much probability the grammar has to take away."""

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
ScheduleFactory = Callable[..., LRScheduler]


@dataclass(frozen=True)
class Objective:
    """What is learnt from an answer.

    ``hide_all`` is the probability that the whole prefix of a dense answer is hidden; else a share of it is,
    drawn uniformly from 0..1 a row. ``length_power`` divides each token's weight by (number of weighted
    tokens of its answer) ** power, see :func:`protscribe.training.loss.balance_lengths`. ``digit_width``
    above 0 softens digit targets, see :func:`protscribe.training.loss.soft_digits`.
    """

    hide_all: float = 0.25
    length_power: float = 0.5
    digit_width: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("hide_all", 0, 1),
            ("length_power", 0, 2),
            ("digit_width", 0, 10),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError("config.value", f"objective: {name} must lie in {low}..{high}, got {value}")


class ScribeTraining(lightning.LightningModule):
    """Trains a :class:`~protscribe.nn.model.Scribe` on batches of answered questions.

    ``optimizer`` takes parameter groups, ``schedule`` the optimizer and ``total_steps``; both are factories.
    ``seed`` keys what is hidden of each sample, together with the epoch and the sample's number in it, so that a
    resumed run hides the same, on any number of processes. ``still`` keeps the whole model in eval mode: no
    dropout. ``fixed`` is what a run that is resumed must have in common with its checkpoint, beside architecture
    and vocabulary. The loss of a step is the mean over all its tokens, see
    :class:`~protscribe.training.reduction.StepMean`.

    Logs ``train/loss``, the learning rate of each part of the model (see :class:`~protscribe.training.rates.Rates`) as
    ``train/rate/PART``, and for each task ``train/loss/NAME``, ``train/accuracy/NAME`` (share of weighted answer
    tokens, the end symbol left out, whose most probable choice is right, before any grammar), and at validation
    the same under ``valid/``, the mean over tasks as ``valid/loss``, and from the first :data:`OFF_GRAMMAR_ROWS`
    rows of each task ``valid/off_grammar/NAME`` along the true answers. All of these are over all processes, and
    every sample counts once. Raises
    :class:`~protscribe.errors.TrainingError`
    ``train.not_finite`` for a loss or gradient that is not finite, or a logit that is no number, naming step and records.
    """

    def __init__(
        self,
        model: Scribe,
        lexicon: Lexicon,
        tasks: Iterable[str],
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        objective: Objective | None = None,
        seed: int = 0,
        still: bool = False,
        fixed: Mapping[str, Any] | None = None,
        rates: Rates | None = None,
    ) -> None:
        super().__init__()
        self.still, self.fixed = still, dict(fixed or {})
        self.model = model
        self.lexicon = lexicon
        self.tasks = tuple(tasks)
        self.objective, self.rates = objective or Objective(), rates or Rates()
        self.seed = seed
        self._optimizer, self._schedule = optimizer, schedule
        soft_VV = soft_digits(lexicon.vocabulary, self.objective.digit_width)
        self.soft_VV: Tensor | None
        self.register_buffer("soft_VV", soft_VV, persistent=False)
        self._step_ids: list[str] = []
        self._step = StepMean()
        self._training, self._validation = Tally(self.tasks), Tally(self.tasks)
        self._told = 0
        self._twin: tuple[Scribe, ...] = ()

    # Processes

    def configure_model(self) -> None:
        """Shards the model, once, where the strategy is :class:`~protscribe.training.sharding.Sharded`."""
        if isinstance(self.trainer.strategy, Sharded) and not self._twin:
            # In a tuple, where Lightning and torch do not look for modules.
            self._twin = (twin(self.model),)
            shard(self.model, self.trainer.strategy.device_mesh["data_parallel"])

    def gather(self) -> None:
        """After a fit, makes a model that was sharded whole again, in the first process; every process must call it.

        The other processes are left without weights.
        """
        if not self._twin:
            return
        state = self.trainer.strategy.lightning_module_state_dict()
        (self.model,), self._twin = self._twin, ()
        if state:
            self.load_state_dict(state, assign=True)

    # Training

    def train(self, mode: bool = True) -> ScribeTraining:
        super().train(mode and not self.still)
        return self

    def training_step(self, batch: Batch, index: int) -> Tensor:
        # What dropout draws is a function of the batch, so that no generator's state has to be saved with a checkpoint.
        torch.manual_seed(fold(self.seed, self.current_epoch, index, self.global_rank))
        weights_BT = balance_lengths(batch.weights_BT, self.objective.length_power)
        self._step.expect(weights_BT.sum())
        logits_BTS = self.model(batch, self._hidden(batch))
        losses_BT = token_losses(logits_BTS, batch.targets_BT, weights_BT > 0, self.soft_VV)
        nats = (weights_BT * losses_BT).sum()
        self._step_ids += [question.record.id for question in batch.questions]
        if not is_true("loss", torch.isfinite(nats) & ~torch.isnan(logits_BTS).any()):
            raise self._not_finite(
                "a logit" if is_true("loss", torch.isfinite(nats)) else "the loss", len(batch.questions)
            )
        loss, weight = self._step.contribution(nats)
        self._training.add(logits_BTS.detach(), batch, losses_BT.detach() if self.soft_VV is None else None)
        self._log_training(nats.detach(), weight, batch)
        return loss

    def _log_training(self, nats: Tensor, weight: Tensor, batch: Batch) -> None:
        """Over all processes at the steps that are written to the log; between these, what this process makes of it."""
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        written = bool(every) and (self.trainer.global_step + 1) % every == 0
        rows = len(batch.questions)
        everywhere = total(nats) if written else nats * processes()
        mean = everywhere / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        self.log("train/loss", mean, prog_bar=True, batch_size=rows)
        if not written:
            return
        for optimizer in self.trainer.optimizers:
            for part, rate in current_rates(optimizer).items():
                self.log(f"train/rate/{part}", rate, batch_size=rows)

    def on_train_start(self) -> None:
        self._told = self.trainer.global_step

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """What was learnt of each task since it was last told, at the steps that are written to the log."""
        step, every = self.trainer.global_step, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and step != self._told and step % every == 0:
            self._told = step
            self._tell_tasks(len(batch.questions))

    def on_train_epoch_end(self) -> None:
        """The rest, so that nothing of a short epoch is lost."""
        self._tell_tasks(1)

    def _tell_tasks(self, rows: int) -> None:
        for task, sums in self._training.read(self.device).items():
            if sums.weight:
                told = {f"train/loss/{task}": sums.loss, f"train/accuracy/{task}": sums.accuracy}
                self.log_dict(told, batch_size=rows)

    def _hidden(self, batch: Batch) -> Tensor:
        """Which input columns of dense answers are hidden."""
        rows, columns = batch.tokens_BT.shape
        numbers = batch.numbers or range(rows)
        drawn_BC = torch.from_numpy(draw(self.seed, self.current_epoch, numbers, columns + 2))
        share_B1, everything_B1 = drawn_BC[:, :1], drawn_BC[:, 1:2] < self.objective.hide_all
        hidden_BT = (drawn_BC[:, 2:] < share_B1) | everything_B1
        return upload(hidden_BT, batch.tokens_BT.device) & dense_rows(batch)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stops at a gradient that is not finite; with a loss scaler that is the scaler's business."""
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        self._step.settle(gradients, self.trainer.accumulate_grad_batches)
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self._step_ids = []
            return
        norm = full(nn.utils.get_total_norm(gradients))
        if not is_true("gradient", torch.isfinite(norm)):
            raise self._not_finite("the gradient", len(self._step_ids))
        self._step_ids = []
        self.log("train/gradient_norm", norm)

    def _not_finite(self, what: str, rows: int) -> TrainingError:
        """The error for the last ``rows`` questions of this step."""
        ids = self._step_ids[-rows:] if rows else []
        shown = ", ".join(ids[:20]) + (f", ... ({rows} in all)" if rows > 20 else "")
        at = f"at step {self.trainer.global_step}" + (f", records {shown}" if ids else "")
        kept = [getattr(callback, "last", None) for callback in self.trainer.checkpoint_callbacks]
        last = next(filter(None, kept), "none yet")
        return TrainingError(
            "train.not_finite",
            f"{what} is not finite {at}; last good checkpoint: {last}. "
            "Lower optimizer.lr, set trainer.gradient_clip_val, or use bf16 in place of fp16",
        )

    # Validation

    def validation_step(self, batch: Batch, index: int, dataloader_idx: int = 0) -> None:
        hidden_BT = dense_rows(batch).expand(batch.tokens_BT.shape)
        logits_BTS = self.model(batch, hidden_BT)
        self._validation.add(logits_BTS, batch)
        asked = [0 <= number < OFF_GRAMMAR_ROWS for number in batch.numbers]
        if any(asked):
            self._validation.add_outside(off_grammar_mass(logits_BTS, batch, self.lexicon), asked, batch)

    def on_validation_epoch_end(self) -> None:
        """Per task, over all its rows; then the mean over tasks, in which every task counts the same."""
        losses = []
        for task, sums in self._validation.read(self.device).items():
            if not math.isfinite(sums.nats):
                raise self._not_finite(f"the validation loss of task {task}", 0)
            if sums.weight:
                losses.append(sums.loss)
                self.log_dict({f"valid/loss/{task}": sums.loss, f"valid/accuracy/{task}": sums.accuracy})
            if sums.asked:
                self.log(f"valid/off_grammar/{task}", sums.off_grammar)
        if losses:
            self.log("valid/loss", sum(losses) / len(losses), prog_bar=True)

    # What Lightning asks for

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(weight_groups(self.model, self.rates))
        scale_rates(optimizer)
        steps = total_steps(self.trainer)
        schedule = self._schedule(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["vocabulary"] = self.lexicon.vocabulary.fingerprint
        checkpoint["architecture"] = describe_model(self.model)
        checkpoint["fixed"] = self.fixed
        checkpoint["untold"] = self._training.state(self.device)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuses to resume a run that had another vocabulary, whose ids mean something else, or another
        architecture.

        Raises :class:`ConfigError` ``config.resume`` or ``config.fixed``, which lists what was and what is.
        """
        before = dict(_flat({**checkpoint.get("architecture", {}), **checkpoint.get("fixed", {})}))
        now = dict(_flat({**describe_model(self.model), **self.fixed}))
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            told = "; ".join(f"{name}: {before.get(name)} then, {now.get(name)} now" for name in changed)
            raise ConfigError(
                "config.fixed", f"the run to resume fixes what was configured otherwise: {told}"
            )
        if checkpoint.get("vocabulary") != self.lexicon.vocabulary.fingerprint:
            raise ConfigError(
                "config.resume",
                "the run to resume had another vocabulary (other tasks, labels or condition values); "
                "resume with the same mixture and data, or start a new run",
            )
        # What all processes had together is taken by one.
        if self.global_rank == 0 and "untold" in checkpoint:
            self._training.load_state(checkpoint["untold"])


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def dense_rows(batch: Batch) -> Tensor:
    """Which rows hold dense answers, bool ``[B, 1]``."""
    return (batch.aligned_BT >= 0).any(1, keepdim=True)
