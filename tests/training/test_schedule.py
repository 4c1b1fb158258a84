"""Learning-rate schedules."""

from __future__ import annotations

import itertools

import pytest
import torch

from protscribe.errors import ConfigError
from protscribe.training.schedule import constant, cosine


def rates(factory: object, total: int, steps: int, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = factory(optimizer, total_steps=total, **options)  # type: ignore[operator]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_rises_falls_and_stays_at_its_floor() -> None:
    found = rates(cosine, 100, 140, warmup_steps=10, floor=0.1)
    assert found[0] == pytest.approx(1 / 11)
    assert found[10] == pytest.approx(1.0)
    assert found[55] == pytest.approx(0.55)  # half way between 1 and the floor
    assert all(earlier >= later for earlier, later in itertools.pairwise(found[10:]))
    assert found[100:] == pytest.approx([0.1] * 40)


def test_a_short_run_has_a_short_warm_up() -> None:
    assert max(rates(cosine, 10, 10, warmup_steps=1000)) == pytest.approx(1.0)


def test_constant_rises_and_stays() -> None:
    found = rates(constant, 50, 60, warmup_steps=4)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5:] == pytest.approx([1.0] * 55)


@pytest.mark.parametrize("options", [{"warmup_steps": -1}, {"floor": 1.5}, {"floor": -0.1}])
def test_what_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        rates(cosine, 10, 1, **options)
