"""What an encoder is: residue ids in, one state a residue out.

Shape legend: N proteins, L residues (padded), D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Encoder(Protocol):
    """A ``torch.nn.Module`` that reads whole proteins. Implementations stand in a closed table, one a file in this folder."""

    kind: ClassVar[str]
    """The name in YAML and in a bundle: ``mini``, ``esm2``, ..."""

    width: int
    """D, the width of a state."""

    limit: int | None
    """The longest protein, in residues, that it was trained on; None: any. It may well run on longer ones."""

    def __call__(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """States ``[N, L, D]``: state i is of residue i, and zero at padding.

        ``residues_NL`` (int64) are indices into :data:`protscribe.alphabet.RESIDUES`; ``mask_NL`` (bool) is true at residues,
        which stand from column 0 on. What stands at padding has no influence. Tokens that a model wants before and
        after a protein are put in and taken out inside. Nothing here waits for the device.
        """

    def blocks(self) -> Sequence[nn.Module]:
        """Its layers from the input to the output: what *the last k layers* counts."""

    def top(self) -> nn.Module | None:
        """The norm after the last layer, trained along with it; None where there is none."""

    def to_plain(self) -> dict[str, Any]:
        """``kind`` and the constructor's keywords: plain data that give the same architecture, without weights."""
