"""The loss of a step is the mean over its tokens, however they are dealt out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.training import reduction
from protscribe.training.reduction import StepMean, begin_sum, full, processes, total
from tests.together import together

BATCHES = st.lists(
    st.lists(st.tuples(st.floats(0.1, 3), st.floats(-2, 2)), max_size=6), min_size=1, max_size=5
)
"""Of each batch, (weight, input) of each token."""


def gradient(batches: list[list[tuple[float, float]]]) -> float:
    """Of one step over all of them, as training does it: each divided by their number, then settled."""
    weight = torch.tensor(0.7, requires_grad=True)
    step = StepMean()
    for batch in batches:
        weights, inputs = torch.tensor(batch).reshape(-1, 2).T
        step.expect(weights.sum())
        loss, _ = step.contribution((weights * (weight * inputs).exp()).sum())
        (loss / len(batches)).backward()
    assert weight.grad is not None
    step.settle([weight.grad], len(batches))
    return float(weight.grad)


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_accumulated_batches_are_one_batch(batches: list[list[tuple[float, float]]]) -> None:
    joined = [token for batch in batches for token in batch]
    weight = torch.tensor(0.7, requires_grad=True)
    weights, inputs = torch.tensor(joined).reshape(-1, 2).T
    if joined:
        ((weights * (weight * inputs).exp()).sum() / weights.sum()).backward()
    expected = 0.0 if weight.grad is None else float(weight.grad)
    assert gradient(batches) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_mean_of_means_is_another_number() -> None:
    batches = [[(1.0, 1.0)], [(1.0, -1.0)] * 9]
    means = sum(gradient([batch]) for batch in batches) / 2
    assert abs(gradient(batches) - means) > 0.5


def test_one_step_leaves_nothing_for_the_next() -> None:
    step = StepMean()
    for factor in (1.0, 100.0):
        nats = torch.tensor(6.0 * factor)
        for _ in range(2):
            step.expect(torch.tensor(3.0 * factor))
            loss, weight = step.contribution(nats)
            assert float(weight) == 3.0 * factor
        assert float(loss) == 2.0
        step.settle([], 2)


def test_alone_a_loss_is_what_it_always_was() -> None:
    nats, weight = torch.tensor(7.3), torch.tensor(2.9)
    step = StepMean()
    step.expect(weight)
    loss, _ = step.contribution(nats)
    assert torch.equal(loss, nats / weight)
    untouched = torch.tensor([1.5])
    step.settle([untouched], 1)
    assert untouched.item() == 1.5


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", None)
    given = torch.tensor([1.0, 2.0])
    assert processes() == 1
    assert torch.equal(total(given), given)
    assert total(given) is not given
    assert full(given) is given


def test_processes_with_unequal_batches() -> None:
    """Three processes, two batches each, one of them without a token."""
    batches = [[[(1.0, 1.0)], []], [[(0.5, -1.0)] * 9, [(2.0, 0.3)]], [[(1.0, 0.1)] * 2, [(1.0, -0.4)] * 3]]

    def work(rank: int) -> tuple[float, float]:
        torch.distributed.init_process_group("gloo")
        mine = torch.tensor(gradient(batches[rank]))
        finish = begin_sum(mine)
        return float(finish()) / processes(), float(mine)

    found = together(work, 3)
    alone = gradient([token for process in batches for token in process])
    assert [mean for mean, _ in found] == pytest.approx([alone] * 3, rel=1e-5)
    assert len({own for _, own in found}) == 3
    assert reduction.processes() == 1
