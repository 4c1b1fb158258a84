"""What was measured: cells by question, method and seed, kept in a file, and tables of them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.claim.question import Answers, Question
from benchmarks.claim.questions import QUESTIONS
from benchmarks.claim.ways import FREE, JOINT, NEAR, VOTES, WAYS
from protscribe.evaluation.metrics import METRICS, Resampled, collect, evaluate_task, metrics_of, resample
from protscribe.evaluation.truths import is_written

METHODS = {
    "protscribe": "Protscribe", "greedy": "greedy string", "dedicated": "dedicated head", "head": "linear probe", "mlp": "MLP",
    "neighbours": "neighbours", "majority": "majority",
}  # fmt: skip
HEADS = ("dedicated", "head", "mlp")
"""What answers from the same states."""


class Cells:
    """Measured cells, by question, method and seed, in one Parquet file that is written after each. Seeds from 100 on are those
    from 0 on once more, on another machine: runs of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.is_file() else []
        self.rows = [{"validation": None, "units": row["count"], **row} for row in kept]

    def find(self, question: str, method: str, seed: int) -> dict[str, Any] | None:
        key = (question, method, seed)
        return next((row for row in self.rows if (row["question"], row["method"], row["seed"]) == key), None)

    def add(self, question: Question, method: str, seed: int, answers: Answers, seconds: float) -> None:
        name = question.asked.table or question.asked.name
        truths = [example.answer for example in question.test]
        records = [example.record for example in question.test]
        main = metrics_of(question.task)[0]
        found = resample(main, collect(question.task, truths, answers, records), groups=question.units)
        scores = evaluate_task(question.task, truths, answers, records)
        self.rows.append({
            "question": name, "method": method, "seed": seed, "metric": main, "value": found.value,
            "scores": json.dumps(dict(scores)), "validation": question.validated.get(method),
            "count": len(truths), "missing": scores.missing,
            "rejected": len(question.failures), "seconds": round(seconds, 1),
            "units": max(question.units) + 1,
            "unseen": sum(
                not is_written(question.task.codec, truth, record)
                for truth, record in zip(truths, records, strict=True)
            ),
            "resamples": [round(float(value), 4) for value in found.values_R],
        })  # fmt: skip
        self.write()
        print(
            f"{name} {method} seed {seed}: {main} {found.value:.4f} (validation "
            f"{question.validated.get(method, math.nan):.4f}), {seconds:.0f} s",
            flush=True,
        )

    def write(self) -> None:
        schema = pa.Table.from_pylist(self.rows)
        place = schema.schema.get_field_index("resamples")
        smaller = schema.set_column(
            place, "resamples", schema.column("resamples").cast(pa.list_(pa.float32()))
        )
        pq.write_table(smaller, self.path, compression="zstd")


def mean(found: Sequence[dict[str, Any]]) -> Resampled:
    """Over seeds, resample by resample: the proteins drawn are the same."""
    values = np.mean([one["resamples"] for one in found], axis=0)
    return Resampled(statistics.mean(one["value"] for one in found), values)


def told_of(resampled: Resampled, sign: str = "") -> str:
    lower, upper = resampled.interval()[1:3]
    return f"{resampled.value:{sign}.3f} [{lower:{sign}.3f}, {upper:{sign}.3f}]"


def heads_of(
    rows: Sequence[dict[str, Any]], seeds: Collection[int], methods: Sequence[str] = HEADS
) -> dict[str, Resampled]:
    """The heads of a question over the same seeds; those that are fitted once, as they are."""
    heads = {}
    for method in methods:
        found = [row for row in rows if row["method"] == method]
        same = [row for row in found if row["seed"] in seeds]
        if same or found:
            heads[method] = mean(same or found)
    return heads


def above_the_best(ours: Resampled, heads: Mapping[str, Resampled], higher: bool) -> Resampled:
    best = (max if higher else min)(heads.values(), key=lambda one: one.value)
    return ours.above(best) if higher else best.above(ours)


def table(cells: Cells) -> tuple[list[str], dict[str, Any]]:
    lines = [
        "| question | family | metric | n | runs | Protscribe | dedicated head | linear probe | MLP | neighbours | majority "
        "| above the best head |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    verdicts: dict[str, Any] = {}
    for name, asked in QUESTIONS.items():
        rows = [row for row in cells.rows if row["question"] == name]
        of = {method: [row for row in rows if row["method"] == method] for method in METHODS}
        if not of["protscribe"]:
            continue
        seeds = {row["seed"] for row in of["protscribe"]}
        if of["dedicated"]:
            seeds &= {row["seed"] for row in of["dedicated"]}
        metric, count = of["protscribe"][0]["metric"], len(seeds)
        ours = mean([row for row in of["protscribe"] if row["seed"] in seeds])
        higher = METRICS[metric].higher
        heads = heads_of(rows, seeds)
        cell = ""
        if heads:
            gain = above_the_best(ours, heads, higher)
            cell = told_of(gain, "+")
            verdicts[name] = bool(gain.interval()[2] >= 0)
        shown = [told_of(heads[method]) if method in heads else "" for method in HEADS]
        plain = [
            f"{of[method][0]['value']:.3f}" if of[method] else "" for method in ("neighbours", "majority")
        ]
        first = of["protscribe"][0]
        counted = f"{first['count']}" + (f" ({first['unseen']} unseen)" if first["unseen"] else "")
        counted += f" of {first['units']} {asked.clusters}s" if asked.clusters else ""
        cells_of = [name, asked.family, metric, counted, str(count), told_of(ours), *shown, *plain, cell]
        lines.append("| " + " | ".join(cells_of) + " |")
    return lines, verdicts


def short_table(lines: Sequence[str]) -> list[str]:
    """The README's columns of :func:`table`."""
    short = [
        "| task | answer | metric, n | runs | Protscribe | dedicated head | linear probe | MLP | above the best head |"
    ]
    short.append("|---|---|---|---|---|---|---|---|---|")
    for line in lines[2:]:
        name, family, metric, count, seeds, ours, *heads, _, _, gain = line.strip("| ").split(" | ")
        short.append(
            "| " + " | ".join([name, family, f"{metric}, {count}", seeds, f"**{ours}**", *heads, gain]) + " |"
        )
    return short


def votes_table(cells: Cells) -> list[str]:
    """Protscribe and the heads, each with the votes of training proteins or residues, on the seeds that all have. The best head
    is the best of all, with votes or without."""
    voted = [f"{method}/{VOTES}" for method in HEADS]
    lines = [
        "| question | metric | runs | Protscribe alone | Protscribe with votes | "
        + " | ".join(f"{METHODS[method]} with votes" for method in HEADS)
        + " | votes give Protscribe | above the best head, with votes or without |",
        "|" + "---|" * (7 + len(HEADS)),
    ]
    for question in QUESTIONS:
        rows = [row for row in cells.rows if row["question"] == question]
        near, plain, heard = (
            {row["seed"]: row for row in rows if row["method"] == method}
            for method in (NEAR, "protscribe", voted[0])
        )
        seeds = sorted(near.keys() & plain.keys() & heard.keys())
        heads = heads_of(rows, seeds, (*HEADS, *voted))
        if not seeds or not set(voted) <= heads.keys():
            continue
        ours, alone = (mean([found[seed] for seed in seeds]) for found in (near, plain))
        metric = near[seeds[0]]["metric"]
        higher = METRICS[metric].higher
        gain = ours.above(alone) if higher else alone.above(ours)
        cells_of = [question, metric, str(len(seeds)), told_of(alone), f"**{told_of(ours)}**"]
        cells_of += [told_of(heads[method]) for method in voted]
        cells_of += [told_of(gain, "+"), told_of(above_the_best(ours, heads, higher), "+")]
        lines.append("| " + " | ".join(cells_of) + " |")
    return lines


def ways_table(cells: Cells) -> list[str]:
    """What else was tried: each way beside the decoder as shipped, on the same seeds, and beside the best head."""
    lines = [
        "| question | way | runs | validation | test | above as shipped | above the best head |",
        "|---|---|---|---|---|---|---|",
    ]
    told = {name: way.told for name, way in WAYS.items()} | {
        FREE: "greedy string without a grammar",
        NEAR: "training proteins or residues vote beside the decoder",
        # Before docs/decisions/0023.
        "top_states_vote": "training proteins vote, compared by the states of the small encoder alone",
        **{name: way.told for name, way in JOINT.items()},
    }
    # EC numbers were read from drawn answers, and segments shipped as pointers, when these were tried.
    told |= {f"drawn/{name}": f"drawn answers; {told[name]}" for name in ("quiet_symbols", "sixteen_passes")}
    told |= {f"pointers/{name}": f"pointers; {text}" for name, text in told.items() if name != "pointers"}
    told |= {f"{name}/greedy": f"{text}; greedy string" for name, text in told.items()}
    told["greedy"] = "greedy string"
    for question in QUESTIONS:
        rows = [row for row in cells.rows if row["question"] == question]
        shipped = {row["seed"]: row for row in rows if row["method"] == "protscribe"}
        for method, text in told.items():
            found = [row for row in rows if row["method"] == method and row["seed"] in shipped]
            # A greedy string that is the answer by definition tells nothing.
            if not found or all(row["value"] == shipped[row["seed"]]["value"] for row in found):
                continue
            mine, plain = mean(found), mean([shipped[row["seed"]] for row in found])
            higher = METRICS[found[0]["metric"]].higher
            gain = mine.above(plain) if higher else plain.above(mine)
            beside = above_the_best(mine, heads_of(rows, {row["seed"] for row in found}), higher)
            checked = [row["validation"] for row in found]
            validation = "" if None in checked else f"{statistics.mean(checked):.3f}"
            cells_of = [question, text, str(len(found)), validation, told_of(mine), told_of(gain, "+")]
            cells_of.append(told_of(beside, "+"))
            lines.append("| " + " | ".join(cells_of) + " |")
    return lines


def replace_table(path: Path, marker: str, lines: Sequence[str]) -> None:
    """What stands between ``<!-- marker -->`` and the next ``<!-- end -->``."""
    before, rest = path.read_text().split(f"<!-- {marker} -->")
    after = rest.split("<!-- end -->", 1)[1]
    path.write_text(f"{before}<!-- {marker} -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")
