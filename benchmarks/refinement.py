"""What rounds buy in answers of one label a residue: quality, calibration and time by the number of passes.

    python benchmarks/refinement.py --bundle runs/dense_decoder/bundle --source flip_secondary_structure --limit 100
    python benchmarks/refinement.py --bundle runs/demo/bundle --source long_disorder

Asks a trained bundle about the test rows of a dense task with one pass and with more (``Asking.rounds``). Differences from one
pass have 95% intervals from resampled test proteins. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protscribe.catalogue import find_source
from protscribe.data.examples import Example, read_source
from protscribe.data.source import Source
from protscribe.evaluation.metrics import Resampled, collect, evaluate_task, metrics_of, resample
from protscribe.generation.group import Asking
from protscribe.predictor import Predictor
from protscribe.records import Failure

HEAD = (
    "task",
    "passes",
    "metric",
    "value",
    "above one pass (95%)",
    "mean probability called",
    "log loss",
    "seconds",
)
RESAMPLES = 1000


def test_rows(source: Source, predictor: Predictor, limit: int) -> list[Example]:
    """At most ``limit`` test rows (0: all), the same ones every time."""
    task = predictor.tasks[source.task]
    examples = read_source(source, task, "test", on_error="collect", failures=[])
    if not limit or len(examples) <= limit:
        return examples
    chosen = np.random.default_rng(0).choice(len(examples), limit, replace=False)
    return [examples[place] for place in sorted(chosen)]


def log_loss(examples: Sequence[Example], predictions: Sequence[Any]) -> float:
    """Mean natural log loss of the true labels, over scored residues."""
    losses = [
        -np.log(max(chances[label], 1e-12))
        for example, prediction in zip(examples, predictions, strict=True)
        for label, chances in zip(example.answer, prediction.probabilities, strict=True)
        if label in chances
    ]
    return float(np.mean(losses))


def ask(
    bundle: str, task_name: str, examples: Sequence[Example], rounds: int | None
) -> tuple[dict[str, float], Resampled]:
    """Figures of one way of asking, and the main metric on resamples. ``rounds=None`` is the greedy string."""
    predictor = Predictor.load(bundle, device="cpu", asking=Asking(rounds=rounds or 1))
    task, records = predictor.tasks[task_name], [example.record for example in examples]
    began = time.process_time()
    predictions = list(predictor.stream(records, [task_name], readout="greedy" if rounds is None else "risk"))
    seconds = time.process_time() - began
    assert not any(isinstance(one, Failure) for one in predictions)
    truths = [example.answer for example in examples]
    figures = dict(evaluate_task(task, truths, predictions, records)) | {"seconds": seconds}
    if rounds is not None:
        figures["called"] = statistics.mean(one.score for one in predictions if not isinstance(one, Failure))
        figures["log_loss"] = log_loss(examples, predictions)
    answers = collect(task, truths, predictions, records)
    return figures, resample(metrics_of(task)[0], answers, resamples=RESAMPLES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--source", default="flip_secondary_structure")
    parser.add_argument("--limit", type=int, default=0, help="at most so many test rows; 0: all")
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--greedy", action="store_true", help="also the greedy string, one token after the other"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    variables = {"paths.data": str(Path("data").resolve())}
    if "PROTSCRIBE_DATA" in os.environ:
        variables["oc.env:PROTSCRIBE_DATA"] = os.environ["PROTSCRIBE_DATA"]
    source = find_source(options.source, variables)
    predictor = Predictor.load(options.bundle, device="cpu")
    examples = test_rows(source, predictor, options.limit)
    task = predictor.tasks[source.task]
    metric = metrics_of(task)[0]
    print(f"{len(examples)} test proteins, {sum(sum(one.record.lengths) for one in examples)} residues")
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    found: dict[str, dict[str, float]] = {}
    once: Resampled | None = None
    for rounds in [*sorted(options.rounds), *([None] if options.greedy else [])]:
        figures, resampled = ask(options.bundle, task.name, examples, rounds)
        once = once or resampled
        gain = resampled.above(once).interval()
        name = "greedy" if rounds is None else str(rounds)
        found[name] = {key: round(value, 4) for key, value in figures.items()}
        cells = [
            task.name,
            name,
            metric,
            f"{figures[metric]:.3f}",
            "" if resampled is once else f"{gain.value:+.3f} [{gain.lower:+.3f}, {gain.upper:+.3f}]",
            f"{figures['called']:.3f}" if "called" in figures else "",
            f"{figures['log_loss']:.3f}" if "log_loss" in figures else "",
            f"{figures['seconds']:.1f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(
        json.dumps({"benchmark": "refinement", "task": task.name, "proteins": len(examples), "passes": found})
    )


if __name__ == "__main__":
    main()
