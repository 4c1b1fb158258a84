"""A small encoder on a large one; what every encoder promises is tested in test_encoders.py."""

from __future__ import annotations

import pytest
import torch

from protscribe.encoders import adapt, build_encoder, load_encoder
from protscribe.encoders.stacked import StackedEncoder
from protscribe.encoders.weights import save_encoder
from protscribe.errors import ConfigError
from tests.encoders.conftest import pad_residues, random_proteins

BASE = {"kind": "mini", "width": 32, "layers": 2, "attention_layers": 1, "heads": 2}
PLAIN = {"kind": "stacked", "base": BASE, "width": 16, "layers": 3}


def test_upper_goes_on_from_the_states_of_the_base() -> None:
    encoder = build_encoder(PLAIN).eval()
    assert isinstance(encoder, StackedEncoder)
    inputs = pad_residues(random_proteins([20, 9]))
    below = encoder.base(*inputs)
    assert torch.equal(encoder.upper(below, *inputs), encoder(*inputs))
    assert not torch.equal(encoder.upper(2 * below, *inputs), encoder(*inputs))


def test_top_trains_all_but_the_base() -> None:
    adapted = adapt(build_encoder(PLAIN), "top").train()
    states = adapted(*pad_residues(random_proteins([20])))
    states.square().sum().backward()
    for name, weight in adapted.encoder.named_parameters():
        assert (weight.grad is None) == name.startswith("base."), name
    assert not any(block.training for block in adapted.encoder.base.blocks())
    assert all(layer.training for layer in adapted.encoder.layers)


def test_top_is_for_stacked_encoders() -> None:
    with pytest.raises(ConfigError, match="stacked"):
        adapt(build_encoder(BASE), "top")


def test_no_stack_on_a_stack() -> None:
    with pytest.raises(ConfigError, match="base"):
        build_encoder({"kind": "stacked", "base": PLAIN})


def test_the_base_may_be_loaded_by_name(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protscribe.encoders import mini

    folder = tmp_path_factory.mktemp("package")
    (folder / mini.WEIGHTS).mkdir()
    base = build_encoder(BASE)
    save_encoder(base, folder / mini.WEIGHTS / "known.safetensors")
    monkeypatch.setattr(mini.resources, "files", lambda package: folder)
    encoder = load_encoder({"kind": "stacked", "base": {"kind": "mini", "name": "known"}, "width": 16})
    assert isinstance(encoder, StackedEncoder)
    pairs = zip(encoder.base.state_dict().values(), base.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert encoder.to_plain()["base"] == base.to_plain()
