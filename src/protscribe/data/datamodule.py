"""From a mixture, tasks and sources to loaders of batches, for Lightning.

All that is random here is a function of (seed, epoch, entry, row): which rows an epoch holds and in which
order, how they are batched, which conditions are hidden. Workers, processes and resumed runs therefore see
the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from protscribe.data.batching import Budget, Integers, Sizes, padding_share, plan_batches
from protscribe.data.collate import Collator, Question, TokenizeMolecules, encode_question
from protscribe.data.files import SUFFIXES, suffix_of
from protscribe.data.lengths import LengthPolicy, apply_length_policy
from protscribe.data.lexicon import Lexicon, Positioning, position_block
from protscribe.data.mixture import Mixture, Places
from protscribe.data.readers import open_table
from protscribe.data.reading import OnError, ReadOptions
from protscribe.data.source import SPLIT, Example, Source, Split, fill_task, read_source, shared_sequences
from protscribe.errors import ConfigError, nearest
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Place = tuple[int, int, int]
"""0-based entry of the mixture, 0-based row of its examples, 0-based epoch."""


@dataclass(frozen=True)
class Questions(Dataset[Question]):
    """Questions by :data:`Place`. With probability ``unknown``, each condition that is not required is asked
    as ``<unknown>``.

    So the model learns to answer where a user does not know the organism, and a new value is no stranger.
    """

    entries: Sequence[tuple[Task, Sequence[Example]]]
    seed: int = 0
    unknown: float = 0.0

    def __len__(self) -> int:
        return sum(len(examples) for _, examples in self.entries)

    def __getitem__(self, place: Place) -> Question:
        entry, row, epoch = place
        task, examples = self.entries[entry]
        record = examples[row].record
        optional = [condition.field for condition in task.conditions if not condition.required]
        if optional and self.unknown:
            drawn = np.random.default_rng([self.seed, epoch, entry, row]).random(len(optional))
            hidden = {field for field, chance in zip(optional, drawn, strict=True) if chance < self.unknown}
            kept = {field: value for field, value in record.fields.items() if field not in hidden}
            record = dataclasses.replace(record, fields=kept) if hidden else record
        return Question(record, task, examples[row].answer)


class EpochBatches(Sampler[list[Place]]):
    """The batches of one epoch at a time, of one process out of ``world``. ``set_epoch`` chooses the
    epoch."""

    def __init__(
        self,
        mixture: Mixture,
        sizes: Sequence[Sizes],
        budget: Budget,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.mixture, self.sizes, self.budget, self.seed = mixture, sizes, budget, seed
        self.rank, self.world = rank, world
        self._all = Sizes.join(sizes)
        self._first = np.cumsum([0, *(len(part) for part in sizes)])
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self._planned: tuple[Places, list[Integers]] | None = None

    def _plan(self) -> tuple[Places, list[Integers]]:
        if self._planned is None:
            places = self.mixture.epoch([len(part) for part in self.sizes], self.seed, self.epoch)
            ordered = self._all.pick(self._first[places[:, 0]] + places[:, 1])
            batches = plan_batches(ordered, self.budget, self.seed, self.epoch, self.world)
            self._planned = places, batches
        return self._planned

    def __len__(self) -> int:
        return len(self._plan()[1]) // self.world

    def __iter__(self) -> Iterator[list[Place]]:
        places, batches = self._plan()
        epoch = self.epoch
        for batch in batches[self.rank :: self.world]:
            yield [(int(entry), int(row), epoch) for entry, row in places[batch]]

    def padding_share(self) -> float:
        """The share, 0..1, of what the network computes in this epoch that is padding."""
        places, batches = self._plan()
        ordered = self._all.pick(self._first[places[:, 0]] + places[:, 1])
        return padding_share(batches, ordered, self.budget)


class ScribeData(lightning.LightningDataModule):
    """Reads sources, composes the lexicon, and gives loaders.

    Parameters
    ----------
    mixture, tasks, sources: what to train on. ``tasks`` and ``sources`` hold at least what the mixture names,
        by name; labels and condition values that a task leaves open are filled from all its training rows.
    root: the folder that relative paths of sources count from.
    budget: how large batches are. seed: of every order.
    positions: ``"pointers"``, or ``"tokens"`` as in the paper, with as many as the longest training chain has
        residues.
    unknown: probability that a condition is asked as ``<unknown>`` in training.
    validation_rows: at most so many validation examples a task are used; 0: all.
    holdout: share of a source's training inputs that validate where it has no validation split, chosen by a
        hash of the sequences.
    limit: at most so many training rows an entry; 0: all. validate_on: ``"train"`` validates on the training
        rows, to see a model overfit.
    long, encoder_limit: what happens to chains above the encoder's limit, see :mod:`protscribe.data.lengths`.
    on_error: ``"raise"``, or ``"collect"`` to leave bad rows out and list them in ``failures``.
    strict_split: whether a validation protein that is also in training is an error; else it is logged.

    Call :meth:`read` before anything else. It raises :class:`~protscribe.errors.LabelError`,
    :class:`~protscribe.errors.InputError`, :class:`~protscribe.errors.TaskError` ``task.unknown`` or
    ``task.no_data``, and :class:`~protscribe.errors.ConfigError` ``config.unknown_source``.
    """

    def __init__(
        self,
        mixture: Mixture,
        tasks: Mapping[str, Task],
        sources: Mapping[str, Source],
        *,
        root: str | Path = ".",
        budget: Budget | None = None,
        seed: int = 0,
        positions: Positioning = "pointers",
        unknown: float = 0.02,
        validation_rows: int = 0,
        holdout: float = 0.1,
        limit: int = 0,
        validate_on: Literal["validation", "train"] = "validation",
        long: LengthPolicy = "error",
        encoder_limit: int | None = None,
        on_error: OnError = "raise",
        strict_split: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.mixture, self._tasks, self._sources, self.root = mixture, tasks, sources, Path(root)
        self.budget, self.seed, self.positions, self.unknown = budget or Budget(), seed, positions, unknown
        self.validation_rows, self.holdout, self.limit = validation_rows, holdout, limit
        self.validate_on, self.long, self.encoder_limit = validate_on, long, encoder_limit
        self.on_error, self.strict_split, self.workers = on_error, strict_split, workers
        self.tokenize_molecules: TokenizeMolecules | None = None
        self.failures: list[Failure] = []
        self.tasks: dict[str, Task] = {}
        self.training: list[list[Example]] = []
        self.validation: dict[str, list[Example]] = {}
        self._validation_batches: dict[str, list[list[Place]]] = {}
        self._sampler: EpochBatches | None = None
        for name, value, high in (("unknown", unknown, 1.0), ("holdout", holdout, 0.5)):
            if not 0 <= value <= high:
                raise ConfigError("config.value", f"data: {name} must lie in 0..{high}, got {value}")

    def read(self) -> None:
        """Reads all sources of the mixture; afterwards ``tasks``, ``lexicon``, ``training`` and
        ``validation`` are there."""
        self.mixture.check_tasks(self._tasks)
        entries = list(self.mixture.entries.values())
        for entry in entries:
            if entry.source not in self._sources:
                raise ConfigError(
                    "config.unknown_source",
                    f"unknown source {entry.source!r}; {nearest(entry.source, self._sources)}",
                )
        sources = [self._sources[entry.source] for entry in entries]
        self.tasks = {
            name: fill_task(self._tasks[name], sources, root=self.root) for name in sorted(self.mixture.tasks)
        }
        self.training, self.validation = [], {name: [] for name in self.tasks}
        for entry, source in zip(entries, sources, strict=True):
            training, validation = self._read_entry(self.tasks[entry.task], source)
            self.training.append(training)
            self.validation[entry.task] += validation
        blocks = [block for task in self.tasks.values() for block in task.blocks()]
        if self.positions == "tokens":
            longest = max(max(example.record.lengths) for part in self.training for example in part)
            blocks.append(position_block(longest))
        self.lexicon = Lexicon(Vocabulary.compose(blocks), self.positions)
        self._sizes = [
            Sizes.of(
                map(self._size, [Question(one.record, self.tasks[entry.task], one.answer) for one in part])
            )
            for entry, part in zip(entries, self.training, strict=True)
        ]
        self._validation_batches = {}

    def _read_entry(self, task: Task, source: Source) -> tuple[list[Example], list[Example]]:
        training = self._read_split(task, source, "train")
        if self.limit and len(training) > self.limit:
            chosen = np.random.default_rng([self.seed, 3]).permutation(len(training))[: self.limit]
            training = [training[row] for row in sorted(chosen)]
        if self.validate_on == "train":
            return training, training
        validation = self._read_split(task, source, "validation")
        if not validation and self.holdout:
            log.warning(
                "source %s has no validation split: %.0f%% of its training inputs validate, alike or not",
                source.name,
                100 * self.holdout,
            )
            held = [_hash_share(example.record) < self.holdout for example in training]
            validation = [example for example, out in zip(training, held, strict=True) if out]
            training = [example for example, out in zip(training, held, strict=True) if not out]
        shared_sequences(training, validation, strict=self.strict_split)
        return training, self._some(validation)

    def _read_split(self, task: Task, source: Source, split: Literal["train", "validation"]) -> list[Example]:
        return read_source(
            source,
            task,
            split,
            root=self.root,
            on_error=self.on_error,
            failures=self.failures,
            prepare=self._prepare,
        )

    def _prepare(self, record: ProteinRecord) -> ProteinRecord:
        return apply_length_policy(record, self.encoder_limit, self.long)

    def _some(self, examples: list[Example]) -> list[Example]:
        if not self.validation_rows or len(examples) <= self.validation_rows:
            return examples
        chosen = np.random.default_rng([self.seed, 4]).permutation(len(examples))[: self.validation_rows]
        return [examples[row] for row in sorted(chosen)]

    def _size(self, question: Question) -> tuple[tuple[int, ...], int]:
        record = question.task.arrange(question.record)
        row = encode_question(question._replace(record=record), self.lexicon)
        return record.lengths[: question.task.chains], len(row.numbers)

    @property
    def collator(self) -> Collator:
        return Collator(self.lexicon, self.tokenize_molecules, self.budget.multiple)

    @property
    def sampler(self) -> EpochBatches:
        """The batches of training; made at first use, when the process knows its rank."""
        if self._sampler is None:
            rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
            self._sampler = EpochBatches(self.mixture, self._sizes, self.budget, self.seed, rank, world)
        return self._sampler

    def padding_share(self) -> float:
        """The share, 0..1, of what the network computes in an epoch of training that is padding."""
        return self.sampler.padding_share()

    def train_dataloader(self) -> DataLoader[Question]:
        """The loader of the trainer's current epoch. The Trainer must reload it every epoch, for epochs
        differ in their batches."""
        self.sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        entries = [
            (self.tasks[entry.task], part)
            for entry, part in zip(self.mixture.entries.values(), self.training, strict=True)
        ]
        return self._loader(Questions(entries, self.seed, self.unknown), self.sampler)

    def val_dataloader(self) -> list[DataLoader[Question]]:
        """One loader a task that has validation examples, in the order of ``tasks``."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        loaders = []
        for task, examples in self.validation.items():
            if not examples:
                continue
            # Lightning asks for loaders again every epoch; these are planned once.
            if task not in self._validation_batches:
                self._validation_batches[task] = self._plan_validation(task, world)
            batches = self._validation_batches[task]
            # Where there are fewer examples than processes each takes all, which leaves every mean as it is.
            mine = batches[rank::world] if len(examples) >= world else batches
            loaders.append(self._loader(Questions([(self.tasks[task], examples)]), mine))
        return loaders

    def _plan_validation(self, task: str, world: int) -> list[list[Place]]:
        examples = self.validation[task]
        sizes = Sizes.of(self._size(Question(one.record, self.tasks[task], one.answer)) for one in examples)
        budget = dataclasses.replace(self.budget, window=len(examples))
        batches = plan_batches(sizes, budget, self.seed, 0, world if len(examples) >= world else 1)
        return [[(0, int(row), 0) for row in batch] for batch in batches]

    def _loader(
        self, dataset: Questions, batches: Sampler[list[Place]] | list[list[Place]]
    ) -> DataLoader[Question]:
        collate: Callable[[list[Question]], object] = self.collator
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=self.workers)


SPLIT_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""What people write into a column named ``split``."""


def is_table(name: str) -> bool:
    """Whether a source's name is a table file's: it ends in ``.csv``, ``.tsv``, ``.parquet`` or the like."""
    return SUFFIXES.get(suffix_of(name), "fasta") != "fasta"


def table_source(path: str, task: str) -> Source:
    """The source of a table that needs no description: its columns have the names of their roles.

    A column ``split`` is used where there is one; its values may be any of :data:`SPLIT_NAMES`.
    """
    table = open_table(path, ReadOptions(), Counter())
    splits: dict[str, tuple[str, ...]] = {}
    if SPLIT in table.header:
        written = {row.cells[0] for row in table.rows([SPLIT]) if row.error is None}
        for split, names in SPLIT_NAMES.items():
            if found := tuple(name for name in names if name in written):
                splits[split] = found
    return Source(name=path, path=path, task=task, splits=splits)


def _hash_share(record: ProteinRecord) -> float:
    """A number in 0..1 that depends on the sequences alone, so that equal inputs fall on one side."""
    digest = hashlib.sha256("\0".join(record.chains).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
