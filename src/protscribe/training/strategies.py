"""How several processes train one model: the strategies of ``configs/trainer``, and the environment they are launched in."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch.distributed
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from protscribe import processes

PATIENCE = 1800.0
"""Seconds that a process waits for the others by default, before it gives up."""


BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
"""The keyword by which this torch is told whether buffers are broadcast before every forward pass."""


def environments() -> list[ClusterEnvironment]:
    """The environment that Lightning must be told; none where it finds the right one.

    Inside a SLURM job it would wait for tasks that srun has not started, and requeue the job by itself.
    """
    if processes.by_torchrun() or not processes.in_slurm():
        return []
    return [SLURMEnvironment(auto_requeue=False) if processes.by_srun() else LightningEnvironment()]


def forget_earlier_run() -> None:
    """Ends what Lightning has left of an earlier run in this process: a new one would wait for that one's processes."""
    met = torch.distributed.is_available() and torch.distributed.is_initialized()
    if met and not processes.by_torchrun() and not processes.by_srun():
        torch.distributed.destroy_process_group()
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


class Replicated(DDPStrategy):
    """Every process holds the whole model and the gradients are averaged (DDP).

    ``timeout`` is how many seconds a process waits for the others before training fails. Every weight takes part in every
    step, and no buffer changes, so that neither is looked for.
    """

    def __init__(self, timeout: float = PATIENCE) -> None:
        options: dict[str, Any] = {BUFFERS: False}
        super().__init__(
            timeout=timedelta(seconds=timeout),
            find_unused_parameters=False,
            gradient_as_bucket_view=True,
            **options,
        )


class Sharded(ModelParallelStrategy):
    """Every process holds a share of each weight, its gradient and its optimizer state (FSDP2), see
    :mod:`protscribe.training.sharding`.

    ``timeout`` as in :class:`Replicated`. Checkpoints hold whole tensors, named and ordered as those of one process, so that
    a run may go on with another number of processes, or without sharding.
    """

    def __init__(self, timeout: float = PATIENCE) -> None:
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timedelta(seconds=timeout)
        )

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights, whole and on the CPU in the first process; nothing in the others, which must ask too."""
        assert self.lightning_module is not None
        gathered = _changed(self.lightning_module.state_dict(), _gather)
        return gathered if self.global_rank == 0 else {}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The same of an optimizer's state."""
        plain: Any = getattr(optimizer, "optimizer", optimizer)
        gathered = _changed(plain.state_dict(), _gather)
        return gathered if self.global_rank == 0 else {}

    # Lightning's own ways with files are for checkpoints in shards; these are the ones of every other strategy.

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        held = self.lightning_module.state_dict()
        given = {name: _like(value, held.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(given, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            shared = {
                place: {
                    # A count of steps belongs to no element of the weight.
                    name: _like(value, weights[place]) if _shape(value) == weights[place].shape else value
                    for name, value in slots.items()
                }
                for place, slots in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": shared})


def _changed(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A nest of dicts and lists with every tensor changed, in order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _changed(part, change) for key, part in value.items()}
    return [_changed(part, change) for part in value] if isinstance(value, list) else value


def _gather(tensor: Tensor) -> Tensor:
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu()


def _like(whole: Tensor, held: Tensor | None) -> Tensor:
    """A whole tensor as this process holds it: its share, where ``held`` is one."""
    if not isinstance(held, DTensor):
        return whole
    # Every process has read the whole tensor: each takes its share of its own copy, and nothing is sent.
    return distribute_tensor(whole.to(held.device), held.device_mesh, held.placements, src_data_rank=None)


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else None
