"""ESM-2 (Lin et al. 2023, https://doi.org/10.1126/science.ade2574) and ESM-1b/1v through transformers' ``EsmModel``.

Shape legend: N proteins, L residues (padded), T = L + 2 tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from protscribe.alphabet import RESIDUES
from protscribe.encoders import esm_inference
from protscribe.encoders.pretrained import find, load_pretrained, read_config
from protscribe.encoders.tokens import ResidueTokens, attended
from protscribe.errors import CheckpointError, Where

LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"
"""The residue letters in the order of ESM's tokens 4 to 28."""
CLS, PAD, EOS, MASK = 0, 1, 2, 32
TOKENS = tuple(4 + LETTERS.index(letter) for letter in RESIDUES)
TRAINED = 1022
"""ESM-2 and ESM-1b were trained on crops of so many residues."""

HOMES = ("transformers.models.esm.modeling_esm",)
"""Where the model's own layers are defined."""

UNUSED = ("pooler", "contact_head")
KEYWORDS = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "position_embedding_type",
    "places": "max_position_embeddings",
    "norm_before": "emb_layer_norm_before",
    "token_dropout": "token_dropout",
    "epsilon": "layer_norm_eps",
    "rotary_base": "rope_theta",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
"""Our keywords and those of transformers' ``EsmConfig``."""


class Esm2Encoder(nn.Module):
    """The encoder of any ESM-2 size or ESM-like checkpoint. The constructor gives random weights; :meth:`load` real ones.

    Parameters
    ----------
    layers, width, heads, feed_forward, dropout, attention_dropout: as everywhere; ``feed_forward=0`` means
        four times the width.
    vocabulary: number of tokens. The residue letters have ESM's own token numbers whatever it is.
    positions: ``"rotary"`` (ESM-2) or ``"absolute"`` with ``places`` rows (ESM-1b), which bounds the length of a protein.
    norm_before, token_dropout, epsilon, rotary_base: as in transformers' ``EsmConfig``; the defaults are ESM-2's.
    """

    kind: ClassVar[str] = "esm2"

    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        feed_forward: int = 0,
        vocabulary: int = 33,
        positions: Literal["rotary", "absolute"] = "rotary",
        places: int = 1026,
        norm_before: bool = False,
        token_dropout: bool = True,
        epsilon: float = 1e-5,
        rotary_base: float = 10_000.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        from transformers import EsmConfig, EsmModel

        given = locals()
        self.plain: dict[str, Any] = {key: given[key] for key in KEYWORDS} | {
            "feed_forward": feed_forward or 4 * width
        }
        config = EsmConfig(
            **{KEYWORDS[key]: value for key, value in self.plain.items()},
            pad_token_id=PAD,
            mask_token_id=MASK,
        )
        config._attn_implementation = "sdpa"
        self._take(EsmModel(config, add_pooling_layer=False))

    def _take(self, model: Any) -> None:
        # The contact head reads attention maps, which SDPA does not give; unused weights would stall distributed training.
        del model.contact_head
        self.model = model
        self.width = int(self.plain["width"])
        self.limit: int | None = TRAINED
        bounded = self.plain["positions"] == "absolute"
        most = int(self.plain["places"]) - PAD - 1 - 2 if bounded else None
        self.tokens = ResidueTokens(TOKENS, CLS, EOS, PAD, most)

    @classmethod
    def load(
        cls, name_or_folder: str, local_files_only: bool = False, revision: str | None = None
    ) -> Esm2Encoder:
        """The pretrained encoder of a Hub name (``facebook/esm2_t6_8M_UR50D``) or a local folder, in eval mode.

        Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found``, ``.offline``, ``.pickle``,
        ``.tensors``, ``.corrupt``, ``.not_finite``, ``.foreign`` (another kind of model, or other tokens). Never
        gives random weights.
        """
        from transformers import EsmModel

        folder = find(name_or_folder, local_files_only, revision)
        check_folder(folder)
        model = load_pretrained(
            EsmModel,
            folder,
            heads=(*UNUSED, "rotary_embeddings"),
            add_pooling_layer=False,
            attn_implementation="sdpa",
        )
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder.plain = {key: getattr(model.config, name) for key, name in KEYWORDS.items()}
        encoder.plain["norm_before"] = bool(encoder.plain["norm_before"])
        encoder._take(model)
        return encoder.eval()

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`."""
        tokens_NT, mask_NT = self.tokens(residues_NL, mask_NL)
        embedded_NTD = self.model.embeddings(input_ids=tokens_NT, attention_mask=mask_NT.long())
        if self._is_plain() and esm_inference.applies(self.model, HOMES):
            states_NTD = self._infer(embedded_NTD, mask_NT)
        else:
            prepared = attended(mask_NT)
            states_NTD = self.model(inputs_embeds=embedded_NTD, attention_mask=prepared).last_hidden_state
        return self.tokens.take(states_NTD, mask_NL)

    def _is_plain(self) -> bool:
        """Whether it is an encoder whose layers share one rotary table, which not every version of transformers gives."""
        return hasattr(self.model, "rotary_embeddings") and not self.model.config.is_decoder

    def _infer(self, embedded_NTD: Tensor, mask_NT: Tensor) -> Tensor:
        rotary, heads = self.model.rotary_embeddings, self.model.config.num_attention_heads
        layers = [_parts(layer) for layer in self.model.encoder.layer]
        speeds = None if rotary is None else rotary.inv_freq
        states_NTD = esm_inference.run(layers, heads, speeds, embedded_NTD, mask_NT)
        normed: Tensor = self.model.encoder.emb_layer_norm_after(states_NTD)
        return normed

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.model.encoder.layer)

    def top(self) -> nn.Module | None:
        norm: nn.Module = self.model.encoder.emb_layer_norm_after
        return norm

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.plain}


def _parts(layer: Any) -> esm_inference.Layer:
    attention = layer.attention
    return esm_inference.Layer(
        attention_norm=attention.LayerNorm,
        query=attention.self.query,
        key=attention.self.key,
        value=attention.self.value,
        out=attention.output.dense,
        feed_norm=layer.LayerNorm,
        expand=layer.intermediate.dense,
        shrink=layer.output.dense,
    )


def check_folder(folder: Path) -> None:
    """Raises ``checkpoint.foreign`` unless a transformers folder holds an ESM model whose tokens are ESM's."""
    found = read_config(folder).get("model_type")
    if found != "esm":
        raise CheckpointError(
            "checkpoint.foreign",
            f"holds a {found!r} model, not an ESM one; use the encoder kind 'huggingface'",
            Where(file=str(folder)),
        )
    listed = folder / "vocab.txt"
    if listed.is_file():
        tokens = listed.read_text(encoding="utf-8").split()
        wrong = [
            letter
            for letter, token in zip(RESIDUES, TOKENS, strict=True)
            if tokens[token : token + 1] != [letter]
        ]
        if wrong:
            raise CheckpointError(
                "checkpoint.foreign",
                f"its tokens are not ESM's: {', '.join(wrong[:5])} stand at other numbers",
                Where(file=str(listed)),
            )
