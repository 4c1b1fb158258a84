"""The roofline's shapes are those of our networks, its arithmetic is right, and the page shows what it prints."""

from pathlib import Path

import pytest

from benchmarks.roofline import BASE, ENCODERS, FAST, H100, LAUNCH, Decoder, main, markdown
from protscribe.encoders import load_encoder
from protscribe.nn import decoder as nn_decoder

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
NOT_MET = ("table", "memory_in", "parts", "summary_in", "projections", "pointer_key")
"""Of a decoder's matrices, those that a token of an answer is not multiplied with."""


@pytest.mark.parametrize("shape", [BASE, FAST])
def test_a_decoder_has_the_weights_that_were_counted(shape):
    cross_attention = {"kv_heads": shape.kv_heads, "shared": shape.shared}
    real = nn_decoder.Decoder(
        shape.vocabulary, 320, width=shape.width, layers=shape.layers, heads=shape.heads,
        feed_forward=shape.feed_forward, cross_attention=cross_attention,
    )  # fmt: skip
    met = [w for name, w in real.named_parameters() if w.ndim == 2 and not name.startswith(NOT_MET)]
    assert sum(weight.numel() for weight in met) == shape.weights
    projected = sum(projection.project.out_features for projection in real.projections)
    assert projected == shape.memory_width


def test_an_encoder_has_the_weights_that_were_counted():
    shape = ENCODERS[0]
    real = load_encoder(
        {"kind": "esm2", "weights": "untrained", "layers": shape.layers, "width": shape.width, "heads": 20}
    )
    inner = [w for name, w in real.named_parameters() if w.ndim == 2 and "embeddings" not in name]
    assert shape.flops(0) == 2 * sum(weight.numel() for weight in inner)


def test_attention_grows_with_length_and_traffic_with_rows():
    one = Decoder("tiny", layers=2, width=8, heads=2, feed_forward=16, vocabulary=10)
    assert one.flops(5, 3) - one.flops(0, 0) == 2 * 4 * 8 * (5 + 3)
    # Keys and values of 5 residues and 3 tokens, 2 layers, 2 bytes each.
    assert one.step_bytes(2, 5, 3) - one.step_bytes(1, 5, 3) == 2 * (5 + 3) * 2 * 2 * 8
    assert one.step_seconds(H100, 1, 5, 3) == LAUNCH


def test_the_page_shows_what_is_computed(capsys):
    tables = main([])
    page = PAGE.read_text(encoding="utf-8")
    assert all(markdown(rows) in page for rows in tables.values())
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| --- |") for line in lines) == len(tables)
