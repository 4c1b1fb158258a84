"""Learning from held-out rows how far a task's answers can be trusted: calibrations, readouts and guarantees of a bundle.

Where a calibration can change which of two proteins has the higher score (see :func:`keeps_order`), the rows of a task are
cut in two at random: on one half the calibration is fitted, and the other one, which it has not seen, gives the scores of
guarantees. Elsewhere all rows serve both, since guarantees are the same with any calibration. Readouts are chosen on all of
them, on calibrated evidence: they do not enter any score.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from protscribe.codecs.protocol import Evidence, Readout
from protscribe.data.examples import Example, read_source
from protscribe.data.source import Source, Split
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.confidence.calibration import (
    CalibrationScores,
    calibration_scores,
    fit_calibration,
    has_events,
)
from protscribe.evaluation.confidence.readouts import Answered, Way, choose_readouts
from protscribe.predictor import Predictor
from protscribe.records import Failure, ProteinRecord
from protscribe.task import Task
from protscribe.trust import Trust
from protscribe.trust.calibration import can_be_calibrated, logit, sigmoid
from protscribe.trust.conformal import Conformal, Losses, family_of, losses_of

log = logging.getLogger(__name__)

MOST_ROWS = 1000
"""Held-out rows of a task that are asked, drawn where there are more."""


class Asker(Protocol):
    """The part of :class:`~protscribe.predictor.Predictor` that is needed."""

    @property
    def tasks(self) -> Mapping[str, Task]: ...

    def evidence(
        self, records: Sequence[ProteinRecord], task: str, way: Way = "risk", *, calibrated: bool = True
    ) -> Sequence[Answered]: ...


@dataclass(frozen=True)
class _Known:
    """Evidence that is at hand, calibrated: what readouts are chosen on."""

    evidence_of: Evidence

    @property
    def evidence(self) -> Evidence:
        return self.evidence_of


class Remembered:
    """Answers questions about evidence from what was asked once, through the calibrations in :attr:`trust`."""

    def __init__(self, predictor: Asker, trust: dict[str, Trust] | None = None) -> None:
        self.tasks: Mapping[str, Task] = predictor.tasks
        self.trust = {} if trust is None else trust
        self._predictor = predictor
        self._kept: dict[tuple[str, str, int], tuple[ProteinRecord, Evidence]] = {}

    def raw(self, records: Sequence[ProteinRecord], task: str, way: Way = "risk") -> list[Evidence]:
        """The evidence as the model gives it; what is not known yet is asked."""
        keys = [(task, way, id(record)) for record in records]
        asked = {key: record for key, record in zip(keys, records, strict=True) if key not in self._kept}
        if asked:
            found = self._predictor.evidence([*asked.values()], task, way, calibrated=False)
            for (key, record), answered in zip(asked.items(), found, strict=True):
                # The record is kept so that no other one can get its identity.
                self._kept[key] = record, answered.evidence
        return [self._kept[key][1] for key in keys]

    def evidence(self, records: Sequence[ProteinRecord], task: str, way: Way = "risk") -> list[Answered]:
        trust = self.trust.get(task, Trust())
        return [_Known(trust.calibrated(found)) for found in self.raw(records, task, way)]


def fit_trust(
    predictor: Asker | Remembered,
    examples_by_task: Mapping[str, Sequence[Example]],
    *,
    seed: int = 0,
    most: int = MOST_ROWS,
    calibration: bool = True,
    choose: bool = True,
) -> tuple[dict[str, Trust], dict[str, Readout]]:
    """Trust and readouts of the tasks of which there are held-out examples; at most ``most`` of each, drawn with ``seed``.

    Where not ``calibration``, guarantees rest on the model's own probabilities. ``choose``: whether
    readouts are chosen; else none are returned. The model's evidence is asked for once a row.
    """
    asker = predictor if isinstance(predictor, Remembered) else Remembered(predictor)
    readouts: dict[str, Readout] = {}
    for name, examples in examples_by_task.items():
        task = predictor.tasks[name]
        kept = drawn(list(examples), most, seed)
        if not kept:
            continue
        if family_of(task) is not None:
            raw = asker.raw([example.record for example in kept], name)
            asker.trust[name] = fit_rows(task, kept, raw, seed=seed, calibration=calibration)
        if choose:
            readouts |= choose_readouts(asker, {name: kept})
    return {name: trust for name, trust in asker.trust.items() if trust}, readouts


def fit_rows(
    task: Task,
    examples: Sequence[Example],
    raw: Sequence[Evidence],
    *,
    seed: int = 0,
    calibration: bool = True,
) -> Trust:
    """Trust of one task from held-out rows and the model's own evidence about them, not calibrated."""
    everything = list(range(len(examples)))
    first, second = (everything, everything) if keeps_order(task) else halves(len(examples), seed)
    fitted = None
    if calibration:
        fitted = fit_calibration(task, [examples[i] for i in first], [raw[i] for i in first])
    else:
        second = everything
    known = Trust(fitted)
    evidence = [known.calibrated(raw[i]) for i in second]
    return Trust(fitted, fit_conformal(task, [examples[i] for i in second], evidence))


def keeps_order(task: Task) -> bool:
    """Whether a calibration leaves every comparison of two scores as it was, so that guarantees are the same with any.

    So it is of members of sets, each of which goes through one rising map, and of two classes or labels. Of more, a temperature
    can turn the order of two proteins round; of numbers, an offset can. What is not calibrated at all keeps its order.
    """
    codec, labels = task.codec, getattr(task.codec, "labels", ())
    chosen = codec.kind in ("category", "residue_labels", "segments") and can_be_calibrated(codec)
    return codec.kind != "number" and not (chosen and len(labels) > 2)


def drawn(examples: list[Example], most: int, seed: int) -> list[Example]:
    """At most ``most`` of the examples, in their order."""
    if len(examples) <= most:
        return examples
    places = np.random.default_rng([seed, 17]).choice(len(examples), most, replace=False)
    return [examples[place] for place in sorted(places)]


def halves(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Places 0..``count`` - 1 in two halves drawn at random, each ascending: for calibrating, and for guarantees (which get the
    odd one)."""
    order = np.random.default_rng([seed, 19]).permutation(count).tolist()
    return sorted(order[: count // 2]), sorted(order[count // 2 :])


def calibrated_crosswise(
    task: Task, examples: Sequence[Example], raw: Sequence[Evidence], seed: int = 0
) -> list[Evidence]:
    """The evidence of each half of the rows, through a calibration that was fitted on the other half."""
    found = list(raw)
    first, second = halves(len(examples), seed)
    for fit, told in ((first, second), (second, first)):
        known = Trust(fit_calibration(task, [examples[i] for i in fit], [raw[i] for i in fit]))
        for place in told:
            found[place] = known.calibrated(raw[place])
    return found


def fit_conformal(task: Task, examples: Sequence[Example], evidence: Sequence[Evidence]) -> Conformal | None:
    """Thresholds from held-out rows and their calibrated evidence, on whose calibration the rows had no influence.

    ``None`` where the kind of answer has no guarantees, or where there are too few rows (those of proteins that have a
    member, where members may be missed) for any of the levels.
    """
    family = family_of(task)
    if family is None:
        return None
    losses = scores_of(task, examples, evidence)
    return Conformal.of_losses([one for one in losses if one is not None], family.highest)


def scores_of(task: Task, examples: Sequence[Example], evidence: Sequence[Evidence]) -> list[Losses | None]:
    """The losses of each held-out row; ``None`` of one that has none to lose."""
    found = []
    for example, one in zip(examples, evidence, strict=True):
        record = task.arrange(example.record)
        found.append(losses_of(task, record, task.codec.read(one, record, Readout()), example.answer))
    return found


# A bundle that is trained ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CalibrationResult:
    """What was learnt, and where the new bundle lies (``None``: nowhere).

    ``rows`` are the held-out rows of each task that were read. ``before`` and ``after`` say how good probabilities of classes,
    members and labels were, and are with a calibration that was fitted on the other half of the rows, each way round.
    """

    folder: Path | None
    trust: Mapping[str, Trust]
    readouts: Mapping[str, Readout]
    rows: Mapping[str, int]
    rejected: tuple[Failure, ...]
    before: Mapping[str, CalibrationScores]
    after: Mapping[str, CalibrationScores]

    def to_text(self) -> str:
        """A table for people: a line a task."""
        lines = [
            f"{'task':24} {'rows':>6} {'slope':>6} {'offset':>6} {'ECE before':>10} {'after':>6} {'coverage up to':>14}"
        ]
        for name, rows in self.rows.items():
            trust = self.trust.get(name, Trust())
            fit, sure = trust.calibration, trust.conformal
            told = ["-", "-"] if fit is None else [f"{fit.slope:.3f}", f"{fit.offset:.3f}"]
            scores = [one[name].ece_debiased if name in one else None for one in (self.before, self.after)]
            before, after = ("-" if score is None else f"{score:.3f}" for score in scores)
            most = "-" if sure is None else f"{sure.levels[-1]:.6g}"
            lines.append(f"{name:24} {rows:>6,} {told[0]:>6} {told[1]:>6} {before:>10} {after:>6} {most:>14}")
        return "\n".join(lines)


def calibrate_bundle(
    bundle: Any,
    sources: Sequence[Source],
    output: str | Path | None = None,
    *,
    split: Split = "validation",
    choose_readouts: bool = True,
    calibration: bool = True,
    most: int = MOST_ROWS,
    seed: int = 0,
    root: str | Path = ".",
    device: str = "auto",
    dtype: str | None = None,
) -> CalibrationResult:
    """Fits calibrations and guarantees of a trained bundle on rows that it was not trained on, and writes a new bundle.

    Parameters
    ----------
    bundle: a bundle's folder, a released one's name or a Hub name, or a loaded Predictor. sources: of labelled rows; tasks
        without rows keep what they have. split: which rows of them; test rows that served here judge nothing afterwards.
    output: the new bundle's folder; ``None`` writes none. The old one stays.
    choose_readouts: choose thresholds and statistics anew. Else those that there are are carried over to the calibrated
        probabilities, so that sets have the same members as before.
    calibration: ``False`` leaves probabilities as they are and fits guarantees alone. most, seed: as :func:`fit_trust` has
        them.
    root: where relative paths of sources begin. dtype: of the new bundle's weights, ``None``: as the old one's.

    Raises :class:`~protscribe.errors.TaskError` ``task.no_data`` where there is no row at all, ``task.unknown``, and what
    loading, reading and saving raise.
    """
    from protscribe.checkpoint import rewrite_bundle

    if most < 2:
        raise ConfigError("config.value", f"most must be at least 2 rows, got {most}")
    predictor = predictor_of(bundle, output, device)
    rejected: list[Failure] = []
    rows = read_rows(predictor, sources, split, root, rejected)
    asker = Remembered(predictor)
    trust, readouts = fit_trust(
        asker, rows, seed=seed, most=most, calibration=calibration, choose=choose_readouts
    )
    before = dict(predictor.bundle.readouts)
    if not choose_readouts:
        readouts = {
            name: carried(before[name], predictor.bundle.trust.get(name, Trust()), trust.get(name, Trust()))
            for name in rows
        }
    old, new = _judged(asker, rows, trust, seed, most)
    trust = {**predictor.bundle.trust, **dict.fromkeys(rows, Trust()), **trust}
    folder = None
    if output is not None:
        folder = rewrite_bundle(
            bundle,
            output,
            dtype=dtype or predictor.bundle.manifest.get("weights", "float32"),
            readouts={**before, **readouts},
            trust=trust,
            told={"calibrated_on": {name: [s.name for s in sources if s.task == name] for name in rows}},
        )
    counts = {name: len(examples) for name, examples in rows.items()}
    return CalibrationResult(folder, trust, {**before, **readouts}, counts, tuple(rejected), old, new)


def predictor_of(bundle: Any, output: str | Path | None, device: str) -> Predictor:
    """The predictor of what is named, or what is given, as long as no new bundle is to be written from it."""
    if not isinstance(bundle, Predictor):
        return Predictor.load(bundle, device)
    if output is not None:
        raise ConfigError("config.value", "to write a new bundle, name the old one: a folder or a Hub name")
    return bundle


def carried(readout: Readout, before: Trust, after: Trust) -> Readout:
    """A readout for other calibrated probabilities, with a threshold that the same members pass."""
    threshold: Any = np.array(readout.threshold)
    if before.calibration is not None:
        old = before.calibration
        threshold = sigmoid((logit(threshold) - old.offset) / old.slope)
    if after.calibration is not None:
        threshold = after.calibration.of_member(threshold)
    return replace(readout, threshold=float(threshold))


def read_rows(
    predictor: Predictor, sources: Sequence[Source], split: Split, root: str | Path, rejected: list[Failure]
) -> dict[str, list[Example]]:
    """The rows of sources in a split, by task; those that are of no use go to ``rejected``. Raises
    :class:`~protscribe.errors.TaskError` ``task.no_data`` where there is none, and ``task.unknown``."""
    rows: dict[str, list[Example]] = {}
    for source in sources:
        task = predictor.tasks[source.task]
        try:
            found = read_source(source, task, split, root=root, on_error="collect", failures=rejected)
        except TaskError as error:
            if error.code != "task.no_data":
                raise
            found = []
        rows.setdefault(task.name, []).extend(found)
    if not any(rows.values()):
        named = ", ".join(repr(source.name) for source in sources)
        raise TaskError("task.no_data", f"no usable row in split {split!r} of {named or 'no source'}")
    return {name: examples for name, examples in rows.items() if examples}


def _judged(
    asker: Remembered,
    rows: Mapping[str, Sequence[Example]],
    trust: Mapping[str, Trust],
    seed: int,
    most: int,
) -> tuple[dict[str, CalibrationScores], dict[str, CalibrationScores]]:
    """Scores of the model's own probabilities, and of such as calibrations of unseen halves give."""
    before, after = {}, {}
    for name, examples in rows.items():
        task, known = asker.tasks[name], trust.get(name, Trust())
        if known.calibration is None or not has_events(task):
            continue
        kept = drawn(list(examples), most, seed)
        raw = asker.raw([example.record for example in kept], name)
        before[name] = calibration_scores(task, kept, raw)
        after[name] = calibration_scores(task, kept, calibrated_crosswise(task, kept, raw, seed))
    return before, after
