"""Where EC numbers are lost: the decoder and the linear probe on enzymes like those of training, and which numbers they name.

    python benchmarks/central_claim.py --questions ec_number --methods protscribe --seeds 0 1 2
    python benchmarks/enzymes.py --seeds 0 1 2

Needs ``PROTSCRIBE_DATA``, and the bundles that the first command trained. Asks both about the test enzymes of the question and
about ``--others`` enzymes of the source's training part that the question did not draw, which nobody has seen: the micro F1
with its 95% interval over proteins, the difference, how many answers are right as a whole, and how many different numbers are
named. It trains nothing but the probe, and chooses nothing. Its first lines, all there is of ``--seeds`` without any, count how
often training shows the numbers of either part.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.central_claim import learnable
from benchmarks.claim.cells import mean, told_of
from benchmarks.claim.question import RUNS, Answers, Question
from benchmarks.claim.questions import LONGEST, QUESTIONS
from protscribe.data.examples import Example, read_source
from protscribe.evaluation.metrics import Resampled, collect, metrics_of, resample
from protscribe.evaluation.rivals.choice import Fitting, answers_of
from protscribe.evaluation.truths import is_written, parse_truth
from protscribe.predictor import Predictor
from protscribe.records import Prediction

NAME = "ec_number"


def other_enzymes(question: Question, most: int) -> list[Example]:
    """Of the source's training part, enzymes whose sequences are not in the question's table."""
    table = pq.read_table(Path(os.environ["PROTSCRIBE_DATA"]) / "clean_ec.parquet")
    drawn = set(pq.read_table(question.source.path).column("sequence").to_pylist())
    split, chains = (table.column(name).to_pylist() for name in ("split", "sequence"))
    left = [
        row
        for row, (part, chain) in enumerate(zip(split, chains, strict=True))
        if part == "train" and len(chain) <= LONGEST and chain not in drawn
    ]
    kept = sorted(np.random.default_rng(7).choice(left, min(most, len(left)), replace=False).tolist())
    path = RUNS / "tables" / "other_enzymes.parquet"
    others = table.take(kept).drop_columns(["split"])
    pq.write_table(others.append_column("split", pa.array(["test"] * len(kept))), path)
    source = dataclasses.replace(question.source, path=str(path), splits={"test": ("test",)})
    parse = parse_truth(question.task.codec)
    return read_source(source, question.task, "test", on_error="collect", failures=[], parse=parse)


def shown(asked: Sequence[Example], counts: Counter[str]) -> dict[str, int]:
    """Of how many enzymes training shows a number, and of how many of these none more often than once."""
    most = [max(counts[number] for number in one.answer) for one in asked]
    return {
        "proteins": len(asked),
        "some_number_shown": sum(map(bool, most)),
        "none_more_than_once": most.count(1),
    }


def judged(question: Question, asked: Sequence[Example], answers: Answers) -> tuple[Resampled, int, int]:
    """The main metric, answers that are right as a whole, and how many numbers are named."""
    truths, records = [one.answer for one in asked], [one.record for one in asked]
    found = resample(metrics_of(question.task)[0], collect(question.task, truths, answers, records))
    values = [set(one.value) if isinstance(one, Prediction) else set() for one in answers]
    right = sum(said == set(truth) for said, truth in zip(values, truths, strict=True))
    return found, right, len(set().union(*values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--others", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    question = Question(QUESTIONS[NAME])
    parts = {"test": question.test, "others": other_enzymes(question, options.others)}
    counts = Counter(number for one in question.rows("train") for number in one.answer)
    for part, asked in parts.items():
        print(json.dumps({"benchmark": "enzymes", "part": part, **shown(asked, counts)}), flush=True)
    if not options.seeds:
        return
    together = [example for part in parts.values() for example in part]
    answers: dict[str, Answers] = {}
    for seed in options.seeds:
        predictor = Predictor.load(str(RUNS / question.folder(seed) / "bundle"), device="cpu")
        records = [example.record for example in together]
        answers[f"protscribe {seed}"] = list(predictor.stream(records, [question.task.name]))
    given = dataclasses.replace(learnable(question), test=together)
    found = answers_of("head", given, Fitting(fitting_limit=None))
    assert found is not None, "paths have a linear probe"
    answers["head"] = found
    first = 0
    for part, asked in parts.items():
        scores = {
            name: judged(question, asked, said[first : first + len(asked)]) for name, said in answers.items()
        }
        first += len(asked)
        ours = [scores[f"protscribe {seed}"][0] for seed in options.seeds]
        averaged = mean([{"value": one.value, "resamples": one.values_R} for one in ours])
        known = sum(is_written(question.task.codec, one.answer, one.record) for one in asked)
        told = {name: {"micro_f1": told_of(one), "right": right, "numbers": numbers}
                for name, (one, right, numbers) in scores.items()}  # fmt: skip
        print(json.dumps({
            "benchmark": "enzymes", "part": part, "proteins": len(asked), "of_numbers_in_training": known, **told,
            "difference": told_of(averaged.above(scores["head"][0]), "+"),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
