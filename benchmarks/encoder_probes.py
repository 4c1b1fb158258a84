"""What the pretrained encoder's states are worth: linear probes on five real tasks. Needs ``PROTSCRIBE_DATA``.

    OMP_NUM_THREADS=1 python benchmarks/encoder_probes.py --weights src/protscribe/weights/mini.safetensors

Beside the same architecture with random weights, and beside letters alone (composition for whole proteins, windows of 15
residues for single ones). Test splits are the tables' own, at most ``--rows`` proteins of each; no test protein and none of
its relatives was in the pretraining corpus (``src/protscribe/pretraining/corpus.py``). Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import torch

from protscribe.catalogue import find_source, read_task
from protscribe.data.examples import fill_task, read_source
from protscribe.encoders.mini import MiniEncoder
from protscribe.pretraining.probes import Letters, Probe, compare

SOURCES = ("flip_secondary_structure", "deeploc2", "aaa_seq_soluble", "meltome_tm", "tmbed_topology")


def read_probe(name: str, rows: int) -> Probe:
    """The rows of one source: at most twice ``rows`` for training, ``rows`` for each of the other splits."""
    source = find_source(
        name, {"oc.env:PROTSCRIBE_DATA": os.environ["PROTSCRIBE_DATA"], "paths.data": "data"}
    )
    task = fill_task(read_task(source.task), [source])
    parts = {
        split: read_source(dataclasses.replace(source, limit=limit), task, split)
        for split, limit in (("train", 2 * rows), ("validation", rows), ("test", rows))
    }
    return Probe(task, parts["train"], parts["validation"], parts["test"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="mini", help="name of a shipped encoder, or a file")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--sources", nargs="+", default=SOURCES)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    file = Path(asked.weights)
    pretrained = MiniEncoder.read(file) if file.is_file() else MiniEncoder.load(asked.weights)
    torch.manual_seed(asked.seed)
    untrained = MiniEncoder(**pretrained.plain)
    encoders = {"pretrained": pretrained, "random weights": untrained, "letters": Letters()}
    print(f"| task | metric | {' | '.join(encoders)} |\n|---|---|{'---|' * len(encoders)}", flush=True)
    table = {}
    for name in asked.sources:
        began = time.monotonic()
        table |= compare(encoders, [read_probe(name, asked.rows)], limit=2 * asked.rows, seed=asked.seed)
        task, row = list(table.items())[-1]
        cells = (
            f"{value:.3f} ({lower:.3f} to {upper:.3f})" for value, lower, upper in map(row.get, encoders)
        )
        print(f"| {task} | {row['metric']} | {' | '.join(cells)} |", flush=True)
        print(f"  {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(
        json.dumps({"benchmark": "encoder_probes", "rows": asked.rows, "seed": asked.seed, "probes": table})
    )


if __name__ == "__main__":
    main()
