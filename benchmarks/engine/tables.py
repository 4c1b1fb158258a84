"""Time against number of tasks, length and batch size: what the plots of ``docs/performance.md`` show.

Each table is ``{"x": [...], "series": {side: [seconds a protein, ...]}}`` with words for its axes; ``null`` where a side was
not measured because it would take minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine.bench import Bench
from benchmarks.engine.figures import dense_sides, race_dense
from benchmarks.engine.timing import race
from benchmarks.engine.workload import STEPS, make_lengths, make_proteins, short_tasks

Table = dict[str, Any]
LONGEST_GENERATE = 1000
"""Residues beyond which ``generate()`` and CTranslate2 are left out of the table of lengths."""
RESIDUES = 3000
"""Residues of a workload at one length, about."""
TASKS, LENGTHS, BATCHES = (1, 2, 5, 10, 20), (100, 300, 1000, 3000), (1, 8, 32, 128)


def by_tasks(bench: Bench, quick: bool) -> Table:
    """Short answers end to end: 16 proteins of log-normal length, 1 to 20 tasks on each, against the peer asked as often."""
    records = make_proteins(make_lengths(4 if quick else 16))
    sequences = [record.sequence for record in records]
    counts = TASKS[:3] if quick else TASKS
    # The peer looks for its best batch size once.
    bench.pipeline.write(sequences, STEPS)
    series: dict[str, list[float | None]] = {}
    for count in counts:
        sides: dict[str, Callable[[], Any]] = {}
        for setting in bench.settings:
            predictor = bench.predictor(setting)
            names = short_tasks(dict(predictor.tasks), count)
            sides[f"ours_{setting}"] = lambda predictor=predictor, names=names: predictor.predict_many(
                records, names, readout="greedy"
            )
        sides["transformers"] = lambda count=count: [
            bench.pipeline.write(sequences, STEPS) for _ in range(count)
        ]
        add(series, race(sides, bench.repeats, bench.device), len(records))
    words = {"title": f"Short answers ({STEPS} tokens), end to end", "x_label": "tasks asked of each protein"}
    return table(counts, series, **words)


def by_length(bench: Bench, quick: bool) -> Table:
    """Short answers end to end at one length; beyond the encoder's limit ours reads windows."""
    lengths = LENGTHS[:2] if quick else LENGTHS
    series: dict[str, list[float | None]] = {}
    for length in lengths:
        records = make_proteins([length] * max(1, RESIDUES // length))
        sides: dict[str, Callable[[], Any]] = {}
        for setting in bench.settings:
            predictor = bench.predictor(setting)
            name = short_tasks(dict(predictor.tasks), 1)
            sides[f"ours_{setting}"] = lambda predictor=predictor, name=name, records=records: (
                predictor.predict_many(records, name, readout="greedy", long="window")
            )
        sequences = [record.sequence for record in records]
        sides["transformers"] = lambda sequences=sequences: bench.pipeline.write(sequences, STEPS)
        for side in sides.values():
            side()
        add(series, race(sides, bench.repeats, bench.device), len(records))
    words = {"title": f"Short answers ({STEPS} tokens), end to end", "x_label": "residues of each protein"}
    return table(lengths, series, **words)


def by_length_dense(bench: Bench, quick: bool) -> Table:
    """One label a residue, decoder only, one protein at a time."""
    lengths = LENGTHS[:2] if quick else LENGTHS
    series: dict[str, list[float | None]] = {}
    for length in lengths:
        add(series, dense_times(bench, 1, length), 1)
    words = {"title": "One label a residue, decoder only, batch 1", "x_label": "residues of each protein"}
    return table(lengths, series, **words)


def by_batch(bench: Bench, quick: bool) -> Table:
    """One label a residue, decoder only, proteins of 300 residues."""
    batches = BATCHES[:2] if quick else BATCHES
    series: dict[str, list[float | None]] = {}
    for batch in batches:
        add(series, dense_times(bench, batch, bench.length), batch)
    words = {
        "title": f"One label a residue, decoder only, {bench.length} residues",
        "x_label": "proteins side by side",
    }
    return table(batches, series, **words)


def dense_times(bench: Bench, batch: int, length: int) -> dict[str, Any]:
    """Times of every side; CTranslate2's without its encoder. Of long answers only ours are timed."""
    if length > LONGEST_GENERATE:
        return race(dense_sides(bench, batch, length), bench.repeats, bench.device)
    times: dict[str, Any] = {
        name: one.median for name, one in race_dense(bench, batch, length, repeats=1).items()
    }
    times["ctranslate2"] -= times.pop("ctranslate2_encoder")
    return times


def add(series: dict[str, list[float | None]], times: dict[str, Any], proteins: int) -> None:
    """One more point of every series; the first one says which there are."""
    if not series:
        series.update({name: [] for name in times})
    for name, values in series.items():
        found = times.get(name)
        seconds = getattr(found, "median", found)
        values.append(None if seconds is None else float(f"{seconds / proteins:.5g}"))


def table(x: Sequence[int], series: dict[str, list[float | None]], **words: str) -> Table:
    return {**words, "y_label": "seconds a protein, one core", "x": list(x), "series": series}


TABLES: dict[str, Callable[[Bench, bool], Table]] = {
    "tasks": by_tasks,
    "length": by_length,
    "length_dense": by_length_dense,
    "batch": by_batch,
}


def write_tables(
    bench: Bench, path: Path, names: Sequence[str], quick: bool, log: Callable[[str], None]
) -> dict[str, Any]:
    """Measures tables and writes them as JSON; tables of the file that are not measured again stay."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name in names:
        found[name] = TABLES[name](bench, quick)
        path.write_text(json.dumps(found, indent=1) + "\n")
        for line in markdown(found[name]):
            log(line)
    log(json.dumps({name: found[name] for name in names}))
    return found


def markdown(told: Table) -> list[str]:
    """A table of Markdown: a row for each x, a column for each side."""
    lines = [
        f"\n{told['title']}: {told['y_label']}\n",
        f"| {told['x_label']} | " + " | ".join(told["series"]) + " |",
        "|---" * (len(told["series"]) + 1) + "|",
    ]
    for place, x in enumerate(told["x"]):
        cells = [
            "" if values[place] is None else f"{values[place]:.3g}" for values in told["series"].values()
        ]
        lines.append(f"| {x} | " + " | ".join(cells) + " |")
    return lines
