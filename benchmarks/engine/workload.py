"""What every figure works on: one size of network, seeded proteins, tasks whose answers have a known length.

Sizes are those of Prot2Token's small model (arXiv 2505.20589): ESM-2 8M's shape, and a decoder of 8 layers of 480.
Weights are untrained: where an answer's length is fixed, they cost what trained ones do.

Shape legend: N proteins, L residues, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from protscribe.checkpoint import Bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon
from protscribe.encoders import load_encoder
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary

ENCODER: dict[str, Any] = {"kind": "esm2", "weights": "untrained", "layers": 6, "width": 320, "heads": 20}
DECODER: dict[str, Any] = {"width": 480, "layers": 8, "heads": 4, "feed_forward": 960}
CROSS_ATTENTION: dict[str, dict[str, Any]] = {
    "full": {"kv_heads": 0, "shared": False},
    "shared": {"kv_heads": 1, "shared": True},
}
"""Both settings of cross-attention: keys and values of every head and layer, and one head's shared by all layers."""
PRODUCT = "full"
"""The setting that ``configs/decoder/base.yaml`` has, with which the figures' main keys are measured."""
VOCABULARY = 1100
STEPS = 5
"""Tokens of a short answer, its end symbol among them."""
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")
MEDIAN, SPREAD, SHORTEST, LONGEST = 300, 0.6, 40, 1022
SEED = 0

PATHS = tuple(
    f"{a}.{b}.{c}.{d}" for a in range(1, 7) for b in range(1, 4) for c in range(1, 4) for d in (1, 2)
)
"""A hierarchy like that of EC numbers: four levels, 186 nodes."""
DENSE = "secondary_structure"


def make_lengths(count: int) -> list[int]:
    """Seeded lengths, log-normal: those of proteins."""
    normal = np.random.default_rng(SEED).standard_normal(count)
    return np.exp(np.log(MEDIAN) + SPREAD * normal).astype(int).clip(SHORTEST, LONGEST).tolist()


def make_proteins(lengths: Sequence[int]) -> list[ProteinRecord]:
    """Seeded random proteins, no two alike."""
    generator = np.random.default_rng(SEED)
    return [
        ProteinRecord(f"p{place}", ("".join(generator.choice(RESIDUES, length)),), ordinal=place)
        for place, length in enumerate(lengths)
    ]


def make_tasks(short: int = 10) -> dict[str, Task]:
    """``short`` tasks whose answers have exactly ``STEPS`` tokens, and one with a label for each residue.

    Half of the short ones are numbers of four digits, half are paths down a hierarchy of four levels; a path's
    nodes and a task's labels have symbols of their own, which fills the vocabulary. A class task that nobody asks
    pads it to ``VOCABULARY`` symbols.
    """
    number = {"kind": "number", "low": 0, "high": 9999, "step": 1}
    path = {"kind": "category_path", "paths": PATHS, "least": 1, "most": 1}
    plain: dict[str, Any] = {
        f"short_{place + 1}": {**path, "block": f"paths_{place // 2 % 5}"} if place % 2 else number
        for place in range(short)
    }
    plain[DENSE] = {"kind": "residue_labels", "labels": list("HEC")}
    tasks = {
        name: Task.from_plain({"name": name, "title": name, "codec": codec}) for name, codec in plain.items()
    }
    lacking = VOCABULARY - len(compose(tasks)) - 1
    if lacking > 1:
        labels = [str(label) for label in range(lacking)]
        tasks["filler"] = Task.from_plain(
            {"name": "filler", "title": "filler", "codec": {"kind": "category", "labels": labels}}
        )
    return tasks


def short_tasks(tasks: dict[str, Task], count: int) -> list[str]:
    return [name for name in tasks if name.startswith("short_")][:count]


def compose(tasks: dict[str, Task]) -> Vocabulary:
    return Vocabulary.compose(block for task in tasks.values() for block in task.blocks())


def make_predictor(
    setting: str = PRODUCT, device: str = "cpu", short: int = 10, sizes: dict[str, Any] | None = None
) -> Predictor:
    """The product as a user has it, over an untrained model. ``sizes`` replaces sizes of the networks (for tests)."""
    torch.manual_seed(SEED)
    tasks = make_tasks(short)
    lexicon = Lexicon(compose(tasks))
    encoder: Any = load_encoder({**ENCODER, **(sizes or {}).get("encoder", {})})
    options = {**DECODER, **(sizes or {}).get("decoder", {})}
    decoder = Decoder(
        len(lexicon.vocabulary), encoder.width, cross_attention=CROSS_ATTENTION[setting], **options
    )
    return Predictor(
        Bundle(Scribe(encoder, decoder), lexicon, tasks, {name: Readout() for name in tasks}, {}), device
    )


class GivenStates(nn.Module):
    """Stands for an encoder whose states are there already, so that a figure is about the decoder only."""

    def __init__(self, states_NLD: Tensor) -> None:
        super().__init__()
        self.register_buffer("states_NLD", states_NLD)
        self.limit = None
        self.width = states_NLD.shape[-1]

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        count, length = residues_NL.shape
        return self.states_NLD[:count, :length]


def decoder_only(predictor: Predictor, count: int, length: int) -> Scribe:
    """The predictor's model with given states of ``count`` proteins of ``length`` residues for an encoder."""
    model = predictor._model
    width: Any = model.encoder.width
    generator = torch.Generator().manual_seed(SEED)
    states = torch.randn(count, -(-length // 8) * 8, width, generator=generator).to(predictor.device)
    return Scribe(GivenStates(states), model.decoder).eval()


def make_questions(tasks: Sequence[Task], records: Sequence[ProteinRecord]) -> list[Question]:
    """Every task asked of every record, those of one record side by side."""
    return [Question(record, task) for record in records for task in tasks]


def collator(predictor: Predictor) -> Collator:
    return Collator(predictor.bundle.lexicon)
