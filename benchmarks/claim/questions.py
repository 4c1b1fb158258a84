"""The questions of the central claim: one or two of every family of answers, each on a table that two cores can train on.

Tables come from ``PROTSCRIBE_DATA``; what is used of them is drawn once, the same for every method and seed, and written to a
folder of runs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from protscribe.data.source import Source
from protscribe.documents import read_yaml

LONGEST = 1022
"""Residues: longer proteins are left out, as ESM-2 reads no more."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Asked:
    """A task, and how much of its table is used.

    ``rows`` are of training, validation and test (fewer where there are fewer). ``passes`` over the training rows are a
    training run. ``splits`` may replace those of the source.
    """

    name: str
    source: str
    family: str
    rows: tuple[int, int, int]
    passes: int
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    signal: bool = False
    """Whether the label is not the table's own but the residues of a signal peptide, of which most proteins have none."""
    written: str = ""
    """``pointers``, ``marks`` or ``labels``: how residues are written, where not as the shipped task writes them."""
    table: str = ""
    """The question whose rows are used, where that is another one."""
    clusters: str = ""
    """A column of which all test rows of a value are drawn together: rows that share it are not independent."""


QUESTIONS = {
    asked.name: asked
    for asked in (
        Asked("stability", "tape_stability", "number", (3000, 300, 1000), 12),
        Asked("localisation", "deeploc2", "label set", (1000, 200, 600), 8, {"test": ("hpa_test",)}),
        Asked("fold", "tape_remote_homology", "class", (3000, 300, 718), 8),
        Asked("secondary_structure_3", "flip_secondary_structure", "residue labels", (600, 100, 300), 10),
        Asked("ligand_binding", "gpsite_binding_sites", "sites", (1000, 150, 300), 8, written="marks"),
        Asked("phosphorylation_y", "musitedeep_phospho_y", "sites", (800, 150, 299), 8),
        Asked("signal_peptide", "tmbed_topology", "sites", (600, 150, 300), 8, signal=True, written="marks"),
        Asked("interface_residues", "graphppis_interface", "sites", (335, 40, 406), 15, written="marks"),
        Asked("topology", "tmbed_topology", "residue labels", (400, 100, 200), 8),
        Asked("topology_segments", "tmbed_segments", "segments", (400, 100, 200), 8),
        Asked("ec_number", "clean_ec", "paths", (1500, 200, 541), 6),
        Asked("ec_number_all", "clean_ec", "paths", (9999, 200, 541), 3),
        Asked(
            "tcr_epitope_chain", "titan_tcr_epitope_strict", "pair", (3000, 300, 1000), 6, clusters="epitope"
        ),
    )
}


def source_of(asked: Asked, tables: Path, data: Path) -> Source:
    """The source of a question's own table, which is made where it is not there yet."""
    plain: dict[str, Any] = dict(read_yaml(Path("configs/source") / f"{asked.source}.yaml"))
    path = tables / f"{asked.table or asked.name}.parquet"
    if not path.is_file():
        tables.mkdir(parents=True, exist_ok=True)
        write_table(asked, plain, data, path)
    plain |= {"path": str(path), "splits": {split: [split] for split in SPLITS}}
    if asked.signal:
        plain |= {"base": 0, "columns": {"label": "signal"}}
    if asked.signal or asked.written:
        plain |= {"task": asked.name}
    return dataclasses.replace(Source.from_plain(plain), name=asked.name)


def write_table(asked: Asked, plain: dict[str, Any], data: Path, path: Path) -> None:
    """The rows that are used, in the order of the whole table, with a column ``split``."""
    table = pq.read_table(data / f"{Path(plain['path']).name}")
    written = {value: split for split, values in (plain["splits"] | asked.splits).items() for value in values}
    splits = np.array([written.get(value, "") for value in table.column("split").to_pylist()], dtype=object)
    chains = next(name for name in ("sequence", "tcrb_full") if name in table.column_names)
    short = np.array([len(chain) <= LONGEST for chain in table.column(chains).to_pylist()])
    random = np.random.default_rng(0)
    if "validation" not in written.values():
        # A tenth of the training proteins; rows of one protein stay together.
        proteins = np.array(table.column(chains).to_pylist(), dtype=object)
        distinct = sorted(set(proteins[splits == "train"]))
        held = set(random.choice(np.array(distinct, dtype=object), len(distinct) // 10, replace=False))
        splits[
            [split == "train" and chain in held for split, chain in zip(splits, proteins, strict=True)]
        ] = "validation"
    kept: list[int] = []
    for split, most in zip(SPLITS, asked.rows, strict=True):
        there = np.flatnonzero((splits == split) & short)
        kept += random.choice(there, min(most, len(there)), replace=False).tolist()
    kept.sort()
    rows = table.take(kept).drop_columns(["split"]).append_column("split", pa.array(splits[kept].tolist()))
    if asked.signal:
        labels = table.column("label_topology").to_pylist()
        signal = [[place for place, label in enumerate(labels[row]) if label == "S"] for row in kept]
        rows = rows.append_column("signal", pa.array(signal, pa.list_(pa.int64())))
    pq.write_table(rows, path)
