"""Long proteins in windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from protscribe.encoders import Windowed, encode_windows
from protscribe.errors import ConfigError
from tests.encoders.conftest import pad_residues, random_proteins


class Witness(nn.Module):
    """States that tell the residue, its place in the window, and the window's length."""

    kind, width, limit = "witness", 3, None

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        place = torch.arange(residues_NL.shape[1]).expand(residues_NL.shape)
        length = mask_NL.sum(dim=1, keepdim=True).expand(residues_NL.shape)
        return torch.stack([residues_NL, place, length], dim=-1) * mask_NL[..., None]


@pytest.mark.parametrize("overlap", [0, 1, 4, 9])
@pytest.mark.parametrize("lengths", [[31], [10, 11, 25], [30, 3, 17, 10], [100, 1]])
def test_each_residue_comes_from_the_window_where_it_is_farthest_from_a_cut(
    lengths: list[int], overlap: int
) -> None:
    """Against an enumeration of each protein's windows alone."""
    window = 10
    residues, mask = pad_residues(random_proteins(lengths))
    states = encode_windows(Witness(), residues, mask, window, overlap)
    assert torch.equal(states[..., 0], residues * mask)
    for row, length in enumerate(lengths):
        starts = [0]
        while starts[-1] + window < length:
            starts.append(min(starts[-1] + window - overlap, length - window))
        for index in range(length):

            def room(start: int, index: int = index, length: int = length) -> int:
                left = 999 if start == 0 else index - start
                right = 999 if start + window >= length else start + window - 1 - index
                return min(left, right)

            holding = [start for start in starts if start <= index < start + window]
            best = max(holding, key=lambda start: (room(start), -start))
            assert states[row, index, 1] == index - best
            assert states[row, index, 2] == min(window, length)


@torch.no_grad()
def test_short_proteins_are_not_affected(encoder: Any) -> None:
    proteins = random_proteins([20, 30])
    inputs = pad_residues(proteins)
    assert torch.equal(encode_windows(encoder, *inputs, window=40, overlap=8), encoder(*inputs))
    mixed = encode_windows(encoder, *pad_residues([*proteins, *random_proteins([110])]), window=40, overlap=8)
    torch.testing.assert_close(mixed[:2, :30], encoder(*inputs), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_windows_of_a_local_encoder_are_exact() -> None:
    """An encoder that reaches no farther than half the overlap reads the same states through windows."""
    from protscribe.encoders import build_encoder

    torch.manual_seed(0)
    shape = {"width": 16, "layers": 2, "attention_layers": 0, "heads": 2, "kernel": 3, "dilations": [1, 2]}
    encoder: Any = build_encoder({"kind": "mini", **shape}).eval()
    inputs = pad_residues(random_proteins([200, 64, 90]))
    windowed = Windowed(encoder, window=50, overlap=8)
    torch.testing.assert_close(windowed(*inputs), encoder(*inputs), atol=1e-6, rtol=1e-5)
    assert (windowed.limit, windowed.width, windowed.to_plain()) == (None, 16, encoder.to_plain())


@pytest.mark.parametrize(("window", "overlap"), [(10, 10), (10, -1), (0, 0)])
def test_windows_that_cannot_advance_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(ConfigError) as caught:
        encode_windows(Witness(), *pad_residues(random_proteins([30])), window, overlap)
    assert caught.value.code == "config.window"
