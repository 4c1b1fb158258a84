"""Are known proteins that are near in states of the same class, with and without whitening, and what do their votes cost?

    protscribe neighbours bundle=mini-multitask source=[solubility,antimicrobial,capsid] output=runs/voting
    python benchmarks/neighbours.py --old mini-multitask --new runs/voting --sources solubility antimicrobial capsid

``--old`` is a bundle without neighbours and ``--new`` the same one with them. Of each source's test rows whose class, or any
of whose most specific labels, training has: how many the decoder, the nearest protein by cosine, the nearest by whitened cosine
and the votes beside the decoder name first; the mean reciprocal rank of the first true one; and the time a protein, medians
of interleaved repeats at one thread. Of sites among candidates, where it is residues that vote, the area under precision and
recall. Test rows choose nothing here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, log_loss

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from protscribe.catalogue import find_source
from protscribe.data.examples import Example, read_source
from protscribe.evaluation.leakage import nearest_identities
from protscribe.evaluation.rivals.majority import domain_texts, written
from protscribe.evaluation.truths import parse_truth
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.trust.neighbours import Whitening, compared_residues, of_residues

REPEATS = 5
TIMED = 64
"""Proteins of a timed round."""


class Voices:
    """What each voice says of test proteins: ``[Q, K]`` over the symbols of a task's domain."""

    def __init__(self, old: Predictor, new: Predictor, source: Any) -> None:
        self.task = old.tasks[source.task]
        self.names = domain_texts(self.task.codec, ProteinRecord("", ("M",)))
        self.near = new.bundle.neighbours[self.task.name]
        rows: list[Example] = read_source(
            source, self.task, "test", on_error="collect", failures=[], parse=parse_truth(self.task.codec)
        )
        known = read_source(source, self.task, "train", on_error="collect", failures=[])
        seen = {text for example in known for text in self._ends(example)}
        ends = [self._ends(example) & seen for example in rows]
        kept = [place for place, found in enumerate(ends) if found]
        self.asked, self.proteins = len(kept), len(rows)
        self.true = np.array([[name in ends[place] for name in self.names] for place in kept])
        records = [rows[place].record for place in kept]
        leaves = self._leaves()
        states_QD, states_ND = (
            old.compared(part, self.task.name) for part in (records, [e.record for e in known])
        )
        texts = [written(self.task.codec, example) for example in known]
        truth_NK = np.array([[name in text for name in self.names] for text in texts], dtype=float)
        plain = Whitening(
            np.zeros(states_ND.shape[1], np.float32), np.eye(states_ND.shape[1], dtype=np.float32)
        )
        self.said = {
            "decoder": self._chances(old, records),
            "nearest": truth_NK[(plain(states_QD) @ plain(states_ND).T).argmax(1)],
            "nearest, whitened": truth_NK[
                (self.near.scale(states_QD) @ self.near.scale(states_ND).T).argmax(1)
            ],
            "votes beside the decoder": self._chances(new, records),
        }
        self.said = {name: np.where(leaves, said, -1.0) for name, said in self.said.items()}
        self.records = records

    def _ends(self, example: Example) -> set[str]:
        answer = example.answer
        return {answer} if isinstance(answer, str) else set(answer)

    def _leaves(self) -> Any:
        inner = (
            {name.rpartition(".")[0] for name in self.names}
            if self.task.codec.kind == "category_path"
            else set()
        )
        return np.array([name not in inner for name in self.names])

    def _chances(self, predictor: Predictor, records: list[ProteinRecord]) -> Any:
        found = predictor.evidence(records, self.task.name, calibrated=False)
        return np.stack([one.evidence.probabilities for one in found])  # type: ignore[union-attr]

    def scores(self) -> dict[str, dict[str, float]]:
        told = {}
        for name, said in self.said.items():
            best = np.where(self.true, said, -2.0).max(1, keepdims=True)
            # Of equal ones the true one stands in the middle.
            ranks = 1 + (said > best).sum(1) + ((said == best).sum(1) - 1) / 2
            told[name] = {"first": int((ranks == 1).sum()), "mrr": round(float((1 / ranks).mean()), 3)}
        return told


def of_sites(old: Predictor, new: Predictor, source: Any) -> tuple[dict[str, Any], list[ProteinRecord]]:
    """Of candidate residues of test proteins: the area under precision and recall of the decoder, of the residue nearest by
    whitened cosine, and of the votes beside the decoder; and the mean loss of the two that give probabilities, in nats. Also
    of proteins that no training protein is related to by MMseqs2 ("far")."""
    task = old.tasks[source.task]
    near = new.bundle.neighbours[task.name]
    rows, known = (
        read_source(source, task, split, on_error="collect", failures=[]) for split in ("test", "train")
    )
    records = [example.record for example in rows]
    truth_R = np.concatenate(
        [np.isin(np.array(compared_residues(task, e.record)) + 1, e.answer) for e in rows]
    )
    identities = nearest_identities(
        [one.chains[0] for one in records], [one.record.chains[0] for one in known]
    )
    far_R = np.repeat(identities == 0, [len(compared_residues(task, one)) for one in records])
    nearest_R = (near.scale(old.compared(records, task.name)) @ near.keys.astype(np.float32).T).argmax(1)
    chances = {
        name: np.concatenate(
            [one.evidence.probabilities for one in predictor.evidence(records, task.name, calibrated=False)]
        )
        for name, predictor in (("decoder", old), ("votes beside the decoder", new))
    }
    said = {**chances, "nearest, whitened": np.diff(near.starts)[nearest_R]}
    told: dict[str, Any] = {"residues": len(truth_R), "sites": int(truth_R.sum())}
    told |= {"far": {"residues": int(far_R.sum()), "sites": int(truth_R[far_R].sum())}}
    for which, rows_R in ((told, np.ones_like(far_R)), (told["far"], far_R)):
        for name, said_R in said.items():
            found = round(float(average_precision_score(truth_R[rows_R], said_R[rows_R])), 3)
            which[name] = {"average_precision": found}
        for name, chances_R in chances.items():
            loss = log_loss(truth_R[rows_R], np.clip(chances_R[rows_R], 1e-9, 1 - 1e-9))
            which[name]["loss"] = round(float(loss), 4)
    return told, records


def cost(old: Predictor, new: Predictor, task: str, records: list[ProteinRecord]) -> dict[str, float]:
    """Milliseconds a protein, without and with votes."""
    times: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(REPEATS + 1):
        for name, predictor in (("without", old), ("with", new)):
            began = time.perf_counter()
            list(predictor.stream(records, [task]))
            times[name].append(time.perf_counter() - began)
    # The first round warms up.
    return {
        f"ms_{name}": round(1000 * statistics.median(taken[1:]) / len(records), 3)
        for name, taken in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--config-dir", type=Path, help="a folder with configurations of sources of your own")
    parser.add_argument("--sources", nargs="+", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    old, new = (Predictor.load(name, "cpu") for name in (options.old, options.new))
    # Of equal calibrations, so that nothing but the votes differs.
    new = Predictor(replace(new.bundle, trust=old.bundle.trust, readouts=old.bundle.readouts), "cpu")
    variables = {"paths.data": "data", "oc.env:PROTSCRIBE_DATA": os.environ.get("PROTSCRIBE_DATA", "")}
    for name in options.sources:
        source = find_source(name, variables, options.config_dir)
        task = old.tasks[source.task]
        near = new.bundle.neighbours[task.name]
        if of_residues(task):
            scores, records = of_sites(old, new, source)
        else:
            voices = Voices(old, new, source)
            asked = {
                "test_proteins": voices.proteins,
                "of_which_training_has_a_label": voices.asked,
            }
            scores, records = asked | voices.scores(), voices.records
        told = {
            "benchmark": "neighbours",
            "source": name,
            "known": near.known,
            "share": near.share,
            "sharpness": near.sharpness,
            **scores,
            **cost(old, new, task.name, records[:TIMED]),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
