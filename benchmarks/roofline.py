"""What the arithmetic and the memory traffic of our networks allow on a device, computed from their shapes.

    python benchmarks/roofline.py              # the tables of docs/performance.md, as Markdown
    python benchmarks/roofline.py --json       # and the last line as JSON

Nothing is measured here. Devices are their data sheets' figures (dense products in bfloat16, memory bandwidth); what share of
either is reached is assumed and said (``UTILISATION``, ``STREAMING``, ``LAUNCH``).

Counted are products: 2 FLOPs for each weight a token meets, and for each pair of places attention compares. Norms, activations
and softmax are not. Bytes of a decode step are those of weights, of keys and values of the memory (cross-attention) and of the
text so far (self-attention), each read once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BYTES = 2
"""Of a bfloat16 number."""
UTILISATION = 0.55
"""The share of a device's peak that a well-batched encoder reaches: that of published fused encoders."""
STREAMING = 0.75
"""The share of a device's bandwidth that a decode step reaches."""
LAUNCH = 150e-6
"""Seconds of a decode step that are left when it is one CUDA graph: small kernels, one after the other."""
RESIDUES, TOKENS = 300, 300
"""Of the protein, and of the text so far, where a table does not say another."""


@dataclass(frozen=True)
class Device:
    """``flops`` (bfloat16, dense) and ``bandwidth`` (bytes) a second."""

    name: str
    flops: float
    bandwidth: float


A100 = Device("A100 80 GB", 312e12, 2.04e12)
H100 = Device("H100 SXM", 989e12, 3.35e12)


@dataclass(frozen=True)
class Encoder:
    """A transformer encoder, feed-forward four times as wide."""

    name: str
    layers: int
    width: int

    def flops(self, length: int) -> float:
        """A residue's, in a protein of ``length`` residues: weights, then attention to every residue."""
        weights = self.layers * (4 + 2 * 4) * self.width**2
        return 2 * weights + self.layers * 4 * length * self.width


@dataclass(frozen=True)
class Decoder:
    """Our decoder; ``kv_heads`` and ``shared`` of its cross-attention as in ``configs/decoder``."""

    name: str
    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    kv_heads: int = 0
    shared: bool = False

    @property
    def memory_width(self) -> int:
        """Numbers of keys and values that a place of the memory has, over all projections."""
        heads = self.kv_heads or self.heads
        return (1 if self.shared else self.layers) * 2 * heads * self.width // self.heads

    @property
    def weights(self) -> int:
        """Weights that a token meets: self-attention, cross-attention without keys and values, feed-forward, and the rest."""
        layer = 4 * self.width**2 + 2 * self.width**2 + 2 * self.width * self.feed_forward
        rest = self.vocabulary * self.width + 3 * self.width**2
        return self.layers * layer + rest

    def flops(self, residues: int, tokens: int) -> float:
        """Of one token of an answer about ``residues`` residues, ``tokens`` tokens into it."""
        return 2 * self.weights + self.layers * 4 * self.width * (residues + tokens)

    def projection_flops(self, memory: int) -> float:
        """Once a residue, whatever is asked: the encoder's state to the memory, and its keys and values."""
        return 2 * (memory * self.width + self.width * self.memory_width + self.width**2)

    def step_bytes(self, rows: int, residues: int, tokens: int) -> float:
        """Read by a step of ``rows`` texts about as many proteins."""
        layers_reading = self.layers if self.shared else 1
        crossed = residues * self.memory_width * layers_reading
        return BYTES * (self.weights + rows * (crossed + tokens * self.layers * 2 * self.width))

    def step_seconds(self, device: Device, rows: int, residues: int, tokens: int) -> float:
        arithmetic = rows * self.flops(residues, tokens) / (device.flops * UTILISATION)
        traffic = self.step_bytes(rows, residues, tokens) / (device.bandwidth * STREAMING)
        return max(LAUNCH, arithmetic, traffic)


ENCODERS = (
    Encoder("ESM-2 8M", 6, 320),
    Encoder("ESM-2 35M", 12, 480),
    Encoder("ESM-2 150M", 30, 640),
    Encoder("ESM-2 650M", 33, 1280),
    Encoder("ESM-2 3B", 36, 2560),
)
BASE = Decoder("decoder L", 8, 480, 4, 960, 1100)
FAST = Decoder("decoder L, one shared key-value head", 8, 480, 4, 960, 1100, kv_heads=1, shared=True)
DECODERS = (BASE, FAST)
DEVICES = (A100, H100)
ROWS = (1, 16, 64, 256, 1024)


def encoder_rows() -> list[dict[str, Any]]:
    """FLOPs a residue, and residues and proteins a second."""
    return [
        {
            "encoder": one.name,
            "MFLOP a residue": one.flops(RESIDUES) / 1e6,
            **{f"residues/s, {d.name}": d.flops * UTILISATION / one.flops(RESIDUES) for d in DEVICES},
            **{
                f"proteins/s, {d.name}": d.flops * UTILISATION / one.flops(RESIDUES) / RESIDUES
                for d in DEVICES
            },
        }
        for one in ENCODERS
    ]


def step_rows() -> list[dict[str, Any]]:
    """Bytes a step, and tokens a second; where launches bound it, both devices are alike."""
    rows = []
    for decoder in DECODERS:
        for texts in ROWS:
            row: dict[str, Any] = {"decoder": decoder.name, "texts side by side": texts}
            row["MFLOP a token"] = decoder.flops(RESIDUES, TOKENS) / 1e6
            row["MB a step"] = decoder.step_bytes(texts, RESIDUES, TOKENS) / 1e6
            for device in DEVICES:
                row[f"tokens/s, {device.name}"] = texts / decoder.step_seconds(
                    device, texts, RESIDUES, TOKENS
                )
            rows.append(row)
    return rows


def answer_rows(
    device: Device = H100, encoder: Encoder = ENCODERS[3], batch: int = 256
) -> list[dict[str, Any]]:
    """Proteins a second end to end on one device, with ESM-2 650M: encoder, projection, decoder, one after the other."""
    speed = device.flops * UTILISATION
    encoding = RESIDUES * encoder.flops(RESIDUES) / speed
    rows = []
    for decoder in DECODERS:
        projecting = RESIDUES * decoder.projection_flops(encoder.width) / speed
        short = 5 * decoder.step_seconds(device, batch, RESIDUES, 5) / batch
        dense = RESIDUES * decoder.flops(RESIDUES, RESIDUES // 2) / speed
        greedy = RESIDUES * decoder.step_seconds(device, batch, RESIDUES, RESIDUES // 2) / batch
        for name, decoding in (
            ("one short answer (5 tokens)", short),
            ("ten short answers", 10 * short),
            ("one label a residue, one pass", dense),
            ("one label a residue, token by token", greedy),
        ):
            seconds = encoding + projecting + decoding
            rows.append(
                {
                    "decoder": decoder.name,
                    f"asked of each protein, {device.name}": name,
                    "microseconds encoding": 1e6 * encoding,
                    "projecting": 1e6 * projecting,
                    "decoding": 1e6 * decoding,
                    "proteins/s": 1 / seconds,
                }
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with three significant digits."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_cell(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        digits = float(f"{value:.3g}")
        return f"{digits:,.0f}" if digits >= 100 else f"{digits:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the tables as JSON, too")
    given = parser.parse_args(arguments)
    tables = {"encoders": encoder_rows(), "steps": step_rows(), "answers": answer_rows()}
    print("\n\n".join(markdown(rows) for rows in tables.values()))
    if given.json:
        print(json.dumps({"benchmark": "roofline", "devices": [asdict(d) for d in DEVICES], **tables}))
    return tables


if __name__ == "__main__":
    main()
