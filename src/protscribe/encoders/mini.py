"""Our own small encoder: dilated convolutions for the neighbourhood, a little attention for the whole protein.

The convolutions follow ByteNet (Kalchbrenner et al. 2016) and CARP (Yang, Fusi and Lu 2024, https://doi.org/10.1016/j.cels.2024.01.008),
made depthwise as in ConvNeXt (Liu et al. 2022): on a CPU that costs a fifth of the time for the same reach. Rotary attention
layers (Su et al. 2021) stand evenly between them.

Shape legend: N proteins, L residues (padded), D width, H heads, E width of a head, K kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from protscribe.alphabet import PAD_RESIDUE
from protscribe.encoders.pretrained import check_tensors
from protscribe.encoders.weights import read_plain
from protscribe.errors import CheckpointError, Where
from protscribe.nn.attention import rotate

WEIGHTS = "weights"
"""The folder in the package where pretrained weights lie, ``<name>.safetensors``."""


class FeedForward(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, states: Tensor) -> Tensor:
        fed: Tensor = self.shrink(gelu(self.expand(states)))
        return fed


class ShiftedSum(torch.autograd.Function):
    """A depthwise dilated convolution along the protein, as a sum of shifted states in their own layout.

    On a CPU that is several times faster than ``conv1d`` and its two transpositions. Autograd alone would make a tensor of
    the whole size for each shift, in both directions; this adds into one.
    """

    @staticmethod
    def forward(context: Any, padded_NLD: Tensor, kernel_KD: Tensor, dilation: int) -> Tensor:
        context.save_for_backward(padded_NLD, kernel_KD)
        context.dilation = dilation
        length = padded_NLD.shape[1] - dilation * (len(kernel_KD) - 1)
        mixed = padded_NLD[:, :length] * kernel_KD[0]
        for place in range(1, len(kernel_KD)):
            start = place * dilation
            mixed.addcmul_(padded_NLD[:, start : start + length], kernel_KD[place])
        return mixed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient_NLD,) = gradients
        padded_NLD, kernel_KD = context.saved_tensors
        of_padded, of_kernel = torch.zeros_like(padded_NLD), []
        for place, weight_D in enumerate(kernel_KD):
            seen = slice(place * context.dilation, place * context.dilation + gradient_NLD.shape[1])
            of_padded[:, seen].addcmul_(gradient_NLD, weight_D)
            of_kernel.append((gradient_NLD * padded_NLD[:, seen]).sum((0, 1)))
        return of_padded, torch.stack(of_kernel), None


class Convolution(nn.Module):
    """A depthwise dilated convolution along the protein, then a feed-forward across channels, behind a residual connection."""

    def __init__(self, width: int, kernel: int, dilation: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.kernel_KD = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, expansion * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_NLD: Tensor, mask_NL1: Tensor) -> Tensor:
        # The norm's bias would leak from padding into the last residues: zero there, a protein's end looks as it does alone.
        inputs = self.norm(states_NLD) * mask_NL1
        reach = self.dilation * (len(self.kernel_KD) // 2)
        padded = pad(inputs, (0, 0, reach, reach))
        mixed: Tensor = ShiftedSum.apply(padded, self.kernel_KD, self.dilation)  # type: ignore[no-untyped-call]
        added: Tensor = self.dropout(self.feed(self.feed_norm(mixed)))
        return states_NLD + added


class Attention(nn.Module):
    """Rotary self-attention over the whole protein and a feed-forward, each behind a norm and a residual connection."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of 2 * heads, got width={width}, heads={heads}")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, expansion * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_NLD: Tensor, mask_NL1: Tensor) -> Tensor:
        rows, length, width = states_NLD.shape
        heads = self.project(self.norm(states_NLD)).view(rows, length, 3, self.heads, -1)
        queries_NHLE, keys_NHLE, values_NHLE = heads.permute(2, 0, 3, 1, 4)
        columns_1L = torch.arange(length, device=states_NLD.device)[None]
        seen_N11L = mask_NL1[:, None, None, :, 0]
        seen_N11L = seen_N11L | ~seen_N11L.any(
            dim=-1, keepdim=True
        )  # a row of padding alone must not become NaN
        mixed_NHLE = scaled_dot_product_attention(
            rotate(queries_NHLE, columns_1L), rotate(keys_NHLE, columns_1L), values_NHLE, attn_mask=seen_N11L
        )
        mixed: Tensor = self.dropout(self.out(mixed_NHLE.transpose(1, 2).reshape(rows, length, width)))
        states = states_NLD + mixed
        fed: Tensor = self.dropout(self.feed(self.feed_norm(states)))
        return states + fed


def arrange(layers: int, attention_layers: int) -> list[bool]:
    """Where attention stands among convolutions, from the input on (true: attention): evenly, the last one at the end.

    >>> arrange(4, 2)
    [False, False, True, False, False, True]
    """
    order: list[bool] = []
    placed = 0
    for done in range(1, layers + 1):
        order.append(False)
        due = done * attention_layers // layers
        order += [True] * (due - placed)
        placed = due
    return order if layers else [True] * attention_layers


class MiniEncoder(nn.Module):
    """A small encoder that trains from scratch on a laptop. About 3 million weights by default.

    Parameters
    ----------
    width: D. layers: convolutions, kernel: residues each reads (odd), dilations: steps between them, in turn.
    attention_layers, heads: attention over the whole protein. expansion: width of a feed-forward over D. dropout: 0..1.
    """

    kind: ClassVar[str] = "mini"

    def __init__(
        self,
        width: int = 256,
        layers: int = 8,
        attention_layers: int = 2,
        heads: int = 8,
        kernel: int = 7,
        dilations: Sequence[int] = (1, 2, 4, 8),
        expansion: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        self.plain = {
            "width": width,
            "layers": layers,
            "attention_layers": attention_layers,
            "heads": heads,
            "kernel": kernel,
            "dilations": list(dilations),
            "expansion": expansion,
            "dropout": dropout,
        }
        self.width = width
        self.limit: int | None = None
        self.table = nn.Embedding(PAD_RESIDUE + 1, width, padding_idx=PAD_RESIDUE)
        nn.init.normal_(self.table.weight)
        steps = iter(list(dilations) * (layers // len(dilations) + 1))
        self.layers = nn.ModuleList(
            Attention(width, heads, expansion, dropout)
            if attends
            else Convolution(width, kernel, next(steps), expansion, dropout)
            for attends in arrange(layers, attention_layers)
        )
        self.norm = nn.LayerNorm(width)

    @classmethod
    def load(cls, name: str) -> MiniEncoder:
        """The encoder of that name whose weights ship inside the package, in eval mode.

        Raises :class:`~protscribe.errors.CheckpointError` ``checkpoint.not_found``, listing what there is.
        """
        folder = resources.files("protscribe").joinpath(WEIGHTS)
        shipped = {
            path.name.removesuffix(".safetensors"): path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.name.endswith(".safetensors")
        }
        if name not in shipped:
            known = ", ".join(sorted(shipped)) or "none"
            raise CheckpointError(
                "checkpoint.not_found",
                f"no mini encoder {name!r} ships with this version (there is: {known})",
            )
        return cls.read(shipped[name])

    @classmethod
    def read(cls, path: Any) -> MiniEncoder:
        """The encoder of a file that :func:`protscribe.encoders.weights.save_encoder` wrote, in eval mode and float32."""
        content = path.read_bytes()
        where = Where(file=path.name)
        encoder = cls(**read_plain(content, where))
        from safetensors.torch import load

        found = encoder.load_state_dict(load(content), strict=False)
        check_tensors(found.missing_keys, found.unexpected_keys, where)
        return encoder.eval()

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`."""
        mask_NL1 = mask_NL[..., None]
        states = self.table(residues_NL.masked_fill(~mask_NL, PAD_RESIDUE))
        for layer in self.layers:
            states = layer(states, mask_NL1)
        normed: Tensor = self.norm(states)
        return normed.masked_fill(~mask_NL1, 0.0)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)

    def top(self) -> nn.Module | None:
        return self.norm

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.plain}
