"""Sums over processes, and the mean that an optimizer step's loss is. Where there is one process, nothing is sent.

On a device, a sum waits in the device's own queue; the host goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.tensor import DTensor


def processes() -> int:
    """How many processes train together; 1 before they have met."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def begin_sum(tensor: Tensor) -> Callable[[], Tensor]:
    """Starts to sum a tensor over all processes, which all must do; the function returned gives the sum, once it is
    there."""
    total = tensor.detach().clone()
    if processes() == 1:
        return lambda: total
    work = torch.distributed.all_reduce(total, async_op=True)

    def finish() -> Tensor:
        work.wait()
        return total

    return finish


def total(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    return begin_sum(tensor)()


def full(tensor: Tensor) -> Tensor:
    """A tensor that processes may hold in shards, as a whole; every process must ask."""
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole


class StepMean:
    """Makes the loss of an optimizer step the mean over all its tokens, whatever process and accumulated batch they are in.

    The mean of the batches' own means, which gradient averaging and accumulation give by themselves, is another number: a
    token of a batch with few tokens would count more. Here every batch contributes ``sum(weight * cross entropy) / unit``.
    The unit is the same for all batches of a step, namely the weight of its first ones (one in each process); once the
    step's whole weight is known, :meth:`settle` corrects the gradients by ``unit / weight``. Without accumulation the
    two are equal and nothing is corrected.
    """

    def __init__(self) -> None:
        self._coming: Callable[[], Tensor] | None = None
        self._unit: Tensor | None = None
        self._weight: Tensor | None = None

    def expect(self, weight: Tensor) -> None:
        """Tells the weight of this process's next batch. Called before the forward pass, behind which the sum over
        processes hides."""
        self._coming = begin_sum(weight)

    def contribution(self, nats: Tensor) -> tuple[Tensor, Tensor]:
        """From ``sum(weight * cross entropy)`` of the batch: its loss, to be averaged over processes and accumulated
        batches, and the weight of all processes' batches."""
        assert self._coming is not None, "expect() comes first"
        weight = self._coming()
        self._coming = None
        if self._unit is None or self._weight is None:
            self._unit, self._weight = torch.where(weight > 0, weight, 1.0), weight
        else:
            self._weight = self._weight + weight
        return nats / (self._unit / processes()), weight

    def settle(self, gradients: Iterable[Tensor], accumulated: int) -> None:
        """Corrects the gradients of a step over ``accumulated`` batches a process, by which the Trainer has divided."""
        if accumulated > 1 and self._unit is not None and self._weight is not None:
            factor = accumulated * self._unit / torch.where(self._weight > 0, self._weight, 1.0)
            for gradient in gradients:
                local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
                local.mul_(factor)
        self._unit = self._weight = None
