"""Many more held-out rows: for the demo's class tasks proteins that are unlike all that was trained on, and for signal peptides
the whole held-out folds.

    python benchmarks/larger_tests.py
    python benchmarks/coverage.py --config-dir runs/larger/configs --sources larger_solubility larger_capsid --most 1500
    python benchmarks/coverage.py --bundle runs/central_claim/signal_peptide_1/bundle --config-dir runs/larger/configs \
        --sources larger_signal_peptide --most 1500

Needs ``PROTSCRIBE_DATA`` and the extra ``homology``. The demo's tables are small draws from these; a protein of the whole
table is kept where no training or validation protein of the demo is related to it at 40% identity (MMseqs2). Those of the
table's own test split become test rows: the encoder's pretraining left them out, with their relatives. The others, which it has
read without labels, become validation rows, to calibrate on. Antimicrobial peptides have no larger table: the demo has nearly
all of them. Signal peptides are a question of ``benchmarks/central_claim.py``, which asks 450 held-out proteins, 44 with one;
here all of the fold that validates and of the fold that tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import csv

from protscribe.evaluation.leakage import nearest_identities

ROOT = Path(__file__).parents[1]
FOLDER = Path("runs/larger")
TABLES = {"solubility": "aaa_seq_soluble", "capsid": "aaa_seq_capsid"}
IDENTITY, LONGEST = 0.4, 600
"""As in the demo's tables (data/README.md)."""
HELD_FOLDS, LONGEST_SIGNAL = {"cv1": "validation", "cv0": "test"}, 1022
"""As in ``configs/source/tmbed_topology.yaml`` and ``benchmarks/claim/questions.py``."""


def main() -> None:
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    write_class_tests(Path(os.environ["PROTSCRIBE_DATA"]))
    write_signal_test(Path(os.environ["PROTSCRIBE_DATA"]))


def write_class_tests(data: Path) -> None:
    for task, name in TABLES.items():
        demo = csv.read_csv(ROOT / "data" / f"{task}.csv")
        splits = np.array(demo.column("split").to_pylist())
        known = np.array(demo.column("sequence").to_pylist(), dtype=object)[splits != "test"]
        table = pq.read_table(data / f"{name}.parquet")
        sequences = table.column("sequence").to_pylist()
        near = nearest_identities(sequences, known.tolist())
        short = np.array([len(sequence) <= LONGEST for sequence in sequences])
        kept = np.random.default_rng(0).permutation(np.flatnonzero((near < IDENTITY) & short))
        tested = np.array(table.column("split").to_pylist())[kept] == "test"
        columns = {
            "sequence": table.column("sequence").take(kept),
            "label": table.column("label").take(kept),
            "split": pa.array(np.where(tested, "test", "validation")),
        }
        write_source(task, pa.table(columns), {})
        print(
            f"{task}: {len(kept):,} of {len(sequences):,} proteins are unlike all {len(known):,} of the demo, "
            f"{tested.sum():,} of them never read"
        )


def write_signal_test(data: Path) -> None:
    table = pq.read_table(data / "tmbed_topology.parquet")
    held = np.array([HELD_FOLDS.get(fold, "") for fold in table.column("split").to_pylist()])
    short = np.array([len(sequence) <= LONGEST_SIGNAL for sequence in table.column("sequence").to_pylist()])
    kept = np.flatnonzero((held != "") & short)
    labels = table.column("label_topology").take(kept).to_pylist()
    signal = [[place for place, label in enumerate(row) if label == "S"] for row in labels]
    rows = {
        "sequence": table.column("sequence").take(kept),
        "label": pa.array(signal, pa.list_(pa.int64())),
        "split": pa.array(held[kept].tolist()),
    }
    write_source("signal_peptide", pa.table(rows), {"base": 0})
    print(f"signal_peptide: {len(kept):,} proteins, {sum(map(bool, signal)):,} with a signal peptide")


def write_source(task: str, table: pa.Table, more: dict[str, Any]) -> None:
    """The table, and a source ``larger_<task>`` that reads it."""
    path = FOLDER / f"{task}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    source = {
        "name": f"larger_{task}", "path": str(path.resolve()), "task": task,
        "splits": {"train": [], "validation": ["validation"], "test": ["test"]}, **more,
    }  # fmt: skip
    config = FOLDER / "configs" / "source" / f"larger_{task}.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("# Written by benchmarks/larger_tests.py.\n" + yaml.safe_dump(source, sort_keys=False))


if __name__ == "__main__":
    main()
