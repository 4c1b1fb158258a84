"""A training step waits for the device where it says so, and nowhere else."""

import dataclasses

import torch

from protscribe.nn.execution import recompute_activations
from protscribe.training.module import OFF_GRAMMAR_ROWS, Objective
from tests.training.test_module import attached, training
from tests.training.test_module import data as data
from tests.watching import watching


def test_a_step_waits_for_its_loss_and_its_gradient(data, tmp_path):
    module = attached(training(data), tmp_path)
    module.log = lambda *given, **named: None
    module.trainer.log_every_n_steps = 0
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with watching() as found:
        loss = module.training_step(batch, 0)
        loss.backward()
        module.on_before_optimizer_step(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert found.seen == []
    assert found.points == {"loss": 1, "gradient": 1}


def test_sums_by_task_are_read_once(data, tmp_path):
    module = attached(training(data), tmp_path)
    module.log = module.log_dict = lambda *given, **named: None
    module.trainer.log_every_n_steps = 1
    batch = next(iter(data.train_dataloader()))
    later = dataclasses.replace(batch, numbers=tuple(number + OFF_GRAMMAR_ROWS for number in batch.numbers))
    with watching() as found:
        module.training_step(batch, 0)
        module.training_step(batch, 1)
        assert found.points == {"loss": 2}
        module._tell_tasks(1)
        with torch.no_grad():
            module.eval()
            module.validation_step(later, 0)
            module.validation_step(later, 1)
            assert found.points == {"loss": 2, "by_task": 1}
            module.on_validation_epoch_end()
    assert found.seen == []
    assert found.points == {"loss": 2, "by_task": 2}


def test_soft_digits_wait_for_nothing(data, tmp_path):
    module = attached(training(data, Objective(digit_width=1.0)), tmp_path)
    module.log = lambda *given, **named: None
    module.trainer.log_every_n_steps = 0
    assert module.soft_VV is not None
    batch = next(iter(data.train_dataloader()))
    with watching() as found:
        module.training_step(batch, 0).backward()
    assert found.seen == []


def test_stored_states_and_activations_computed_twice_wait_for_nothing(data, tmp_path):
    module = attached(training(data, how="frozen"), tmp_path)
    module.log = lambda *given, **named: None
    module.trainer.log_every_n_steps = 0
    batch = next(iter(data.train_dataloader()))
    states = module.model.encoder.below(batch.residues_NL, batch.residue_mask_NL)
    recompute_activations(*module.model.blocks())
    with watching() as found:
        module.training_step(dataclasses.replace(batch, states_NLE=states.half()), 0).backward()
    assert found.seen == []
    assert found.points == {"loss": 1}
