"""ESM-2 through the original package ``fair-esm``, from its own ``.pt`` files or from a folder that transformers saved.

Shape legend: N proteins, L residues (padded), T = L + 2 tokens, D width.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from protscribe.encoders import esm_inference
from protscribe.encoders.esm2 import CLS, EOS, PAD, TOKENS, TRAINED, Esm2Encoder
from protscribe.encoders.pretrained import check_finite, check_tensors
from protscribe.encoders.tokens import ResidueTokens
from protscribe.errors import CheckpointError, Where

KEPT_IN_TRAINING = 1 - 0.15 * 0.8
"""Share of embeddings that masking left alone when ESM-2 was trained: it scales those of a protein without masks."""

HOMES = ("esm.model.esm2", "esm.modules", "esm.multihead_attention", "esm.rotary_embedding")
"""Where the package's layers are defined."""

UNUSED = ("lm_head", "contact_head")
FIXED = {
    "positions": "rotary",
    "norm_before": False,
    "epsilon": 1e-5,
    "rotary_base": 10_000.0,
    "vocabulary": 33,
}
"""Of an ESM-2 shape, what fair-esm leaves no choice about."""

RENAMED = (
    (r"^embeddings\.word_embeddings\.", "embed_tokens."),
    (r"^encoder\.emb_layer_norm_after\.", "emb_layer_norm_after."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.query\.", r"layers.\1.self_attn.q_proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.key\.", r"layers.\1.self_attn.k_proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.value\.", r"layers.\1.self_attn.v_proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.rotary_embeddings\.", r"layers.\1.self_attn.rot_emb."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.self_attn.out_proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.LayerNorm\.", r"layers.\1.self_attn_layer_norm."),
    (r"^encoder\.layer\.(\d+)\.LayerNorm\.", r"layers.\1.final_layer_norm."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.fc2."),
)
LEFT_OUT = ("lm_head.", "contact_head.", "pooler.", "embeddings.position_", "rotary_embeddings.inv_freq")
"""Of a transformers ESM-2: its heads, and what fair-esm makes by itself."""


def fair_esm_from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformers ESM-2 state dict (with or without the prefix ``esm.``) under fair-esm's names.

    Only the encoder's tensors; heads are left out. One shared table of rotary frequencies becomes one a layer.
    """
    renamed: dict[str, Tensor] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix("esm.")
        if name.startswith(LEFT_OUT):
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = (
            tensor  # a name that fits no pattern stays, for the check of unexpected tensors to show
        )
    frequencies = state.get("rotary_embeddings.inv_freq", state.get("esm.rotary_embeddings.inv_freq"))
    if frequencies is not None:
        layers = {name.split(".")[1] for name in renamed if name.startswith("layers.")}
        renamed |= {f"layers.{layer}.self_attn.rot_emb.inv_freq": frequencies for layer in layers}
    return renamed


class FairEsmEncoder(nn.Module):
    """ESM-2 by fair-esm. The constructor gives random weights; :meth:`load` real ones.

    Parameters
    ----------
    layers, width, heads: the shape; the feed-forward is four times as wide.
    token_dropout: whether embeddings are scaled as ESM-2 was trained.
    """

    kind: ClassVar[str] = "fair_esm"

    def __init__(self, layers: int, width: int, heads: int, token_dropout: bool = True) -> None:
        super().__init__()
        from esm.model.esm2 import ESM2

        self.plain = {"layers": layers, "width": width, "heads": heads, "token_dropout": token_dropout}
        self.model: Any = ESM2(
            num_layers=layers, embed_dim=width, attention_heads=heads, token_dropout=token_dropout
        )
        for name in UNUSED:
            delattr(self.model, name)
        self.width = width
        self.limit: int | None = TRAINED
        self.tokens = ResidueTokens(TOKENS, CLS, EOS, PAD)

    @classmethod
    def load(
        cls, folder_or_pt: str, local_files_only: bool = False, revision: str | None = None
    ) -> FairEsmEncoder:
        """From fair-esm's ``.pt`` file (``esm2_t6_8M_UR50D.pt``), or a transformers folder or Hub name; in eval mode.

        A ``.pt`` file is read without running code from it: tensors, and the one plain class that its settings use.
        Raises :class:`~protscribe.errors.CheckpointError` as ``Esm2Encoder.load`` does.
        """
        if folder_or_pt.endswith(".pt"):
            shape, state, where = _read_pt(Path(folder_or_pt).expanduser())
        else:
            shape, state, where = _read_folder(folder_or_pt, local_files_only, revision)
        encoder = cls(**shape)
        try:
            found = encoder.model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise CheckpointError(
                "checkpoint.tensors", f"tensors do not fit the settings: {error}", where
            ) from error
        missing = [name for name in found.missing_keys if not name.endswith("rot_emb.inv_freq")]
        unexpected = [name for name in found.unexpected_keys if name.split(".")[0] not in UNUSED]
        check_tensors(missing, unexpected, where)
        check_finite(encoder, where)
        return encoder.float().eval()

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`. The package's layers, without its look at the mask's content."""
        tokens_NT, mask_NT = self.tokens(residues_NL, mask_NL)
        states_NTD = self.model.embed_tokens(tokens_NT)
        if self.plain["token_dropout"]:
            states_NTD = states_NTD * KEPT_IN_TRAINING
        if esm_inference.applies(self.model, HOMES):
            return self.tokens.take(self._infer(states_NTD, mask_NT), mask_NL)
        states_TND = (states_NTD * mask_NT[..., None]).transpose(0, 1)
        turns = self._turns(tokens_NT.shape[1])
        for layer in self.model.layers:
            # The package makes a table for each layer, in float32 whatever the weights are, and keeps the last one: made in
            # inference mode it would spoil a later training step.
            rotary = layer.self_attn.rot_emb
            rotary._seq_len_cached, (rotary._cos_cached, rotary._sin_cached) = len(states_TND), turns
            states_TND, _ = layer(states_TND, self_attn_padding_mask=~mask_NT)
        return self.tokens.take(self.model.emb_layer_norm_after(states_TND).transpose(0, 1), mask_NL)

    def _infer(self, states_NTD: Tensor, mask_NT: Tensor) -> Tensor:
        layers = [_parts(layer) for layer in self.model.layers]
        speeds = self.model.layers[0].self_attn.rot_emb.inv_freq
        states_NTD = esm_inference.run(layers, self.plain["heads"], speeds, states_NTD, mask_NT)
        normed: Tensor = self.model.emb_layer_norm_after(states_NTD)
        return normed

    def _turns(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of every place's rotary angles, ``[1, T, E]``, computed in float32."""
        speeds = self.model.layers[0].self_attn.rot_emb.inv_freq.float()
        angles = torch.arange(length, device=speeds.device)[:, None] * speeds.repeat(2)
        dtype = self.model.embed_tokens.weight.dtype
        return angles.cos()[None].to(dtype), angles.sin()[None].to(dtype)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.model.layers)

    def top(self) -> nn.Module | None:
        norm: nn.Module = self.model.emb_layer_norm_after
        return norm

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.plain}


def _parts(layer: Any) -> esm_inference.Layer:
    attention = layer.self_attn
    return esm_inference.Layer(
        attention_norm=layer.self_attn_layer_norm,
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        out=attention.out_proj,
        feed_norm=layer.final_layer_norm,
        expand=layer.fc1,
        shrink=layer.fc2,
    )


def _read_pt(path: Path) -> tuple[dict[str, Any], Any, Where]:
    where = Where(file=str(path))
    if not path.is_file():
        raise CheckpointError("checkpoint.not_found", "no such file", where)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
        settings = content["cfg"]["model"]
        shape = {
            "layers": settings.encoder_layers,
            "width": settings.encoder_embed_dim,
            "heads": settings.encoder_attention_heads,
            "token_dropout": settings.token_dropout,
        }
        state = {
            re.sub(r"^encoder\.(sentence_encoder\.)?", "", name): value
            for name, value in content["model"].items()
        }
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "checkpoint.pickle", f"holds more than tensors and settings, or is damaged: {error}", where
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "checkpoint.foreign", f"is not a fair-esm ESM-2 checkpoint: {error!r}", where
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError("checkpoint.corrupt", f"cannot be read: {error}", where) from error
    return shape, state, where


def _read_folder(
    name_or_folder: str, local_files_only: bool, revision: str | None
) -> tuple[dict[str, Any], Any, Where]:
    # Through transformers, which knows the names that its many versions gave to the same tensors.
    loaded = Esm2Encoder.load(name_or_folder, local_files_only, revision)
    shape = {key: loaded.plain[key] for key in ("layers", "width", "heads", "token_dropout")}
    needed = {**FIXED, "feed_forward": 4 * loaded.width}
    foreign = {key: loaded.plain[key] for key, value in needed.items() if loaded.plain[key] != value}
    where = Where(file=name_or_folder)
    if foreign:
        raise CheckpointError(
            "checkpoint.foreign",
            f"fair-esm's ESM-2 cannot have {foreign}; use the encoder kind 'esm2'",
            where,
        )
    return shape, fair_esm_from_transformers(loaded.model.state_dict()), where
