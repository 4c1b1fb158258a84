"""What an encoder's states are worth: linear probes on real tasks, beside random weights and beside composition.

A probe is :func:`protscribe.evaluation.rivals.head.head_baseline`: logistic or ridge regression on frozen states, its strength
chosen on validation data. Whatever it reaches, the states hold in a form that a line can read.

Shape legend: N proteins, L residues (padded), R residue letters, W places of a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from protscribe.alphabet import PAD_RESIDUE
from protscribe.data.examples import Example
from protscribe.evaluation.metrics import Interval, collect, decision_metric, interval
from protscribe.evaluation.rivals.head import head_baseline
from protscribe.task import Task


class Letters(nn.Module):
    """An "encoder" that knows letters only: each residue's state is the letters in a window around it, one-hot.

    Its mean over a protein is the composition; a line on one residue's state is a position-specific scoring matrix.
    """

    kind: ClassVar[str] = "letters"
    limit: int | None = None

    def __init__(self, reach: int = 7) -> None:
        super().__init__()
        self.reach = reach
        self.width = (2 * reach + 1) * PAD_RESIDUE

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        letters_NLR = one_hot(residues_NL.masked_fill(~mask_NL, PAD_RESIDUE), PAD_RESIDUE + 1)[..., :-1]
        padded = pad(letters_NLR, (0, 0, self.reach, self.reach)).float()
        windows_NLRW = padded.unfold(1, 2 * self.reach + 1, 1)
        return windows_NLRW.flatten(2).masked_fill(~mask_NL[..., None], 0.0)


@dataclass(frozen=True)
class Probe:
    """One task's rows: ``train`` to fit, ``validation`` to choose the strength, ``test`` to judge."""

    task: Task
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]


def probe(encoder: nn.Module, asked: Probe, *, limit: int = 2000, seed: int = 0) -> tuple[str, Interval]:
    """The task's main metric on the test rows, with a 95% bootstrap interval over proteins.

    ``limit`` bounds the training rows and the validation rows, drawn with ``seed``.
    """
    model: Any = SimpleNamespace(encoder=encoder.eval(), molecule_encoder=None, device=torch.device("cpu"))
    bundled: Any = SimpleNamespace(bundle=SimpleNamespace(model=model))
    predictions = head_baseline(
        bundled, asked.task, asked.train, asked.validation, asked.test, limit=limit, seed=seed
    )
    records = [asked.task.arrange(example.record) for example in asked.test]
    metric = decision_metric(asked.task)
    answers = collect(asked.task, [example.answer for example in asked.test], predictions, records)
    return metric, interval(metric, answers, seed=seed)


def compare(
    encoders: Mapping[str, nn.Module], probes: Sequence[Probe], *, limit: int = 2000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """``{task: {"metric": name, encoder's name: (value, lower, upper)}}``."""
    table: dict[str, dict[str, Any]] = {}
    for asked in probes:
        row: dict[str, Any] = {}
        for name, encoder in encoders.items():
            metric, found = probe(encoder, asked, limit=limit, seed=seed)
            row |= {"metric": metric, name: (found.value, found.lower, found.upper)}
        table[asked.task.name] = row
    return table
