"""The lean layers of ESM-2 against those of the package that holds the weights, and when each is taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from protscribe.encoders import adapt, build_encoder, encode_windows, esm_inference
from tests.encoders.conftest import pad_residues, random_proteins

SMALL = {"layers": 2, "width": 64, "heads": 4}
SHAPES: dict[str, dict[str, Any]] = {
    "esm2_8m": {"kind": "esm2", "layers": 6, "width": 320, "heads": 20},
    "wide_heads": {"kind": "esm2", "layers": 2, "width": 128, "heads": 2, "feed_forward": 96},
    "one_layer": {
        "kind": "esm2",
        "layers": 1,
        "width": 24,
        "heads": 3,
        "epsilon": 1e-3,
        "rotary_base": 500.0,
    },
    "no_dropout_of_tokens": {"kind": "esm2", **SMALL, "token_dropout": False},
    "esm1b": {"kind": "esm2", **SMALL, "positions": "absolute", "places": 400, "norm_before": True},
    "fair_esm": {"kind": "fair_esm", **SMALL},
}


def make(name: str) -> Any:
    """With norms, biases and attention that are far from their quiet beginnings, which would hide a mistake."""
    torch.manual_seed(0)
    encoder = build_encoder(SHAPES[name]).eval()
    for weight_name, weight in encoder.named_parameters():
        if weight.ndim < 2:
            torch.nn.init.normal_(weight, mean=float("norm.weight" in weight_name.lower()), std=0.2)
        elif "embed" in weight_name:
            torch.nn.init.normal_(weight)
        else:
            torch.nn.init.normal_(weight, std=1.5 * weight.shape[1] ** -0.5)
    return encoder


@pytest.fixture(params=SHAPES)
def lean(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Grows by one whenever the lean layers run."""
    seen: list[torch.dtype] = []
    run = esm_inference.run

    def counted(layers: Any, heads: Any, speeds: Any, states_NTD: Any, mask_NT: Any) -> Any:
        seen.append(states_NTD.dtype)
        return run(layers, heads, speeds, states_NTD, mask_NT)

    monkeypatch.setattr(esm_inference, "run", counted)
    return seen


def by_the_package(encoder: Callable[..., Any], *inputs: torch.Tensor) -> torch.Tensor:
    """The oracle: the layers of transformers or fair-esm, which gradients call for."""
    with torch.enable_grad():
        states: torch.Tensor = encoder(*inputs)
    return states.detach()


RAGGED = ([150, 7, 85, 1], [14, 13, 2], [30], [61, 62, 61], [1], [90] * 5)
"""Lengths, among them batches whose tokens are 15, 16, 17, 32 and 64: around what keys are rounded to."""


@torch.no_grad()
@pytest.mark.parametrize("lengths", RAGGED, ids=str)
def test_states_are_those_of_the_package(lean: Any, lengths: list[int], taken: list[torch.dtype]) -> None:
    for wider in (0, 1, 3):
        inputs = pad_residues(random_proteins(lengths), to=max(lengths) + wider)
        expected = by_the_package(lean, *inputs)
        assert taken == []
        states = lean(*inputs)
        assert taken == [torch.float32]
        assert expected.std() > 0.1
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        taken.clear()


@torch.no_grad()
def test_a_row_of_padding_alone_is_zero_and_harms_nobody(lean: Any, taken: list[torch.dtype]) -> None:
    residues, mask = pad_residues(random_proteins([20, 33]))
    mask[0] = False
    states = lean(residues, mask)
    assert taken
    assert not states[0].any()
    torch.testing.assert_close(states[1:], lean(residues[1:], mask[1:]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_memory_held_before_has_no_influence(lean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding keys up leaves columns that nobody computed: they must not be read, nor what stands there."""
    inputs = pad_residues(random_proteins([40, 23]))
    expected = lean(*inputs)
    empty = torch.Tensor.new_empty
    poisoned = lambda like, *shape: empty(like, *shape).fill_(float("nan"))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    assert torch.equal(lean(*inputs), expected)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_precisions(lean: Any, dtype: torch.dtype, taken: list[torch.dtype]) -> None:
    """In half precision as near to the truth as the package; in double precision the same."""
    inputs = pad_residues(random_proteins([100, 61]))
    other = copy.deepcopy(lean).to(dtype)
    states, theirs, truth = other(*inputs), by_the_package(other, *inputs), by_the_package(lean, *inputs)
    assert taken == [dtype]
    assert states.dtype == dtype
    if dtype == torch.float64:
        torch.testing.assert_close(states, theirs, atol=1e-5, rtol=1e-5)
    else:
        mine, package = ((one.float() - truth).square().mean().sqrt() for one in (states, theirs))
        assert mine < 1.1 * package


@torch.no_grad()
def test_windows_are_the_same(lean: Any, taken: list[torch.dtype]) -> None:
    residues, mask = pad_residues(random_proteins([130, 64, 20]))
    windowed = encode_windows(lean, residues, mask, 48, 16)
    assert taken
    expected = by_the_package(lambda *inputs: encode_windows(lean, *inputs, 48, 16), residues, mask)
    torch.testing.assert_close(windowed, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_changed_weights_count_at_once(lean: Any, taken: list[torch.dtype]) -> None:
    inputs = pad_residues(random_proteins([20, 33]))
    before = lean(*inputs)
    for name, weight in lean.named_parameters():
        if "query.weight" in name or "q_proj.weight" in name:
            weight.data = weight.data.flip(0)
    changed = lean(*inputs)
    assert not torch.allclose(changed, before, atol=1e-2)
    torch.testing.assert_close(changed, by_the_package(lean, *inputs), atol=1e-5, rtol=1e-5)
    assert len(taken) == 2


def test_gradients_take_the_package(lean: Any, taken: list[torch.dtype]) -> None:
    lean(*pad_residues(random_proteins([20, 33]))).square().sum().backward()
    assert taken == []
    assert all(weight.grad is not None for weight in lean.parameters())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["esm2_8m", "fair_esm"])
@pytest.mark.parametrize(
    "case", ["train", "one_layer", "lora", "hook", "pre_hook", "other_layer", "pruned", "autocast"]
)
def test_the_package_is_taken_where_a_layer_may_be_another(
    kind: str, case: str, taken: list[torch.dtype]
) -> None:
    encoder = make(kind)
    inputs = pad_residues(random_proteins([20, 33]))
    first = next(part for part in encoder.blocks()[0].modules() if isinstance(part, torch.nn.Linear))
    called = []
    if case == "train":
        encoder.train()
    elif case == "one_layer":
        encoder.blocks()[0].train()
    elif case == "lora":
        encoder = adapt(encoder, "lora", rank=2).eval()
    elif case == "hook":
        first.register_forward_hook(lambda *_: called.append(1))
    elif case == "pre_hook":
        first.register_forward_pre_hook(lambda *_: called.append(1))
    elif case == "other_layer":
        first.__class__ = type("Halved", (torch.nn.Linear,), {"forward": lambda self, x: x * 0.0})
    elif case == "pruned":
        torch.nn.utils.parametrize.register_parametrization(first, "weight", torch.nn.Identity())
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert encoder(*inputs).isfinite().all()
    assert taken == []
    assert len(called) == (case in ("hook", "pre_hook"))


@torch.no_grad()
def test_frozen_and_partly_trained_encoders_infer_lean(taken: list[torch.dtype]) -> None:
    inputs = pad_residues(random_proteins([20, 33]))
    adapt(make("esm2_8m"), "frozen").train()(*inputs)
    adapt(make("esm2_8m"), "last_k", last=1).eval()(*inputs)
    assert len(taken) == 2


@torch.no_grad()
def test_a_compiler_gets_the_package(taken: list[torch.dtype]) -> None:
    encoder, inputs = make("one_layer"), pad_residues(random_proteins([20, 33]))
    expected = encoder(*inputs)
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), expected, atol=1e-5, rtol=1e-5)
    assert len(taken) == 1


class WideResults(TorchDispatchMode):
    """Counts operations that take ``least`` bytes of new memory or more for their result."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least, self.count = least, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        memory = [
            one.untyped_storage() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)
        ]
        given = {one.data_ptr() for one in memory}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in given:
                self.count += one.untyped_storage().nbytes() >= self.least
        return result


@torch.no_grad()
def test_all_layers_share_one_piece_of_memory() -> None:
    encoder, inputs = make("esm2_8m"), pad_residues(random_proteins([62, 62]))
    wide = 2 * 64 * 1280 * 4
    with WideResults(wide) as lean:
        encoder(*inputs)
    with WideResults(wide) as package:
        by_the_package(encoder, *inputs)
    assert lean.count == 1
    assert package.count > 6
