"""Any encoder that transformers' ``AutoModel`` knows, as tokens in, states out. No code from a checkpoint is ever run.

Shape legend: N sequences, T tokens (padded), D width.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from protscribe.encoders.pretrained import load_pretrained, read_config
from protscribe.encoders.tokens import attended
from protscribe.errors import CheckpointError, ConfigError, Where, nearest

LEFT_OUT = frozenset(
    {
        "architectures",
        "auto_map",
        "dtype",
        "id2label",
        "label2id",
        "model_type",
        "name_or_path",
        "problem_type",
        "quantization_config",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
    }
)
"""Keys of a transformers configuration that are no part of an architecture."""


class Backbone(nn.Module):
    """A transformers encoder of a ``family`` (``bert``, ``t5``, ...) and a plain ``config``; random weights.

    Of encoder-decoder families only the encoder is made.
    """

    def __init__(self, family: str, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import CONFIG_MAPPING

        if family not in CONFIG_MAPPING:
            raise ConfigError(
                "config.unknown",
                f"transformers has no model family {family!r}; {nearest(family, CONFIG_MAPPING.keys())}",
            )
        settings = CONFIG_MAPPING[family](
            **{key: value for key, value in config.items() if key not in LEFT_OUT}
        )
        self._take(_class_for(settings)._from_config(settings))

    @classmethod
    def load(cls, folder: Path) -> Backbone:
        """The backbone of a transformers folder, in eval mode.

        Errors as in :func:`~protscribe.encoders.pretrained.load_pretrained`.
        """
        from transformers import AutoConfig

        if "auto_map" in (plain := read_config(folder)) and not plain.get("model_type"):
            raise CheckpointError(
                "checkpoint.foreign", "brings its own code, which is never run", Where(file=str(folder))
            )
        try:
            settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (ValueError, KeyError, OSError) as error:
            raise CheckpointError(
                "checkpoint.foreign",
                f"transformers does not know this model: {error}",
                Where(file=str(folder)),
            ) from error
        backbone = cls.__new__(cls)
        nn.Module.__init__(backbone)
        backbone._take(load_pretrained(_class_for(settings), folder, heads=("pooler",)))
        return backbone.eval()

    def _take(self, model: Any) -> None:
        # Weights that take no part would stall distributed training, and a table under two names cannot be saved.
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        if hasattr(model, "shared"):
            del model.shared
        self.model = model
        self.config = model.config
        self.padding = int(self.config.pad_token_id or 0)
        self.width = int(getattr(self.config, "hidden_size", 0) or self.config.d_model)
        # These families return a prepared mask as it is; others get the documented two-dimensional one.
        self.prepares = hasattr(sys.modules[type(model).__module__], "create_bidirectional_mask")

    def forward(self, tokens_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """States ``[N, T, D]``; those at padding mean nothing."""
        mask: Tensor = mask_NT.long()
        if self.prepares:
            mask = attended(mask_NT)
            if self.config._attn_implementation != "sdpa":
                dtype = next(self.model.parameters()).dtype
                mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
                    ~mask, torch.finfo(dtype).min
                )
        states_NTD: Tensor = self.model(input_ids=tokens_NT, attention_mask=mask).last_hidden_state
        return states_NTD

    def places(self) -> int | None:
        """How many tokens it has learned places for; None where positions are relative."""
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
                offset = 0 if module.padding_idx is None else module.padding_idx + 1
                return module.num_embeddings - offset
        return None

    def trained(self) -> int | None:
        """How many tokens it was trained on, as far as its configuration says."""
        said = getattr(self.config, "max_position_embeddings", None)
        return self.places() or (int(said) if said else None)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self._stack()[1])

    def top(self) -> nn.Module | None:
        parent, layers = self._stack()
        after = list(parent.children())
        after = after[after.index(layers) + 1 :]
        return next((module for module in after if "norm" in type(module).__name__.lower()), None)

    def _stack(self) -> tuple[nn.Module, nn.ModuleList]:
        found = [
            (parent, child)
            for parent in self.model.modules()
            for child in parent.children()
            if isinstance(child, nn.ModuleList)
        ]
        return max(found, key=lambda pair: len(pair[1]))

    def to_plain(self) -> dict[str, Any]:
        """``family`` and ``config``: the constructor's keywords."""
        said = self.config.to_dict()
        kept = {key: value for key, value in said.items() if key not in LEFT_OUT and not key.startswith("_")}
        plain: dict[str, Any] = json.loads(json.dumps(kept))
        return {"family": str(self.config.model_type), "config": plain}


def _class_for(settings: Any) -> Any:
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    for mapping in (MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING):
        if type(settings) in mapping:
            chosen = mapping[type(settings)]
            if mapping is MODEL_MAPPING and settings.is_encoder_decoder:
                break
            return chosen
    raise ConfigError("config.unknown", f"transformers has no encoder for the family {settings.model_type!r}")
