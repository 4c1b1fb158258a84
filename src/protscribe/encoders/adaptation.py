"""How much of an encoder training may change: nothing, its last layers, everything, or low-rank additions to it.

Low-rank adaptation is LoRA (Hu et al. 2021, arXiv 2106.09685) by peft; QLoRA (Dettmers et al. 2023, arXiv 2305.14314) adds the
same to an encoder whose linear layers are kept in four bits.

Shape legend: N proteins, L residues (padded), D width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from protscribe.encoders.four_bit import pack_linear, unpack_linear
from protscribe.encoders.stacked import StackedEncoder
from protscribe.errors import ConfigError, nearest

How = Literal["frozen", "top", "last_k", "full", "lora", "qlora"]
WAYS = ("frozen", "top", "last_k", "full", "lora", "qlora")


class Adapted(nn.Module):
    """An encoder and the way it is adapted. It reads as the encoder does; :func:`merge` gives the encoder back.

    Layers without a weight to train stay in eval mode (no dropout), whatever :meth:`train` is told, and a frozen encoder
    records no gradients.
    """

    def __init__(self, encoder: nn.Module, how: How) -> None:
        super().__init__()
        inner: Any = encoder
        self.encoder: Any = inner
        self.how = how
        self.kind: str = inner.kind
        self.width: int = inner.width
        self.limit: int | None = inner.limit
        self.train(self.training)

    def train(self, mode: bool = True) -> Adapted:
        super().train(mode)
        for part in (self.encoder, *self.encoder.blocks()):
            if not any(weight.requires_grad for weight in part.parameters()):
                part.eval()
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        """``residues_NL, mask_NL`` (or a molecule encoder's ``ids_KL, mask_KL``) to states."""
        if self.how == "frozen":
            with torch.no_grad():
                frozen: Tensor = self.encoder(*inputs)
                return frozen
        states: Tensor = self.encoder(*inputs)
        return states

    @property
    def below_module(self) -> nn.Module:
        """What training does not change: the encoder where it is frozen, the base of a stacked one."""
        fixed: nn.Module = self.encoder.base if self.how == "top" else self.encoder
        return fixed

    def below(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """The states ``[N, L, E]`` of :attr:`below_module`, which are the same at every step."""
        states_NLE: Tensor = self.below_module(residues_NL, mask_NL)
        return states_NLE

    def above(self, states_NLE: Tensor, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """What :meth:`forward` gives, from what :meth:`below` gave."""
        if self.how != "top":
            return states_NLE.float()
        states_NLD: Tensor = self.encoder.upper(states_NLE.float(), residues_NL, mask_NL)
        return states_NLD

    def tokenize(self, molecules: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Of a molecule encoder."""
        tokens: tuple[Tensor, Tensor] = self.encoder.tokenize(molecules)
        return tokens

    def blocks(self) -> Sequence[nn.Module]:
        blocks: Sequence[nn.Module] = self.encoder.blocks()
        return blocks

    def top(self) -> nn.Module | None:
        top: nn.Module | None = self.encoder.top()
        return top

    def to_plain(self) -> dict[str, Any]:
        """Of the encoder: how it was adapted is no part of its architecture once merged."""
        plain: dict[str, Any] = self.encoder.to_plain()
        return plain


def adapt(
    encoder: nn.Module,
    how: How = "full",
    last: int = 2,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    targets: Sequence[str] = (),
) -> Adapted:
    """Prepares an encoder (in place) for training.

    Parameters
    ----------
    how: ``"frozen"``, ``"top"`` (all but the base of a stacked encoder is trained), ``"last_k"`` (the last ``last`` layers and
        the norm after them), ``"full"``, ``"lora"``, or ``"qlora"``, which first packs every linear layer of every block into
        four bits.
    rank, alpha, dropout: of LoRA; its additions are scaled by alpha / rank and start at zero.
    targets: ends of names of the linear layers that LoRA adds to (``("query", "value")``); default: every linear layer of every
        block, that is attention and feed-forward.

    Raises :class:`~protscribe.errors.ConfigError`: ``config.unknown`` for another ``how`` or a target that is nowhere,
    ``config.value`` for a number out of range, ``config.missing`` where QLoRA's package is not installed.
    """
    if how not in WAYS:
        raise ConfigError("config.unknown", f"unknown adaptation {how!r}; {nearest(str(how), WAYS)}")
    encoder.requires_grad_(how in ("full", "top"))
    if how == "top":
        if not isinstance(encoder, StackedEncoder):
            kind: Any = encoder
            raise ConfigError(
                "config.value", f"adaptation top is for stacked encoders, this one is {kind.kind!r}"
            )
        encoder.base.requires_grad_(False)
    if how == "last_k":
        blocks = list(encoder.blocks())  # type: ignore[operator]
        if not 1 <= last <= len(blocks):
            raise ConfigError(
                "config.value", f"last must be 1..{len(blocks)}, the encoder's layers, got {last}"
            )
        for part in (*blocks[-last:], encoder.top()):  # type: ignore[operator]
            if part is not None:
                part.requires_grad_(True)
    elif how in ("lora", "qlora"):
        linear = _linear_layers(encoder)
        if how == "qlora":
            kept = tuple(_kept_whole(encoder))
            pack_linear(encoder, [name for name in linear if name.rsplit(".", 1)[-1] not in kept])
        _add_lora(encoder, linear, rank, alpha, dropout, targets)
    return Adapted(encoder, how)


def _linear_layers(encoder: nn.Module) -> list[str]:
    """Names of the linear layers of an encoder's blocks."""
    inside = {id(module) for block in encoder.blocks() for module in block.modules()}  # type: ignore[operator]
    return [
        name
        for name, module in encoder.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear)
    ]


def _kept_whole(encoder: nn.Module) -> set[str]:
    """Last parts of names of layers that transformers itself keeps in single precision, since their inputs are large."""
    listed = [getattr(module, "_keep_in_fp32_modules", None) or () for module in encoder.modules()]
    return {name for names in listed for name in names}


def _add_lora(
    encoder: nn.Module, linear: Sequence[str], rank: int, alpha: float, dropout: float, targets: Sequence[str]
) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    if rank < 1:
        raise ConfigError("config.value", f"rank must be 1 or more, got {rank}")
    chosen = [name for name in linear if not targets or name.endswith(tuple(targets))]
    lost = [target for target in targets if not any(name.endswith(target) for name in linear)]
    if lost or not chosen:
        ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise ConfigError(
            "config.unknown", f"no linear layer ends in {', '.join(lost)}; there are: {', '.join(ends)}"
        )
    settings = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen)  # type: ignore[arg-type]
    inject_adapter_in_model(settings, encoder)


def merge(encoder: nn.Module) -> nn.Module:
    """The plain encoder of an adapted one, for export: its state dict has the names it had before :func:`adapt`.

    LoRA's additions are summed into a copy, so that training can go on; otherwise it is the encoder itself. After QLoRA the
    layers are those that were trained on: what four bits kept of their weights, and the additions, in single precision. An
    encoder that was never adapted is given back as it is.
    """
    if not isinstance(encoder, Adapted):
        return encoder
    if encoder.how not in ("lora", "qlora"):
        inner: nn.Module = encoder.encoder
        return inner
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged: nn.Module = copy.deepcopy(encoder.encoder)
    adapted = [name for name, module in merged.named_modules() if isinstance(module, BaseTunerLayer)]
    unpack_linear(merged)
    for name in adapted:
        layer: Any = merged.get_submodule(name)
        layer.merge(safe_merge=True)
        merged.set_submodule(name, layer.get_base_layer())
    return merged
