"""Heads with the votes that Protscribe can have (``docs/decisions/0021``, ``0023``): of the same training proteins or residues,
in the share that suits the head on the same validation rows.

Shape legend: L residues, F features, R compared rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.claim.question import Answers, Question, score
from protscribe.alphabet import residue_ids
from protscribe.codecs.protocol import Evidence, First, Floats
from protscribe.data.examples import Example
from protscribe.evaluation.confidence.neighbours import fit_neighbours
from protscribe.evaluation.confidence.readouts import best_of, candidate_readouts, try_readouts
from protscribe.evaluation.rivals.majority import domain_texts, included, predicted
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.trust.neighbours import Neighbours, compared_residues, of_residues, prompt_of

Read = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Residues and mask of chains to the states that are compared."""


class _Said(NamedTuple):
    evidence: Evidence


class Voiced:
    """A head as :func:`fit_neighbours` sees a predictor: what it says of proteins, and the states they are compared by."""

    def __init__(
        self, task: Task, said: Callable[[Sequence[ProteinRecord]], list[Evidence]], read: Read
    ) -> None:
        self.task, self.said, self.read = task, said, read

    def evidence(self, records: Sequence[ProteinRecord], task: str, calibrated: bool = False) -> list[_Said]:
        return [_Said(one) for one in self.said(records)]

    @torch.inference_mode()
    def compared(self, records: Sequence[ProteinRecord], task: str) -> Floats:
        """``[R, F]``, chain by chain."""
        rows = []
        for record in records:
            residues_1L = torch.from_numpy(np.array(residue_ids(record.chains[0]), dtype=np.int64))[None]
            states_LF = self.read(residues_1L, torch.ones_like(residues_1L, dtype=torch.bool))[0].float()
            if of_residues(self.task):
                rows.append(states_LF[list(compared_residues(self.task, record))])
            else:
                rows.append(states_LF.mean(0, keepdim=True))
        return torch.cat(rows).numpy()


def with_votes(question: Question, method: str, voiced: Voiced) -> Answers:
    """Answers of the test rows, the neighbours and then the threshold chosen on validation rows."""
    task, held = question.task, question.rows("validation", [])
    predictor: Any = voiced
    near = fit_neighbours(predictor, task, question.rows("train", []), held).neighbours
    found = _mixed(voiced, near, held)
    readout = best_of(task, try_readouts(task, held[:500], found[:500], candidate_readouts(task)))

    def answers(examples: Sequence[Example], evidence: Sequence[Evidence]) -> list[Prediction]:
        return [
            predicted(task, example.record, task.codec.read(one, example.record, readout), method)
            for example, one in zip(examples, evidence, strict=True)
        ]

    question.validated[method] = score(question, held, answers(held, found))
    return answers(question.test, _mixed(voiced, near, question.test))


def _mixed(voiced: Voiced, near: Neighbours | None, examples: Sequence[Example]) -> list[Evidence]:
    records = [example.record for example in examples]
    said = voiced.said(records)
    if near is None:
        return said
    found = []
    for record, own in zip(records, said, strict=True):
        states_RF = voiced.compared([record], voiced.task.name)
        votes: list[Any] = list(near.votes(states_RF, [prompt_of(voiced.task, record)] * len(states_RF)))
        heard = None if not votes or votes[0] is None else np.concatenate(votes)
        found.append(near.mixed(own, heard))
    return found


def said_by(task: Task, records: Sequence[ProteinRecord], answers: Answers) -> dict[int, Evidence]:
    """What the predictions of a baseline rest on, by the number of the row."""
    names = [] if of_residues(task) else domain_texts(task.codec, ProteinRecord("", ("M",)))
    found: dict[int, Evidence] = {}
    for record, answer in zip(records, answers, strict=True):
        assert isinstance(answer, Prediction), "a baseline answers every row"
        chances: Any = answer.probabilities
        if of_residues(task):
            chances = np.asarray(chances)[list(compared_residues(task, record))]
        else:
            chances = np.array([chances[name] for name in names])
        found[record.ordinal] = First(chances) if task.codec.kind == "category" else included(chances)
    return found
