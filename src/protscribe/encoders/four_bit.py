"""Linear layers whose weights are kept in four bits, by bitsandbytes (an extra): the base of QLoRA.

Each 64 neighbouring weights share a scale and are one of 16 values that are spread as a normal distribution is ("NF4", Dettmers
et al. 2023, arXiv 2305.14314): 4.5 bits a weight. Such weights are not trained; gradients pass through them.

Shape legend: I inputs, O outputs, P bytes (two weights each), S scales.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from protscribe.errors import ConfigError, DeviceError

BLOCK = 64
"""Weights that share a scale."""
TYPE = "nf4"


class FourBitLinear(nn.Linear):
    """A linear layer with the weight of ``layer`` in four bits, and its bias; both stay as they are.

    ``packed_P1`` and ``scales_S`` are all that is kept of the weight. They are buffers, so that saving, moving and copying a
    model need nothing special.
    """

    packed_P1: Tensor
    scales_S: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        functional = _bitsandbytes().functional
        self.in_features, self.out_features = layer.in_features, layer.out_features
        try:
            packed_P1, state = functional.quantize_4bit(
                layer.weight.detach().contiguous(),
                blocksize=BLOCK,
                compress_statistics=False,
                quant_type=TYPE,
            )
        except (RuntimeError, NotImplementedError) as error:
            raise DeviceError(
                "device.missing",
                f"bitsandbytes has no four-bit layers for {layer.weight.device}: {error}; use adaptation=lora",
            ) from error
        self.register_buffer("packed_P1", packed_P1)
        self.register_buffer("scales_S", state.absmax)
        bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        self.register_parameter("bias", bias)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """``[O, I]`` in single precision, unpacked anew each time."""
        unpacked: Tensor = _bitsandbytes().functional.dequantize_4bit(self.packed_P1, self._state())
        return unpacked

    def forward(self, inputs: Tensor) -> Tensor:
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            inputs = inputs.to(torch.get_autocast_dtype(device))
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        outputs: Tensor = _bitsandbytes().matmul_4bit(inputs, self.packed_P1, self._state(), bias=bias)
        return outputs

    def unpacked(self) -> nn.Linear:
        """An ordinary layer that computes the same."""
        has_bias = self.bias is not None
        plain = nn.Linear(self.in_features, self.out_features, has_bias, device="meta")
        plain = plain.to_empty(device=self.packed_P1.device)
        plain.load_state_dict({"weight": self.weight, **({"bias": self.bias} if has_bias else {})})
        return plain

    def _state(self) -> Any:
        functional = _bitsandbytes().functional
        return functional.QuantState(
            absmax=self.scales_S,
            shape=torch.Size((self.out_features, self.in_features)),
            blocksize=BLOCK,
            quant_type=TYPE,
            dtype=torch.float32,
        )


def pack_linear(model: nn.Module, names: Iterable[str]) -> None:
    """Replaces the linear layers of a model that have these names by :class:`FourBitLinear`, in place.

    Raises :class:`~protscribe.errors.ConfigError` ``config.missing`` where bitsandbytes is not installed, and
    :class:`~protscribe.errors.DeviceError` ``device.missing`` where it does not support the device.
    """
    for name in names:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, FourBitLinear(layer))


def unpack_linear(model: nn.Module) -> None:
    """The inverse of :func:`pack_linear`, but for what four bits have lost."""
    packed = [name for name, module in model.named_modules() if isinstance(module, FourBitLinear)]
    for name in packed:
        layer: Any = model.get_submodule(name)
        model.set_submodule(name, layer.unpacked())


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise ConfigError(
            "config.missing",
            "adaptation=qlora needs the package bitsandbytes, which is not installed: pip install 'protscribe[qlora]'",
        ) from None
    return bitsandbytes
