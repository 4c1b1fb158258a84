"""Finds, on a CPU, where a GPU's host would wait: reads of tensors from Python, and operations whose shape depends on data."""

from __future__ import annotations

import contextlib
from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from protscribe.transfer import watched

READS = {
    "item", "tolist", "numpy", "cpu", "__array__", "__bool__", "__int__", "__float__", "__index__", "__contains__",
    "__format__", "equal", "allclose",
}  # fmt: skip
"""What Python calls to learn of a tensor's content."""
SHAPED_BY_DATA = (
    "_local_scalar_dense",
    "aten.item", "nonzero", "masked_select", "unique", "is_nonzero", "equal.default", "bincount",
    "repeat_interleave.Tensor",
)  # fmt: skip
"""Parts of names of operations that a GPU cannot finish without the host."""


class Reads(TorchFunctionMode):
    """Records what Python reads of tensors."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in READS:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Records the operations that wait: also those below Python, and those of boolean masks as an index."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        indices = args[1] if "aten.index" in name and isinstance(args[1], (list, tuple)) else ()
        if any(part in name for part in SHAPED_BY_DATA):
            self.seen.append(name)
        elif any(isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in indices):
            self.seen.append(f"{name} by a mask")
        return function(*args, **(kwargs or {}))


class Watched:
    """``seen``: where the host would wait outside of declared points; ``points``: how often it did at each of those."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.points: Counter[str] = Counter()

    def __call__(self, point, tensors):
        self.points[point] += 1
        before = len(self.seen)
        arrays = tuple(tensor.detach().clone().float().numpy() if tensor.dtype == torch.bfloat16 else
                       tensor.detach().clone().numpy() for tensor in tensors)  # fmt: skip
        del self.seen[before:]
        return arrays


@contextlib.contextmanager
def watching():
    """Inside, waiting is recorded; use as ``with watching() as found``."""
    found = Watched()
    with watched(found), Reads(found.seen), Operations(found.seen):
        yield found
