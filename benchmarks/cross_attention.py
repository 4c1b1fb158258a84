"""What multi-query and shared cross-attention cost in quality, on two real tasks.

    python benchmarks/cross_attention.py --seeds 0 1 2 --out docs/experiments/cross_attention.md

Trains ``experiment=cross_attention`` once a task, kind of cross-attention and seed, with equal data and epochs, and judges it
on the test rows. Differences from full attention are means over the seeds, with intervals from resampled test proteins, the
same ones for both. ``without`` is the same model with what cross-attention adds set to zero: how much it relies on
attending at all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from protscribe.catalogue import find_source, read_task
from protscribe.cli import main as protscribe
from protscribe.data.examples import Example, read_source
from protscribe.evaluation.metrics import Resampled, collect, metrics_of, resample
from protscribe.predictor import Predictor


@dataclass(frozen=True)
class Asked:
    """A task: where its rows lie, how many are used, and what ``protscribe train`` is told beside the experiment."""

    source: str
    training: int
    test: int
    overrides: tuple[str, ...] = field(default=())


TASKS = {
    "secondary_structure_3": Asked("flip_secondary_structure", 1500, 364),
    "localisation": Asked("deeploc2", 2000, 1000, ("mixture=localisation",)),
}
KINDS = {
    "full": {"kv_heads": 0, "shared": False},
    "multi-query": {"kv_heads": 1, "shared": False},
    "multi-query, shared": {"kv_heads": 1, "shared": True},
}
RUNS = Path("runs/cross_attention")
RESAMPLES = 1000


def trained(task: str, kind: str, seed: int, quick: bool) -> Path:
    """The bundle of one cell. One that a stopped run left behind is not trained again."""
    name = f"{task}_{kind.replace(', ', '_')}_{seed}{'_quick' if quick else ''}"
    asked, attention = TASKS[task], KINDS[kind]
    rows = [f"data.limit={200 if quick else asked.training}", *(["trainer.max_epochs=1"] if quick else [])]
    bundle = RUNS / name / "bundle"
    if not bundle.is_dir():
        overrides = [
            *asked.overrides,
            f"decoder.cross_attention.kv_heads={attention['kv_heads']}",
            f"decoder.cross_attention.shared={str(attention['shared']).lower()}",
            *rows,
        ]
        status = protscribe(
            ["train", "experiment=cross_attention", f"seed={seed}", f"name={RUNS.name}/{name}", *overrides]
        )
        if status:
            sys.exit(status)
    return bundle


def test_rows(task: str, quick: bool) -> list[Example]:
    """The same test proteins for every cell."""
    asked = TASKS[task]
    source = find_source(asked.source, {"oc.env:PROTSCRIBE_DATA": os.environ["PROTSCRIBE_DATA"]})
    examples = read_source(source, read_task(task), "test", on_error="collect", failures=[])
    count = min(40 if quick else asked.test, len(examples))
    chosen = np.random.default_rng(0).choice(len(examples), count, replace=False)
    return [examples[place] for place in sorted(chosen)]


def judge(bundle: Path, task_name: str, examples: Sequence[Example], attending: bool = True) -> Resampled:
    """The task's main metric on the test proteins and on resamples of them."""
    predictor = Predictor.load(str(bundle), device="cpu")
    if not attending:
        for layer in predictor.bundle.model.decoder.layers:
            torch.nn.init.zeros_(layer.cross_attention.out.weight)
    task, records = predictor.tasks[task_name], [example.record for example in examples]
    predictions = list(predictor.stream(records, [task_name], batch_residues=16_384))
    answers = collect(task, [example.answer for example in examples], predictions, records)
    return resample(metrics_of(task)[0], answers, resamples=RESAMPLES)


def validation_loss(bundle: Path) -> float:
    """Of the weights in the bundle, in nats a token: finer than a metric of answers, and on no test row."""
    return float(json.loads((bundle / "manifest.json").read_text())["provenance"]["best_score"])


def listed(values: Sequence[float], sign: str = "") -> str:
    return ", ".join(f"{value:{sign}.3f}" for value in values)


def mean(found: Sequence[Resampled]) -> Resampled:
    """Over seeds, resample by resample: the proteins drawn are the same."""
    return Resampled(
        statistics.mean(one.value for one in found), np.mean([one.values_R for one in found], axis=0)
    )


def table(
    task: str,
    judged: dict[str, list[Resampled]],
    without: dict[str, list[Resampled]],
    losses: dict[str, list[float]],
) -> list[str]:
    lines = []
    for kind, found in judged.items():
        gains = [one.above(full) for one, full in zip(found, judged["full"], strict=True)]
        gain = mean(gains).interval()
        between = f"[{gain.lower:+.3f}, {gain.upper:+.3f}] ({listed([one.value for one in gains], '+')})"
        cells = [
            task,
            metrics_of(read_task(task))[0],
            kind,
            f"{mean(found).value:.3f} ({listed([one.value for one in found])})",
            "" if kind == "full" else f"{gain.value:+.3f} {between}",
            f"{mean(without[kind]).value:.3f}",
            f"{statistics.mean(losses[kind]):.3f} ({listed(losses[kind])})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--quick", action="store_true", help="one epoch on 200 rows, to see that it runs: shows nothing"
    )
    parser.add_argument(
        "--out", type=Path, help="a Markdown file; its table, between two markers, is replaced"
    )
    options = parser.parse_args()
    began = time.time()
    lines = [
        "| task | metric | cross-attention | test (seeds) | above full [95%] (seeds) | without | validation loss (seeds) |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in options.tasks:
        examples = test_rows(task, options.quick)
        judged: dict[str, list[Resampled]] = {kind: [] for kind in KINDS}
        without: dict[str, list[Resampled]] = {kind: [] for kind in KINDS}
        losses: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for seed in options.seeds:
            for kind in KINDS:
                bundle = trained(task, kind, seed, options.quick)
                judged[kind].append(judge(bundle, task, examples))
                without[kind].append(judge(bundle, task, examples, attending=False))
                losses[kind].append(validation_loss(bundle))
                print(
                    f"{task}, {kind}, seed {seed}: {judged[kind][-1].value:.4f}, "
                    f"without {without[kind][-1].value:.4f}, {time.time() - began:.0f} s",
                    flush=True,
                )
        lines += table(task, judged, without, losses)
    print("\n".join(lines))
    if options.out:
        before, rest = options.out.read_text().split("<!-- table -->")
        after = rest.split("<!-- end -->")[1]
        options.out.write_text(f"{before}<!-- table -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")
    print(json.dumps({"seconds": round(time.time() - began), "seeds": options.seeds, "table": lines[2:]}))


if __name__ == "__main__":
    main()
