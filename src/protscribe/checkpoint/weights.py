"""The tensors of a bundle: written as safetensors, read only into a network they fit exactly, as float32."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from protscribe.errors import CheckpointError, Where

MAX_HEADER = 25_000_000
MAX_TENSORS = 100_000
"""Bounds on a header, checked before anything is made from it; the largest encoder we know has 1,600
tensors."""

SHOWN = 5
NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What weights may be stored as. Buffers stay float32: a rounded rotary frequency turns far residues by whole radians."""


class Form(NamedTuple):
    """What a tensor must look like: safetensors' name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def stored(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors of a model by name, as they are stored: on the CPU, weights as ``dtype``, floating buffers as float32.

    Raises :class:`~protscribe.errors.CheckpointError` ``checkpoint.not_finite`` where a weight is NaN or
    infinite, or too large for ``dtype``.
    """
    tensors = {}
    weights = weight_names(model)
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        held = tensor.detach().to("cpu", _stored_dtype(name, tensor, weights, dtype)).contiguous()
        check_finite(name, held, Where())
        # One storage under two names would be refused: each name gets its own copy.
        tensors[name] = held.clone() if held.untyped_storage().data_ptr() in seen else held
        seen.add(held.untyped_storage().data_ptr())
    return tensors


def weight_names(model: nn.Module) -> frozenset[str]:
    """Which tensors of a model are weights; the others are buffers."""
    return frozenset(name for name, _ in model.named_parameters(remove_duplicate=False))


def _stored_dtype(name: str, tensor: Tensor, weights: Collection[str], dtype: torch.dtype) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    return dtype if name in weights else torch.float32


def forms(
    tensors: Mapping[str, Tensor], weights: Collection[str] = (), dtype: torch.dtype = torch.float32
) -> dict[str, Form]:
    """What each tensor looks like once stored, those named in ``weights`` as ``dtype``."""
    return {
        name: Form(NAMES[_stored_dtype(name, tensor, weights, dtype)], tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file. Raises ``OSError`` where the disk does not take it."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"the weights could not be written: {error}") from error


def check_header(path: Path) -> None:
    """Raises ``checkpoint.too_large`` or ``checkpoint.corrupt`` for a header that no library should be given
    to read."""
    where = Where(file=str(path))
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size + 8 > path.stat().st_size:
            raise CheckpointError(
                "checkpoint.corrupt", "is no safetensors file: its header is longer than it", where
            )
        if size > MAX_HEADER:
            raise CheckpointError(
                "checkpoint.too_large",
                f"its header claims {size} bytes, at most {MAX_HEADER} are read",
                where,
            )
        header = file.read(size)
    if header.count(b'"data_offsets"') > MAX_TENSORS:
        raise CheckpointError(
            "checkpoint.too_large",
            f"names {header.count(b'data_offsets')} tensors, at most {MAX_TENSORS} are read",
            where,
        )
    try:
        if not isinstance(json.loads(header), dict):
            raise ValueError("its header is no table of tensors")
    except (ValueError, RecursionError) as error:
        raise CheckpointError("checkpoint.corrupt", f"is no safetensors file: {error}", where) from None


def load_weights(path: Path, model: nn.Module, expected: Mapping[str, Form]) -> None:
    """Copies a file's tensors over the model's, all of them. Check :func:`check_weights` first.

    Raises :class:`~protscribe.errors.CheckpointError` ``checkpoint.not_finite``.
    """
    where = Where(file=str(path))
    with torch.no_grad(), safe_open(path, framework="pt", device="cpu") as file:
        targets = model.state_dict()
        for name in expected:
            tensor = file.get_tensor(name)
            check_finite(name, tensor, where)
            targets[name].copy_(tensor)


def check_weights(path: Path, expected: Mapping[str, Form]) -> None:
    """Raises ``checkpoint.tensors`` unless a file holds exactly the expected tensors, naming the first five
    of each fault."""
    where = Where(file=str(path))
    check_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            found = {name: Form(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except SafetensorError as error:
        raise CheckpointError("checkpoint.corrupt", f"is no safetensors file: {error}", where) from None
    faults = list(compare(found, expected))
    if faults:
        raise CheckpointError(
            "checkpoint.tensors",
            f"does not fit the architecture in the manifest; {'; '.join(faults)}. Nothing was filled in at random",
            where,
        )


def compare(found: Mapping[str, Form], expected: Mapping[str, Form]) -> Iterator[str]:
    """One text for each kind of fault: missing, unexpected, of another type or shape."""
    for word, names in (
        ("missing", expected.keys() - found.keys()),
        ("unexpected", found.keys() - expected.keys()),
    ):
        if names:
            yield f"{word}: {_first(sorted(names))}"
    unlike = [name for name in sorted(expected.keys() & found.keys()) if found[name] != expected[name]]
    if unlike:
        yield "unlike: " + _first([f"{name} is {found[name]}, must be {expected[name]}" for name in unlike])


def check_finite(name: str, tensor: Tensor, where: Where) -> None:
    """Raises ``checkpoint.not_finite`` for a tensor with NaN or infinity."""
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError("checkpoint.not_finite", f"NaN or infinity in {name}", where)


def _first(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def count_weights(model: nn.Module | None) -> int:
    """How many numbers a network holds."""
    if model is None:
        return 0
    parameters: Any = model.parameters()
    return sum(parameter.numel() for parameter in parameters)
