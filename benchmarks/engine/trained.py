"""The greedy joint answer of trained weights, several tokens a pass against one: the same tokens in less time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.engine.timing import race, rounded
from protscribe.codecs.protocol import Greedy
from protscribe.data.batch import Batch
from protscribe.data.collate import Collator, Question
from protscribe.data.readers import records_from
from protscribe.generation import written
from protscribe.generation.answering import Asking, answer
from protscribe.nn.decoder import Memory
from protscribe.predictor import Predictor

PROTEINS = Path(__file__).parents[2] / "data" / "long_disorder.csv"
"""Real proteins of the demo's data."""
BATCHES = (1, 8, 32)
LENGTHS = (150, 450)
"""Residues of the proteins that are taken."""
WAYS = {"parallel": Asking(), "sequential": Asking(width=1)}
"""The product's own way, and one token a pass."""


@torch.inference_mode()
def parallel_against_sequential(
    predictor: Predictor, repeats: int, batches: Sequence[int] = BATCHES, proteins: int = 8
) -> dict[str, Any]:
    """Ratios, times and passes of both ways at each batch size. Raises ``AssertionError`` where a token differs."""
    task = next(task for task in predictor.tasks.values() if task.codec.dense)
    records = [r for r in records_from(PROTEINS) if LENGTHS[0] <= sum(r.lengths) <= LENGTHS[1]]
    found: dict[str, Any] = {"work": {"task": task.name, "lengths": f"{LENGTHS[0]} to {LENGTHS[1]}"}}
    for size in batches:
        questions = [Question(record, task) for record in records[: max(size, proteins)]]
        batches_of = [questions[first : first + size] for first in range(0, len(questions), size)]
        found[f"batch_{size}"] = _compare(predictor, batches_of, repeats)
    return found


def _compare(predictor: Predictor, batches: list[list[Question]], repeats: int) -> dict[str, Any]:
    collate = Collator(predictor.bundle.lexicon)
    asked: list[tuple[Batch, Memory]] = []
    for questions in batches:
        batch = collate(questions).to(predictor.device)
        asked.append((batch, predictor._model.remember(batch)))
    passes: dict[str, int] = {}
    tokens: dict[str, list[Any]] = {}
    plain = written.walk

    def write(way: str) -> None:
        passes[way], tokens[way] = 0, []

        def counted(*args: Any, **kwargs: Any) -> Any:
            decoded = plain(*args, **kwargs)
            passes[way] += decoded.passes
            return decoded

        with patch.object(written, "walk", counted):
            for batch, memory in asked:
                ways: Any = ["greedy"] * len(batch.questions)
                told = answer(
                    predictor._model,
                    predictor.bundle.lexicon,
                    batch,
                    ways=ways,
                    settings=WAYS[way],
                    memory=memory,
                )
                tokens[way] += [one.evidence.tokens for one in told if isinstance(one.evidence, Greedy)]

    sides = {way: lambda way=way: write(way) for way in WAYS}
    times = race(sides, repeats, predictor.device.type)
    assert tokens["parallel"] == tokens["sequential"], (
        "parallel decoding must write the tokens of sequential decoding"
    )
    residues = sum(map(len, tokens["sequential"]))
    ratio = times["sequential"].median / times["parallel"].median
    return {
        **rounded({"ratio": ratio}),
        **{
            way: one.to_plain(passes=passes[way], residues_per_second=residues / one.median)
            for way, one in times.items()
        },
    }
