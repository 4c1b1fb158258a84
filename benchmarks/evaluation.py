"""What judging costs beside predicting: an evaluation without baselines against plain predictions of the same rows.

    python benchmarks/evaluation.py                       # the released bundle on the demo's tables: some minutes
    python benchmarks/evaluation.py --sources solubility --repeats 3

Both load the bundle, read the test rows and answer them; the evaluation also reads the training rows, takes every metric,
draws 1,000 resamples of the main one, and takes it in bands. They run in turn in one process, after a first round that is not
counted; medians are compared. With ``--audit`` a third way also searches the test proteins among those of training (needs the
extra ``homology``): what that costs depends on the tables and not on the model. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import torch

from protscribe.catalogue import configs_folder, find_source
from protscribe.data.examples import read_source
from protscribe.data.source import Source
from protscribe.evaluation.run import evaluate
from protscribe.predictor import Predictor

SOURCES = (
    "solubility",
    "antimicrobial",
    "capsid",
    "rna_binding",
    "mmp2_cleavage",
    "long_disorder",
    "mhc_affinity",
)
WANTED = 0.10


def plain(bundle: str, source: Source) -> None:
    """Answers to the test rows, and nothing else."""
    predictor = Predictor.load(bundle, device="cpu")
    task = predictor.tasks[source.task]
    examples = read_source(source, task, "test", on_error="collect", failures=[])
    list(predictor.stream([example.record for example in examples], [task.name], long="window"))


def judged(bundle: str, source: Source, audit: bool) -> None:
    """The same, judged."""
    evaluate(bundle, [source], baselines=(), greedy=False, audit=audit, device="cpu", progress=False)


def seconds(call: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of this process on a processor: on a busy machine the second one is steadier."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def measure(bundle: str, source: Source, repeats: int, audit: bool) -> dict[str, float]:
    """Medians of the ways, one after the other in every round, the order turned round each time."""
    ways: dict[str, Callable[[], None]] = {
        "plain": lambda: plain(bundle, source),
        "judged": lambda: judged(bundle, source, False),
    }
    if audit:
        ways["audited"] = lambda: judged(bundle, source, True)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for turn in range(repeats):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            found[name].append(seconds(ways[name]))
    medians = {
        name: [statistics.median(one) for one in zip(*times, strict=True)] for name, times in found.items()
    }
    clock = {name: both[0] for name, both in medians.items()}
    # What a search costs is spent in another process.
    return {**clock, "plain_processor": medians["plain"][1], "judged_processor": medians["judged"][1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="mini-multitask")
    parser.add_argument("--sources", nargs="+", default=list(SOURCES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--audit", action="store_true")
    arguments = parser.parse_args()
    variables = {
        "paths.data": str(configs_folder().parent / "data"),
        "oc.env:PROTSCRIBE_DATA": os.environ.get("PROTSCRIBE_DATA", "nowhere"),
    }
    torch.set_num_threads(1)
    rows = {}
    print(
        "| task | plain, s | judged, s | more | more, processor | audited, s |\n|---|---:|---:|---:|---:|---:|"
    )
    for name in arguments.sources:
        found = rows[name] = measure(
            arguments.bundle, find_source(name, variables), arguments.repeats, arguments.audit
        )
        cells = [
            f"{found['plain']:.2f}",
            f"{found['judged']:.2f}",
            *(f"{more(found, k):+.1%}" for k in ("", "_processor")),
        ]
        print(f"| {name} | {' | '.join(cells)} | {found.get('audited', float('nan')):.2f} |", flush=True)
    total = {way: sum(found[way] for found in rows.values()) for way in next(iter(rows.values()))}
    told = {
        "overhead": round(more(total), 4),
        "overhead_processor": round(more(total, "_processor"), 4),
        "overhead_by_task": {name: round(more(found, "_processor"), 4) for name, found in rows.items()},
        "seconds": {way: round(value, 2) for way, value in total.items()},
        "met": more(total, "_processor") <= WANTED,
    }
    settings = {"torch": torch.__version__, "repeats": arguments.repeats, "wanted": WANTED}
    print(json.dumps({"benchmark": "evaluation", **settings, **told}))


def more(found: dict[str, float], suffix: str = "") -> float:
    """What judging adds, as a share of plain predictions."""
    return found[f"judged{suffix}"] / found[f"plain{suffix}"] - 1


if __name__ == "__main__":
    main()
