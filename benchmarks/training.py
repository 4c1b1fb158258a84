"""What training costs: batches by budget, padding, stored states, loading, memory; and that a resumed run is the same run.

    OMP_NUM_THREADS=1 python benchmarks/training.py           # a quarter of an hour on a quiet core
    OMP_NUM_THREADS=1 python benchmarks/training.py --quick   # a few minutes, noisier

Needs ``PROTSCRIBE_DATA`` for the lengths of ``deeploc2``. One thread, single precision, processor time of this process, the
sides of a comparison in turn, medians of the repeats. Figures, and what they are at least (or at most):

``step_mini``, ``step_esm2_8m_lora`` (2.5): residues a second of a training step (forward, backward, AdamW) on the batches that
    the demo's settings make of deeploc2's proteins, over that of the same model on the same proteins in batches padded to
    1,024. Longer proteins are cut to 1,022 residues for both. Batches of both sides hold at most as many places.
``padding_deeploc2``, ``padding_demo`` (at most 0.03): the share of what is computed in an epoch that is padding.
``cached_states`` (5): time of an epoch that reads a frozen encoder's states (ESM-2 8M's shape) from disk, against one that
    encodes; the batches of the former are read and made inside the time.
``loading_share`` (at most 0.03): the share of wall time that a training step waits for two workers; ``collating_share`` is
    what making a batch costs in processor time over the step's.
``resumed_steps`` (all): optimizer steps of two epochs at which a run was stopped and resumed with the same losses, weights,
    optimizer state, learning rate and order of samples, of those tested (dropout on; tests vary workers and accumulation).
``recomputed_memory``: bytes that a step keeps for the backward pass with activation checkpointing, over those without.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engine.timing import race
from protscribe.alphabet import PAD_RESIDUE
from protscribe.catalogue import find_source, read_task
from protscribe.data.batch import Batch
from protscribe.data.batching import Budget
from protscribe.data.collate import Collator, Question
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.documents import read_yaml
from protscribe.encoders import adapt, load_encoder
from protscribe.encoders.state_cache import StateStore
from protscribe.nn.decoder import Decoder
from protscribe.nn.execution import recompute_activations
from protscribe.nn.model import Scribe
from protscribe.training.loss import balance_lengths, token_loss

MINI = {"kind": "mini"}
ESM2_8M = {"kind": "esm2", "weights": "untrained", "layers": 6, "width": 320, "heads": 20}
SMALL = {"width": 256, "layers": 4, "heads": 8}
"""The shipped decoder "small"."""
WIDE, LONGEST = 1024, 1022
WANTED: Mapping[str, float] = {
    "step_mini": 2.5, "step_esm2_8m_lora": 2.5, "padding_deeploc2": 0.03, "padding_demo": 0.03,
    "cached_states": 5.0, "loading_share": 0.03,
}  # fmt: skip
AT_MOST = ("padding_deeploc2", "padding_demo", "loading_share")


def variables() -> dict[str, str]:
    return {"paths.data": "data", "oc.env:PROTSCRIBE_DATA": os.environ["PROTSCRIBE_DATA"]}


def shipped_budget() -> Budget:
    """The demo's, which suits a CPU."""
    return Budget(**read_yaml(Path("configs/experiment/demo.yaml"))["data"]["budget"])


def read_data(mixture: Mixture, budget: Budget, **options: Any) -> ScribeData:
    tasks = {name: read_task(name) for name in mixture.tasks}
    sources = {entry.source: find_source(entry.source, variables()) for entry in mixture.entries.values()}
    data = ScribeData(mixture, tasks, sources, budget=budget, **options)
    data.read()
    return data


def localisation(**options: Any) -> ScribeData:
    """Subcellular localisation on deeploc2, with the shipped batches."""
    mixture = Mixture({"localisation": Entry("localisation", "deeploc2")})
    return read_data(mixture, shipped_budget(), long="truncate", encoder_limit=LONGEST, **options)


def make_model(data: ScribeData, encoder: Mapping[str, Any], how: str) -> Scribe:
    torch.manual_seed(0)
    adapted = adapt(load_encoder(encoder), how)  # type: ignore[arg-type]
    decoder = Decoder(len(data.lexicon.vocabulary), adapted.width, **SMALL)
    return Scribe(adapted, decoder).train()


def step(model: Scribe, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    loss = token_loss(model(batch), batch.targets_BT, balance_lengths(batch.weights_BT, 0.5))
    loss.backward()
    optimizer.step()


def trainer_of(model: Scribe) -> Callable[[Sequence[Batch]], None]:
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def train(batches: Sequence[Batch]) -> None:
        for batch in batches:
            step(model, optimizer, batch)

    return train


def widened(batch: Batch, columns: int) -> Batch:
    """The batch with residues and memories padded to so many columns, as is common."""

    def pad(tensor: Tensor, value: int) -> Tensor:
        return nn.functional.pad(tensor, (0, columns - tensor.shape[1]), value=value)

    return dataclasses.replace(
        batch,
        residues_NL=pad(batch.residues_NL, PAD_RESIDUE),
        residue_mask_NL=pad(batch.residue_mask_NL, 0),
        source_KM=pad(batch.source_KM, -1),
        part_KM=pad(batch.part_KM, 0),
        offset_KM=pad(batch.offset_KM, 0),
    )


def two_ways(data: ScribeData, count: int) -> tuple[list[Batch], list[Batch], int]:
    """So many batches of an epoch, and the same proteins in batches of rows padded to 1,024; and how many residues they have.

    The batches hold about as many residues each; taken are those in the middle of equal parts of the epoch, sorted by their
    proteins' mean length, so that lengths are as in the whole.
    """
    sampler, questions_of = data.sampler, data._questions()
    sampler.set_epoch(0)
    means = [float(sampler.drawn(turn)[1].residues.mean()) for turn in range(len(sampler))]
    order = sorted(range(len(means)), key=means.__getitem__)
    chosen = [order[int((part + 0.5) * len(order) / count)] for part in range(count)]
    planned = list(sampler)
    ours = [data.collator.numbered([questions_of[place] for place in planned[turn]]) for turn in chosen]
    questions: list[Question] = [question for batch in ours for question in batch.questions]
    rows = max(1, data.budget.tokens // WIDE)
    collate = Collator(data.lexicon, None, data.budget.multiple)
    parts = [questions[first : first + rows] for first in range(0, len(questions), rows)]
    padded = [widened(collate(part), WIDE) for part in parts]
    return ours, padded, sum(sum(batch.lengths) for batch in ours)


def step_figure(
    data: ScribeData, encoder: Mapping[str, Any], how: str, count: int, repeats: int
) -> dict[str, Any]:
    ours, padded, residues = two_ways(data, count)
    train = trainer_of(make_model(data, encoder, how))
    train(ours[:1])
    times = race({"budget": partial(train, ours), "padded": partial(train, padded)}, repeats)
    rates = {name: residues / found.median for name, found in times.items()}
    return {
        "ratio": rates["budget"] / rates["padded"],
        "residues_per_second": rates,
        "proteins": sum(len(batch.questions) for batch in ours),
        "residues": residues,
        "mean_length": residues / sum(len(batch.questions) for batch in ours),
        "batches": {"budget": len(ours), "padded": len(padded)},
    }


def padding_figures() -> dict[str, float]:
    demo = read_yaml(Path("configs/mixture/demo.yaml"))
    mixture = Mixture(**{key: value for key, value in demo.items() if not key.startswith("_")})
    return {
        "padding_deeploc2": localisation().padding_share(),
        "padding_demo": read_data(mixture, shipped_budget()).padding_share(),
    }


def cached_figure(data: ScribeData, count: int, repeats: int) -> dict[str, Any]:
    ours, _, residues = two_ways(data, count)
    model = make_model(data, ESM2_8M, "frozen")
    encoder: Any = model.encoder
    with tempfile.TemporaryDirectory() as folder:
        kept = StateStore(folder, "float16").open(encoder.below_module)
        chains = {chain for batch in ours for question in batch.questions for chain in question.record.chains}
        for _ in kept.fill(chains, encoder.below, torch.device("cpu")):
            pass
        collate = Collator(data.lexicon, None, data.budget.multiple, read_states=kept.read)
        train = trainer_of(model)

        def stored() -> None:
            # What a worker does is part of the price: reading and collating, not only the step.
            train([collate(batch.questions) for batch in ours])

        train(ours[:1])
        times = race({"encoded": partial(train, ours), "stored": stored}, repeats)
    return {
        "ratio": times["encoded"].median / times["stored"].median,
        "seconds": {name: found.median for name, found in times.items()},
        "residues": residues,
        "bytes_a_residue": kept.row_bytes,
    }


def loading_figure(steps: int) -> dict[str, Any]:
    """Wall time: two workers need a second core beside the one that trains."""
    data = localisation(seed=1, workers=2)
    train = trainer_of(make_model(data, MINI, "full"))
    waited, worked, made = [], [], []
    batches = iter(data.train_dataloader())
    train([next(batches)])
    for _ in range(steps):
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        waited.append(time.perf_counter() - began)
        began, used = time.perf_counter(), time.process_time()
        train([batch])
        worked.append((time.perf_counter() - began, time.process_time() - used))
        used = time.process_time()
        data.collator(batch.questions)
        made.append(time.process_time() - used)
    return {
        "share": sum(waited) / (sum(waited) + sum(wall for wall, _ in worked)),
        "collating_share": sum(made) / sum(used for _, used in worked),
        "steps": len(worked),
        "median_step_seconds": statistics.median(wall for wall, _ in worked),
    }


def resumed_figure() -> dict[str, int]:
    """The check of ``tests/training/test_resume.py``, at every step of two epochs."""
    from protscribe.training.checkpoints import Checkpoints
    from protscribe.training.saving import saved
    from tests.training.resuming import run

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        reference = run(place / "whole")
        kept = Checkpoints(place / "checkpoints", "valid/loss", every_minutes=0, every_steps=1, keep=1000)
        story = run(place / "saved", kept)
        marks = list(story.marks)
        same = 0
        paths = saved(place / "checkpoints")
        for path, mark in zip(paths, marks, strict=True):
            again, expected = run(place / "again", resumed=path), reference.since(mark)
            same += (again.batches, again.validations, again.logged, again.left) == (
                expected.batches, expected.validations, expected.logged, expected.left,
            )  # fmt: skip
    return {"same": same, "tested": len(paths)}


def memory_figure(data: ScribeData) -> dict[str, float]:
    """Bytes of all tensors that autograd keeps in one step, each storage once."""
    (_, batch), _, _ = two_ways(data, 2)
    kept = {}
    for again in (False, True):
        model = make_model(data, ESM2_8M, "full")
        if again:
            recompute_activations(*model.blocks())
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            token_loss(model(batch), batch.targets_BT, batch.weights_BT)
        kept[again] = sum(sizes.values())
    return {
        "ratio": kept[True] / kept[False],
        "megabytes": kept[True] / 1e6,
        "megabytes_without": kept[False] / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--batches", type=int)
    parser.add_argument("--repeats", type=int)
    asked = parser.parse_args()
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    torch.set_num_threads(1)
    count = asked.batches or (4 if asked.quick else 8)
    repeats = asked.repeats or (1 if asked.quick else 3)
    figures: dict[str, float] = {}

    def tell(name: str, value: float, details: object = "") -> None:
        figures[name] = float(f"{value:.4g}")
        bound = (
            f", wanted {'at most' if name in AT_MOST else 'at least'} {WANTED[name]}"
            if name in WANTED
            else ""
        )
        print(f"{name}: {figures[name]}{bound} {details or ''}", flush=True)

    for name, value in padding_figures().items():
        tell(name, value)
    data = localisation(seed=1)
    for name, encoder, how in (("step_mini", MINI, "full"), ("step_esm2_8m_lora", ESM2_8M, "lora")):
        found = step_figure(data, encoder, how, count, repeats)
        tell(name, found.pop("ratio"), found)
    found = cached_figure(data, count, repeats)
    tell("cached_states", found.pop("ratio"), found)
    found = loading_figure(4 if asked.quick else 12)
    tell("loading_share", found.pop("share"), found)
    tell("collating_share", found["collating_share"])
    memory = memory_figure(data)
    tell("recomputed_memory", memory.pop("ratio"), memory)
    resumed = resumed_figure()
    tell("resumed_steps", resumed["same"], resumed)
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "load": os.getloadavg()[0]}
    settings = {"batches": count, "repeats": repeats, **machine}
    print(
        json.dumps({"benchmark": "training", **settings, "figures": figures, "resumed_of": resumed["tested"]})
    )


if __name__ == "__main__":
    main()
