"""Other ways to train the decoder on a question: remedies for where it loses, and ablations of what it is made of.

A way changes as little as it can: overrides of ``protscribe train``, how sites are written, a first stage without labels, or
one method of the library for as long as the question is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from protscribe.codecs.number import Number
from protscribe.codecs.protocol import Encoded
from protscribe.data.batch import Batch
from protscribe.generation import answering
from protscribe.grammar import Grammar
from protscribe.nn.decoder import Decoder, Memory
from protscribe.records import ProteinRecord
from protscribe.training.module import ScribeTraining


@dataclass(frozen=True)
class Way:
    """``told`` says in a table's cell what is other than by default. ``written`` is how residues are written (empty: as the
    question says).
    """

    told: str
    overrides: tuple[str, ...] = ()
    written: str = ""
    first_stage: bool = False
    """Whether the decoder first learns questions without labels (``experiment=decoder_pretraining``) on the same proteins."""
    patch: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


@contextlib.contextmanager
def replaced(owner: type | ModuleType, name: str, by: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def unaligned() -> contextlib.AbstractContextManager[None]:
    """No column is told the residue that it is about."""
    embed = Decoder.embed

    def without(
        self: Decoder, tokens_BQ: Tensor, aligned_BQ: Tensor, memory: Memory, pointing: bool = True
    ) -> Tensor:
        return embed(self, tokens_BQ, torch.full_like(aligned_BQ, -1), memory, pointing)

    return replaced(Decoder, "embed", without)


def unhidden() -> contextlib.AbstractContextManager[None]:
    """Training shows every prefix as it is."""

    def nothing(self: ScribeTraining, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.answer_BT)

    return replaced(ScribeTraining, "_hidden", nothing)


def quiet_symbols() -> contextlib.AbstractContextManager[None]:
    """Symbols start a fiftieth as large as the residues' states that they are added to."""
    start = Decoder._start

    def quieter(module: nn.Module) -> None:
        start(module)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    return replaced(Decoder, "_start", staticmethod(quieter))


def drawn() -> contextlib.AbstractContextManager[None]:
    """Paths in a tree of classes are read from drawn answers alone, as they were before docs/decisions/0019."""

    def never(grammar: Grammar) -> bool:
        return False

    return replaced(answering, "is_tree", never)


def leading_digits() -> contextlib.AbstractContextManager[None]:
    """Digits behind those that the readout follows in full count a tenth, a hundredth, ... in the loss."""
    encode = Number.encode

    def weighted(self: Number, answer: float, record: ProteinRecord) -> Encoded:
        tokens = encode(self, answer, record).tokens
        return Encoded(
            tokens, tuple(min(1.0, 10.0 ** (self.read_depth - 1 - place)) for place in range(len(tokens)))
        )

    return replaced(Number, "encode", weighted)


WAYS = {
    "all_hidden": Way("trained as it is read: the whole prefix hidden always", ("objective.hide_all=1",)),
    "mostly_hidden": Way("the whole prefix hidden three times in four", ("objective.hide_all=0.75",)),
    "quiet_symbols": Way("symbols start with a spread of 0.02 in place of 1", patch=quiet_symbols),
    "sixteen_passes": Way("sixteen passes", ("trainer.max_epochs=16",)),
    "fast_symbols": Way("symbols learn five times as fast", ("rates.symbols=5",)),
    "leading_digits": Way("digits behind the second count a tenth of the one before", patch=leading_digits),
    "exact_numbers": Way("training does not move numbers", ("data.number_spread=0",)),
    "soft_digits": Way("targets know that digits are near each other", ("objective.digit_width=1",)),
    "pointers": Way("pointers", written="pointers"),
    "marks": Way("a mark at each residue", written="marks"),
    "labels": Way("a label at each residue", written="labels"),
    "first_stage": Way("a first stage of questions without labels", first_stage=True),
    "positions": Way("position tokens in place of pointers", ("data.positions=tokens",), written="pointers"),
    "unaligned": Way("columns are not told their residue", patch=unaligned),
    "no_convolutions": Way("the decoder reads the frozen states themselves", ("encoder.layers=0",)),
    "to_the_end": Way(
        "the decoder reads the frozen states themselves, forty passes, the last one kept",
        ("encoder.layers=0", "trainer.max_epochs=40", "callbacks.checkpoints.monitor=null"),
    ),
    "averaged": Way(
        "weights averaged over the last fifty steps or so",
        (
            "+callbacks.average._target_=lightning.pytorch.callbacks.EMAWeightAveraging",
            "+callbacks.average.decay=0.98",
        ),
    ),
    "drawn": Way("paths read from drawn answers alone", patch=drawn),
    "told": Way("every column is told the prompt", ("decoder.prompt_everywhere=true",)),
    "unhidden": Way("no prefix is hidden in training", patch=unhidden),
}

FREE, NEAR, VOTES = "free", "neighbours_vote", "votes"
"""The ways that train nothing, of the models that are there: greedy strings without a grammar, and votes of training proteins
beside the decoder (``docs/decisions/0021``); the last is what a head is called that has such votes."""
JOINT = {
    "joint": Way("one model of nine questions"),
    "joint_told": Way(
        "one model of nine questions, columns told the prompt", ("decoder.prompt_everywhere=true",)
    ),
}
"""The ways that train one model of :data:`TOGETHER`."""
TOGETHER = (
    "stability", "localisation", "fold", "secondary_structure_3", "ligand_binding", "phosphorylation_y", "signal_peptide",
    "interface_residues", "topology",
)  # fmt: skip
"""Not segments, which are topology's proteins once more, nor the questions of which nobody learns anything."""
HOW = {"sites": ("pointers", "marks"), "segments": ("pointers", "labels")}
"""How residues can be written, by family."""
