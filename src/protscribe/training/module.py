"""The Lightning module: what one training step and one validation step do.

Shape legend: B rows, T columns, V symbols, S = V + M choices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from protscribe.training.loss import balance_lengths, soft_digits, token_loss, token_losses
from protscribe.transfer import is_true, read_back, upload
from protscribe.vocabulary import EOS

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
ScheduleFactory = Callable[..., LRScheduler]


@dataclass(frozen=True)
class Objective:
    """What is learnt from an answer.

    ``hide_all`` is the probability that the whole prefix of a dense answer is hidden; else a share of it is,
    drawn uniformly from 0..1 a row. ``length_power`` divides each token's weight by (number of weighted
    tokens of its answer) ** power, see :func:`protscribe.training.loss.balance_lengths`. ``digit_width``
    above 0 softens digit targets, see :func:`protscribe.training.loss.soft_digits`. ``encoder_rate``
    multiplies the learning rate of the encoders' weights.
    """

    hide_all: float = 0.25
    length_power: float = 0.5
    digit_width: float = 0.0
    encoder_rate: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("hide_all", 0, 1),
            ("length_power", 0, 2),
            ("digit_width", 0, 10),
            ("encoder_rate", 0, 1e3),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError("config.value", f"objective: {name} must lie in {low}..{high}, got {value}")


class ScribeTraining(lightning.LightningModule):
    """Trains a :class:`~protscribe.nn.model.Scribe` on batches of answered questions.

    ``optimizer`` takes parameter groups, ``schedule`` the optimizer and ``total_steps``; both are factories.
    ``seed`` keys what is hidden at each step, together with the step and the process, so that a resumed run
    hides the same. Logs ``train/loss``, and for each task ``train/loss/NAME``, ``train/accuracy/NAME`` (share
    of weighted answer tokens, the end symbol left out, whose most probable choice is right, before any
    grammar), and at validation the same under ``valid/``, the mean over tasks as ``valid/loss``, and from
    the first batch of each task ``valid/off_grammar/NAME`` along the true answers. Raises
    :class:`~protscribe.errors.TrainingError`
    ``train.not_finite`` for a loss or gradient that is not finite, naming step and records.
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
    ) -> None:
        super().__init__()
        self.model = model
        self.lexicon = lexicon
        self.tasks = tuple(tasks)
        self.objective = objective or Objective()
        self.seed = seed
        self._optimizer, self._schedule = optimizer, schedule
        soft_VV = soft_digits(lexicon.vocabulary, self.objective.digit_width)
        self.soft_VV: Tensor | None
        self.register_buffer("soft_VV", soft_VV, persistent=False)
        self._last_ids: list[str] = []
        self._validation: dict[str, Sums] = defaultdict(lambda: NOTHING)

    # Training

    def training_step(self, batch: Batch, index: int) -> Tensor:
        logits_BTS = self.model(batch, self._hidden(batch, index))
        weights_BT = balance_lengths(batch.weights_BT, self.objective.length_power)
        loss = token_loss(logits_BTS, batch.targets_BT, weights_BT, self.soft_VV)
        self._last_ids = [question.record.id for question in batch.questions]
        if not is_true("loss", torch.isfinite(loss)):
            raise self._not_finite("the loss")
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.questions))
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        if every and self.trainer.global_step % every == 0:
            for task, sums in by_task(logits_BTS.detach(), batch).items():
                self.log(f"train/loss/{task}", sums.loss, batch_size=len(batch.questions))
                self.log(f"train/accuracy/{task}", sums.accuracy, batch_size=len(batch.questions))
        return loss

    def _hidden(self, batch: Batch, index: int) -> Tensor:
        """Which input columns of dense answers are hidden in this step."""
        key = (self.seed * 1_000_003 + self.current_epoch) * 1_000_003 + index * 1_009 + self.global_rank
        generator = torch.Generator().manual_seed(key % 2**63)
        rows, columns = batch.tokens_BT.shape
        share_B1 = torch.rand(rows, 1, generator=generator)
        everything_B1 = torch.rand(rows, 1, generator=generator) < self.objective.hide_all
        hidden_BT = (torch.rand(rows, columns, generator=generator) < share_B1) | everything_B1
        return upload(hidden_BT, batch.tokens_BT.device) & dense_rows(batch)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stops at a gradient that is not finite; with a loss scaler that is the scaler's business."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not is_true("gradient", torch.isfinite(norm)):
            raise self._not_finite("the gradient")
        self.log("train/gradient_norm", norm)

    def _not_finite(self, what: str) -> TrainingError:
        shown = ", ".join(self._last_ids[:20]) + (", ..." if len(self._last_ids) > 20 else "")
        kept = [getattr(callback, "best_model_path", "") for callback in self.trainer.checkpoint_callbacks]
        best = next(filter(None, kept), "none yet")
        return TrainingError(
            "train.not_finite",
            f"{what} is not finite at step {self.trainer.global_step}, records {shown}; last good checkpoint: {best}. "
            "Lower optimizer.lr, set trainer.gradient_clip_val, or use bf16 in place of fp16",
        )

    # Validation

    def validation_step(self, batch: Batch, index: int, dataloader_idx: int = 0) -> None:
        hidden_BT = dense_rows(batch).expand(batch.tokens_BT.shape)
        logits_BTS = self.model(batch, hidden_BT)
        for task, sums in by_task(logits_BTS, batch).items():
            self._validation[task] = self._validation[task].plus(sums)
        if index == 0:
            # How much probability the grammar has to take away; a loader of validation holds one task.
            self.log(
                f"valid/off_grammar/{batch.questions[0].task.name}",
                off_grammar_mass(logits_BTS, batch, self.lexicon).mean(),
                add_dataloader_idx=False,
                batch_size=len(batch.questions),
                sync_dist=True,
            )

    def on_validation_epoch_end(self) -> None:
        """Per task, over all its rows; then the mean over tasks, in which every task counts the same."""
        losses = []
        for task in self.tasks:
            mine = torch.tensor(self._validation.pop(task, NOTHING), device=self.device)
            sums = Sums(*self.trainer.strategy.reduce(mine, reduce_op="sum").tolist())
            if sums.weight:
                losses.append(sums.loss)
                self.log_dict({f"valid/loss/{task}": sums.loss, f"valid/accuracy/{task}": sums.accuracy})
        if losses:
            self.log("valid/loss", sum(losses) / len(losses), prog_bar=True)

    # What Lightning asks for

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self._groups())
        for group in optimizer.param_groups:
            if group.get("name", "").startswith("encoder"):
                group["lr"] *= self.objective.encoder_rate
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self._schedule(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> list[dict[str, Any]]:
        """Weights of encoders and decoder, those with and those without weight decay apart (norms, biases,
        embeddings)."""
        embeddings = {
            id(module.weight) for module in self.model.modules() if isinstance(module, nn.Embedding)
        }
        groups: dict[str, list[nn.Parameter]] = defaultdict(list)
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                part = "decoder" if name.startswith("decoder.") else "encoder"
                plain = weight.ndim < 2 or id(weight) in embeddings
                groups[f"{part}{', no decay' if plain else ''}"].append(weight)
        return [
            {"params": weights, "name": name, **({"weight_decay": 0.0} if name.endswith("no decay") else {})}
            for name, weights in groups.items()
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["vocabulary"] = self.lexicon.vocabulary.fingerprint
        checkpoint["architecture"] = describe_model(self.model)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuses to resume a run that had another vocabulary, whose ids mean something else, or another
        architecture.

        Raises :class:`ConfigError` ``config.resume`` or ``config.fixed``, which lists what was and what is.
        """
        before, now = dict(_flat(checkpoint.get("architecture", {}))), dict(_flat(describe_model(self.model)))
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


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def dense_rows(batch: Batch) -> Tensor:
    """Which rows hold dense answers, bool ``[B, 1]``."""
    return (batch.aligned_BT >= 0).any(1, keepdim=True)


class Sums(NamedTuple):
    """Sums over answer tokens: weighted nats and the weights; and of tokens but the end symbol, the weight of
    those right, and of all."""

    nats: float
    weight: float
    right: float
    words: float

    def plus(self, other: Sums) -> Sums:
        return Sums(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def loss(self) -> float:
        return self.nats / self.weight if self.weight else 0.0

    @property
    def accuracy(self) -> float:
        return self.right / self.words if self.words else 1.0


NOTHING = Sums(0.0, 0.0, 0.0, 0.0)


def by_task(logits_BTS: Tensor, batch: Batch) -> dict[str, Sums]:
    """For each task in a batch, the sums over its answers' tokens. One question to the device."""
    targets_BT, weights_BT = batch.targets_BT, batch.weights_BT
    nats_BT = token_losses(logits_BTS, targets_BT, weights_BT > 0) * weights_BT
    words_BT = weights_BT * (targets_BT != EOS)
    right_BT = words_BT * (logits_BTS.argmax(-1) == targets_BT)
    (sums_B4,) = read_back("by_task", torch.stack([nats_BT, weights_BT, right_BT, words_BT], dim=-1).sum(1))
    found: dict[str, Sums] = defaultdict(lambda: NOTHING)
    for question, sums in zip(batch.questions, sums_B4.tolist(), strict=True):
        found[question.task.name] = found[question.task.name].plus(Sums(*sums))
    return dict(found)
