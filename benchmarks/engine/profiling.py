"""Where the time of a decode step goes, by torch's profiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.engine.bench import Bench
from benchmarks.engine.timing import rounded
from benchmarks.engine.workload import DENSE, collator, decoder_only, make_proteins, short_tasks
from protscribe.data.collate import Question
from protscribe.generation import search, written
from protscribe.generation.answering import Asking, answer
from protscribe.generation.constraint import CompiledGrammars
from protscribe.nn.decoder import Decoder

PARTS: dict[str, tuple[Any, str]] = {
    "walk": (written, "walk"),
    "layers": (Decoder, "forward"),
    "scores": (Decoder, "choices"),
    "choice": (search, "renormalise"),
    "allowed": (CompiledGrammars, "allowed"),
    "advance": (CompiledGrammars, "advance"),
}
"""Functions whose time is told, and where they stand. None but ``walk`` calls another one."""

LABELS = 48
"""Residues of the proteins that get a label each: the profiler keeps every operation of every step, so there are few steps."""


@contextmanager
def named() -> Iterator[None]:
    """While open, the profiler knows the functions of :data:`PARTS` by name."""

    def named_as(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with record_function(name):
                return function(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name, (home, attribute) in PARTS.items():
            stack.enter_context(patch.object(home, attribute, named_as(name, getattr(home, attribute))))
        yield


def step_shares(bench: Bench, setting: str) -> dict[str, Any]:
    """Shares of ``walk``'s time at ``bench.batch`` rows of three kinds of task."""
    predictor = bench.predictor(setting)
    tasks = [predictor.tasks[name] for name in (*short_tasks(dict(predictor.tasks), 2), DENSE)]
    asked = [tasks[place % len(tasks)] for place in range(bench.batch)]
    records = make_proteins(
        [bench.length if task.name != DENSE else min(LABELS, bench.length) for task in asked]
    )
    questions = [Question(record, task) for record, task in zip(records, asked, strict=True)]
    model, lexicon = decoder_only(predictor, bench.batch, bench.length), predictor.bundle.lexicon
    batch = collator(predictor)(questions).to(predictor.device)
    ways: Any = ["greedy"] * len(questions)
    # One column a pass, so that all kinds of task stand in one decode.
    settings = Asking(width=1)
    few = collator(predictor)(questions[:2]).to(predictor.device)
    answer(model, lexicon, few, ways=ways[:2], settings=settings)
    activities = [ProfilerActivity.CPU]
    if bench.device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    with named(), profile(activities=activities) as told:
        answer(model, lexicon, batch, ways=ways, settings=settings)
        if bench.device != "cpu":
            torch.cuda.synchronize()
    averages = {one.key: one for one in told.key_averages()}
    times = {name: averages[name].cpu_time_total for name in PARTS if name in averages}
    whole = times["walk"]
    shares = {name: value / whole for name, value in times.items() if name != "walk"}
    network = sum(shares[name] for name in ("layers", "scores", "choice"))
    rest = 1 - network - shares["allowed"] - shares["advance"]
    return rounded(
        {**shares, "rest": rest, "grammar_and_bookkeeping": 1 - network, "walk_seconds": whole / 1e6}
    )
