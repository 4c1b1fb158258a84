"""Encoders wait for no device, compile to one graph, and read long proteins in half precision as in full."""

import copy

import pytest
import torch

from protscribe.encoders import Windowed, load_encoder, load_molecule_encoder
from protscribe.nn.execution import set_precision
from tests.encoders.conftest import pad_residues, random_proteins
from tests.watching import watching

UNTRAINED = {"weights": "untrained", "layers": 2, "width": 32, "heads": 4}
BERT = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip
T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
OTHER = {"kind": "huggingface", "weights": "untrained", "table": list(range(5, 30)), "first": 2, "last": 3}
ENCODERS = {
    "mini": {"kind": "mini", "width": 32, "layers": 2, "attention_layers": 1, "heads": 4},
    "esm2": {"kind": "esm2", **UNTRAINED},
    "esm1": {"kind": "esm2", **UNTRAINED, "positions": "absolute", "places": 64, "norm_before": True},
    "fair_esm": {"kind": "fair_esm", **UNTRAINED},
    "bert": {**OTHER, "family": "bert", "config": BERT},
    "t5": {**OTHER, "family": "t5", "config": T5},
}


def made(name):
    torch.manual_seed(3)
    return load_encoder(ENCODERS[name]).eval()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_waits_for_no_device(name, training):
    encoder = made(name).train(training)
    residues_NL, mask_NL = pad_residues(random_proteins([7, 20]), to=24)
    with torch.set_grad_enabled(training), watching() as found:
        states_NLD = encoder(residues_NL, mask_NL)
        if training:
            states_NLD.square().sum().backward()
    assert found.seen == []
    assert not found.points


def test_windows_wait_for_no_device():
    windowed = Windowed(made("esm2"), 16, 4)
    with torch.inference_mode(), watching() as found:
        windowed(*pad_residues(random_proteins([7, 40])))
    assert found.seen == []


def test_molecules_wait_for_no_device():
    encoder = load_molecule_encoder({"kind": "character", "width": 16, "layers": 1}).eval()
    given = encoder.tokenize(["CCO", "c1ccccc1"])
    with torch.inference_mode(), watching() as found:
        encoder(*given)
    assert found.seen == []


def test_a_bound_on_places_is_looked_at_only_where_a_batch_is_wider():
    encoder = made("esm1")
    narrow, wide = pad_residues(random_proteins([30])), pad_residues(random_proteins([30]), to=80)
    with torch.inference_mode(), watching() as found:
        encoder(*narrow)
        assert not found.points
        encoder(*wide)
    assert found.points == {"places": 1}
    assert found.seen == []


@pytest.mark.parametrize("name", ["mini", "esm2"])
def test_an_encoder_compiles_to_one_graph(name):
    encoder = made(name)
    torch._dynamo.reset()
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    given = pad_residues(random_proteins([7, 20]), to=24)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*given), encoder(*given))


def sharpened(name):
    """An encoder whose attention looks at places: that of untrained weights is nearly even, and would hide a wrong place."""
    encoder = made(name)
    with torch.no_grad():
        for full_name, weight in encoder.named_parameters():
            if any(
                part in full_name for part in ("query.weight", "key.weight", "q_proj.weight", "k_proj.weight")
            ):
                weight.mul_(20 if "query" in full_name or "key" in full_name else 4)
    return encoder


@pytest.mark.parametrize("name", ["mini", "esm2", "fair_esm", "t5"])
def test_half_precision_keeps_residues_in_their_places(name):
    encoder = sharpened(name)
    given = pad_residues(random_proteins([900, 500]))
    half = copy.deepcopy(encoder)
    set_precision(half, "bfloat16")
    assert all(weight.dtype == torch.bfloat16 for weight in half.parameters())
    # Rotary frequencies: rounded to 8 bits, they would turn the last residues by radians.
    for (place, buffer), kept in zip(encoder.named_buffers(), half.buffers(), strict=True):
        assert torch.equal(buffer, kept), place
    with torch.inference_mode():
        states_LD, half_LD = encoder(*given)[0], half(*given)[0]
    assert half_LD.dtype == torch.bfloat16
    assert torch.cosine_similarity(states_LD, half_LD.float(), dim=-1)[-100:].mean() > 0.98
