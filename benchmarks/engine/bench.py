"""What the figures share: how much is measured, and networks and peers, each made when first needed and then kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from benchmarks.engine.peers import (
    CTranslate2Decoder,
    TransformersDecoder,
    TransformersEncoder,
    TransformersPipeline,
)
from benchmarks.engine.timing import fastest
from benchmarks.engine.workload import (
    CROSS_ATTENTION,
    DECODER,
    ENCODER,
    STEPS,
    VOCABULARY,
    make_lengths,
    make_predictor,
    make_proteins,
)
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord


@dataclass
class Bench:
    """One run. ``proteins`` of log-normal length where lengths vary, ``batch`` proteins of ``length`` residues elsewhere.

    ``sizes`` replaces sizes of the networks on both sides (for tests). ``trained`` is a bundle with a dense task.
    """

    device: str = "cpu"
    repeats: int = 3
    proteins: int = 200
    batch: int = 32
    length: int = 300
    short: int = 10
    trained: str | None = None
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _predictors: dict[str, Predictor] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """Names of the settings of cross-attention."""
        return list(CROSS_ATTENTION)

    def predictor(self, setting: str) -> Predictor:
        if setting not in self._predictors:
            self._predictors[setting] = make_predictor(setting, self.device, self.short, self.sizes)
        return self._predictors[setting]

    def parameters(self) -> dict[str, int]:
        """Weights of every decoder that is compared."""
        counts = {
            f"ours_{setting}": sum(
                weight.numel() for weight in self.predictor(setting)._model.decoder.parameters()
            )
            for setting in self.settings
        }
        return {
            **counts,
            "transformers": self.transformers_decoder.parameters(),
            "ctranslate2": self.ctranslate2.parameters(),
        }

    @cached_property
    def records(self) -> list[ProteinRecord]:
        return make_proteins(make_lengths(self.proteins))

    @property
    def sequences(self) -> list[str]:
        return [record.sequence for record in self.records]

    @property
    def residues(self) -> int:
        return sum(map(len, self.sequences))

    @cached_property
    def encoder_sizes(self) -> dict[str, Any]:
        given = {**ENCODER, **self.sizes.get("encoder", {})}
        return {name: given[name] for name in ("layers", "width", "heads")}

    @cached_property
    def decoder_sizes(self) -> dict[str, Any]:
        return {**DECODER, **self.sizes.get("decoder", {})}

    @cached_property
    def esm(self) -> TransformersEncoder:
        return TransformersEncoder(**self.encoder_sizes, device=self.device)

    @cached_property
    def transformers_decoder(self) -> TransformersDecoder:
        return TransformersDecoder(
            VOCABULARY, self.encoder_sizes["width"], **self.decoder_sizes, device=self.device
        )

    @cached_property
    def ctranslate2(self) -> CTranslate2Decoder:
        return CTranslate2Decoder(VOCABULARY, **self.decoder_sizes, device=self.device)

    @cached_property
    def esm_tokens(self) -> int:
        """The batch size, in padded tokens, at which the peer's encoder is fastest (1: a protein at a time)."""
        sample = self.sequences[:24]
        tried = (1, 1024, 2048, 4096, 8192)
        best: int = fastest(
            {tokens: lambda tokens=tokens: self.esm.states(sample, tokens) for tokens in tried}, self.device
        )
        return best

    @cached_property
    def pipeline(self) -> TransformersPipeline:
        """Encoder and ``generate()`` at their best batch sizes."""
        pipeline = TransformersPipeline(self.esm, self.transformers_decoder)
        pipeline.batch_tokens = self.esm_tokens
        sample = self.sequences[:64]
        tried = [size for size in (8, 16, 32, 64) if size <= len(sample)] or [len(sample)]

        def write(size: int) -> None:
            pipeline.batch = size
            pipeline.write(sample, STEPS)

        pipeline.batch = fastest({size: lambda size=size: write(size) for size in tried}, self.device)
        return pipeline

    @cached_property
    def cache(self) -> str:
        """The cache with which ``generate()`` writes long answers fastest; set from then on."""
        states = torch.randn(self.batch, self.length, self.encoder_sizes["width"], device=self.device)
        decoder = self.transformers_decoder

        def write(kind: str) -> None:
            decoder.cache = kind
            decoder.write(states, None, min(16, self.length))

        best: str = fastest(
            {kind: lambda kind=kind: write(kind) for kind in ("dynamic", "static")}, self.device
        )
        decoder.cache = best
        return best
