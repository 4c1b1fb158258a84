"""What a column is told of its prompt: the symbols behind the first, as large as one, the same at every column."""

import pytest
import torch

from protscribe.nn.decoder import Decoder
from tests.nn.test_attention import decoder_and_memory

TOKENS = torch.tensor([[1, 7, 9, 20, 21], [1, 8, 22, 23, 0]])
START = torch.tensor([3, 2])


def decoder(**more):
    torch.manual_seed(0)
    return Decoder(30, memory_width=8, width=16, layers=1, heads=2, **more).eval()


def test_the_symbols_behind_the_first_are_told_as_large_as_one():
    asked = decoder(prompt_everywhere=True)
    told_BD = asked.told(TOKENS, START)
    table = asked.table.weight
    torch.testing.assert_close(told_BD[0], (table[7] + table[9]) / 2**0.5)
    torch.testing.assert_close(told_BD[1], table[8])


def test_an_answer_does_not_change_what_is_told():
    asked = decoder(prompt_everywhere=True)
    answered = TOKENS.clone()
    answered[0, 3:], answered[1, 2:] = 25, 26
    torch.testing.assert_close(asked.told(answered, START), asked.told(TOKENS, START))
    torch.testing.assert_close(asked.told(TOKENS[1:, :2], START[1:]), asked.told(TOKENS, START)[1:])


def test_a_prompt_without_symbols_tells_nothing():
    asked = decoder(prompt_everywhere=True)
    assert not asked.told(torch.tensor([[1]]), torch.tensor([1])).any()


def test_nothing_is_told_where_it_is_not_wanted():
    plain = decoder()
    assert plain.told(TOKENS, START) is None
    assert "prompt_everywhere" not in plain.to_plain(), "bundles of older releases stay equal to new ones"
    assert decoder(prompt_everywhere=True).to_plain()["prompt_everywhere"] is True


def test_what_is_told_must_be_given():
    asked, memory = decoder_and_memory({})
    asked.prompt_everywhere = True
    tokens_BT = torch.randint(0, 30, (4, 5))
    aligned_BT = torch.full_like(tokens_BT, -1)
    with pytest.raises(AssertionError):
        asked(tokens_BT, aligned_BT, memory)


@torch.inference_mode()
def test_another_prompt_changes_every_column():
    asked, memory = decoder_and_memory({})
    asked.prompt_everywhere = True
    tokens_BT = torch.randint(0, 30, (4, 5))
    aligned_BT = torch.full_like(tokens_BT, -1)
    one_BD = asked.told(torch.tensor([[1, 5]] * 4), torch.tensor([2] * 4))
    other_BD = asked.told(torch.tensor([[1, 6]] * 4), torch.tensor([2] * 4))
    one = asked(tokens_BT, aligned_BT, memory, told_BD=one_BD)
    other = asked(tokens_BT, aligned_BT, memory, told_BD=other_BD)
    assert ((one - other).abs().amax(dim=-1) > 1e-3).all()
