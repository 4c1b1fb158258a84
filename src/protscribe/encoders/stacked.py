"""A small trainable encoder on top of a large one: a pretrained base says what it knows, a few layers learn what a task needs.

With a frozen base the states below are the same in every epoch and can be kept on disk, so that training costs what the small
encoder costs.

Shape legend: N proteins, L residues (padded), D width on top, E width of the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from protscribe.alphabet import PAD_RESIDUE
from protscribe.encoders.mini import Convolution


class StackedEncoder(nn.Module):
    """Convolutions over the states of a ``base`` encoder and over the residues themselves.

    Parameters
    ----------
    base: any encoder of the table; in plain data, what makes it.
    width: D. layers: convolutions; kernel: residues each reads (odd); dilations: steps between them, in turn. expansion: width
        of a feed-forward over D. dropout: 0..1, on the projected states and in the layers.
    """

    kind: ClassVar[str] = "stacked"

    def __init__(
        self,
        base: nn.Module,
        width: int = 64,
        layers: int = 4,
        kernel: int = 7,
        dilations: Sequence[int] = (1, 2, 4, 8),
        expansion: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        if isinstance(base, StackedEncoder):
            raise ValueError("base must not be a stacked encoder itself")
        below: Any = base
        self.plain = {
            "width": width,
            "layers": layers,
            "kernel": kernel,
            "dilations": list(dilations),
            "expansion": expansion,
            "dropout": dropout,
        }
        self.base = below
        self.width = width
        self.limit: int | None = below.limit
        self.table = nn.Embedding(PAD_RESIDUE + 1, width, padding_idx=PAD_RESIDUE)
        nn.init.normal_(self.table.weight)
        self.project = nn.Linear(below.width, width)
        self.dropout = nn.Dropout(dropout)
        steps = list(dilations) * (layers // len(dilations) + 1)
        self.layers = nn.ModuleList(
            Convolution(width, kernel, dilation, expansion, dropout) for dilation in steps[:layers]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`."""
        return self.upper(self.base(residues_NL, mask_NL), residues_NL, mask_NL)

    @property
    def compared_width(self) -> int:
        """E + D, the width of :meth:`with_base`."""
        return int(self.base.width) + self.width

    def with_base(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """The base's states and, as the last D of them, those of :meth:`forward`: ``[N, L, E + D]``. Known proteins are
        compared by both."""
        states_NLE = self.base(residues_NL, mask_NL)
        return torch.cat([states_NLE, self.upper(states_NLE, residues_NL, mask_NL)], dim=-1)

    def upper(self, states_NLE: Tensor, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """States ``[N, L, D]`` from those of the base."""
        mask_NL1 = mask_NL[..., None]
        letters_NLD = self.table(residues_NL.masked_fill(~mask_NL, PAD_RESIDUE))
        states_NLD = letters_NLD + self.dropout(self.project(states_NLE))
        for layer in self.layers:
            states_NLD = layer(states_NLD, mask_NL1)
        normed: Tensor = self.norm(states_NLD)
        return normed.masked_fill(~mask_NL1, 0.0)

    def blocks(self) -> Sequence[nn.Module]:
        return [*self.base.blocks(), *self.layers]

    def top(self) -> nn.Module | None:
        return self.norm

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, "base": self.base.to_plain(), **self.plain}
