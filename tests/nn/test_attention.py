"""Cross-attention with keys and values, and without: the same, whatever is shared."""

import pytest
import torch

from protscribe.nn.decoder import Decoder

KINDS = [{}, {"kv_heads": 2}, {"kv_heads": 1}, {"kv_heads": 1, "shared": True}]


def decoder_and_memory(cross_attention, places=40):
    torch.manual_seed(3)
    decoder = Decoder(30, 12, width=32, layers=3, heads=4, cross_attention=cross_attention).eval()
    mask_KM = torch.arange(places) < torch.tensor([[places], [places // 2]])
    nothing_KM = torch.zeros(2, places, dtype=torch.long)
    return decoder, decoder.remember(torch.randn(2, places, 12), None, mask_KM, nothing_KM, nothing_KM)


@pytest.mark.parametrize("cross_attention", KINDS)
@pytest.mark.parametrize("rows", [2, 6])
@torch.inference_mode()
def test_attending_to_states_is_attending_to_keys_and_values(cross_attention, rows):
    decoder, memory = decoder_and_memory(cross_attention)
    projected = decoder.project(memory)
    assert not memory.projected
    assert len(projected.projected) == (1 if cross_attention.get("shared") else 3)
    tokens_BQ = torch.randint(0, 30, (rows, 5))
    aligned_BQ = torch.full_like(tokens_BQ, -1)
    plain, other = decoder(tokens_BQ, aligned_BQ, projected), decoder(tokens_BQ, aligned_BQ, memory)
    torch.testing.assert_close(plain, other, atol=1e-5, rtol=1e-5)
    assert plain.std() > 0.1


@torch.inference_mode()
def test_keys_and_values_are_computed_where_that_is_less_work():
    decoder, memory = decoder_and_memory({})
    assert not decoder.project(memory, 1).projected
    assert decoder.project(memory, 1000).projected
    projected = decoder.project(memory)
    assert decoder.project(projected, 1) is projected
    # Few keys and values are soon worth it.
    least = [
        next(n for n in range(1000) if one.project(kept, n).projected)
        for one, kept in (decoder_and_memory(kind) for kind in KINDS)
    ]
    assert least == sorted(least, reverse=True)
    assert least[-1] < least[0] / 5
