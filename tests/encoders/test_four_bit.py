"""Encoders in four bits under low-rank additions: what is kept, what is trained, and what comes out. Needs the extra qlora."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from protscribe.encoders import adapt, build_encoder, merge
from protscribe.encoders.four_bit import FourBitLinear, pack_linear, unpack_linear
from protscribe.errors import ConfigError
from tests.encoders.conftest import pad_residues, random_proteins
from tests.encoders.test_adaptation import train_a_little

INPUTS = pad_residues(random_proteins([20, 33]))
HALF_GAP = 0.16
"""Half the widest gap between neighbouring values of NF4, as a share of a block's largest weight."""


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    encoder = build_encoder({"kind": "mini", "width": 16, "layers": 1, "attention_layers": 0})
    with pytest.raises(ConfigError, match=r"pip install 'protscribe\[qlora\]'") as caught:
        adapt(encoder, "qlora")
    assert caught.value.code == "config.missing"


@pytest.fixture
def bitsandbytes() -> Any:
    return pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")


@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_near_and_computes_with_what_it_kept(bitsandbytes: Any, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 48, bias=bias)
    packed = FourBitLinear(layer)
    largest_O1 = layer.weight.detach().abs().amax(dim=1, keepdim=True)
    assert ((packed.weight - layer.weight).abs() <= HALF_GAP * largest_O1).all()
    assert not torch.equal(packed.weight, layer.weight)
    assert sum(one.nbytes for one in packed.buffers()) == 64 * 48 // 2 + 4 * 48
    inputs = torch.randn(5, 64, requires_grad=True)
    outputs, expected = packed(inputs), linear(inputs, packed.weight, layer.bias)
    torch.testing.assert_close(outputs, expected)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), inputs)[0])
    again = FourBitLinear(packed.unpacked())
    assert torch.equal(again.packed_P1, packed.packed_P1)
    assert torch.equal(again.scales_S, packed.scales_S)


def test_packing_and_unpacking_a_model_keeps_its_names(bitsandbytes: Any) -> None:
    encoder = build_encoder({"kind": "mini", "width": 16, "layers": 1, "attention_layers": 1, "heads": 2})
    before = copy.deepcopy(encoder.state_dict())
    names = [name for name, one in encoder.named_modules() if isinstance(one, nn.Linear)]
    pack_linear(encoder, names)
    assert not before.keys() & {f"{name}.weight" for name in names} & encoder.state_dict().keys()
    unpack_linear(encoder)
    after = encoder.state_dict()
    assert {name: value.shape for name, value in after.items()} == {
        name: value.shape for name, value in before.items()
    }
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert before.keys() - same == {f"{name}.weight" for name in names}


def test_every_encoder_trains_over_four_bits_and_merges(bitsandbytes: Any, encoder: Any) -> None:
    before = copy.deepcopy(encoder.state_dict())
    inside = {id(one) for block in encoder.blocks() for one in block.modules() if isinstance(one, nn.Linear)}
    linear_weights = {f"{name}.weight" for name, one in encoder.named_modules() if id(one) in inside}
    adapted = adapt(copy.deepcopy(encoder), "qlora", rank=2)
    assert all(".lora_" in name for name, one in adapted.named_parameters() if one.requires_grad)
    packed = [one for one in adapted.modules() if isinstance(one, FourBitLinear)]
    kept = (
        1 if any(name.endswith(".wo.weight") for name in linear_weights) else 0
    )  # T5 keeps one a block whole
    assert len(packed) == len(linear_weights) - kept * len(encoder.blocks())
    with torch.no_grad():
        start = adapted.eval()(*INPUTS)
        torch.testing.assert_close(merge(adapted)(*INPUTS), start, atol=1e-5, rtol=1e-4)
    packed_before = [one.packed_P1.clone() for one in packed]
    train_a_little(adapted)
    assert all(torch.equal(one.packed_P1, old) for one, old in zip(packed, packed_before, strict=True))
    merged: Any = merge(adapted)
    after = merged.state_dict()
    assert {name: value.shape for name, value in after.items()} == {
        name: value.shape for name, value in before.items()
    }
    assert {name for name in before if not torch.equal(before[name], after[name])} == linear_weights
    with torch.no_grad():
        torch.testing.assert_close(merged(*INPUTS), adapted(*INPUTS), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(adapted(*INPUTS), start, atol=1e-4)
    train_a_little(adapted)  # merging was of a copy: training goes on


def test_a_checkpoint_brings_back_the_base_too(bitsandbytes: Any, encoders: dict[str, Any]) -> None:
    adapted = adapt(copy.deepcopy(encoders["esm2"]), "qlora", rank=2)
    train_a_little(adapted)
    torch.manual_seed(9)
    other = adapt(build_encoder(encoders["esm2"].to_plain()), "qlora", rank=2).eval()
    other.load_state_dict(adapted.state_dict())
    with torch.no_grad():
        assert torch.equal(other(*INPUTS), adapted(*INPUTS))


def test_bfloat16_autocast_runs_forward_and_backward(bitsandbytes: Any, encoders: dict[str, Any]) -> None:
    adapted = adapt(copy.deepcopy(encoders["esm2"]), "qlora", rank=2).train()
    with torch.autocast("cpu", torch.bfloat16):
        states = adapted(*INPUTS)
    states.float().square().mean().backward()
    gradients = [one.grad for one in adapted.parameters() if one.requires_grad]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    with torch.no_grad():
        torch.testing.assert_close(states.float(), adapted(*INPUTS), atol=0.1, rtol=0.1)
