"""A run that is resumed, at any optimizer step, does to the last bit what one does that was never interrupted.

Compared are, of every batch: its samples, loss, learning rates and the weights after it; all that is logged, with step
numbers; and at the end weights, states of optimizer, schedule, early stopping and mixture, what was sampled, and metrics.
Dropout is on, and global random numbers differ from run to run.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from protscribe.data.batching import Budget
from protscribe.errors import ProtscribeError
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.position import Position
from protscribe.training.saving import STATE, saved
from tests.training.resuming import Story, run


class Reference(NamedTuple):
    """A run without checkpoints; and those of an equal one, with what had been done when each was saved."""

    story: Story
    checkpoints: list[tuple[Path, tuple[int, int, int]]]

    def check(self, again: Story, mark: tuple[int, int, int]) -> None:
        expected = self.story.since(mark)
        assert again.batches == expected.batches
        assert again.validations == expected.validations
        assert again.logged == expected.logged
        assert again.left == expected.left


def position_of(path: Path) -> Position:
    return Position(**torch.load(path / STATE, weights_only=True)["run"]["position"])


def everything(folder: Path) -> Checkpoints:
    """Saves at every step, before validation and after each epoch."""
    return Checkpoints(folder, "valid/loss", every_minutes=0, every_steps=1, keep=1000)


@pytest.fixture(scope="module")
def refer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Reference]:
    known: dict[str, Reference] = {}

    def find(**options: Any) -> Reference:
        if repr(options) not in known:
            folder = tmp_path_factory.mktemp("reference")
            story, other = run(folder, **options), run(folder, everything(folder / "checkpoints"), **options)
            marks, other.marks = other.marks, []
            assert other == story
            known[repr(options)] = Reference(
                story, list(zip(saved(folder / "checkpoints"), marks, strict=True))
            )
        return known[repr(options)]

    return find


def test_resumed_at_every_step_of_two_epochs(tmp_path: Path, refer: Callable[..., Reference]) -> None:
    reference = refer(accumulate_grad_batches=1)
    steps = len(reference.story.batches)
    assert steps >= 10
    assert len({entry[-1] for entry in reference.story.batches}) == steps
    # Each step, with two more about the end of each epoch, which are its last step's: before its validation, and after it.
    assert len(reference.checkpoints) == steps + 2
    for path, mark in reference.checkpoints:
        reference.check(run(tmp_path, resumed=path), mark)


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_with_workers_and_accumulated_batches(
    tmp_path: Path, refer: Callable[..., Reference], workers: int, accumulated: int
) -> None:
    """What workers have read ahead is not lost, and no checkpoint stands inside an accumulated step."""
    reference = refer(accumulate_grad_batches=accumulated)
    whole = 6
    assert all(
        position_of(path).turns in (0, whole, *range(0, whole, accumulated))
        for path, _ in reference.checkpoints
    )
    chosen = [reference.checkpoints[0], reference.checkpoints[len(reference.checkpoints) // 2 + 1]]
    for path, mark in chosen:
        again = run(tmp_path, resumed=path, data={"workers": workers}, accumulate_grad_batches=accumulated)
        reference.check(again, mark)


@pytest.mark.parametrize(
    ("options", "some"),
    [
        ({"val_check_interval": 0.5}, slice(1, 8, 2)),
        (
            {
                "check_val_every_n_epoch": 2,
                "max_epochs": 4,
                "data": {"adaptive": {"patience": 0, "factor": 0.5}},
            },
            slice(5, None, 6),
        ),
        ({"max_steps": 8, "max_epochs": -1}, slice(4, None, 1)),
        ({"max_steps": 6}, slice(4, None, 1)),
        ({"improvement": 100.0, "max_epochs": 30}, slice(-3, None, 1)),
    ],
    ids=[
        "validated inside epochs",
        "an adaptive mixture",
        "so many steps",
        "as many steps as an epoch has",
        "stopped early",
    ],
)
def test_however_a_run_is_divided_and_ends(
    tmp_path: Path, refer: Callable[..., Reference], options: dict[str, Any], some: slice
) -> None:
    reference = refer(**options)
    for path, mark in reference.checkpoints[some]:
        reference.check(run(tmp_path, resumed=path, **options), mark)
    if "improvement" in options:
        assert reference.story.left["epochs"] == 3
        assert position_of(reference.checkpoints[-1][0]).stopped


def test_a_run_interrupted_again_and_again(tmp_path: Path, refer: Callable[..., Reference]) -> None:
    reference = refer(accumulate_grad_batches=1)
    path, done = reference.checkpoints[0]
    batches = [reference.story.batches[: done[0]]]
    for sitting in range(3):
        story = run(
            tmp_path, everything(tmp_path / f"{sitting}"), resumed=path, data={"workers": sitting % 2}
        )
        path, done = saved(tmp_path / f"{sitting}")[2], story.marks[2]
        batches.append(story.batches[: done[0]])
    last = run(tmp_path, resumed=path)
    assert [*itertools.chain(*batches), *last.batches] == reference.story.batches
    assert last.left == reference.story.left


def test_a_longer_run_goes_on_in_the_epoch_that_ended_early(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints(tmp_path / "checkpoints"), max_steps=2)
    (path,) = saved(tmp_path / "checkpoints")
    assert position_of(path).turns == 2
    longer = run(tmp_path, resumed=path, max_epochs=1)
    whole = run(tmp_path, max_epochs=1)
    assert [entry[:4] for entry in longer.batches] == [entry[:4] for entry in whole.batches[2:]]


def test_another_order_of_samples_is_refused_inside_an_epoch_and_told_at_its_beginning(
    tmp_path: Path, refer: Callable[..., Reference], caplog: pytest.LogCaptureFixture
) -> None:
    found = [path for path, _ in refer(accumulate_grad_batches=1).checkpoints]
    for changed, options in (
        ("seed", {"seed": 8}),
        ("mixture", {"adaptive": {"patience": 3}}),
        ("data.budget", {"budget": Budget(rows=5)}),
        ("numbers of training rows", {"limit": 3}),
    ):
        with pytest.raises(ProtscribeError, match=changed) as caught:
            run(tmp_path, resumed=found[1], data=options)
        assert caught.value.code == "config.resume"
    with caplog.at_level(logging.WARNING):
        run(tmp_path, resumed=found[-1], data={"budget": Budget(rows=5)})
    assert "data.budget" in caplog.text
