"""Devices by name. Nothing falls back to another device than the one asked for."""

from __future__ import annotations

import torch

from protscribe.errors import DeviceError


def find_device(name: str = "auto") -> torch.device:
    """The device of a name: ``"auto"`` (CUDA if there is one, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
    ``"mps"``.

    Raises :class:`~protscribe.errors.DeviceError`: ``device.unknown`` for a name that is none,
    ``device.missing`` for a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError("device.unknown", f"device must be auto, cpu, cuda, cuda:N or mps, got {name!r}")
    have = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[
        device.type
    ]
    if (device.index or 0) >= have:
        there = f"{have} of that kind" if have else "none of that kind"
        raise DeviceError(
            "device.missing", f"{name!r} was asked for, this machine has {there}; use device=cpu or auto"
        )
    return device
