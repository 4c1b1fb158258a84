"""An encoder of ours as one file: safetensors, with its architecture in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from protscribe.errors import CheckpointError, Where


def save_encoder(encoder: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes weights and, under ``plain`` in the file's metadata, what :meth:`Encoder.to_plain` gives.

    ``dtype`` is what the weights are stored in; they are loaded as float32. The file appears complete or not at all.
    """
    from safetensors.torch import save_file

    described: Any = encoder
    plain = {key: value for key, value in described.to_plain().items() if key != "kind"}
    state = {
        name: weight.detach().to("cpu", dtype).contiguous() for name, weight in encoder.state_dict().items()
    }
    unfinished = path.with_suffix(".partial")
    save_file(state, unfinished, metadata={"plain": json.dumps(plain, sort_keys=True)})
    unfinished.replace(path)


def read_plain(content: bytes, where: Where) -> dict[str, Any]:
    """The constructor's keywords in the header of such a file. Raises ``checkpoint.corrupt`` where there are none."""
    size = int.from_bytes(content[:8], "little")
    try:
        plain: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["plain"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError("checkpoint.corrupt", f"holds no encoder of ours: {error}", where) from error
    return plain
