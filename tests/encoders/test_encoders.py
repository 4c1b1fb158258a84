"""What holds for every encoder: its states, its padding, its plain description, and that it never waits for the host."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from protscribe.alphabet import RESIDUES
from protscribe.encoders import (
    ENCODERS,
    Encoder,
    adapt,
    build_encoder,
    load_encoder,
    load_molecule_encoder,
)
from protscribe.errors import ConfigError
from protscribe.nn.execution import recompute_activations
from tests.encoders.conftest import pad_residues, random_proteins

LENGTHS = [23, 1, 60, 37]


class HostWaits(TorchDispatchMode):
    """Counts operations for which a device would make the host wait."""

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal.default")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indices = args[1] if str(func).startswith("aten.index") and isinstance(args[1], (list, tuple)) else ()
        by_mask = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        if by_mask or any(name in str(func) for name in self.NAMES):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_counter_of_host_waits_can_count() -> None:
    with HostWaits() as waits:
        assert bool(torch.ones(3).all())
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]
    assert len(waits.seen) == 2


@torch.no_grad()
def test_alone_and_among_others_agree(encoder: Any) -> None:
    proteins = random_proteins(LENGTHS)
    together = encoder(*pad_residues(proteins, to=64))
    assert together.shape == (4, 64, encoder.width)
    for row, protein in enumerate(proteins):
        alone = encoder(*pad_residues([protein]))[0]
        torch.testing.assert_close(together[row, : len(protein)], alone, atol=1e-5, rtol=1e-5)
        assert not together[row, len(protein) :].any()


@torch.no_grad()
def test_padding_content_has_no_influence(encoder: Any) -> None:
    residues, mask = pad_residues(random_proteins(LENGTHS))
    for poison in (0, 20, 999_999, -1):
        assert torch.equal(encoder(residues.masked_fill(~mask, poison), mask), encoder(residues, mask))


@torch.no_grad()
def test_a_state_belongs_to_its_residue(encoder: Any) -> None:
    """Every residue changes its own state, and swapping two of them swaps what is read where."""
    proteins = random_proteins([30])
    residues, mask = pad_residues(proteins)
    states = encoder(residues, mask)
    changed = residues.clone()
    changed[0, 11] = (residues[0, 11] + 1) % 20
    moved = (encoder(changed, mask) - states)[0].norm(dim=-1)
    assert moved.argmax() == 11


@torch.no_grad()
def test_no_forward_waits_for_the_host(encoder: Any) -> None:
    inputs, full = pad_residues(random_proteins(LENGTHS)), pad_residues(random_proteins([40, 40]))
    for residues, mask in (inputs, full):
        with HostWaits() as waits:
            encoder(residues, mask)
        assert waits.seen == []


@torch.no_grad()
def test_shapes_do_not_depend_on_data(encoder: Any) -> None:
    """Tracing with fake tensors fails at the first look at a value."""
    residues, mask = pad_residues(random_proteins(LENGTHS))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        states = encoder(mode.from_tensor(residues), mode.from_tensor(mask))
    assert states.shape == (*residues.shape, encoder.width)
    graph = make_fx(encoder, tracing_mode="fake", _allow_non_fake_inputs=True)(residues, mask)
    torch.testing.assert_close(graph(residues, mask), encoder(residues, mask))
    # The same graph reads other proteins of the same batch shape: nothing about the first was baked in.
    other, other_mask = pad_residues(random_proteins([5, 50, 12, 33], seed=1), to=residues.shape[1])
    torch.testing.assert_close(graph(other, other_mask), encoder(other, other_mask))


def test_gradients_reach_every_weight(encoder: Any) -> None:
    """Also right after inference on the same shapes, whose tensors must not be kept."""
    encoder.zero_grad()
    inputs = pad_residues(random_proteins(LENGTHS))
    with torch.inference_mode():
        encoder(*inputs)
    encoder(*inputs).square().sum().backward()
    without = [name for name, weight in encoder.named_parameters() if weight.grad is None]
    encoder.zero_grad()
    assert without == []


@torch.no_grad()
def test_plain_data_and_weights_give_the_encoder_back(encoder: Any) -> None:
    plain = json.loads(json.dumps(encoder.to_plain()))
    rebuilt: Any = build_encoder(plain).eval()
    rebuilt.load_state_dict(load(save(encoder.state_dict())))  # refuses tensors that share memory
    inputs = pad_residues(random_proteins(LENGTHS))
    assert torch.equal(rebuilt(*inputs), encoder(*inputs))
    assert rebuilt.to_plain() == encoder.to_plain()
    assert rebuilt.limit == encoder.limit


def test_encoders_fulfil_the_protocol(encoder: Any) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.kind in ENCODERS
    assert len(encoder.blocks()) >= 2


def test_importing_encoders_is_quick() -> None:
    code = (
        "import sys, protscribe.encoders as e; e.build_encoder({'kind': 'mini', 'width': 16, 'heads': 2}); "
        "print(sorted({'transformers', 'peft', 'esm', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("plain", "code", "said"),
    [
        ({"kind": "emini"}, "config.unknown", "did you mean 'mini'"),
        ({}, "config.unknown", "known: esm2"),
        ({"kind": "mini", "widht": 3}, "config.unknown", "did you mean 'width'"),
        ({"kind": "mini", "kernel": 4}, "config.value", "kernel must be odd"),
        ({"kind": "esm2"}, "config.missing", "weights: untrained"),
        ({"kind": "esm2", "weights": "untrained"}, "config.missing", "lacks layers, width, heads"),
        ({"kind": "esm2", "weights": "random", "name": "x"}, "config.value", "either name"),
        (
            {"kind": "huggingface", "weights": "untrained", "family": "brt"},
            "config.missing",
            "lacks config, table",
        ),
    ],
)
def test_wrong_settings_are_named(plain: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_encoder(plain)
    assert caught.value.code == code


def test_untrained_shapes_are_built_when_asked_for() -> None:
    encoder: Any = load_encoder(
        {"kind": "esm2", "weights": "untrained", "layers": 1, "width": 16, "heads": 2}
    )
    assert (encoder.width, encoder.limit, len(encoder.blocks())) == (16, 1022, 1)
    assert load_molecule_encoder({"kind": "character", "width": 16, "heads": 2}).width == 16
    with pytest.raises(ConfigError, match="no pretrained weights"):
        load_molecule_encoder({"kind": "character", "name": "x"})


def test_every_letter_has_an_id_in_every_table(encoders: dict[str, Any]) -> None:
    assert len(RESIDUES) == 25
    for kind in ("esm2", "fair_esm"):
        table = encoders[kind].tokens.table_R.tolist()
        assert len(set(table)) == 26
    bert = encoders["bert"].tokens.table_R.tolist()
    assert {bert[RESIDUES.index(letter)] for letter in "BZUO"} == {bert[RESIDUES.index("X")]}
    assert len({*bert[:20]}) == 20


@pytest.mark.parametrize("how", ["full", "lora", "last_k"])
def test_activations_computed_twice_give_the_same_gradients(encoder: Any, how: Any) -> None:
    """With dropout: what is dropped in the second pass is what was dropped in the first."""
    gradients, kept = [], []
    for twice in (False, True):
        adapted = adapt(copy.deepcopy(encoder), how, last=1, dropout=0.3).train()
        if how == "lora":  # additions start at zero, and so would half of their gradients
            for name, weight in adapted.named_parameters():
                if ".lora_" in name:
                    torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        if twice:
            recompute_activations(*adapted.blocks())
        bytes_kept = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal bytes_kept
            bytes_kept += tensor.nbytes
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = (adapted(*pad_residues(random_proteins(LENGTHS)))[..., :3] ** 2).mean()
        loss.backward()
        gradients.append({name: one.grad for name, one in adapted.named_parameters() if one.requires_grad})
        kept.append(bytes_kept)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient is not None
        assert torch.equal(gradient, gradients[1][name]), name
    assert kept[1] < 0.5 * kept[0]
