"""From our residue ids to a model's own tokens, and from token states back to residue states.

No tokenizer takes part: one residue is one token by construction, so that no state can shift against its residue.

Shape legend: N proteins, L residues, T tokens (L and the special tokens), D width, R residue ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from protscribe.alphabet import PAD_RESIDUE, RESIDUES
from protscribe.errors import SequenceError
from protscribe.transfer import is_true


class ResidueTokens(nn.Module):
    """A lookup table, with the special tokens that a model wants around a protein.

    ``table`` holds a token for each of :data:`~protscribe.alphabet.RESIDUES`, in that order; ``first`` and ``last`` the
    tokens before and after a protein (None: none); ``most`` the number of residues beyond which the model has no
    place (None: no such number).
    """

    table_R: Tensor

    def __init__(
        self, table: Sequence[int], first: int | None, last: int | None, padding: int, most: int | None = None
    ) -> None:
        super().__init__()
        if len(table) != len(RESIDUES):
            raise ValueError(
                f"table must hold {len(RESIDUES)} tokens, one a residue letter, got {len(table)}"
            )
        self.first, self.last, self.padding, self.most = first, last, padding, most
        self.register_buffer("table_R", torch.tensor([*table, padding]), persistent=False)

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> tuple[Tensor, Tensor]:
        """``tokens_NT`` (int64) and ``mask_NT`` (bool), true at residues and special tokens.

        Raises :class:`~protscribe.errors.SequenceError` ``seq.too_long`` for a protein that does not fit. No shape
        depends on the data, and the data are looked at only where the batch is wider than ``most``.
        """
        if self.most is not None and residues_NL.shape[1] > self.most:
            if is_true("places", mask_NL[:, self.most :].any()):
                raise SequenceError(
                    "seq.too_long",
                    f"this encoder has places for {self.most} residues, got a protein of {int(mask_NL.sum(1).max())}; "
                    "choose the length policy truncate or window, or another encoder",
                )
            residues_NL, mask_NL = residues_NL[:, : self.most], mask_NL[:, : self.most]
        tokens = self.table_R[residues_NL.masked_fill(~mask_NL, PAD_RESIDUE)]
        before, after = int(self.first is not None), int(self.last is not None)
        tokens_NT = nn.functional.pad(tokens, (before, after), value=self.padding)
        if self.first is not None:
            tokens_NT[:, 0] = self.first
        columns_T = torch.arange(tokens_NT.shape[1], device=tokens_NT.device)
        end_N1 = mask_NL.sum(dim=1, keepdim=True) + before
        if self.last is not None:
            tokens_NT = tokens_NT.masked_fill(columns_T == end_N1, self.last)
        return tokens_NT, columns_T < end_N1 + after

    def take(self, states_NTD: Tensor, mask_NL: Tensor) -> Tensor:
        """The residues' states ``[N, L, D]`` out of the tokens' states, zero at padding."""
        before, length = int(self.first is not None), mask_NL.shape[1]
        states = states_NTD[:, before : before + length]
        states = nn.functional.pad(states, (0, 0, 0, length - states.shape[1]))
        return states.masked_fill(~mask_NL[..., None], 0.0)


def attended(mask_NT: Tensor) -> Tensor:
    """The attention mask ``[N, 1, T, T]`` (bool, true where attended to) of a padded batch, ready for SDPA.

    A prepared mask spares transformers a look at the data, which would make the device wait for the host once a batch.
    """
    rows, length = mask_NT.shape
    mask_NT = mask_NT | ~mask_NT.any(dim=1, keepdim=True)  # a row of padding alone must not become NaN
    return mask_NT[:, None, None, :].expand(rows, 1, length, length)
