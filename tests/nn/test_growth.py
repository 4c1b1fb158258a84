"""New rows of a decoder's tables: where they begin, and that nothing else can move."""

import pytest
import torch
from torch import nn

from protscribe.nn.decoder import Decoder
from protscribe.nn.growth import append_symbols, hold_known, release
from protscribe.vocabulary import Symbol

KNOWN, NEW = 12, (Symbol("task", "heat"), Symbol("heat", "no"), Symbol("heat", "yes"))


def made(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(KNOWN, memory_width=8, width=16, layers=1, heads=2, dropout=0.5)


def grown(symbols=NEW, seed: int = 5) -> Decoder:
    decoder = made()
    append_symbols(decoder, symbols, seed)
    return decoder


def rows(decoder: Decoder, table: str, place: int) -> torch.Tensor:
    return getattr(decoder, table).weight[place].detach()


def test_what_was_there_stays_and_the_rest_fits():
    before, decoder = made().state_dict(), grown()
    assert decoder.vocabulary == KNOWN + len(NEW)
    for name, tensor in decoder.state_dict().items():
        kept = tensor[:KNOWN] if name in ("table.weight", "score.weight") else tensor
        assert torch.equal(kept, before[name])
    fresh = Decoder(KNOWN + len(NEW), memory_width=8, width=16, layers=1, heads=2)
    assert {name: one.shape for name, one in fresh.state_dict().items()} == {
        name: one.shape for name, one in decoder.state_dict().items()
    }
    assert str(decoder.table) == str(fresh.table)
    assert str(decoder.score) == str(fresh.score)


@pytest.mark.parametrize("table", ["table", "score"])
def test_a_new_row_follows_from_seed_and_symbol_alone(table):
    alone, other = grown(NEW[2:]), grown(seed=6)
    torch.rand(7)  # the global generator has no say
    assert torch.equal(rows(grown(), table, KNOWN + 2), rows(alone, table, KNOWN))
    assert not torch.equal(rows(grown(), table, KNOWN + 2), rows(other, table, KNOWN + 2))
    assert not torch.equal(rows(grown(), table, KNOWN + 1), rows(grown(), table, KNOWN + 2))


def test_the_two_tables_of_a_symbol_have_nothing_in_common():
    decoder = grown()
    assert not torch.allclose(rows(decoder, "table", KNOWN) * 12.5, rows(decoder, "score", KNOWN), atol=0.1)


@pytest.mark.parametrize("table", ["table", "score"])
def test_new_rows_are_spread_as_the_known_ones(table):
    many = [Symbol("block", str(number)) for number in range(400)]
    weight = getattr(grown(many), table).weight.detach()
    known, new = torch.std_mean(weight[:KNOWN], 0), torch.std_mean(weight[KNOWN:], 0)
    assert torch.allclose(known[0], new[0], rtol=0.2)
    assert torch.allclose(known[1], new[1], atol=float(known[0].max()) * 0.25)


def step(decoder: Decoder, times: int = 3) -> None:
    """Steps that would move everything that can move: gradients everywhere, momentum, much weight decay."""
    trained = [weight for weight in decoder.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.5)
    states = torch.ones(1, 5, 8)
    mask, part = torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.long)
    for _ in range(times):
        memory = decoder.remember(states, None, mask, part, torch.arange(5)[None])
        tokens = torch.arange(decoder.vocabulary)[None]
        scores = decoder.choices(decoder(tokens, torch.full_like(tokens, -1), memory), memory)
        optimizer.zero_grad()
        scores.square().mean().backward()
        optimizer.step()


def test_only_new_rows_are_trained_whatever_the_optimizer_does():
    decoder = grown()
    before = {name: one.clone() for name, one in decoder.state_dict().items()}
    hold_known(decoder, decoder, KNOWN)
    step(decoder)
    release(decoder)
    after = decoder.state_dict()
    assert list(after) == list(before)
    for name in before:
        if name in ("table.weight", "score.weight"):
            assert torch.equal(after[name][:KNOWN], before[name][:KNOWN])
            assert not torch.isclose(after[name][KNOWN:], before[name][KNOWN:]).any()
        else:
            assert torch.equal(after[name], before[name])


def test_a_mask_on_gradients_would_not_do():
    """Why known rows are no parameter: the test above would fail with the obvious way."""
    decoder = grown()
    before = decoder.table.weight.detach().clone()
    decoder.requires_grad_(False)
    decoder.table.weight.requires_grad_(True)
    decoder.table.weight.register_hook(
        lambda gradient: gradient * (torch.arange(len(gradient)) >= KNOWN)[:, None]
    )
    step(decoder)
    assert not torch.equal(decoder.table.weight[:KNOWN], before[:KNOWN])


def test_held_tables_still_look_like_tables():
    decoder = grown()
    hold_known(decoder, decoder, KNOWN)
    assert isinstance(decoder.table, nn.Embedding)
    assert decoder.table.weight.shape == (KNOWN + len(NEW), 16)
    trained = {name: tuple(one.shape) for name, one in decoder.named_parameters() if one.requires_grad}
    assert trained == {
        "table.parametrizations.weight.original": (len(NEW), 16),
        "score.parametrizations.weight.original": (len(NEW), 16),
    }


def test_releasing_what_was_never_held_changes_nothing():
    decoder = grown()
    before = dict(decoder.named_parameters())
    release(decoder)
    assert all(one is before[name] for name, one in decoder.named_parameters())
