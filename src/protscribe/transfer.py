"""Where the host waits for the device, by name. Everything that Python learns of a tensor's content goes through here.

A wait costs little once a batch and much once a step, so that each one is declared: :data:`POINTS` is the whole list, a test
and ``scripts/check_cuda_readiness.py`` fail on any other. In the other direction nothing waits: what goes to the device goes
by :func:`upload`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

POINTS = {
    "finished": "which rows of a search have ended; once in a number of steps",
    "decoded": "tokens, lengths and probabilities of decoded answers, hazards along them; once a search",
    "compared": "states of proteins and residues whose neighbours vote; once a batch",
    "first": "the distribution of the first token; once a group",
    "marginals": "the distribution of every token of dense answers; once a group",
    "digits": "the bins of number trees; once a group",
    "followed": "probabilities of given answers, or of all answers of a small space; once a group",
    "places": "whether a protein exceeds the places of an encoder that has learned so many; once a batch wider than that",
    "loss": "whether the loss is finite; once a training step",
    "gradient": "whether the gradient is finite; once an optimizer step",
    "agreed": "whether any process was asked to stop or has to save; once an optimizer step, with several processes",
    "saved": "whether all that is saved is finite, and the sums that are saved; twice a checkpoint",
    "by_task": "sums of loss and accuracy; once in trainer.log_every_n_steps steps, and once a validation",
}
"""Every point at which the host may wait, and how often it does."""

Arrays = tuple[np.ndarray, ...]
Watcher = Callable[[str, tuple[Tensor, ...]], Arrays]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@dataclass(frozen=True)
class Sent:
    """Copies on their way to the host; :meth:`read` waits until they are there."""

    point: str
    copies: tuple[Tensor, ...]
    arrived: torch.cuda.Event | None

    def read(self) -> Arrays:
        """The content: numpy arrays of their own, float32 where the device has a half precision."""
        if (watcher := _watcher.get()) is not None:
            return watcher(self.point, self.copies)
        if self.arrived is not None:
            self.arrived.synchronize()
        return tuple(_array(copy) for copy in self.copies)


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device, copied without waiting where that is safe: CUDA takes a copy of host memory before it returns."""
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


def send(point: str, *tensors: Tensor) -> Sent:
    """Starts to copy tensors of one device to the host, without waiting: the device goes on computing meanwhile."""
    assert point in POINTS, f"{point!r} is no declared point of synchronisation"
    if _watcher.get() is not None:
        return Sent(point, tensors, None)
    copies = tuple(one.detach().to("cpu", non_blocking=one.is_cuda, copy=True) for one in tensors)
    arrived = None
    if tensors and tensors[0].is_cuda:
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(tensors[0].device))
    return Sent(point, copies, arrived)


def read_back(point: str, *tensors: Tensor) -> Arrays:
    """The content of tensors, all of one device, for one wait: see :class:`Sent`."""
    return send(point, *tensors).read()


def is_true(point: str, tensor: Tensor) -> bool:
    """The content of a truth value on the device."""
    return bool(read_back(point, tensor)[0])


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Lets ``watcher`` see every point passed inside, and say what is read there."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def _array(copy: Tensor) -> np.ndarray:
    return (copy.float() if copy.dtype in (torch.bfloat16, torch.float16) else copy).numpy()
