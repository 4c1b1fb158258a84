"""The strongest open tools for this shape of model, each at its best setting: transformers and CTranslate2.

All have untrained weights of the sizes in ``benchmarks.engine.workload``, single precision, and the same prompts and memories.

Shape legend: N proteins, T tokens, K memories, M places, D width.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.engine.workload import RESIDUES, SEED

ESM_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"
CLS, ESM_PAD, ESM_EOS = 0, 1, 2
PROMPT = 2
"""Tokens of a prompt: the begin symbol and the task's."""


class TransformersEncoder:
    """transformers' ``EsmModel`` with SDPA attention: sequences in, states of residues out."""

    def __init__(self, layers: int, width: int, heads: int, device: str = "cpu", **_: Any) -> None:
        from transformers import EsmConfig, EsmModel

        torch.manual_seed(SEED)
        config = EsmConfig(
            vocab_size=33, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, position_embedding_type="rotary", token_dropout=True, pad_token_id=ESM_PAD,
            mask_token_id=32, emb_layer_norm_before=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        config._attn_implementation = "sdpa"
        self.model = EsmModel(config, add_pooling_layer=False).eval().to(device)
        self.device = device
        self.width = width
        self._number = np.zeros(128, dtype=np.int64)
        for place, letter in enumerate(ESM_LETTERS):
            self._number[ord(letter)] = 4 + place

    @torch.inference_mode()
    def states(self, sequences: Sequence[str], batch_tokens: int) -> list[Tensor]:
        """Of every protein the states ``[L, D]``, in input order.

        Batches hold proteins of similar length, at most ``batch_tokens`` tokens after padding and at least one protein.
        A batch without padding gets no mask, which is faster.
        """
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        found: list[Tensor] = [torch.empty(0)] * len(sequences)
        for places in _under(order, [len(sequence) + 2 for sequence in sequences], batch_tokens):
            states_NTD = self._encode([sequences[place] for place in places])
            for row, place in enumerate(places):
                found[place] = states_NTD[row, 1 : 1 + len(sequences[place])]
        return found

    def _encode(self, sequences: list[str]) -> Tensor:
        longest = max(map(len, sequences))
        tokens = np.full((len(sequences), longest + 2), ESM_PAD, dtype=np.int64)
        tokens[:, 0] = CLS
        for row, sequence in enumerate(sequences):
            tokens[row, 1 : 1 + len(sequence)] = self._number[
                np.frombuffer(sequence.encode(), dtype=np.uint8)
            ]
            tokens[row, 1 + len(sequence)] = ESM_EOS
        tokens_NT = torch.from_numpy(tokens).to(self.device)
        padded = any(len(sequence) < longest for sequence in sequences)
        mask_NT = (tokens_NT != ESM_PAD).long() if padded else None
        states_NTD: Tensor = self.model(input_ids=tokens_NT, attention_mask=mask_NT).last_hidden_state
        return states_NTD


def _under(order: Sequence[int], tokens: Sequence[int], budget: int) -> list[list[int]]:
    """Neighbours of a sorted ``order`` whose padded tokens stay under a budget; lengths ascend."""
    batches: list[list[int]] = []
    for place in order:
        if not batches or (len(batches[-1]) + 1) * tokens[place] > budget:
            batches.append([])
        batches[-1].append(place)
    return batches


class TransformersDecoder:
    """transformers' BART decoder behind ``generate()``: greedy, cached, SDPA, memories given.

    A BART layer does the arithmetic of ours: self-attention, cross-attention with keys and values of every head and layer,
    a GELU feed-forward. It has biases and learned positions where ours has rotation; ours has besides pointers to residues, the
    aligned residue's state and the memory's summary. ``width`` is BART's, so one linear layer takes the encoder's states to
    it, as ours does. Its own encoder is never run.
    """

    def __init__(
        self, vocabulary: int, memory_width: int, width: int, layers: int, heads: int, feed_forward: int,
        longest: int = 1100, device: str = "cpu",
    ) -> None:  # fmt: skip
        from transformers import BartConfig, BartForConditionalGeneration

        torch.manual_seed(SEED)
        config = BartConfig(
            vocab_size=vocabulary, d_model=width, encoder_layers=1, encoder_ffn_dim=8, encoder_attention_heads=heads,
            decoder_layers=layers, decoder_attention_heads=heads, decoder_ffn_dim=feed_forward, dropout=0.0,
            max_position_embeddings=longest, activation_function="gelu", pad_token_id=0, bos_token_id=1,
            decoder_start_token_id=1, eos_token_id=None, forced_eos_token_id=None,
        )  # fmt: skip
        config._attn_implementation = "sdpa"
        self.model = BartForConditionalGeneration(config).eval().to(device)
        self.memory_in = nn.Linear(memory_width, width).to(device)
        self.cache = "dynamic"
        self.device = device

    def parameters(self) -> int:
        """Weights that take part: the decoder with its tied table, and the way from the encoder's width."""
        parts = (self.model.model.decoder, self.memory_in)
        return sum(weight.numel() for part in parts for weight in part.parameters())

    @torch.inference_mode()
    def write(self, states_KMD: Tensor, mask_KM: Tensor | None, steps: int) -> Tensor:
        """``steps`` greedy tokens for each memory, from encoder states; no token ends an answer early."""
        from transformers.modeling_outputs import BaseModelOutput

        count = len(states_KMD)
        mask_KM = torch.ones(states_KMD.shape[:2]) if mask_KM is None else mask_KM
        tokens: Tensor = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.memory_in(states_KMD)),
            attention_mask=mask_KM.long().to(self.device),
            decoder_input_ids=torch.tensor([[1, 5]], device=self.device).repeat(count, 1),
            max_new_tokens=steps,
            min_new_tokens=steps,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            cache_implementation=None if self.cache == "dynamic" else self.cache,
        )
        assert tokens.shape == (count, PROMPT + steps), (
            "generate() must write exactly the tokens it was asked for"
        )
        return tokens[:, PROMPT:]


class TransformersPipeline:
    """Short answers by transformers alone: sorted sequences, batched ``EsmModel``, padded memories, batched ``generate()``."""

    def __init__(self, encoder: TransformersEncoder, decoder: TransformersDecoder) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.batch_tokens = 2048
        self.batch = 32

    def write(self, sequences: Sequence[str], steps: int) -> None:
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        for first in range(0, len(order), self.batch):
            chosen = [sequences[place] for place in order[first : first + self.batch]]
            states = self.encoder.states(chosen, self.batch_tokens)
            self.decoder.write(*stacked(states), steps)

    def encode(self, sequences: Sequence[str]) -> None:
        """The encoder's part of :meth:`write`."""
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        for first in range(0, len(order), self.batch):
            chosen = [sequences[place] for place in order[first : first + self.batch]]
            stacked(self.encoder.states(chosen, self.batch_tokens))


def stacked(states: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Padded states and their mask, ``None`` where there is no padding."""
    lengths = torch.tensor([len(one) for one in states])
    padded_KMD = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
    if bool((lengths == lengths.max()).all()):
        return padded_KMD, None
    return padded_KMD, torch.arange(padded_KMD.shape[1]) < lengths[:, None]


class CTranslate2Decoder:
    """CTranslate2 in single precision with an equal decoder, one thread, greedy.

    Its encoder cannot be given states, so it has one of its own as small as it lets it be (a table of residues and one layer
    with a feed-forward of 8), of the decoder's width. :meth:`encode` runs that encoder alone, whose time is subtracted, so
    that what remains is the decoder with the keys and values of its memory. Positions are sinusoids, which costs less than
    rotation. The library chooses its own products for the processor (``CT2_USE_MKL`` was tried: slower on this one).
    """

    def __init__(
        self, vocabulary: int, width: int, layers: int, heads: int, feed_forward: int, device: str = "cpu"
    ) -> None:
        import ctranslate2

        self._folder = tempfile.TemporaryDirectory()
        generator = np.random.default_rng(SEED)
        sizes = (vocabulary, width, layers, heads, feed_forward)
        paths = [str(Path(self._folder.name, name)) for name in ("whole", "encoder")]
        whole, encoder = _specs(generator, *sizes)
        whole.validate()
        self._count = _weights(whole.decoder)
        for spec, path in zip((whole, encoder), paths, strict=True):
            Path(path).mkdir()
            spec.validate()
            spec.optimize(quantization=None)
            spec.save(path)
        threads: dict[str, Any] = {"compute_type": "float32", "inter_threads": 1, "intra_threads": 1}
        self._translator = ctranslate2.Translator(paths[0], device=device, **threads)
        self._encoder = ctranslate2.Encoder(paths[1], device=device, **threads)

    def parameters(self) -> int:
        """Weights of the decoder, its table of outputs and of inputs included."""
        return self._count

    def write(self, sources: list[list[str]], steps: int) -> None:
        """Exactly ``steps`` tokens for each source, all of them in one batch."""
        written = self._translator.translate_batch(
            sources, max_batch_size=len(sources), beam_size=1, max_input_length=0,
            min_decoding_length=steps, max_decoding_length=steps,
        )  # fmt: skip
        assert all(len(one.hypotheses[0]) == steps for one in written)

    def encode(self, sources: list[list[str]]) -> None:
        self._encoder.forward_batch(sources)


def make_sources(count: int, length: int) -> list[list[str]]:
    """Sources of equal length for CTranslate2's encoder."""
    generator = np.random.default_rng(SEED)
    return [generator.choice(RESIDUES, length).tolist() for _ in range(count)]


def _specs(
    generator: np.random.Generator, vocabulary: int, width: int, layers: int, heads: int, feed_forward: int
) -> tuple[Any, Any]:
    """A whole model, and its encoder as a model of its own."""
    from ctranslate2.specs import (
        Activation,
        TransformerDecoderSpec,
        TransformerEncoderModelSpec,
        TransformerEncoderSpec,
        TransformerSpec,
    )

    special = ["<unk>", "<s>", "</s>"]
    source, target = [*special, *RESIDUES], [*special, *(f"t{place}" for place in range(vocabulary - 3))]

    def fill(spec: Any, out: int, into: int) -> None:
        spec.weight = (generator.standard_normal((out, into)) * into**-0.5).astype(np.float32)
        spec.bias = np.zeros(out, dtype=np.float32)

    def even(spec: Any) -> None:
        spec.gamma, spec.beta = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)

    def fill_layer(layer: Any, hidden: int) -> None:
        for norm in (layer.self_attention.layer_norm, layer.ffn.layer_norm):
            even(norm)
        fill(layer.self_attention.linear[0], 3 * width, width)
        fill(layer.self_attention.linear[1], width, width)
        fill(layer.ffn.linear_0, hidden, width)
        fill(layer.ffn.linear_1, width, hidden)

    encoder = TransformerEncoderSpec(1, heads, activation=Activation.GELU)
    decoder = TransformerDecoderSpec(layers, heads, activation=Activation.GELU)
    encoder.embeddings[0].weight = generator.standard_normal((len(source), width)).astype(np.float32)
    decoder.embeddings.weight = generator.standard_normal((vocabulary, width)).astype(np.float32)
    fill(decoder.projection, vocabulary, width)
    for norm in (encoder.layer_norm, decoder.layer_norm):
        even(norm)
    fill_layer(encoder.layer[0], 8)
    for layer in decoder.layer:
        fill_layer(layer, feed_forward)
        even(layer.attention.layer_norm)
        for part, out in zip(layer.attention.linear, (width, 2 * width, width), strict=True):
            fill(part, out, width)
    whole, alone = TransformerSpec(encoder, decoder), TransformerEncoderModelSpec(copy.deepcopy(encoder))
    whole.config.add_source_bos = whole.config.add_source_eos = False
    whole.register_source_vocabulary(source)
    whole.register_target_vocabulary(target)
    alone.register_vocabulary(source)
    return whole, alone


def _weights(spec: Any) -> int:
    return sum(math.prod(value.shape) for value in spec.variables().values() if getattr(value, "shape", None))
