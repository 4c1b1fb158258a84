"""The check of CUDA readiness: what it says without a build for CUDA, and with one what it lets pass and what it stops."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from protscribe.transfer import read_back, upload
from scripts import fake_device
from scripts.fake_device import CUDA, Waiting, backward, on_device, told

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_cuda_readiness.py"
HAS_BUILD = torch.version.cuda is not None
needs_build = pytest.mark.skipif(not HAS_BUILD, reason="this torch was not built for CUDA")


@pytest.mark.skipif(HAS_BUILD, reason="this torch was built for CUDA")
def test_without_a_build_for_cuda_it_says_what_is_missing():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert torch.__version__ in done.stderr
    assert "no GPU is needed" in done.stderr
    assert "Traceback" not in done.stderr


@needs_build
def test_two_encoders_are_ready():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["failed"] == 0
    assert result["checks"] > 100
    assert result["points"]["loss"] == result["points"]["gradient"] == 1


@needs_build
@pytest.mark.parametrize("inference", [False, True])
def test_what_is_ready_passes(inference):
    with fake_device.fake_device() as (_, traffic, points), torch.inference_mode(inference):
        there = upload(torch.ones(3), CUDA)
        assert (there * 2).device == CUDA
        assert read_back("decoded", there.long())[0].tolist() == [0, 0, 0]
    assert traffic.uploads == 1
    assert points.counts == {"decoded": 1}


@needs_build
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: torch.ones(2).to(CUDA), "a copy to the device that waits"),
        (lambda: torch.tensor([1, 2], device=CUDA), "a copy to the device that waits"),
        (lambda: torch.ones(2, device=CUDA).cpu(), "a copy to the host"),
        (lambda: torch.ones(2, device=CUDA).tolist(), "the host waits for"),
        (lambda: bool(torch.ones(2, device=CUDA).all()), "the host waits for"),
        (lambda: torch.ones(2, device=CUDA).nonzero(), "a shape depends on data"),
        (lambda: torch.ones(2, device=CUDA)[torch.ones(2, device=CUDA) > 0], "a shape depends on data"),
        (lambda: torch.ones(2, device=CUDA) + torch.ones(2), "devices are mixed"),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_what_is_not_ready_is_stopped(wrong, said, inference):
    with fake_device.fake_device(), torch.inference_mode(inference), pytest.raises(Exception) as raised:
        wrong()
    assert said in told(raised.value)


@needs_build
def test_shared_weights_stay_shared():
    tied = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    tied[1].weight = tied[0].weight
    with fake_device.fake_device() as (mode, _, _):
        on_device(tied, mode, torch.bfloat16)
        assert tied[0].weight.device == CUDA
        assert tied[0].weight.dtype == torch.bfloat16


def test_gradients_node_by_node_are_those_of_autograd():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 12))
    inputs = torch.randn(3, 5, 6)

    def loss():
        queries, keys, values = model(inputs).split(4, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])
        return (mixed * 0.5 + queries.mean()).square().sum()

    loss().backward()
    expected = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    backward(loss())
    for weight, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_an_error_is_told_with_its_place():
    def wrong():
        raise Waiting("a copy to the host")

    with pytest.raises(Waiting) as raised:
        wrong()
    assert told(raised.value).startswith("test_cuda_readiness.py:")
    assert told(raised.value).endswith("Waiting: a copy to the host")


def test_made_up_content_has_the_shape_and_lets_a_search_end():
    points = fake_device.Points()
    asked = torch.zeros(2, 3, dtype=torch.int64)
    first, later = (points("finished", (asked,))[0] for _ in range(2))
    assert first.shape == (2, 3)
    assert first.all()
    assert not later.any()
    assert points("loss", (torch.tensor(False),))[0].item() is True
    assert points("first", (torch.zeros(4),))[0].tolist() == np.ones(4).tolist()
