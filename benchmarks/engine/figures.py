"""The figures: each is a function of a :class:`~benchmarks.engine.bench.Bench` and says in words what both sides do.

A figure returns its value under its key, and the times behind it under the key with ``_detail``. Our side always is the
product's own public path. Both settings of cross-attention are timed where a decoder takes part; the key is that of the setting
``workload.PRODUCT``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.engine.bench import Bench
from benchmarks.engine.memory import cross_attention_bytes
from benchmarks.engine.peers import make_sources
from benchmarks.engine.profiling import step_shares
from benchmarks.engine.timing import Times, race, rounded
from benchmarks.engine.trained import parallel_against_sequential
from benchmarks.engine.workload import (
    DENSE,
    PRODUCT,
    STEPS,
    collator,
    decoder_only,
    make_proteins,
    make_questions,
    short_tasks,
)
from protscribe.generation.answering import answer
from protscribe.planning import Unit, plan
from protscribe.predictor import ON_CPU, ON_GPU, Predictor

Figure = dict[str, Any]


def encoder_vs_sdpa(bench: Bench) -> Figure:
    """Residues a second through the encoder, ours over the peer's, from sequences to states of residues.

    Workload: the proteins of log-normal length. Ours: the product's planner, collation and ``Esm2Encoder``. Peer:
    ``EsmModel`` with SDPA, sorted by length, at the batch size that is best for it (one protein at a time is among those
    tried), without a mask where there is no padding.
    """
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: encode(bench),
        "transformers": lambda tokens=bench.esm_tokens: bench.esm.states(bench.sequences, tokens),
    }
    times = race(sides, bench.repeats, bench.device)
    detail = {
        name: one.to_plain(residues_per_second=bench.residues / one.median) for name, one in times.items()
    }
    detail["transformers"]["batch_tokens"] = bench.esm_tokens
    return figure("encoder_vs_sdpa", times["transformers"].median / times["ours"].median, detail)


@torch.inference_mode()
def encode(bench: Bench, setting: str = PRODUCT, remember: bool = False) -> None:
    """Every protein encoded in the product's batches; with ``remember`` also joined to memories with keys and values."""
    predictor = bench.predictor(setting)
    task = predictor.tasks[short_tasks(dict(predictor.tasks), 1)[0]]
    units = []
    for place, question in enumerate(make_questions([task], bench.records)):
        unit: Unit[Any] = Unit(question.record)
        unit.add(place, question, "first", 1)
        units.append(unit)
    collate = collator(predictor)
    for units_of_batch in plan(units, ON_CPU if bench.device == "cpu" else ON_GPU):
        batch = collate([question for unit in units_of_batch for _, question in unit.questions])
        batch = batch.to(predictor.device)
        if remember:
            predictor._model.remember(batch)
        else:
            predictor._model.encode(batch)


def short_answers(bench: Bench) -> Figure:
    """Short answers end to end, one task and ten: three figures from one race.

    Workload: the proteins of log-normal length; answers of exactly ``STEPS`` tokens, the end symbol among them, greedy.
    Ours: ``Predictor.predict_many`` from sequences to predictions, for one task and for ten different ones (numbers and
    paths). Peer: the best encoder above, padded memories and ``generate()`` of ``STEPS`` tokens at the batch size that is best
    for it; no grammar, and its tokens are not read as anything.

    ``short_vs_generate``: the peer's time over ours, one task. ``ten_tasks_over_one``: our time for ten over that for one.
    ``ten_tasks_vs_generate``: the peer asked ten times (ten times its time for one: each is the same work) over our time
    for ten. A peer that kept the encoder's states for all ten is told beside it (``peer_encoding_once``), and so are the parts
    of one task's time: both encoders alone, and ours with the keys and values of its memories.
    """
    sides: dict[str, Callable[[], Any]] = {}
    for setting in bench.settings:
        predictor = bench.predictor(setting)
        names = short_tasks(dict(predictor.tasks), bench.short)
        for count in (1, len(names)):
            asked = names[:count]
            sides[f"ours_{setting}_{count}"] = lambda predictor=predictor, asked=asked: (
                predictor.predict_many(bench.records, asked, readout="greedy")
            )
        sides[f"ours_{setting}_memory"] = lambda setting=setting: encode(bench, setting, remember=True)
        predictor.predict_many(bench.records[:2], names, readout="greedy")
    sides["ours_encoder"] = lambda: encode(bench)
    sides["transformers_encoder"] = lambda: bench.pipeline.encode(bench.sequences)
    sides["transformers"] = lambda pipeline=bench.pipeline: pipeline.write(bench.sequences, STEPS)
    times = race(sides, bench.repeats, bench.device)
    detail = {
        name: one.to_plain(proteins_per_second=bench.proteins / one.median) for name, one in times.items()
    }
    detail["transformers"] |= {"batch": bench.pipeline.batch, "batch_tokens": bench.pipeline.batch_tokens}
    peer = times["transformers"].median
    encoding = times["transformers_encoder"].median
    once = encoding + bench.short * max(0.0, peer - encoding)
    found: Figure = {}
    for setting in bench.settings:
        one, ten = (times[f"ours_{setting}_{count}"].median for count in (1, bench.short))
        ratios = {
            "short_vs_generate": peer / one,
            "ten_tasks_over_one": ten / one,
            "ten_tasks_vs_generate": bench.short * peer / ten,
        }
        detail[f"ratios_{setting}"] = rounded({**ratios, "peer_encoding_once": once / ten})
        if setting == PRODUCT:
            found |= rounded(ratios)
    return {**found, "short_detail": detail}


def dense_answers(bench: Bench) -> Figure:
    """One label a residue, decoder only, all proteins side by side: two figures from one race.

    Workload: encoder states of 32 proteins of 300 residues. Ours: ``answer()`` with the default readout (each residue's
    distribution), from the states through projection and decoder to evidence; the encoder is a stand-in that hands out
    the states. Peers: exactly 300 greedy tokens for each protein at batch 32, by ``generate()`` (the cache that is faster for
    it) and by CTranslate2 float32 (its own small encoder's time subtracted); the keys and values of the memory are everybody's
    to compute. What the peers write is one string; what ours gives is a distribution for each residue.
    """
    times = race_dense(bench, bench.batch, bench.length, bench.repeats)
    detail = dense_detail(bench, times, bench.batch)
    ours = times[f"ours_{PRODUCT}"].median
    ratios = {
        "dense_vs_generate": times["transformers"].median / ours,
        "dense_vs_ctranslate2": detail["ctranslate2"]["decoder_seconds"] / ours,
    }
    return {**rounded(ratios), "dense_detail": detail}


def dense_batch1(bench: Bench) -> Figure:
    """As :func:`dense_answers`, one protein at a time, against CTranslate2 float32 (``generate()`` is told beside it)."""
    times = race_dense(bench, 1, bench.length, bench.repeats)
    detail = dense_detail(bench, times, 1)
    ratio = detail["ctranslate2"]["decoder_seconds"] / times[f"ours_{PRODUCT}"].median
    return {**rounded({"dense_batch1_vs_ctranslate2": ratio}), "dense_batch1_detail": detail}


def dense_sides(bench: Bench, batch: int, length: int) -> dict[str, Callable[[], Any]]:
    """Our sides of :func:`dense_answers`, each called once before."""
    sides: dict[str, Callable[[], Any]] = {}
    for setting in bench.settings:
        predictor = bench.predictor(setting)
        model = decoder_only(predictor, batch, length)
        questions = make_questions([predictor.tasks[DENSE]], make_proteins([length] * batch))
        sides[f"ours_{setting}"] = lambda predictor=predictor, model=model, questions=questions: answer(
            model, predictor.bundle.lexicon, collator(predictor)(questions).to(predictor.device)
        )
        sides[f"ours_{setting}"]()
    return sides


def race_dense(bench: Bench, batch: int, length: int, repeats: int) -> dict[str, Times]:
    """Times of dense answers of every side, and of CTranslate2's encoder alone."""
    sides = dense_sides(bench, batch, length)
    sources = make_sources(batch, length)
    bench.ctranslate2.write(sources, 2)
    sides["ctranslate2"] = lambda: bench.ctranslate2.write(sources, length)
    sides["ctranslate2_encoder"] = lambda: bench.ctranslate2.encode(sources)
    states = torch.randn(batch, length, bench.encoder_sizes["width"], device=bench.device)
    assert bench.cache == bench.transformers_decoder.cache
    sides["transformers"] = lambda: bench.transformers_decoder.write(states, None, length)
    return race(sides, repeats, bench.device)


def dense_detail(bench: Bench, times: dict[str, Times], batch: int) -> dict[str, Any]:
    detail = {name: one.to_plain() for name, one in times.items()}
    seconds = {name: one.median for name, one in times.items()}
    seconds["ctranslate2"] -= seconds.pop("ctranslate2_encoder")
    for name, value in seconds.items():
        detail[name] |= rounded({"decoder_seconds": value, "proteins_per_second": batch / value})
    detail["transformers"]["cache"] = bench.cache
    for setting in bench.settings:
        detail[f"ratios_{setting}"] = rounded(
            {name: seconds[name] / seconds[f"ours_{setting}"] for name in ("transformers", "ctranslate2")}
        )
    return detail


def cross_memory_ratio(bench: Bench) -> Figure:
    """Memory for cross-attention keys and values: ten tasks with a beam of 4 each on one protein, over one greedy task.

    Both with keys and values; one short task alone is answered without them, from the states, which take ``states_bytes``.
    Counted are the storages of all keys and values that reach attention over the memory, each once, and every tensor with
    as many places as the memory that is made there, at its largest: a copy for a task or a beam would be either.
    """
    found = {}
    for setting in bench.settings:
        predictor = bench.predictor(setting)
        names = short_tasks(dict(predictor.tasks), bench.short)
        many = cross_attention_bytes(predictor, make_proteins([bench.length]), names, beams=4)
        one = cross_attention_bytes(predictor, make_proteins([bench.length]), names[:1], beams=1)
        states = bench.length * predictor._model.decoder.width * 4
        found[setting] = {
            "ten_tasks_four_beams_bytes": many,
            "one_task_bytes": one,
            "states_bytes": states,
            "ratio": many / one,
        }
    return figure("cross_memory_ratio", found[PRODUCT]["ratio"], found)


def grammar_share(bench: Bench) -> Figure:
    """The share of a decode's time, by the profiler, that is neither network nor the choice of a token.

    Workload: 32 proteins, each asked one of three tasks (a number, a path, a label a residue written token by token), greedy,
    one column a pass. Counted as grammar and bookkeeping is all of ``walk`` but the decoder's layers, its scores, and the
    log-softmax and argmax that any decoder needs; the parts stand beside it.
    """
    found = {setting: step_shares(bench, setting) for setting in bench.settings}
    return figure("grammar_share", found[PRODUCT]["grammar_and_bookkeeping"], found)


def greedy_parallel_vs_sequential(bench: Bench) -> Figure:
    """The greedy joint answer with trained weights: one token a pass over several a pass, token-identical.

    Workload: a bundle's dense task about real proteins (``--trained``), memories given, at batch 1, 8 and 32. Both sides are
    the product's own ``answer``, at its default width and at one column a pass; their tokens are compared. The key is batch 1;
    the detail has passes and times of all.
    """
    if bench.trained is None:
        return {}
    predictor = Predictor.load(bench.trained, bench.device, local_files_only=True)
    detail = parallel_against_sequential(predictor, bench.repeats)
    return figure("greedy_parallel_vs_sequential", detail["batch_1"]["ratio"], detail)


def figure(key: str, value: float, detail: dict[str, Any]) -> Figure:
    return {**rounded({key: value}), f"{key}_detail": detail}


FIGURES: dict[str, tuple[Callable[[Bench], Figure], tuple[str, ...]]] = {
    "encoder": (encoder_vs_sdpa, ("encoder_vs_sdpa",)),
    "short": (short_answers, ("short_vs_generate", "ten_tasks_over_one", "ten_tasks_vs_generate")),
    "dense": (dense_answers, ("dense_vs_generate", "dense_vs_ctranslate2")),
    "dense_batch1": (dense_batch1, ("dense_batch1_vs_ctranslate2",)),
    "greedy": (greedy_parallel_vs_sequential, ("greedy_parallel_vs_sequential",)),
    "memory": (cross_memory_ratio, ("cross_memory_ratio",)),
    "grammar": (grammar_share, ("grammar_share",)),
}
"""Each function with the keys it gives."""

LIMITS: dict[str, tuple[str, float]] = {
    "encoder_vs_sdpa": ("at least", 1.05),
    "short_vs_generate": ("at least", 1.25),
    "ten_tasks_over_one": ("at most", 1.5),
    "ten_tasks_vs_generate": ("at least", 7.0),
    "dense_vs_generate": ("at least", 4.0),
    "dense_vs_ctranslate2": ("at least", 3.0),
    "dense_batch1_vs_ctranslate2": ("at least", 8.0),
    "greedy_parallel_vs_sequential": ("at least", 1.5),
    "cross_memory_ratio": ("at most", 1.0),
    "grammar_share": ("at most", 0.05),
}
"""What is wanted of each figure."""


def met(key: str, value: float) -> bool:
    sense, limit = LIMITS[key]
    return value >= limit if sense == "at least" else value <= limit
