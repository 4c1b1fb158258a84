"""The weights of cross-attention: those that its output was made with, one at each column, nothing at padding."""

import pytest
import torch

from protscribe.nn.attending import attention_weights, cross_weights
from tests.nn.test_attention import KINDS, decoder_and_memory


def look(cross_attention, rows=4, columns=5):
    decoder, memory = decoder_and_memory(cross_attention)
    tokens_BT = torch.randint(0, 30, (rows, columns))
    aligned_BT = torch.full_like(tokens_BT, -1)
    return decoder, memory, tokens_BT, aligned_BT


@pytest.mark.parametrize("cross_attention", KINDS)
def test_weights_sum_to_one_and_leave_padding_out(cross_attention):
    decoder, memory, tokens_BT, aligned_BT = look(cross_attention)
    weights = attention_weights(decoder, tokens_BT, aligned_BT, memory)
    assert weights.shape == (3, 4, 4, 5, 40)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 4, 4, 5))
    # The second memory, which rows 2 and 3 ask, has 20 places.
    assert (weights[:, 2:, :, :, 20:] == 0).all()
    assert (weights[:, :2] > 0).all()


@pytest.mark.parametrize("cross_attention", KINDS)
@torch.inference_mode()
def test_weights_are_those_that_made_the_output(cross_attention):
    decoder, memory, tokens_BT, aligned_BT = look(cross_attention)
    seen = []
    for layer in decoder.layers:
        layer.cross_attention.register_forward_hook(
            lambda module, given, output: seen.append((module, given, output))
        )
    decoder(tokens_BT, aligned_BT, memory)
    for module, (states_BQD, memory_KMD, mask_KM, projection, projected), output in seen:
        weights_BHQM = cross_weights(module, states_BQD, memory_KMD, mask_KM, projection)
        _, values_KGME = projected or projection(memory_KMD)
        for row in range(4):
            for head in range(4):
                group = head // (4 // projection.heads)
                mixed = weights_BHQM[row, head] @ values_KGME[row // 2, group]
                columns = slice(head * module.size, (head + 1) * module.size)
                expected = mixed @ module.out.weight[:, columns].T
                output[row] = output[row] - expected
        assert output.abs().max() < 1e-5


def test_looking_leaves_nothing_behind():
    decoder, memory, tokens_BT, aligned_BT = look({})
    with torch.inference_mode():
        before = decoder(tokens_BT, aligned_BT, memory)
    attention_weights(decoder, tokens_BT, aligned_BT, memory)
    assert not any(layer.cross_attention._forward_pre_hooks for layer in decoder.layers)
    with torch.inference_mode():
        assert torch.equal(decoder(tokens_BT, aligned_BT, memory), before)
