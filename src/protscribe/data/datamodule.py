"""From a mixture, tasks and sources to loaders of batches, for Lightning.

All that is random here is a function of (seed, epoch, entry, row): which rows an epoch holds and in which
order, how they are batched, which conditions are hidden. Workers, processes and resumed runs therefore see
the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from protscribe.data.batching import Budget, Sizes, plan_batches
from protscribe.data.collate import (
    Collator,
    Numbered,
    Question,
    ReadStates,
    TokenizeMolecules,
    encode_question,
)
from protscribe.data.epochs import EpochBatches, Place, Questions, numbered
from protscribe.data.examples import (
    Example,
    Examples,
    MadeExamples,
    as_list,
    fill_task,
    pick,
    read_examples,
    records_of,
    shared_sequences,
)
from protscribe.data.lengths import LengthPolicy, apply_length_policy
from protscribe.data.lexicon import Lexicon, Positioning, position_block
from protscribe.data.mixture import Balance, Mixture
from protscribe.data.reading import OnError
from protscribe.data.source import Source
from protscribe.data.workers import Ears
from protscribe.errors import ConfigError, nearest
from protscribe.growth import extend_task
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary

log = logging.getLogger(__name__)

METHANE = "C"
"""The molecule that training batches without one are given, see :class:`~protscribe.data.collate.Collator`."""


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
    number_spread: how far training moves numbers at random, anew in every epoch: the standard deviation, as a share of that
        of the entry's training labels.
    validation_rows: at most so many validation examples a task are used; 0: all.
    holdout: share of a source's training inputs that validate where it has no validation split, chosen by a
        hash of the sequences.
    limit: at most so many training rows an entry; 0: all. validate_on: ``"train"`` validates on the training
        rows, to see a model overfit.
    long, encoder_limit: what happens to chains above the encoder's limit, see :mod:`protscribe.data.lengths`.
    on_error: ``"raise"``, or ``"collect"`` to leave bad rows out and list them in ``failures``.
    strict_split: whether a validation protein that is also in training is an error; else it is logged.
    known, lexicon, staged: tasks and lexicon of the bundle that training starts from, and whether nothing but new symbols is
        learnt: the lexicon is extended, and a task that the bundle has must be what it was there (see
        :func:`protscribe.growth.extend_task`).

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
        number_spread: float = 0.0,
        validation_rows: int = 0,
        holdout: float = 0.1,
        limit: int = 0,
        validate_on: Literal["validation", "train"] = "validation",
        long: LengthPolicy = "error",
        encoder_limit: int | None = None,
        on_error: OnError = "raise",
        strict_split: bool = False,
        workers: int = 0,
        known: Mapping[str, Task] | None = None,
        lexicon: Lexicon | None = None,
        staged: bool = False,
    ) -> None:
        super().__init__()
        self._known, self._base, self._staged = known or {}, lexicon, staged
        positions = positions if lexicon is None else lexicon.positions
        self.mixture, self._tasks, self._sources, self.root = mixture, tasks, sources, Path(root)
        self.budget, self.seed, self.positions, self.unknown = budget or Budget(), seed, positions, unknown
        self.number_spread = number_spread
        self.validation_rows, self.holdout, self.limit = validation_rows, holdout, limit
        self.validate_on, self.long, self.encoder_limit = validate_on, long, encoder_limit
        self.on_error, self.strict_split, self.workers = on_error, strict_split, workers
        self.tokenize_molecules: TokenizeMolecules | None = None
        self.read_states: ReadStates | None = None
        self.balance = Balance(mixture)
        self.failures: list[Failure] = []
        self.tasks: dict[str, Task] = {}
        self.training: list[Examples] = []
        self.validation: dict[str, list[Example]] = {}
        self._validation_batches: dict[str, list[list[Place]]] = {}
        self._sampler: EpochBatches | None = None
        self.reached = (0, 0)
        self._resumed: Mapping[str, Any] = {}
        self.ears = Ears()
        for name, value, high in (
            ("unknown", unknown, 1.0), ("holdout", holdout, 0.5), ("number_spread", number_spread, 2.0),
        ):  # fmt: skip
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
        self.tasks = {name: self._define(name, sources) for name in sorted(self.mixture.tasks)}
        self.training, self.validation = [], {name: [] for name in self.tasks}
        for entry, source in zip(entries, sources, strict=True):
            training, validation = self._read_entry(self.tasks[entry.task], source)
            self.training.append(training)
            self.validation[entry.task] += validation
        blocks = [block for task in self.tasks.values() for block in task.blocks()]
        if self.positions == "tokens":
            longest = max(max(record.lengths) for part in self.training for record in records_of(part))
            blocks.append(position_block(longest))
        if self._base is None:
            self.lexicon = Lexicon(Vocabulary.compose(blocks), self.positions)
        else:
            self.lexicon = self._base.extend(blocks, staged=self._staged)
        self._sizes = [
            Sizes.of(self._sizes_of(self.tasks[entry.task], part))
            for entry, part in zip(entries, self.training, strict=True)
        ]
        self._validation_batches = {}
        self._spreads = self._number_spreads()

    def _define(self, name: str, sources: Sequence[Source]) -> Task:
        """A task with what its definition leaves open, which must not contradict the bundle's own."""
        filled = fill_task(self._tasks[name], sources, root=self.root)
        return extend_task(self._known[name], self._tasks[name], filled) if name in self._known else filled

    def _read_entry(self, task: Task, source: Source) -> tuple[Examples, list[Example]]:
        training = self._read_split(task, source, "train")
        if self.limit and len(training) > self.limit:
            chosen = np.random.default_rng([self.seed, 3]).permutation(len(training))[: self.limit]
            training = pick(training, sorted(chosen))
        if self.validate_on == "train":
            return training, as_list(training)
        validation = self._read_split(task, source, "validation")
        if not len(validation) and self.holdout:
            log.warning(
                "source %s has no validation split: %.0f%% of its training inputs validate, alike or not",
                source.name,
                100 * self.holdout,
            )
            held = np.array([_hash_share(record) < self.holdout for record in records_of(training)])
            validation, training = pick(training, np.flatnonzero(held)), pick(training, np.flatnonzero(~held))
        shared_sequences(records_of(training), records_of(validation), strict=self.strict_split)
        return training, as_list(self._some(validation))

    def _read_split(self, task: Task, source: Source, split: Literal["train", "validation"]) -> Examples:
        return read_examples(
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

    def _some(self, examples: Examples) -> Examples:
        if not self.validation_rows or len(examples) <= self.validation_rows:
            return examples
        chosen = np.random.default_rng([self.seed, 4]).permutation(len(examples))[: self.validation_rows]
        return pick(examples, sorted(chosen))

    def _sizes_of(self, task: Task, examples: Examples) -> Iterator[tuple[tuple[int, ...], int]]:
        """Sizes of an entry's questions. Those of made ones differ by epoch, unless the answer has a token a residue."""
        if not isinstance(examples, MadeExamples):
            yield from (self._size(Question(one.record, task, one.answer)) for one in examples)
            return
        prompt = 2 + len(task.conditions)
        for record in examples.records:
            yield record.lengths[: task.chains], prompt + (record.lengths[0] + 1 if task.codec.dense else 0)

    def _size(self, question: Question) -> tuple[tuple[int, ...], int]:
        record = question.task.arrange(question.record)
        row = encode_question(question._replace(record=record), self.lexicon)
        return record.lengths[: question.task.chains], len(row.numbers)

    def _questions(self) -> Questions:
        entries = [
            (self.tasks[entry.task], part)
            for entry, part in zip(self.mixture.entries.values(), self.training, strict=True)
        ]
        return Questions(entries, self.seed, self.unknown, self._spreads)

    def _number_spreads(self) -> dict[int, float]:
        """By entry whose answers are numbers, how far they are moved, in the task's unit."""
        if not self.number_spread:
            return {}
        return {
            place: self.number_spread * float(np.std([example.answer for example in as_list(part)]))
            for place, (entry, part) in enumerate(
                zip(self.mixture.entries.values(), self.training, strict=True)
            )
            if self.tasks[entry.task].codec.kind == "number"
        }

    @property
    def collator(self) -> Collator:
        return Collator(
            self.lexicon,
            self.tokenize_molecules,
            self.budget.multiple,
            stand_in=METHANE,
            read_states=self.read_states,
        )

    def chains(self) -> set[str]:
        """The proteins that are asked about in the same form in every epoch, in training and in validation."""
        parts = [
            (self.tasks[entry.task], part)
            for entry, part in zip(self.mixture.entries.values(), self.training, strict=True)
        ]
        parts += [(self.tasks[name], examples) for name, examples in self.validation.items()]
        return {
            chain
            for task, part in parts
            if not (isinstance(part, MadeExamples) and part.maker.alters)
            for record in records_of(part)
            for chain in task.arrange(record).chains[: task.chains]
        }

    @property
    def sampler(self) -> EpochBatches:
        """The batches of training; made at first use, when the process knows its rank."""
        if self._sampler is None:
            rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
            questions = self._questions()
            tokens = {
                place: lambda at: self._size(questions[at].question)[1]
                for place, (task, examples) in enumerate(questions.entries)
                if isinstance(examples, MadeExamples) and not task.codec.dense
            }
            self._sampler = EpochBatches(
                self.balance, self._sizes, self.budget, self.seed, rank, world, tokens=tokens
            )
        return self._sampler

    def padding_share(self) -> float:
        """The share, 0..1, of what the network computes in an epoch of training that is padding."""
        return self.sampler.padding_share()

    def train_dataloader(self) -> DataLoader[Numbered]:
        """The loader of the trainer's current epoch. The Trainer must reload it every epoch, for epochs
        differ in their batches."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        resumed = self._resumed if self._resumed.get("epoch") == epoch else {}
        self.sampler.set_epoch(epoch, resumed.get("turns", 0), resumed.get("taken", 0))
        self.ears.close("training")
        return self._loader(self._questions(), self.sampler, "training")

    def val_dataloader(self) -> list[DataLoader[Numbered]]:
        """One loader a task that has validation examples, in the order of ``tasks``."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        loaders = []
        self.ears.close("validation")
        for task, examples in self.validation.items():
            if not examples:
                continue
            # Lightning asks for loaders again every epoch; these are planned once.
            if task not in self._validation_batches:
                self._validation_batches[task] = self._plan_validation(task, world)
            batches = self._validation_batches[task]
            questions = Questions([(self.tasks[task], examples)])
            loaders.append(self._loader(questions, batches[rank::world], "validation"))
        return loaders

    def _plan_validation(self, task: str, world: int) -> list[list[Place]]:
        examples = self.validation[task]
        sizes = Sizes.of(self._size(Question(one.record, self.tasks[task], one.answer)) for one in examples)
        budget = dataclasses.replace(self.budget, window=len(examples))
        batches = plan_batches(sizes, budget, self.seed, 0, world)
        # Numbered as one process takes them, so that the first rows are the same for any number of processes.
        order = np.concatenate(batches)
        places = np.stack([np.zeros_like(order), order], axis=1)
        stops = np.cumsum([len(batch) for batch in batches])
        runs = [np.arange(stop - len(batch), stop) for stop, batch in zip(stops, batches, strict=True)]
        return list(numbered(runs, places, 0))

    def _loader(
        self, dataset: Questions, batches: Sampler[list[Place]] | list[list[Place]], part: str
    ) -> DataLoader[Numbered]:
        collate: Callable[[list[Numbered]], object] = self.collator.numbered
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.workers,
            worker_init_fn=self.ears.grow(part).listen,
            # A loader draws a seed for its workers, which must not come from the numbers that dropout draws from.
            generator=torch.Generator().manual_seed(self.seed),
        )

    # Going on where a run was interrupted

    def turns_at_first(self) -> int:
        """How many batches each process is given in epoch 0: what the length of a run is estimated from, which must not
        depend on where it is resumed."""
        sampler = self.sampler
        return len(EpochBatches(
            sampler.mixture, sampler.sizes, sampler.budget, sampler.seed, 0, sampler.world, sampler._tokens
        ))  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of samples from ``reached`` on: 0-based epoch, and turns taken in it, which who saves a
        checkpoint sets. Plain data."""
        epoch, turns = self.reached
        taken, samples = self.sampler.taken(turns) if turns else (0, 0)
        return {
            "epoch": epoch, "turns": turns, "taken": taken, "samples": samples, "world": self.sampler.world,
            "settings": self.sampler.settings(), "balance": self.balance.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state, with the same number of processes or another one: every sample of the epoch that was begun
        is still given once.

        Raises :class:`~protscribe.errors.ConfigError` ``config.resume`` where the order of an epoch that was begun is not
        what it was; at the beginning of one that is a warning.
        """
        now = self.sampler.settings()
        changed = [name for name, value in now.items() if state_dict["settings"].get(name) != value]
        if changed:
            told = f"the run to resume had another order of samples; changed are: {', '.join(changed)}"
            if state_dict["turns"]:
                raise ConfigError(
                    "config.resume",
                    f"{told}. It stopped inside epoch {state_dict['epoch'] + 1}, whose samples can then not be told apart "
                    "from those already seen: resume as it was, or from a checkpoint at the end of an epoch",
                )
            log.warning("%s. It goes on with the new order", told)
        if state_dict["world"] != self.sampler.world:
            log.warning(
                "the run to resume had %d processes, now there are %d: a step sees %s samples, the schedule counts steps",
                state_dict["world"],
                self.sampler.world,
                "more" if self.sampler.world > state_dict["world"] else "fewer",
            )
        self._resumed = state_dict
        self.balance.load_state_dict(state_dict["balance"])


def _hash_share(record: ProteinRecord) -> float:
    """A number in 0..1 that depends on the sequences alone, so that equal inputs fall on one side."""
    digest = hashlib.sha256("\0".join(record.chains).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
