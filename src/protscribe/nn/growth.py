"""A decoder that gets more symbols, and one in which nothing but its new symbols can change.

Shape legend: V symbols, N new symbols, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from protscribe.nn.decoder import Decoder
from protscribe.vocabulary import Symbol

TABLES = ("table", "score")
"""The parts of a decoder that have a row a symbol: what it reads, and what it scores."""


def append_symbols(decoder: Decoder, symbols: Sequence[Symbol], seed: int) -> None:
    """Gives a decoder, in place, the rows of further symbols in both its tables.

    A new row is drawn as the known ones are spread: their mean and standard deviation in each dimension, times normal
    numbers that follow from ``seed``, the table and the symbol alone. Which symbols come with it changes nothing.
    """
    for name in TABLES:
        part = getattr(decoder, name)
        known_VD = part.weight.detach()
        fresh_ND = _rows(known_VD, symbols, f"{seed}:{name}")
        part.weight = nn.Parameter(torch.cat([known_VD, fresh_ND]))
    decoder.vocabulary += len(symbols)
    decoder.table.num_embeddings = decoder.score.out_features = decoder.vocabulary


def _rows(known_VD: Tensor, symbols: Sequence[Symbol], key: str) -> Tensor:
    deviation_D, mean_D = torch.std_mean(known_VD, dim=0)
    rows = [
        mean_D + deviation_D * _normal(f"{key}:{symbol.block}:{symbol.text}", len(mean_D))
        for symbol in symbols
    ]
    return torch.stack(rows) if rows else known_VD[:0]


def _normal(key: str, size: int) -> Tensor:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    generator = torch.Generator().manual_seed(number % 2**63)
    return torch.randn(size, generator=generator)


class Appended(nn.Module):
    """Rows that stay as they are, before rows that are trained.

    A mask on gradients would not do: weight decay and the momentum of an optimizer move what has no gradient. Here the
    known rows are no parameter at all.
    """

    known_VD: Tensor

    def __init__(self, known_VD: Tensor) -> None:
        super().__init__()
        self.register_buffer("known_VD", known_VD)

    def forward(self, fresh_ND: Tensor) -> Tensor:
        return torch.cat([self.known_VD, fresh_ND])

    def right_inverse(self, weight_VD: Tensor) -> Tensor:
        return weight_VD[len(self.known_VD) :]


def hold_known(model: nn.Module, decoder: Decoder, known: int) -> None:
    """Lets training change nothing of ``model``, in place, but what its ``decoder`` knows of the symbols after the first
    ``known``.
    """
    model.requires_grad_(False)
    for name in TABLES:
        part = getattr(decoder, name)
        register_parametrization(part, "weight", Appended(part.weight.detach()[:known].clone()))
        part.parametrizations.weight.original.requires_grad_(True)


def release(decoder: Decoder) -> None:
    """Makes the tables of a decoder plain again, in place; does nothing to one that was not held."""
    for name in TABLES:
        part = getattr(decoder, name)
        if is_parametrized(part, "weight"):
            whole_VD = part.weight.detach().clone()
            remove_parametrizations(part, "weight", leave_parametrized=False)
            part.weight = nn.Parameter(whole_VD)
