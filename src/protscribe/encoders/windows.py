"""Long proteins in overlapping windows, for an encoder that was trained on shorter ones.

Every residue's state comes from the window in which it stands farthest from a cut; the protein's own ends are no cuts.

Shape legend: N proteins, L residues (padded), J windows of one protein, W residues of a window, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from protscribe.errors import ConfigError


def encode_windows(
    encoder: Callable[[Tensor, Tensor], Tensor],
    residues_NL: Tensor,
    mask_NL: Tensor,
    window: int,
    overlap: int = 128,
) -> Tensor:
    """States ``[N, L, D]`` of proteins of any length, from windows of at most ``window`` residues.

    Neighbouring windows share ``overlap`` residues or more; a protein's last window ends where the protein ends. A protein of
    at most ``window`` residues is encoded as it would be without this function. Raises
    :class:`~protscribe.errors.ConfigError` ``config.window`` unless ``0 <= overlap < window``.
    """
    if not 0 <= overlap < window:
        raise ConfigError(
            "config.window", f"need 0 <= overlap < window, got overlap={overlap}, window={window}"
        )
    rows, length = residues_NL.shape
    if length <= window:
        states_NLD: Tensor = encoder(residues_NL, mask_NL)
        return states_NLD
    stride = window - overlap
    count = 1 + -(-(length - window) // stride)
    length_N1 = mask_NL.sum(dim=1, keepdim=True)
    steps_J = torch.arange(count, device=mask_NL.device) * stride
    start_NJ = torch.minimum(steps_J, (length_N1 - window).clamp(min=0))
    index_NJW = start_NJ[..., None] + torch.arange(window, device=mask_NL.device)
    flat = index_NJW.clamp(max=length - 1).flatten(1)
    inside = (index_NJW < length_N1[..., None]).flatten(0, 1)
    states: Tensor = encoder(residues_NL.gather(1, flat).view(rows * count, window), inside)
    owner_NL = _farthest_from_cuts(start_NJ, length_N1, length, window)
    place_NL = torch.arange(length, device=mask_NL.device) - start_NJ.gather(1, owner_NL)
    source_NL = owner_NL * window + place_NL.clamp(min=0, max=window - 1)
    width = states.shape[-1]
    stitched = states.view(rows, count * window, width).gather(1, source_NL[..., None].expand(-1, -1, width))
    return stitched.masked_fill(~mask_NL[..., None], 0.0)


def _farthest_from_cuts(start_NJ: Tensor, length_N1: Tensor, length: int, window: int) -> Tensor:
    """The window ``[N, L]`` that each residue is taken from; the earlier one where two are as good."""
    count = start_NJ.shape[1]
    place_NJL = torch.arange(length, device=start_NJ.device) - start_NJ[..., None]
    left = place_NJL.masked_fill((start_NJ == 0)[..., None], length)
    right = (window - 1 - place_NJL).masked_fill((start_NJ + window >= length_N1)[..., None], length)
    room = torch.minimum(left, right).masked_fill((place_NJL < 0) | (place_NJL >= window), -1)
    order_J1 = torch.arange(count, device=start_NJ.device)[:, None]
    return (room * count - order_J1).argmax(dim=1)


class Windowed(nn.Module):
    """An encoder that reads long proteins by :func:`encode_windows`; otherwise the encoder itself."""

    def __init__(self, encoder: nn.Module, window: int, overlap: int = 128) -> None:
        super().__init__()
        inner: Any = encoder
        self.encoder: Any = inner
        self.window, self.overlap = window, overlap
        self.kind: str = inner.kind
        self.width: int = inner.width
        self.limit: int | None = None

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        return encode_windows(self.encoder, residues_NL, mask_NL, self.window, self.overlap)

    @property
    def compared_width(self) -> int:
        """As of :class:`~protscribe.encoders.stacked.StackedEncoder`; of other encoders their own width."""
        return int(getattr(self.encoder, "compared_width", self.width))

    def with_base(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """As of :class:`~protscribe.encoders.stacked.StackedEncoder`; of other encoders what :meth:`forward` gives."""
        read = getattr(self.encoder, "with_base", self.encoder)
        return encode_windows(read, residues_NL, mask_NL, self.window, self.overlap)

    @property
    def below_module(self) -> nn.Module:
        """As of :class:`~protscribe.encoders.adaptation.Adapted`."""
        fixed: nn.Module = self.encoder.below_module
        return fixed

    def below(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        return encode_windows(self.encoder.below, residues_NL, mask_NL, self.window, self.overlap)

    def above(self, states_NLE: Tensor, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        states_NLD: Tensor = self.encoder.above(states_NLE, residues_NL, mask_NL)
        return states_NLD

    def blocks(self) -> Sequence[nn.Module]:
        blocks: Sequence[nn.Module] = self.encoder.blocks()
        return blocks

    def top(self) -> nn.Module | None:
        top: nn.Module | None = self.encoder.top()
        return top

    def to_plain(self) -> dict[str, Any]:
        """Of the encoder: windows belong to a run, not to an architecture."""
        plain: dict[str, Any] = self.encoder.to_plain()
        return plain
