"""One optimizer of two: what goes where, and that it stops and goes on bit by bit."""

from __future__ import annotations

import io

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from protscribe.training.muon import MuonWithAdamW


def made(steps: int = 0) -> tuple[nn.Module, MuonWithAdamW, LambdaLR]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    optimizer = MuonWithAdamW([{"params": matrices}, {"params": others, "weight_decay": 0.0}], lr=1e-2)
    schedule = LambdaLR(optimizer, lambda step: 1 / (step + 1))
    run(model, optimizer, schedule, steps)
    return model, optimizer, schedule


def run(model: nn.Module, optimizer: MuonWithAdamW, schedule: LambdaLR, steps: int) -> None:
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(inputs) - inputs[:, :4]).pow(2).mean().backward()
        optimizer.step()
        schedule.step()


def test_it_learns() -> None:
    model, optimizer, _ = made()
    run(model, optimizer, LambdaLR(optimizer, lambda step: 1.0), 100)
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    untrained, *_ = made()
    losses = [float((one(inputs) - inputs[:, :4]).pow(2).mean().detach()) for one in (model, untrained)]
    assert losses[0] < 0.7 * losses[1]


def test_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    _, optimizer, _ = made(1)
    kinds = {
        group["use_muon"]: [weight.ndim for weight in group["params"]] for group in optimizer.param_groups
    }
    assert kinds == {True: [2, 2], False: [1, 1]}
    names = {
        bool(group["use_muon"]): set(optimizer.state[group["params"][0]]) for group in optimizer.param_groups
    }
    assert names == {True: {"momentum_buffer"}, False: {"step", "exp_avg", "exp_avg_sq"}}


def test_a_schedule_reaches_both() -> None:
    _, optimizer, _ = made(3)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2 / 4] * 2


def test_saved_and_loaded_it_goes_on_bit_by_bit() -> None:
    whole, *_ = made(12)
    half = made(5)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half], file)
    file.seek(0)
    rest = made()
    for part, state in zip(rest, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    run(*rest, 7)
    pairs = zip(whole.parameters(), rest[0].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
