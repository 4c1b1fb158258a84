"""What an answer rests on, as far as one can look: which residues the decoder attended to, and what happens when some are
hidden.

Neither is an explanation of biology. Attention weights need not say what an answer depends on (Jain and Wallace 2019,
https://aclanthology.org/N19-1357), and this decoder has other ways to a protein: the mean of its states, which every column
sees (``docs/decisions/0004``), and pointers, which are scored against each residue. Hiding residues (occlusion, Zeiler and
Fergus 2014, https://arxiv.org/abs/1311.2901) measures what this model's answer is sensitive to, on a protein that it has not
met with such a gap.

Shape legend: N layers, H heads, T columns of prompt and answer, M places of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from protscribe.codecs.protocol import Floats
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.data.lengths import apply_length_policy
from protscribe.errors import ConfigError, TaskError, Where, nearest
from protscribe.generation.group import stages_of
from protscribe.inquiry import Answer, Asked, Inquiry
from protscribe.known import Known, nearest_known
from protscribe.nn.attending import attention_weights
from protscribe.planning import Refused
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.trust.neighbours import compared_residues

HIDDEN = "X"
"""The letter of any residue, which also stands for hidden ones where an encoder of ours is pretrained."""

CLASSES = ("category",)
MEMBERS = ("category_set", "category_path")
SITES = ("residue_set",)
EXPLAINED_KINDS = (*CLASSES, *MEMBERS, *SITES)
"""Kinds of answer that can be looked into."""


@dataclass(frozen=True)
class Explanation:
    """What one answer rests on.

    ``subject`` says what was followed, ``probability`` what the model gives it (of several members, their mean).
    ``attention`` has, for each chain, the share of each residue in the decoder's cross-attention: the mean over all ``layers``
    and ``heads`` and over the ``decisions`` that wrote the answer; with ``attention_elsewhere`` (a molecule's share) it sums
    to 1. ``attention_by_layer`` [N, residues of all chains] is the same layer by layer. ``occlusion`` has, for each chain,
    the mean ``change`` when a window of ``window`` residues that holds the residue is hidden (below 0: the answer loses);
    windows begin every ``step`` residues, and ``hidden`` proteins with one of them hidden were asked. ``known`` are the known
    proteins whose votes on the answer weigh most (of sites, on each residue that is followed), where the bundle has such.
    """

    prediction: Prediction
    subject: str
    change: str
    probability: float
    attention: tuple[Floats, ...]
    attention_elsewhere: float
    attention_by_layer: Floats
    heads: int
    decisions: int
    occlusion: tuple[Floats, ...]
    window: int
    step: int
    hidden: int
    known: tuple[Known, ...] = ()

    @property
    def layers(self) -> int:
        return len(self.attention_by_layer)

    @property
    def caption(self) -> str:
        """What the two tracks are and what they are not, in words."""
        decisions = "the one decision" if self.decisions == 1 else f"the {self.decisions} decisions"
        return (
            f"Above: the share of each residue in what the decoder's cross-attention read, mean over {self.layers} layers, "
            f"{self.heads} heads and {decisions} that wrote the answer. Attention is not an explanation: the decoder also "
            f"sees the mean of all residues and scores pointers against each. Below: {self.change} of {self.subject} "
            f"(now {self.probability:.3f}) when {self.window} residues are hidden as {HIDDEN}, mean over the windows that "
            "hold a residue. That is what this model is sensitive to, on a protein with a gap that it has not met; it is "
            "not biology."
        )

    def rows(self) -> Iterator[tuple[int, int, str, float, float]]:
        """Chain and position (both from 1), residue, attention and occlusion."""
        chains = zip(self.prediction.record.chains, self.attention, self.occlusion, strict=True)
        for chain, (residues, attention, occlusion) in enumerate(chains, start=1):
            for place, residue in enumerate(residues):
                yield chain, place + 1, residue, float(attention[place]), float(occlusion[place])

    def plot(self, **options: Any) -> Any:
        """Both tracks along the sequence; ``options`` go to :func:`protscribe.evaluation.explained.plot_explanation`."""
        from protscribe.evaluation.explained import plot_explanation

        return plot_explanation(self, **options)

    def __repr__(self) -> str:
        return f"<explanation of {self.prediction!r}: {self.subject}, {self.probability:.3f}>"


class Subject(NamedTuple):
    """What is followed: in words, how a change of it is told, its probability in a prediction, from two of these the change,
    and, of sites, the 1-based positions."""

    text: str
    change: str
    chance: Callable[[Prediction], float]
    compare: Callable[[float, float], float]
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Hiding(Inquiry):
    """Asks about ``whole`` while the encoder reads the same protein with residues hidden.

    Grammar, prompt and draws are those of the whole protein, so that hiding takes away what the model knows and nothing of what
    may be answered: a hidden S is still a residue that can be phosphorylated.
    """

    whole: ProteinRecord | None = None

    def _meant(self, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        assert self.whole is not None
        return tuple(question._replace(record=question.task.arrange(self.whole)) for question in questions)

    def _read(self, asked: Asked, answered: Answer) -> Prediction | Refused:
        assert self.whole is not None
        return super()._read(asked._replace(question=asked.question._replace(record=self.whole)), answered)


def explain(
    inquiry: Inquiry,
    record: ProteinRecord,
    task: Task,
    *,
    about: str | int | None = None,
    window: int = 5,
    step: int | None = None,
) -> Explanation:
    """What the answer to ``task`` about ``record`` rests on.

    ``about``: the class or label, or the 1-based position, that is followed instead of the answer. ``window`` and ``step``:
    residues hidden at once, and from one window to the next (``None``: half a window). The protein is encoded once for each
    window.

    Raises :class:`~protscribe.errors.TaskError` ``task.no_explanation`` for kinds other than :data:`EXPLAINED_KINDS`,
    :class:`~protscribe.errors.ConfigError` ``config.value``, and what :meth:`~protscribe.predictor.Predictor.predict` raises.
    """
    step = check_explained(task, window, step)
    used = apply_length_policy(record, inquiry.limit, inquiry.settings.long)
    spans = list(_windows(used, task, window, step))
    settings = replace(inquiry.settings, coverage=None, abstain_below=None, readout="risk")
    parts = {name: getattr(inquiry, name) for name in Inquiry.__dataclass_fields__} | {"settings": settings}
    hiding = _Hiding(**parts, whole=used)
    variants = [used, *(_hide(used, *span) for span in spans)]
    answers: list[Prediction] = []
    for outcome in hiding.outcomes(variants, [task], all_of_them=True):
        if isinstance(outcome, Refused):
            raise outcome.error
        assert isinstance(outcome, Prediction)
        answers.append(outcome)
    prediction = answers[0]
    subject = _subject(task, prediction, about)
    base = subject.chance(prediction)
    changes = [subject.compare(subject.chance(answer), base) for answer in answers[1:]]
    looked = _attended(inquiry, used, task, prediction)
    return Explanation(
        prediction=prediction,
        subject=subject.text,
        change=subject.change,
        probability=base,
        occlusion=_spread(used, task, spans, changes),
        window=window,
        step=step,
        hidden=len(spans),
        known=_known_near(inquiry, used, task, subject),
        **looked,
    )


def _known_near(inquiry: Inquiry, record: ProteinRecord, task: Task, subject: Subject) -> tuple[Known, ...]:
    """On a residue that may not be answered with nobody votes."""
    if task.name not in inquiry.neighbours:
        return ()
    positions = subject.positions
    if positions is not None:
        candidates = {index + 1 for index in compared_residues(task, record)}
        positions = tuple(position for position in positions if position in candidates)
    return nearest_known(inquiry, record, task, positions=positions)


def check_explained(task: Task, window: int = 5, step: int | None = None) -> int:
    """The step that is meant. Raises what :func:`explain` raises about a task and its windows, before anything is asked."""
    if task.codec.kind not in EXPLAINED_KINDS:
        kinds = ", ".join(EXPLAINED_KINDS)
        raise TaskError(
            "task.no_explanation",
            f"task {task.name!r} gives answers of kind {task.codec.kind}; classes and sites can be looked into: {kinds}",
        )
    for name, value in (("window", window), ("step", step)):
        known = value is None and name == "step"
        if not known and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            message = f"{name} must be a whole number of residues, at least 1, got {value!r}"
            raise ConfigError("config.value", message)
    meant = max(1, window // 2) if step is None else step
    if meant > window:
        message = f"step={step} is more than window={window}: residues between windows would never be hidden"
        raise ConfigError("config.value", message)
    return meant


# Occlusion ----------------------------------------------------------------------------------------------------------------

Span = tuple[int, int, int]
"""Chain, first index, index after the last."""


def _windows(record: ProteinRecord, task: Task, window: int, step: int) -> Iterator[Span]:
    """Every residue of every chain that is read lies in at least one window."""
    for chain, residues in enumerate(record.chains[: task.chains]):
        last = max(len(residues) - window, 0)
        for first in dict.fromkeys([*range(0, last, step), last]):
            yield chain, first, min(first + window, len(residues))


def _hide(record: ProteinRecord, chain: int, first: int, stop: int) -> ProteinRecord:
    residues = record.chains[chain]
    hidden = residues[:first] + HIDDEN * (stop - first) + residues[stop:]
    return replace(record, chains=(*record.chains[:chain], hidden, *record.chains[chain + 1 :]))


def _spread(
    record: ProteinRecord, task: Task, spans: Sequence[Span], changes: Sequence[float]
) -> tuple[Floats, ...]:
    """From windows to residues: the mean change of the windows that hold one."""
    found = []
    for chain, residues in enumerate(record.chains[: task.chains]):
        total, count = np.zeros(len(residues)), np.zeros(len(residues))
        for (where, first, stop), change in zip(spans, changes, strict=True):
            if where == chain:
                total[first:stop] += change
                count[first:stop] += 1
        found.append(total / count)
    return tuple(found)


# What is followed -----------------------------------------------------------------------------------------------------------


def _subject(task: Task, prediction: Prediction, about: str | int | None) -> Subject:
    kind = task.codec.kind
    if kind in CLASSES:
        label = (
            prediction.value if about is None else _known(task, str(about), list(prediction.probabilities))
        )
        return Subject(
            f"P({label})",
            "change of the natural logarithm",
            lambda answer: float(answer.probabilities[label]),
            lambda now, before: math.log(max(now, 1e-300)) - math.log(max(before, 1e-300)),
        )
    if kind in MEMBERS:
        return _members(task, prediction, about)
    return _sites(task, prediction, about)


def _members(task: Task, prediction: Prediction, about: str | int | None) -> Subject:
    chances = prediction.probabilities
    if about is not None:
        labels = [_known(task, str(about), list(chances))]
    else:
        labels = list(prediction.value) or [max(chances, key=chances.__getitem__)]
    said = (
        ", ".join(labels)
        if prediction.value or about is not None
        else f"{labels[0]}, the likeliest of none called"
    )
    return _mean(f"P({said})", lambda answer: [float(answer.probabilities[label]) for label in labels])


def _sites(task: Task, prediction: Prediction, about: str | int | None) -> Subject:
    residues = prediction.record.chains[(prediction.chain or 1) - 1]
    chances = np.asarray(prediction.probabilities, dtype=float)
    if about is not None:
        places = [_position(about, residues, prediction)]
        said = f"{residues[places[0] - 1]}{places[0]}"
    elif prediction.value:
        places = list(prediction.value)
        said = f"{len(places)} called residue{'s' if len(places) > 1 else ''}"
    else:
        places = [int(chances.argmax()) + 1]
        said = f"{residues[places[0] - 1]}{places[0]}, the likeliest of none called"
    found = _mean(f"P({said})", lambda answer: [float(answer.probabilities[place - 1]) for place in places])
    return found._replace(positions=tuple(places))


def _mean(text: str, chances: Callable[[Prediction], list[float]]) -> Subject:
    return Subject(
        text,
        "change of the mean",
        lambda answer: float(np.mean(chances(answer))),
        lambda now, before: now - before,
    )


def _known(task: Task, label: str, labels: Sequence[str]) -> str:
    if label not in labels:
        raise ConfigError(
            "config.value", f"task {task.name!r} has no answer {label!r}; {nearest(label, labels)}"
        )
    return label


def _position(about: str | int, residues: str, prediction: Prediction) -> int:
    text = str(about)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= len(residues):
        raise ConfigError(
            "config.value",
            f"about must be a position of a residue, 1 to {len(residues)}, got {about!r}",
            Where(record=prediction.id),
        )
    return int(text)


# Attention -----------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def _attended(inquiry: Inquiry, record: ProteinRecord, task: Task, prediction: Prediction) -> dict[str, Any]:
    """The attention of the columns that decided the answer, as it was written."""
    question = Question(record, task, prediction.value)
    (stage,) = stages_of(inquiry.lexicon, [question])
    collate = replace(inquiry.collate, lexicon=inquiry.lexicon.at_stage(stage))
    batch: Batch = collate([question]).to(inquiry.device)
    memory = inquiry.model.decoder.project(inquiry.model.remember(batch))
    decoder = inquiry.model.decoder.at_stage(stage)
    told_BD = decoder.told(batch.tokens_BT, batch.start_B)
    weights_NHTM = attention_weights(decoder, batch.tokens_BT, batch.aligned_BT, memory, told_BD)[:, 0]
    start = int(batch.start_B[0])
    written = int(batch.answer_BT[0].sum())
    # A class is one decision, its end no choice; a set's end is a decision as each of its members is.
    decisions = 1 if task.codec.kind in CLASSES else written + 1
    chosen = weights_NHTM[:, :, start - 1 : start - 1 + decisions].mean(dim=(1, 2)).double().cpu().numpy()
    lengths = [len(residues) for residues in task.arrange(record).chains[: task.chains]]
    ends = np.cumsum(lengths)
    mean = chosen.mean(axis=0)
    by_chain = [mean[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    if task.arrange(record) != record:
        by_chain.reverse()
    return {
        "attention": tuple(by_chain),
        "attention_elsewhere": float(mean[ends[-1] :].sum()),
        "attention_by_layer": chosen[:, : ends[-1]],
        "heads": weights_NHTM.shape[1],
        "decisions": decisions,
    }
