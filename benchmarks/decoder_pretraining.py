"""What self-supervision of the decoder gives two site tasks, with residue pointers and with position tokens.

    python benchmarks/decoder_pretraining.py --seeds 0 1 2 --out docs/experiments/decoder_pretraining.md

Trains the demo's two site tasks for every way of writing positions and seed: without self-supervision, and after a first stage
of questions that proteins of another table answer about themselves (``experiment=decoder_pretraining``); ``--ways mixed``
asks these questions beside the site tasks instead. Judged on the test rows. A run that stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from protscribe.catalogue import find_source
from protscribe.cli import main as protscribe
from protscribe.evaluation.metrics import Resampled, collect, resample
from protscribe.evaluation.run import evaluate

TASKS = ("rna_binding", "mmp2_cleavage")
METRICS = ("site_f1", "site_average_precision")
POSITIONS = ("pointers", "tokens")
WAYS = {"none": "none", "first": "first stage", "mixed": "mixed in"}
RUNS = Path("runs/decoder_pretraining_ablation")
RESAMPLES = 1000

STAGE = ["trainer.max_epochs=2", "choose_readouts=false"]
"""The first stage's budget: twice 5,000 questions."""
SECOND = ["trainer.max_epochs=8", "trainer.check_val_every_n_epoch=8"]
"""Both site tasks' budget: eight times every training row."""
MIXED = {"where_is_residue": 4, "where_is_motif": 2, "partial_sequences": 1, "hidden_residues": 1}
MIXED_SHARE = 0.5
"""Of the samples of a mixed run; as many questions about sites are asked as without."""
ROWS = 155 + 384
"""Training rows of the two site tasks, once an epoch."""
QUICK = [
    "data.limit=24",
    "data.validation_rows=8",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
]

Cell = Mapping[str, Mapping[str, Resampled]]
"""By task and metric."""


def run(name: str, overrides: list[str]) -> Path:
    """The bundle of one training run. One that a stopped benchmark left behind is not trained again."""
    bundle = RUNS / name / "bundle"
    if not bundle.is_dir():
        status = protscribe(["train", f"name={RUNS.name}/{name}", *overrides])
        if status:
            sys.exit(status)
    return bundle


def stage(positions: str, seed: int, quick: bool) -> Path:
    small = ["mixture.epoch_size=64", *QUICK] if quick else []
    given = ["experiment=decoder_pretraining", f"data.positions={positions}", f"seed={seed}"]
    return run(f"stage_{positions}_{seed}", [*given, *STAGE, *small])


def trained(way: str, positions: str, seed: int, quick: bool) -> Path:
    overrides = ["experiment=residues", "mixture.entries.long_disorder=null", f"seed={seed}", *SECOND]
    if way == "first":
        # What the first stage's own tasks lose is not looked at.
        overrides += [f"bundle={stage(positions, seed, quick)}", "measured_rows=null"]
    else:
        overrides.append(f"data.positions={positions}")
    if way == "mixed":
        task = dict.fromkeys(("partial_sequences", "hidden_residues"), "restore_residues")
        each = ROWS * MIXED_SHARE / (1 - MIXED_SHARE) / sum(MIXED.values())
        overrides += [
            f"+mixture.entries.{entry}={{task: {task.get(entry, entry)}, source: {entry}, weight: {share * each}}}"
            for entry, share in MIXED.items()
        ]
        overrides += [
            "mixture.entries.rna_binding.weight=155",
            "mixture.entries.mmp2_cleavage.weight=384",
            "+mixture.explicit=true",
            f"mixture.epoch_size={round(ROWS / (1 - MIXED_SHARE))}",
        ]
    return run(f"{way}_{positions}_{seed}", [*overrides, *(QUICK if quick else [])])


def judge(bundle: Path, quick: bool) -> Cell:
    """Both metrics of both tasks on the test proteins and on resamples of them, kept beside the bundle."""
    kept = bundle.parent / "judged.json"
    if not kept.is_file():
        sources = [find_source(task, {"paths.data": "data"}) for task in TASKS]
        limit = 6 if quick else None
        result = evaluate(
            str(bundle), sources, baselines=(), greedy=False, limit=limit, resamples=10, progress=False
        )
        found: dict[str, dict[str, tuple[float, list[float]]]] = {}
        for one in result.tasks:
            truths = [example.answer for example in one.examples]
            records = [example.record for example in one.examples]
            answers = collect(one.task, truths, one.predictions, records)
            judged = {metric: resample(metric, answers, resamples=RESAMPLES) for metric in METRICS}
            found[one.task.name] = {metric: (by.value, by.values_R.tolist()) for metric, by in judged.items()}
        kept.write_text(json.dumps(found))
    plain = json.loads(kept.read_text())
    return {
        task: {metric: Resampled(value, np.array(values)) for metric, (value, values) in metrics.items()}
        for task, metrics in plain.items()
    }


def listed(values: list[float], sign: str = "") -> str:
    return ", ".join(f"{value:{sign}.3f}" for value in values)


def mean(found: list[Resampled]) -> Resampled:
    """Over seeds, resample by resample: the proteins drawn are the same."""
    values_R = np.mean([one.values_R for one in found], axis=0)
    return Resampled(statistics.mean(one.value for one in found), values_R)


def table(cells: dict[tuple[str, str], list[Cell]]) -> list[str]:
    """One line a task, metric, way of writing positions and way of training."""
    lines = [
        "| task | metric | positions | self-supervision | test (seeds) | above none [95%] (seeds) |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        for metric in METRICS:
            for (positions, way), found in cells.items():
                mine = [cell[task][metric] for cell in found]
                line = [
                    task,
                    metric,
                    positions,
                    WAYS[way],
                    f"{mean(mine).value:.3f} ({listed([m.value for m in mine])})",
                ]
                gain = ""
                if way != "none":
                    plain = [cell[task][metric] for cell in cells[positions, "none"]]
                    gains = [one.above(other) for one, other in zip(mine, plain, strict=True)]
                    all_seeds = mean(gains).interval()
                    gain = (
                        f"{all_seeds.value:+.3f} [{all_seeds.lower:+.3f}, {all_seeds.upper:+.3f}] "
                        f"({listed([one.value for one in gains], '+')})"
                    )
                lines.append("| " + " | ".join([*line, gain]) + " |")
    return lines


def main() -> None:
    global RUNS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["none", "first"])
    parser.add_argument("--quick", action="store_true", help="a few rows, one epoch: does it run?")
    parser.add_argument(
        "--out", type=Path, help="a Markdown file; its table, between two markers, is replaced"
    )
    options = parser.parse_args()
    if "none" not in options.ways:
        parser.error("--ways must hold none, which the others are compared with")
    if options.quick:
        RUNS = RUNS.with_name(f"{RUNS.name}_quick")
    began = time.time()
    cells: dict[tuple[str, str], list[Cell]] = {
        (positions, way): [] for positions in POSITIONS for way in options.ways
    }
    for seed in options.seeds:
        for positions, way in cells:
            cells[positions, way].append(judge(trained(way, positions, seed, options.quick), options.quick))
            print(f"seed {seed}, {positions}, {WAYS[way]}: {time.time() - began:.0f} s", flush=True)
    lines = table(cells)
    print("\n".join(lines))
    if options.out:
        before, rest = options.out.read_text().split("<!-- table -->")
        after = rest.split("<!-- end -->")[1]
        options.out.write_text(f"{before}<!-- table -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")
    print(json.dumps({"seconds": round(time.time() - began), "seeds": options.seeds, "table": lines[2:]}))


if __name__ == "__main__":
    main()
