"""A CUDA device that is not there: shapes, types and devices of a computation, without its numbers.

Under torch's FakeTensorMode every tensor knows its device and none has content. Mixing devices raises, and so does whatever
needs a tensor's content on the host. What it does not notice by itself is told by :class:`Traffic`: a copy for which the host
waits. Needs a build of torch for CUDA, no GPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from protscribe.transfer import watched

CUDA = torch.device("cuda", 0)
STEPS_UNTIL_FINISHED = 1
"""How often a search is told that not all of its rows have ended."""
OURS = str(Path(__file__).resolve().parent.parent / "src")


class Waiting(RuntimeError):
    """A copy between host and device for which the host waits, at no declared point."""


WHOLE = (torch.ops.aten.to, torch.ops.aten.type_as)
"""Operations made of copies, which arrive as they are in inference mode."""


class Traffic(TorchDispatchMode):
    """Fails at every copy between host and device but those that do not wait; counts what goes up."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket in WHOLE:
            with self:
                return function.decompose(*args, **kwargs)
        if function is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            self._check(args[0].device, torch.device(kwargs["device"]), kwargs.get("non_blocking", False))
        elif function is torch.ops.aten.copy_.default:
            self._check(args[1].device, args[0].device, args[2] if len(args) > 2 else False)
        elif function is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "cpu":
            return 1  # the host's own number, such as an optimizer's count of steps: no wait
        return function(*args, **kwargs)

    def _check(self, source: torch.device, target: torch.device, non_blocking: bool) -> None:
        if source.type == target.type:
            return
        if target.type == "cpu":
            raise Waiting("a copy to the host")
        if not non_blocking:
            raise Waiting("a copy to the device that waits")
        self.uploads += 1


class Points:
    """Says what is read at declared points, and counts them: a fake tensor has nothing to read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, point: str, tensors: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
        self.counts[point] += 1
        return tuple(self._made_up(point, tensor) for tensor in tensors)

    def _made_up(self, point: str, tensor: Tensor) -> np.ndarray:
        shape = tuple(tensor.shape)
        ended = point == "finished" and self.counts[point] > STEPS_UNTIL_FINISHED
        if tensor.dtype == torch.bool:
            return np.full(shape, ended or point in ("loss", "gradient"))
        if tensor.dtype.is_floating_point:
            return np.ones(shape, np.float64 if tensor.dtype == torch.float64 else np.float32)
        # A search asks how many of its rows go on; numbers elsewhere are tokens and lengths, 0 of them.
        return np.full(shape, int(point == "finished" and not ended), np.int64)


class NoStream:
    """Stands for streams and events, which order work and hold no data; without a GPU there are none."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.device = CUDA

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


STREAMS = {
    "Stream": NoStream, "Event": NoStream, "current_stream": NoStream, "stream": lambda stream: contextlib.nullcontext()
}  # fmt: skip


@contextlib.contextmanager
def fake_device() -> Iterator[tuple[FakeTensorMode, Traffic, Points]]:
    """Inside, all that torch computes is fake, and all waiting is found."""
    mode, traffic, points = FakeTensorMode(), Traffic(), Points()
    # Of single numbers torch keeps the real value beside the fake one, and would move it to a real device.
    mode.may_turn_const = lambda tensor: False  # type: ignore[method-assign]
    no_streams = mock.patch.multiple(torch.cuda, **STREAMS)
    no_record = mock.patch.object(Tensor, "record_stream")
    with mode, traffic, watched(points), no_streams, no_record:
        yield mode, traffic, points


def on_device(module: nn.Module, mode: FakeTensorMode, dtype: torch.dtype | None = None) -> nn.Module:
    """Moves a real module's parameters (as ``dtype``) and buffers to the fake device, in place; gives the module back."""
    moved: dict[int, Tensor] = {}

    def move(owner: Tensor, kind: torch.dtype) -> Tensor:
        if id(owner) not in moved:
            with mode:
                moved[id(owner)] = torch.empty_strided(owner.shape, owner.stride(), dtype=kind, device=CUDA)
        return moved[id(owner)]

    with unset_fake_temporarily():
        held = list(module.parameters())  # their ids must stay theirs
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None and any(weight is one for one in held):
                    empty = move(weight, dtype or weight.dtype)
                    part._parameters[name] = nn.Parameter(empty, requires_grad=weight.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = move(buffer, buffer.dtype)
    return module


def outside(mode: FakeTensorMode, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed really, on the host; its batch then enters the fake world."""

    def really(*args: Any) -> Any:
        with unset_fake_temporarily():
            batch = function(*args)
        tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        return dataclasses.replace(
            batch, **{name: mode.from_tensor(v) for name, v in tensors.items() if isinstance(v, Tensor)}
        )

    return really


def backward(loss: Tensor) -> None:
    """What ``loss.backward()`` does, node by node.

    Autograd's own engine asks the driver for streams, which needs a GPU; the nodes do not.
    """
    gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    with torch.no_grad():
        for node in _in_order(loss.grad_fn):
            mine = gradients.pop(node, {})
            inputs = [mine.get(place) for place in range(len(node._input_metadata))]
            given = node(*inputs) if callable(node) else node.apply(*inputs)  # one that Python defines
            given = given if isinstance(given, tuple) else (given,)
            for (target, place), gradient in zip(node.next_functions, given, strict=True):
                if target is None or gradient is None:
                    continue
                expected, into = target._input_metadata[place], gradients.setdefault(target, {})
                gradient = gradient.sum_to_size(tuple(expected.shape)).to(expected.dtype)
                into[place] = into[place] + gradient if place in into else gradient


def _in_order(root: Any) -> list[Any]:
    """The nodes of a graph, each before those that it passes gradients to."""
    order: list[Any] = []
    seen: set[Any] = set()
    rest = [(root, False)]
    while rest:
        node, done = rest.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            rest.append((node, True))
            rest += [(target, False) for target, _ in node.next_functions if target is not None]
    return order[::-1]


@contextlib.contextmanager
def autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """``torch.autocast`` on CUDA, which torch itself switches off where there is no GPU."""
    before = torch.is_autocast_enabled("cuda")
    if dtype is not None:
        torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", dtype is not None)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before)
        torch.clear_autocast_cache()


def told(error: BaseException) -> str:
    """An error in one line, with the place in our source that it came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(OURS)] or list(frames)
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    kind = type(error).__name__
    words = {
        "DataDependentOutputException": "the host waits for",
        "DynamicOutputShapeException": "a shape depends on data:",
        "FakeTensorDeviceMismatchError": "devices are mixed:",
    }.get(kind, f"{kind}:")
    return f"{where}: {words} {str(error).splitlines()[0] if str(error) else ''}"
