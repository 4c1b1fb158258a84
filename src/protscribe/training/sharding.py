"""Fully sharded data parallelism (FSDP2: Zhao et al. 2023, arXiv 2304.11277, as torch's ``fully_shard``).

Every process holds a share of each weight and gathers a layer only while it computes with it: models are trained that no
device could hold.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from protscribe.errors import ConfigError
from protscribe.nn.model import Scribe


def shard(model: Scribe, mesh: DeviceMesh) -> None:
    """Shards a model in place over the processes of a mesh: each block of the encoders and each layer of the decoder is
    gathered for itself, all else (embeddings, norms, projections) once a step.

    Weights are gathered, gradients summed and weights updated in float32; with ``precision=bf16-mixed`` products are in
    bfloat16, as they are with every other strategy. Raises :class:`~protscribe.errors.ConfigError` ``config.value`` for weights
    of four bits, which have no shares.
    """
    if not all(weight.is_floating_point() for weight in model.parameters()):
        raise ConfigError(
            "config.value", "weights of four bits cannot be shared out among processes; use trainer=ddp"
        )
    for block in model.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def twin(model: Scribe) -> Scribe:
    """A model of the same structure whose weights are on the meta device: they take no memory until they are loaded."""
    weights = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, weights)
