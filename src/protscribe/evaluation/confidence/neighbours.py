"""Whose neighbours vote, and how much they count: chosen on held-out rows, for the bundle's own probabilities.

Shape legend: N known proteins or residues, Q held-out ones, F features of a state, K symbols of the answer's domain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Evidence, First, Floats, Inclusion, Readout
from protscribe.data.examples import Example
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.confidence.trust import drawn, fit_trust, predictor_of, read_rows
from protscribe.evaluation.rivals.majority import domain_texts, written
from protscribe.predictor import Predictor
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task
from protscribe.trust import Trust
from protscribe.trust.neighbours import (
    CELLS,
    Neighbours,
    Prompt,
    Whitening,
    can_vote,
    cells,
    compared_residues,
    of_residues,
    prompt_of,
)

log = logging.getLogger(__name__)

RIDGES = (0.001, 0.01, 0.1, 1.0)
SHARPNESS = (3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""What is tried: see :class:`~protscribe.trust.neighbours.Whitening` and :class:`~protscribe.trust.neighbours.Neighbours`."""
LEAST = 1e-9
"""Probabilities below this count as this in a loss."""
MOST_KNOWN = 100_000
"""Known proteins of a task that are kept, drawn where there are more."""
MOST_HELD = 1000
MOST_RESIDUES, MOST_HELD_RESIDUES = 20_000, 5000
"""The same of residues, where these are compared: whole proteins, until there are as many."""


class Fitted(NamedTuple):
    """The neighbours of one task (``None`` where held-out rows are answered best without any), how many proteins or residues
    are known and held out, and the mean loss of the latter without and with them, in nats: of the true class, or of all
    members."""

    neighbours: Neighbours | None
    known: int
    held_out: int
    before: float
    after: float


@dataclass(frozen=True)
class NeighboursResult:
    """What was chosen, and where the new bundle lies (``None``: nowhere)."""

    folder: Path | None
    fitted: Mapping[str, Fitted]
    readouts: Mapping[str, Readout]
    trust: Mapping[str, Trust]
    rejected: tuple[Failure, ...]

    def to_text(self) -> str:
        """A table for people: a line a task."""
        head = ("task", *CELLS, "loss without", "with")
        lines = [head]
        for name, fit in self.fitted.items():
            near = fit.neighbours
            told = (
                (f"{fit.known:,}", "none: they do not help", "-", f"{fit.held_out:,} held-out")
                if near is None
                else cells(near.to_plain())
            )
            lines.append((name, *told, f"{fit.before:.4g}", f"{fit.after:.4g}"))
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        return "\n".join(
            "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def add_neighbours(
    bundle: Any,
    sources: Sequence[Source],
    output: str | Path | None = None,
    *,
    known: Split = "train",
    split: Split = "validation",
    most_known: int = MOST_KNOWN,
    most_residues: int = MOST_RESIDUES,
    most: int = MOST_HELD,
    names: bool = True,
    seed: int = 0,
    root: str | Path = ".",
    device: str = "auto",
    dtype: str | None = None,
) -> NeighboursResult:
    """Gives tasks of a trained bundle known proteins that vote beside the decoder, and writes a new bundle.

    How much they count is what gives held-out rows the lowest loss; where that is nothing, none are kept. Calibrations,
    guarantees and readouts of the tasks are then fitted anew on the same held-out rows, as ``protscribe calibrate`` does.

    Parameters
    ----------
    bundle: a bundle's folder, a released one's name or a Hub name, or a loaded Predictor. sources: of labelled rows, of tasks
        whose answers are classes, sets or paths of one protein, or sets of residues of which only certain letters can be
        members. known, split: which rows vote, and which are held out.
    output: the new bundle's folder; ``None`` writes none. The old one stays.
    most_known, most: rows that vote and are held out, a task; drawn with ``seed`` where there are more. most_residues: residues
        that vote, of whole proteins, where it is residues. names: whether the bundle holds the ids of those that vote, so
        that ``protscribe explain`` and :meth:`~protscribe.predictor.Predictor.nearest` can say which are near.
    root: where relative paths of sources begin. dtype: of the new bundle's weights, ``None``: as the old one's.

    Raises :class:`~protscribe.errors.ConfigError` ``config.value`` for equal splits or too few rows,
    :class:`~protscribe.errors.TaskError` ``task.neighbours`` for a task on which none can vote, ``task.no_data`` where
    rows are missing, ``task.unknown``, and what loading, reading and saving raise.
    """
    from protscribe.checkpoint import rewrite_bundle

    for name, value in (("most_known", most_known), ("most_residues", most_residues), ("most", most)):
        if value < 2:
            raise ConfigError("config.value", f"{name} must be at least 2 rows, got {value}")
    if known == split:
        raise ConfigError(
            "config.value", f"known and split are both {split!r}: a protein would vote on itself"
        )
    predictor = predictor_of(bundle, output, device)
    for source in sources:
        check_votes(predictor.tasks[source.task])
    rejected: list[Failure] = []
    voting = read_rows(predictor, sources, known, root, rejected)
    held = read_rows(predictor, sources, split, root, rejected)
    for name in dict.fromkeys(source.task for source in sources):
        for rows, wanted in ((voting, known), (held, split)):
            if name not in rows:
                raise TaskError("task.no_data", f"task {name!r} has no usable row in split {wanted!r}")
    alone = _without(predictor, {source.task for source in sources})
    fitted = {
        name: fit_neighbours(
            alone,
            predictor.tasks[name],
            within(predictor.tasks[name], drawn(rows, most_known, seed), most_residues, seed),
            within(predictor.tasks[name], drawn(held[name], most, seed), MOST_HELD_RESIDUES, seed),
        )
        for name, rows in voting.items()
    }
    near = {name: fit.neighbours for name, fit in fitted.items() if fit.neighbours is not None}
    if not names:
        near = {name: replace(one, names=()) for name, one in near.items()}
    near = {**{name: one for name, one in predictor.bundle.neighbours.items() if name not in fitted}, **near}
    together = _with(alone, near)
    found, readouts = fit_trust(together, {name: held[name] for name in fitted}, seed=seed, most=most)
    readouts = {**predictor.bundle.readouts, **readouts}
    trust = {**predictor.bundle.trust, **dict.fromkeys(fitted, Trust()), **found}
    folder = None
    if output is not None:
        folder = rewrite_bundle(
            bundle,
            output,
            dtype=dtype or predictor.bundle.manifest.get("weights", "float32"),
            readouts=readouts,
            trust=trust,
            neighbours=near,
            told={"neighbours_of": {name: [s.name for s in sources if s.task == name] for name in fitted}},
        )
    return NeighboursResult(folder, fitted, readouts, trust, tuple(rejected))


def check_votes(task: Task) -> None:
    """Raises :class:`~protscribe.errors.TaskError` ``task.neighbours`` for a task on which neighbours cannot vote."""
    if not can_vote(task):
        raise TaskError(
            "task.neighbours",
            f"task {task.name!r}: neighbours vote on classes, sets and paths of one protein and on residues among candidates "
            f"of certain letters, not on {_said_of(task)}",
        )


def _said_of(task: Task) -> str:
    if task.chains > 1 or task.molecule:
        return "pairs or molecules"
    return "sets of any residues" if of_residues(task) else task.codec.kind


def within(task: Task, examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Where it is residues that vote: whole proteins, in an order drawn with ``seed``, until their candidates are as many as
    ``most`` (at least one protein); otherwise all."""
    if not of_residues(task):
        return list(examples)
    order = np.random.default_rng([seed, 23]).permutation(len(examples))
    ends = np.cumsum([len(compared_residues(task, examples[place].record)) for place in order])
    kept = order[: max(1, int(np.searchsorted(ends, most, side="right")))]
    return [examples[place] for place in sorted(kept.tolist())]


def fit_neighbours(
    predictor: Predictor, task: Task, known: Sequence[Example], held: Sequence[Example]
) -> Fitted:
    """The neighbours with which the predictor, which has none for the task, has the lowest loss on held-out examples."""
    records = [example.record for example in held]
    evidence = predictor.evidence(records, task.name, calibrated=False)
    chances_QK = np.concatenate([_chances(task, one.evidence) for one in evidence])
    rows = _rows(task, held)
    truth_QK = _table(rows)
    one_class = task.codec.kind == "category"
    before, best = _loss(chances_QK, truth_QK, one_class), None
    states_QF = predictor.compared(records, task.name)
    for near in _candidates(predictor, task, known):
        votes = near.votes(states_QF, rows.prompts)
        votes_QK = np.stack(
            [own if vote is None else vote for vote, own in zip(votes, chances_QK, strict=True)]
        )
        for share in SHARES:
            loss = _loss((1 - share) * chances_QK + share * votes_QK, truth_QK, one_class)
            if best is None or loss < best[0]:
                best = loss, replace(near, share=share, held_out=len(rows.prompts))
    assert best is not None
    after, chosen = best
    if after < before:
        return Fitted(chosen, chosen.known, len(rows.prompts), before, after)
    log.info("task %s: held-out proteins are answered best without neighbours", task.name)
    return Fitted(None, chosen.known, len(rows.prompts), before, before)


_ANY = ProteinRecord("", ("M",))
"""The domain of such answers is the same for every protein."""


class _Rows(NamedTuple):
    """What is compared of some examples: proteins, or residues end to end. ``members`` are the ranks of what is true of each,
    end to end, ``starts`` where each one's begin (with the end of the last), and ``size`` is K."""

    prompts: list[Prompt]
    members: NDArray[np.int32]
    starts: NDArray[np.int64]
    size: int


def _rows(task: Task, examples: Sequence[Example]) -> _Rows:
    if of_residues(task):
        true = [
            [0] if index + 1 in example.answer else []
            for example in examples
            for index in compared_residues(task, example.record)
        ]
        prompts = [
            prompt_of(task, example.record)
            for example in examples
            for _ in compared_residues(task, example.record)
        ]
        size = 1
    else:
        ranks = {name: rank for rank, name in enumerate(domain_texts(task.codec, _ANY))}
        true = [sorted(ranks[text] for text in written(task.codec, example)) for example in examples]
        prompts = [prompt_of(task, example.record) for example in examples]
        size = len(ranks)
    starts = np.cumsum([0, *map(len, true)], dtype=np.int64)
    return _Rows(prompts, np.array([rank for row in true for rank in row], dtype=np.int32), starts, size)


def _candidates(predictor: Predictor, task: Task, known: Sequence[Example]) -> Iterator[Neighbours]:
    """The known proteins or residues, compared in all the ways that are tried."""
    states_NF = predictor.compared([example.record for example in known], task.name)
    rows = _rows(task, known)
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(rows.prompts))}
    asked_N = np.array([numbers[prompt] for prompt in rows.prompts], dtype=np.int32)
    names = tuple(_names(task, known))
    for ridge in RIDGES:
        scale = Whitening.of(states_NF, ridge)
        keys = scale(states_NF).astype(np.float16)
        for sharpness in SHARPNESS:
            yield Neighbours(
                scale,
                keys,
                asked_N,
                rows.starts,
                rows.members,
                tuple(numbers),
                rows.size,
                SHARES[0],
                sharpness,
                names=names,
            )


def _names(task: Task, known: Sequence[Example]) -> Iterator[str]:
    """The id of each known protein, of residues with letter and 1-based position, in the order of :func:`_rows`."""
    for example in known:
        record = example.record
        name = " ".join(record.id.split())
        if not of_residues(task):
            yield name
            continue
        for index in compared_residues(task, record):
            yield f"{name} {record.chains[0][index]}{index + 1}"


def _chances(task: Task, evidence: Evidence) -> Floats:
    """``[1, K]`` of a protein, ``[U, 1]`` of its candidate residues."""
    assert isinstance(evidence, (First, Inclusion)), "a kind that neighbours can vote on"
    return evidence.probabilities[:, None] if of_residues(task) else evidence.probabilities[None]


def _table(rows: _Rows) -> Floats:
    table_QK = np.zeros((len(rows.prompts), rows.size))
    table_QK[np.repeat(np.arange(len(rows.prompts)), np.diff(rows.starts)), rows.members] = 1
    return table_QK


def _loss(chances_QK: Floats, truth_QK: Floats, one_class: bool) -> float:
    """The mean loss of a protein: of its class, or of every member, there or not."""
    losses_QK = truth_QK * np.log(np.maximum(chances_QK, LEAST))
    if not one_class:
        losses_QK = losses_QK + (1 - truth_QK) * np.log(np.maximum(1 - chances_QK, LEAST))
    return float(-losses_QK.sum(axis=1).mean())


def _without(predictor: Predictor, tasks: set[str]) -> Predictor:
    kept = {name: near for name, near in predictor.bundle.neighbours.items() if name not in tasks}
    return _with(predictor, kept)


def _with(predictor: Predictor, neighbours: Mapping[str, Neighbours]) -> Predictor:
    bundle = replace(predictor.bundle, neighbours=neighbours)
    return Predictor(bundle, predictor.device, predictor.asking)
