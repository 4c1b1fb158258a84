"""Our own encoder."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from protscribe.encoders.mini import MiniEncoder, ShiftedSum, arrange
from protscribe.errors import CheckpointError
from tests.encoders.conftest import pad_residues, random_proteins


def test_the_default_has_about_three_million_weights() -> None:
    assert 2.7e6 < sum(weight.numel() for weight in MiniEncoder().parameters()) < 3.5e6


@pytest.mark.parametrize(
    ("layers", "attention_layers", "expected"),
    [(4, 2, "cca cca"), (6, 1, "cccccca"), (3, 0, "ccc"), (0, 2, "aa"), (1, 2, "caa"), (5, 2, "ccca cca")],
)
def test_attention_stands_evenly_among_convolutions(
    layers: int, attention_layers: int, expected: str
) -> None:
    order = arrange(layers, attention_layers)
    assert len(order) == layers + attention_layers
    assert sum(order) == attention_layers
    assert order[-1] == (attention_layers > 0)
    assert "".join("a" if attends else "c" for attends in order) == expected.replace(" ", "")


@torch.no_grad()
def test_a_state_sees_the_whole_protein() -> None:
    """Through attention; convolutions alone reach as far as their dilations add up to."""
    residues, mask = pad_residues(random_proteins([120]))
    changed = residues.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 20
    for attention_layers in (0, 1):
        torch.manual_seed(0)
        encoder = MiniEncoder(32, 3, attention_layers, 4, kernel=5, dilations=(1, 2, 4)).eval()
        moved = (encoder(changed, mask) - encoder(residues, mask))[0].abs().amax(dim=-1) > 0
        reach = 2 * (1 + 2 + 4)
        assert moved[-1 - reach :].all()
        assert bool(moved[: -1 - reach].any()) == (attention_layers > 0)


def test_it_learns_from_few_proteins() -> None:
    """Whether a protein holds more K than E: a question about all of it, from residues alone."""
    torch.manual_seed(0)
    proteins = random_proteins([40] * 64)
    residues, mask = pad_residues(proteins)
    labels = torch.tensor([float(protein.count("K") > protein.count("E")) for protein in proteins])
    encoder, head = MiniEncoder(32, 2, 1, 4, dropout=0.0), torch.nn.Linear(32, 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        logits = head(encoder(residues, mask).mean(dim=1))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        optimizer.step()
    logits = head(encoder(residues, mask).mean(dim=1))[:, 0]
    assert ((logits > 0) == (labels > 0)).float().mean() > 0.95


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 2), (7, 8)])
def test_a_shifted_sum_is_a_depthwise_convolution(kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    states_NLD = torch.randn(2, 70, 4, dtype=torch.float64, requires_grad=True)
    kernel_KD = torch.randn(kernel, 4, dtype=torch.float64, requires_grad=True)
    found = ShiftedSum.apply(states_NLD, kernel_KD, dilation)
    expected = torch.nn.functional.conv1d(
        states_NLD.transpose(1, 2), kernel_KD.t()[:, None], dilation=dilation, groups=4
    ).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    factors = torch.randn_like(found)
    gradients = torch.autograd.grad((found * factors).sum(), (states_NLD, kernel_KD))
    torch.testing.assert_close(
        gradients, torch.autograd.grad((expected * factors).sum(), (states_NLD, kernel_KD))
    )


@torch.no_grad()
def test_it_compiles_without_a_break() -> None:
    torch.manual_seed(0)
    encoder = MiniEncoder(32, 2, 1, 4).eval()
    torch._dynamo.reset()
    compiled = torch.compile(encoder, fullgraph=True, backend="eager", dynamic=True)
    for lengths in ([20, 33], [7, 41], [50, 50]):
        inputs = pad_residues(random_proteins(lengths))
        torch.testing.assert_close(compiled(*inputs), encoder(*inputs))


def test_shipped_weights_load_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protscribe.encoders import mini

    encoder = MiniEncoder(32, 2, 1, 4)
    plain = {key: value for key, value in encoder.to_plain().items() if key != "kind"}
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "small.safetensors"
    save_file(encoder.state_dict(), path, metadata={"plain": json.dumps(plain)})
    monkeypatch.setattr(mini.resources, "files", lambda package: tmp_path)
    loaded = MiniEncoder.load("small")
    assert all(
        torch.equal(loaded.state_dict()[name], weight) for name, weight in encoder.state_dict().items()
    )
    with pytest.raises(CheckpointError, match="there is: small") as caught:
        MiniEncoder.load("smal")
    assert caught.value.code == "checkpoint.not_found"
    save_file({"norm.weight": torch.ones(32)}, path, metadata={"plain": json.dumps(plain)})
    with pytest.raises(CheckpointError) as caught:
        MiniEncoder.load("small")
    assert caught.value.code == "checkpoint.tensors"


def test_the_one_that_ships() -> None:
    """Of the size that its card says, and small enough for a wheel."""
    encoder = MiniEncoder.load("mini")
    assert sum(weight.numel() for weight in encoder.parameters()) == 3_187_200
    path = resources.files("protscribe").joinpath("weights", "mini.safetensors")
    assert len(path.read_bytes()) < 12_000_000
    with pytest.raises(CheckpointError, match="there is: mini"):
        MiniEncoder.load("anything")
