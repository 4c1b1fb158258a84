"""Folders as an evaluation leaves them, from toy tasks and answers that are made up: what a report is tested on."""

from dataclasses import replace

import numpy as np

from protscribe.evaluation.bands import Band
from protscribe.evaluation.breakdown import break_down
from protscribe.evaluation.cases import FILE, write_cases
from protscribe.evaluation.metrics import collect, metrics_of, resample, score
from protscribe.evaluation.result import EvaluationResult, MethodResult, TaskResult
from protscribe.evaluation.rivals.majority import majority
from protscribe.records import Failure
from tests.evaluation.toys import TASKS, examples

MODEL = {
    "created": "2026-01-02T03:04:05Z",
    "library": "0.1.0",
    "parameters": {"encoder": 1234, "decoder": 567, "molecule_encoder": 0},
    "architecture": {"encoder": {"kind": "mini", "width": 32}, "decoder": {"width": 32, "layers": 2}},
    "readouts": {"k_sites": {"threshold": 0.4, "statistic": "mean", "way": "risk", "level": 0.9}},
    "provenance": {
        "steps": 100,
        "epochs": 2,
        "seed": 3,
        "mixture": {"k_sites": {"task": "k_sites", "source": "toy", "weight": 2.0}},
        "sampled": {"k_sites": {"samples": 900, "rows": 40, "of": 41, "residues": 5, "tokens": 6}},
        "licences": {"toy": "CC0"},
        "versions": {"python": "3.11"},
    },
    "config": {"seed": 3, "optimizer": {"lr": 0.001}},
}


def made_result(name, count=30, right=0.8, seed=1, missing=0):
    """A task of which a share of our answers is right; the others are the baseline's."""
    task, rows = TASKS[name], examples(name, count)
    records, truths = [row.record for row in rows], [row.answer for row in rows]
    base = majority(task, rows, records)
    kept = np.random.default_rng(seed).random(count) < right
    ours = [
        replace(answer, value=row.answer, score=0.9) if keep else answer
        for answer, row, keep in zip(base, rows, kept, strict=True)
    ]
    ours[:missing] = [Failure(0, row.record.id, "seq.too_long", "too long", name) for row in rows[:missing]]
    found = {"protscribe": ours, "majority": base}
    main = metrics_of(task)[0]
    judged = {method: collect(task, truths, said, records) for method, said in found.items()}
    sampled = {method: resample(main, one, resamples=30) for method, one in judged.items()}
    higher = sampled["protscribe"].above(sampled["majority"])
    interval = sampled["protscribe"].interval()
    bands = (
        Band("under 20", 10, interval, {"majority": 0.5}),
        Band("20 and more", 20, interval, {"majority": 0.25}),
    )
    return TaskResult(
        task=task,
        sources=("toy",),
        metrics=metrics_of(task),
        methods={method: MethodResult(score(judged[method]), sampled[method].interval()) for method in found},
        gains={"majority": higher.interval()},
        count=count,
        training=4 * count,
        rejected=(),
        shared=0,
        examples=tuple(rows),
        predictions=tuple(ours),
        units=count,
        bands={"length": bands},
        breakdown=break_down(judged["protscribe"]),
        remarks=("a remark about bands",),
    )


def write_folder(folder, results, **provenance):
    """What ``evaluate output=FOLDER`` writes, but for the report."""
    told = {
        "bundle": "runs/toy/bundle",
        "level": 0.95,
        "resamples": 30,
        "split": "test",
        "seed": 0,
        "limit": None,
    }
    EvaluationResult(tuple(results), {**told, "model": MODEL, **provenance}).write(folder)
    write_cases(folder / FILE, results)
    return folder
