"""What it is worth to follow the first path in a tree of classes: EC numbers of held-out enzymes, asked in several ways.

    python benchmarks/central_claim.py --methods protscribe --seeds 0 --questions ec_number_all
    python benchmarks/paths.py

Needs ``PROTSCRIBE_DATA``. The bundle is asked about the test enzymes with drawn answers alone (``nodes=0``, sixteen and 128
draws), and with first paths followed at 16, 64 and all inner nodes of a level. Printed of each way: how many true leaves and
true nodes have probability 0, the mean negative log-likelihood of all nodes, Fmax and micro average precision of the test
enzymes, and milliseconds a protein of one core beyond encoding (medians of interleaved repeats on the first 64 enzymes).
Probabilities are the model's own, without a map.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.claim.question import RUNS, Question
from benchmarks.claim.questions import QUESTIONS
from protscribe.codecs.protocol import Readout
from protscribe.data.collate import Collator
from protscribe.data.collate import Question as Asked
from protscribe.data.examples import Example
from protscribe.evaluation.metrics import evaluate_task
from protscribe.evaluation.rivals.majority import written
from protscribe.evaluation.truths import is_written
from protscribe.generation.answering import Asking, answer
from protscribe.predictor import Predictor

WAYS = {
    "16 drawn answers": Asking(nodes=0),
    "128 drawn answers": Asking(nodes=0, draws=128),
    "first paths, 16 nodes a level": Asking(nodes=16),
    "first paths, 64 nodes a level": Asking(),
    "first paths, all nodes": Asking(nodes=100_000),
}
TIMED, TOGETHER, REPEATS, FLOOR = 64, 16, 5, 1e-7


def quality(predictor: Predictor, question: Question, examples: Sequence[Example]) -> dict[str, float]:
    codec: Any = question.task.codec
    records = [example.record for example in examples]
    found = predictor.evidence(records, question.task.name, calibrated=False)
    readings = [
        codec.read(one.evidence, record, Readout()) for one, record in zip(found, records, strict=True)
    ]
    leaves, nodes, losses = [], [], []
    for example, reading in zip(examples, readings, strict=True):
        if not is_written(codec, example.answer, example.record):
            continue
        chances = reading.probabilities
        leaves += [chances[name] == 0 for name in codec.canonical(example.answer, example.record)]
        true = written(codec, example)
        nodes += [chances[name] == 0 for name in true]
        clipped = {name: min(max(chance, FLOOR), 1 - FLOOR) for name, chance in chances.items()}
        losses.append(
            -sum(np.log(chance) if name in true else np.log1p(-chance) for name, chance in clipped.items())
        )
    predictions = [question.task.prediction(r, reading) for r, reading in zip(records, readings, strict=True)]
    scores = dict(evaluate_task(question.task, [e.answer for e in examples], predictions, records))
    return {
        "leaves_at_0": float(np.mean(leaves)), "nodes_at_0": float(np.mean(nodes)), "loss": float(np.mean(losses)),
        "fmax": scores["fmax"], "average_precision": scores["micro_average_precision"],
    }  # fmt: skip


def milliseconds(predictor: Predictor, question: Question, examples: Sequence[Example]) -> dict[str, float]:
    """Of each way, a protein: memories are encoded before."""
    bundle = predictor.bundle
    collate, spent = Collator(bundle.lexicon), {name: [] for name in WAYS}  # type: ignore[var-annotated]
    ordered = sorted(examples[:TIMED], key=lambda example: sum(example.record.lengths))
    batches = []
    with torch.inference_mode():
        for first in range(0, len(ordered), TOGETHER):
            asked = [Asked(example.record, question.task) for example in ordered[first : first + TOGETHER]]
            batch = collate(asked)
            batches.append((batch, bundle.model.remember(batch)))
    for _ in range(REPEATS):
        for name, asking in WAYS.items():
            began = time.process_time()
            for batch, memory in batches:
                answer(bundle.model, bundle.lexicon, batch, settings=asking, memory=memory)
            spent[name].append((time.process_time() - began) * 1000 / len(ordered))
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--question", choices=["ec_number", "ec_number_all"], default="ec_number_all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    torch.set_num_threads(1)
    question = Question(QUESTIONS[options.question])
    loaded = Predictor.load(str(RUNS / question.folder(options.seed) / "bundle"), device="cpu")
    spent = milliseconds(loaded, question, question.test)
    print(
        f"{'way':32}{'leaves at 0':>12}{'nodes at 0':>12}{'loss':>8}{'Fmax':>8}{'precision':>11}{'ms a protein':>14}"
    )
    rows = []
    for name, asking in WAYS.items():
        found = quality(Predictor(loaded.bundle, "cpu", asking), question, question.test)
        rows.append({"way": name, **found, "milliseconds": spent[name]})
        print(
            f"{name:32}{found['leaves_at_0']:12.3f}{found['nodes_at_0']:12.3f}{found['loss']:8.2f}{found['fmax']:8.3f}"
            f"{found['average_precision']:11.3f}{spent[name]:14.1f}",
            flush=True,
        )
    print(
        json.dumps(
            {
                "benchmark": "paths",
                "question": options.question,
                "seed": options.seed,
                "enzymes": len(question.test),
                "ways": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
