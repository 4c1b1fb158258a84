"""What of an encoder may change in training, and that it comes back under its own names."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from protscribe.encoders import adapt, load_molecule_encoder, merge
from protscribe.errors import ConfigError
from tests.encoders.conftest import pad_residues, random_proteins

INPUTS = pad_residues(random_proteins([20, 33]))


@pytest.fixture
def fresh(encoder: Any) -> Any:
    return copy.deepcopy(encoder)


def train_a_little(adapted: Any) -> None:
    optimizer = torch.optim.SGD([weight for weight in adapted.parameters() if weight.requires_grad], lr=0.1)
    adapted.train()
    for _ in range(2):
        optimizer.zero_grad()
        adapted(*INPUTS)[..., :3].mean().backward()  # a norm at the end makes their squares a constant
        optimizer.step()
    adapted.eval()


def changed(before: dict[str, torch.Tensor], encoder: Any) -> set[str]:
    after = encoder.state_dict()
    assert after.keys() == before.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_frozen_has_no_gradient_and_no_dropout(fresh: Any) -> None:
    adapted = adapt(fresh, "frozen").train()
    assert not any(weight.requires_grad for weight in adapted.parameters())
    assert not any(module.training for module in fresh.modules())
    states = adapted(*INPUTS)
    assert not states.requires_grad
    assert torch.equal(states, adapted(*INPUTS))
    assert merge(adapted) is fresh


def test_full_trains_everything(fresh: Any) -> None:
    before = copy.deepcopy(fresh.state_dict())
    adapted = adapt(fresh, "full")
    assert all(weight.requires_grad for weight in adapted.parameters())
    train_a_little(adapted)
    named = {name for name, _ in fresh.named_parameters()}
    assert len(changed(before, merge(adapted)) & named) > 0.8 * len(named)


def test_last_k_trains_the_last_layers_and_the_norm_after(fresh: Any) -> None:
    before = copy.deepcopy(fresh.state_dict())
    adapted = adapt(fresh, "last_k", last=1)
    trained = {
        id(weight) for part in (fresh.blocks()[-1], fresh.top()) if part for weight in part.parameters()
    }
    assert {id(weight) for weight in adapted.parameters() if weight.requires_grad} == trained
    adapted.train()
    assert not any(module.training for block in fresh.blocks()[:-1] for module in block.modules())
    assert all(module.training for module in fresh.blocks()[-1].modules())
    train_a_little(adapted)
    allowed = {name for name, weight in fresh.named_parameters() if id(weight) in trained}
    moved = changed(before, merge(adapted))
    assert moved
    assert moved <= allowed


def test_lora_starts_as_the_encoder_and_merges_into_it(fresh: Any) -> None:
    before = copy.deepcopy(fresh.state_dict())
    count = sum(weight.numel() for weight in fresh.parameters())
    with torch.no_grad():
        original = fresh(*INPUTS)
    adapted = adapt(fresh, "lora", rank=2)
    assert 0 < sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad) < 0.35 * count
    with torch.no_grad():
        torch.testing.assert_close(adapted.eval()(*INPUTS), original)
    train_a_little(adapted)
    merged: Any = merge(adapted)
    moved = changed(before, merged)
    inside = {id(module) for block in merged.blocks() for module in block.modules()}
    linear = {
        f"{name}.weight"
        for name, module in merged.named_modules()
        if id(module) in inside and isinstance(module, torch.nn.Linear)
    }
    assert moved == linear
    with torch.no_grad():
        torch.testing.assert_close(merged(*INPUTS), adapted(*INPUTS), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(merged(*INPUTS), original, atol=1e-5)
    assert merged.to_plain() == adapted.to_plain()
    train_a_little(adapted)  # merging was of a copy: training goes on


def test_lora_targets_can_be_named(fresh: Any) -> None:
    ends = sorted(
        {name.rsplit(".", 1)[-1] for name, one in fresh.named_modules() if isinstance(one, torch.nn.Linear)}
    )
    adapted = adapt(fresh, "lora", targets=ends[:1])
    touched = {name.split(".lora_")[0] for name, one in adapted.named_parameters() if one.requires_grad}
    assert touched
    assert all(name.endswith(ends[0]) for name in touched)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"how": "lroa"}, "config.unknown", "did you mean 'lora'"),
        ({"how": "last_k", "last": 99}, "config.value", "last must be 1..6"),
        ({"how": "last_k", "last": 0}, "config.value", "got 0"),
        ({"how": "lora", "rank": 0}, "config.value", "rank"),
        ({"how": "lora", "targets": ["query"]}, "config.unknown", "ends in query; there are: expand, out"),
    ],
)
def test_wrong_settings_are_named(
    encoders: dict[str, Any], options: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        adapt(copy.deepcopy(encoders["mini"]), **options)
    assert caught.value.code == code


def test_a_molecule_encoder_adapts_as_well() -> None:
    adapted = adapt(load_molecule_encoder({"kind": "character", "width": 16, "heads": 2}), "frozen").train()
    states = adapted(*adapted.tokenize(["CCO", "C"]))
    assert states.shape == (2, 3, 16)
    assert not states.requires_grad


def test_an_encoder_that_was_never_adapted_is_its_own(encoders: dict[str, Any]) -> None:
    assert merge(encoders["mini"]) is encoders["mini"]
