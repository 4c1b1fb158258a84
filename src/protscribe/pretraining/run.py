"""One pretraining run, from tables to a file of weights. What ``protscribe pretrain`` calls."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader, IterableDataset

from protscribe.configuration import check_seed
from protscribe.data.batching import Budget
from protscribe.encoders import build_encoder
from protscribe.encoders.weights import save_encoder
from protscribe.interruption import listening
from protscribe.pretraining.corpus import Corpus, Recipe, make_corpus
from protscribe.pretraining.crops import Crops, MaskedBatch, fixed_batches
from protscribe.pretraining.frequencies import neighbour_perplexity, unigram_perplexity
from protscribe.pretraining.masking import Masking
from protscribe.pretraining.module import MaskedModelling
from protscribe.training.fitting import find_resumed, fit
from protscribe.training.module import OptimizerFactory, ScheduleFactory
from protscribe.training.position import make_resumable

log = logging.getLogger(__name__)

SUPPLIED = ("held_out", "more", "kept")
"""Keywords of :func:`pretrain` that no configuration holds."""
SUPPLIED_TO: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("params",),
    "schedule": ("optimizer", "total_steps"),
    "trainer": (
        "default_root_dir",
        "callbacks",
        "logger",
        "enable_progress_bar",
        "enable_model_summary",
        "reload_dataloaders_every_n_epochs",
    ),
}
"""Keywords that :func:`pretrain` gives to the factories it is given."""

YARDSTICKS: Mapping[str, Masking] = {
    "single": Masking("single", swapped=0.0, shown=0.0),
    "span": Masking("span", swapped=0.0, shown=0.0),
}
"""What every run is validated on, however it is trained: the first one's loss is ``valid/loss``."""


@dataclass(frozen=True)
class PretrainResult:
    """``metrics`` are those of the last validation; ``unigram`` and ``neighbours`` the perplexities of counting."""

    weights: Path
    steps: int
    residues: int
    metrics: Mapping[str, float]
    unigram: float
    neighbours: float
    corpus: Mapping[str, int]


class _Batches(IterableDataset[MaskedBatch]):
    """Batches that were made before, in order."""

    def __init__(self, batches: Sequence[MaskedBatch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[MaskedBatch]:
        return iter(self.batches)


class MaskedData(lightning.LightningDataModule):
    """Loaders of masked crops. Training goes on at the trainer's step: an interrupted run misses and repeats nothing."""

    def __init__(
        self, corpus: Corpus, masking: Masking, budget: Budget, longest: int, proteins: int, seed: int
    ) -> None:
        super().__init__()
        self.crops = Crops(corpus.training, masking, budget, longest, seed)
        known = sorted(corpus.validation)
        chosen = random.Random(seed).sample(known, min(proteins or len(known), len(known)))
        self._validation = [
            fixed_batches(chosen, yardstick, budget, longest, seed) for yardstick in YARDSTICKS.values()
        ]

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None
        self.crops.first = trainer.global_step * trainer.accumulate_grad_batches
        self.crops.rank, self.crops.world = trainer.global_rank, trainer.world_size
        return DataLoader(self.crops, batch_size=None)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        assert self.trainer is not None
        mine = slice(self.trainer.global_rank, None, self.trainer.world_size)
        return [DataLoader(_Batches(batches[mine]), batch_size=None) for batches in self._validation]


@listening()
def pretrain(
    folder: str,
    corpus: Recipe,
    encoder: Mapping[str, Any],
    masking: Masking,
    optimizer: OptimizerFactory,
    schedule: ScheduleFactory,
    trainer: Callable[..., lightning.Trainer],
    budget: Budget,
    longest: int = 512,
    validation_proteins: int = 500,
    callbacks: Mapping[str, Callback | None] | None = None,
    logger: Mapping[str, Logger | None] | None = None,
    corpus_file: str | None = None,
    compile: bool = False,
    resume: str | None = None,
    seed: int = 0,
    *,
    held_out: Collection[str],
    more: Collection[str] = (),
) -> PretrainResult:
    """Trains an encoder by masked modelling and writes its weights to ``folder/encoder.safetensors``.

    Parameters
    ----------
    corpus: what to learn from; made once and kept in ``corpus_file`` (default ``folder/corpus.parquet``).
    encoder: kind and constructor's keywords, as :func:`protscribe.encoders.build_encoder` takes them.
    budget: residues of a batch; longest: where longer proteins are cut, in residues.
    validation_proteins: how many are validated on, 0: all. resume: a checkpoint, or ``"last"`` for this folder's own, if any.
    held_out: sequences that must not be learnt from, nor their relatives. more: sequences to learn from beside the tables'.

    Raises :class:`~protscribe.errors.ConfigError`, :class:`~protscribe.errors.CheckpointError`,
    :class:`~protscribe.errors.TrainingError` ``train.not_finite``, and
    :class:`~protscribe.errors.Preempted` ``train.preempted`` where a signal ended the run.
    """
    check_seed(seed)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    read = _corpus(corpus, held_out, more, Path(corpus_file) if corpus_file else place / "corpus.parquet")
    lightning.seed_everything(seed, verbose=False)
    module = MaskedModelling(build_encoder(encoder), optimizer, schedule, tuple(YARDSTICKS), compile)
    data = MaskedData(read, masking, budget, longest, validation_proteins, seed)
    fitted = trainer(
        default_root_dir=place,
        callbacks=[one for one in (callbacks or {}).values() if one is not None],
        logger=[one for one in (logger or {}).values() if one is not None] or False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
    resumed = find_resumed(resume, place / "checkpoints")
    fit(make_resumable(fitted), module, data, resumed)
    fitted.validate(module, datamodule=data, verbose=False)
    unigram, neighbours = (
        count(read.training, read.validation) for count in (unigram_perplexity, neighbour_perplexity)
    )
    result = PretrainResult(
        weights=place / "encoder.safetensors",
        steps=fitted.global_step,
        residues=module.residues_seen,
        metrics={name: float(value) for name, value in fitted.callback_metrics.items()},
        unigram=unigram,
        neighbours=neighbours,
        corpus=read.counts,
    )
    if fitted.is_global_zero:
        save_encoder(module.encoder, result.weights)
        told = json.dumps({**asdict(result), "weights": result.weights.name}, indent=1)
        (place / "pretraining.json").write_text(told + "\n")
    return result


def _corpus(recipe: Recipe, held_out: Collection[str], more: Collection[str], path: Path) -> Corpus:
    digest = recipe.digest(held_out, more)
    corpus = Corpus.load(path, digest)
    if corpus is None:
        log.info("making the corpus: an hour of one core where it is searched for relatives of test proteins")
        corpus = make_corpus(recipe, held_out, more)
        corpus.save(path, digest)
    return corpus
