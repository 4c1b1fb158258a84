"""What crosses to the host does so by name, whole, and once."""

import numpy as np
import pytest
import torch

from protscribe.transfer import POINTS, is_true, read_back, send, watched
from tests.watching import watching


def test_what_is_read_is_what_was_there_when_it_was_sent():
    numbers = torch.arange(6).view(2, 3)
    sent = send("decoded", numbers, numbers.float() / 2)
    numbers.zero_()
    whole, half = sent.read()
    assert whole.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert half.dtype == np.float32
    assert half.tolist() == [[0, 0.5, 1], [1.5, 2, 2.5]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_arrive_as_float32(dtype):
    (read,) = read_back("first", torch.tensor([0.5, -2.0], dtype=dtype))
    assert read.dtype == np.float32
    assert read.tolist() == [0.5, -2.0]


def test_gradients_do_not_follow_to_the_host():
    (read,) = read_back("loss", torch.ones(2, requires_grad=True) * 3)
    assert read.tolist() == [3, 3]


def test_truth_values():
    assert is_true("finished", torch.tensor(True))
    assert not is_true("finished", torch.tensor(False))


def test_only_declared_points_are_passed():
    with pytest.raises(AssertionError, match="'elsewhere' is no declared point"):
        read_back("elsewhere", torch.ones(1))
    assert all(said and name.isidentifier() for name, said in POINTS.items())


def test_a_watcher_sees_points_and_says_what_is_read():
    seen = []

    def watcher(point, tensors):
        seen.append((point, tensors[0].shape))
        return (np.array([7]),)

    with watched(watcher):
        assert read_back("digits", torch.zeros(2, 2))[0].tolist() == [7]
    assert seen == [("digits", (2, 2))]
    assert read_back("digits", torch.zeros(1))[0].tolist() == [0]


@pytest.mark.parametrize(
    ("wait", "called"),
    [
        (lambda t: t.tolist(), "tolist"),
        (lambda t: t.sum().item(), "item"),
        (lambda t: bool(t.any()), "__bool__"),
        (lambda t: int(t[0]), "__int__"),
        (lambda t: float(t[0]), "__float__"),
        (lambda t: t.numpy(), "numpy"),
        (lambda t: t.cpu(), "cpu"),
        (lambda t: np.asarray(t), "__array__"),
        (lambda t: [10, 20, 30][t[0]], "__index__"),
        (lambda t: t.nonzero(), "aten.nonzero.default"),
        (lambda t: t[t > 1], "aten.index.Tensor by a mask"),
        (lambda t: torch.masked_select(t, t > 1), "aten.masked_select.default"),
        (lambda t: torch.bincount(t), "aten.bincount.default"),
        (lambda t: torch.repeat_interleave(t), "aten.repeat_interleave.Tensor"),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_waiting_is_noticed(wait, called, inference):
    with torch.inference_mode(inference), watching() as found:
        wait(torch.tensor([1, 2, 0]))
    assert called in found.seen


def test_reading_by_name_is_no_waiting_elsewhere():
    with watching() as found:
        read_back("decoded", torch.ones(2), torch.ones(3, dtype=torch.bfloat16))
        torch.arange(3)[torch.tensor([0, 2])] + 1
    assert found.seen == []
    assert found.points == {"decoded": 1}
