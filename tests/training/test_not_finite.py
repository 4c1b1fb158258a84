"""What is not finite stops training at that step, names the records, and never reaches the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.errors import TrainingError
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.saving import STATE, check, saved
from tests.training.resuming import Story, run
from tests.training.test_interruption import At

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return run(tmp_path_factory.mktemp("whole"), max_epochs=1)


def stopped(folder: Path, at: At, **options: Any) -> str:
    """How a run ends whose every step is saved; what it has saved by then is finite."""
    keeping = Checkpoints(folder / "checkpoints", every_minutes=0, every_steps=1, keep=100)
    with pytest.raises(TrainingError) as caught:
        run(folder, keeping, callbacks=(at,), **{"max_epochs": 1, **options})
    assert caught.value.code == "train.not_finite"
    assert caught.value.exit_status == 2
    for path in saved(folder / "checkpoints"):
        check(path)
        state = torch.load(path / STATE, weights_only=True)
        assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    return str(caught.value)


def poison(value: float) -> Callable[[Any], None]:
    def act(trainer: Any) -> None:
        with torch.no_grad():
            trainer.lightning_module.model.decoder.score.weight.view(-1)[3] = value

    return act


def records(*batches: tuple[Any, ...]) -> str:
    return ", ".join(id for batch in batches for id in batch[3])


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_weight(tmp_path: Path, whole: Story, value: float) -> None:
    """Planted before the third batch, it shows there: in its logits, whichever of them count."""
    said = stopped(tmp_path, At("on_train_batch_start", 3, poison(value)))
    assert f"at step 2, records {records(whole.batches[2])};" in said
    assert f"last good checkpoint: {tmp_path / 'checkpoints' / '0002-step-2'}" in said
    assert len(saved(tmp_path / "checkpoints")) == 2


def test_a_weight_that_turns_bad_after_a_step_is_not_saved(tmp_path: Path) -> None:
    said = stopped(tmp_path, At("on_train_batch_end", 3, poison(NAN)))
    assert "model.decoder.score.weight not finite, so nothing is saved" in said
    assert "0002-step-2" in said
    assert [path.name for path in saved(tmp_path / "checkpoints")] == ["0001-step-1", "0002-step-2"]


def test_what_an_optimizer_remembers(tmp_path: Path) -> None:
    def act(trainer: Any) -> None:
        state = next(iter(trainer.optimizers[0].state.values()))
        state["exp_avg"].view(-1)[0] = NAN

    said = stopped(tmp_path, At("on_train_batch_end", 2, act))
    assert "optimizer[0].state." in said
    assert "exp_avg not finite" in said


def test_a_logit_that_does_not_count(tmp_path: Path, whole: Story) -> None:
    def act(trainer: Any) -> None:
        def spoil(module: Any, given: Any, logits_BTS: Any) -> Any:
            logits_BTS = logits_BTS.clone()
            logits_BTS[0, 0, 0] = NAN  # at the prompt, whose target is given
            return logits_BTS

        trainer.lightning_module.model.register_forward_hook(spoil)

    said = stopped(tmp_path, At("on_train_batch_start", 2, act))
    assert "a logit is not finite at step 1" in said
    assert records(whole.batches[1]) in said


def test_a_gradient_names_all_records_of_its_step(tmp_path: Path) -> None:
    story = run(tmp_path / "whole", max_epochs=1, accumulate_grad_batches=3)

    def act(trainer: Any) -> None:
        trainer.lightning_module.model.decoder.norm.weight.register_hook(lambda gradient: gradient * INF)

    said = stopped(tmp_path, At("on_train_batch_start", 5, act), accumulate_grad_batches=3)
    assert "the gradient is not finite at step 1" in said
    for batch in story.batches[3:5]:
        assert records(batch) in said
    assert records(story.batches[2]) not in said


def test_a_validation(tmp_path: Path) -> None:
    def act(trainer: Any) -> None:
        trainer.lightning_module.model.register_forward_hook(lambda *given: given[-1] * NAN)

    said = stopped(tmp_path, At("on_validation_start", 1, act))
    assert "the validation loss of task " in said
