"""How much is masked, and what stands there instead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.alphabet import PAD_RESIDUE
from protscribe.errors import ConfigError
from protscribe.pretraining.masking import HIDDEN, STANDARD, UNASKED, Masking


def residues(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, STANDARD, (rows, length))


@pytest.mark.parametrize("kind", ["single", "span"])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
def test_the_share_asked_for_is_the_share_that_was_wanted(kind: str, share: float) -> None:
    found = Masking(kind, share).apply(residues(64, 512), np.random.default_rng(1))  # type: ignore[arg-type]
    assert (found.targets_NL != UNASKED).mean() == pytest.approx(share, rel=0.05)
    edges = (found.targets_NL != UNASKED)[:, [0, -1]].mean()
    assert edges == pytest.approx(share, abs=0.12)


def test_spans_are_longer_than_chance_makes_them() -> None:
    runs = {}
    for kind in ("single", "span"):
        asked = Masking(kind, 0.15).apply(residues(64, 512), np.random.default_rng(1)).targets_NL != UNASKED  # type: ignore[arg-type]
        beginnings = (asked[:, 1:] & ~asked[:, :-1]).sum()
        runs[kind] = asked[:, 1:].sum() / beginnings
    assert runs["single"] == pytest.approx(1 / 0.85, rel=0.05)
    assert runs["span"] > 2.5


def test_what_stands_at_asked_residues() -> None:
    before = residues(64, 512)
    seen, targets = Masking(swapped=0.2, shown=0.3).apply(before, np.random.default_rng(1))
    asked = targets != UNASKED
    assert (targets[asked] == before[asked]).all()
    assert (seen[~asked] == before[~asked]).all()
    assert (seen[asked] == HIDDEN).mean() == pytest.approx(0.5, abs=0.02)
    assert (seen[asked] == before[asked]).mean() == pytest.approx(0.3 + 0.2 / 20, abs=0.02)


@given(st.integers(1, 40), st.integers(1, 6), st.sampled_from(["single", "span"]))
def test_padding_and_other_letters_are_neither_hidden_nor_asked_for(
    length: int, rows: int, kind: str
) -> None:
    before = np.full((rows, length), PAD_RESIDUE)
    before[:, : length // 2] = 21
    seen, targets = Masking(kind, 0.9).apply(before, np.random.default_rng(0))  # type: ignore[arg-type]
    assert (seen == before).all()
    assert (targets == UNASKED).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "word"},
        {"share": 0.0},
        {"share": 1.0},
        {"span": 0.5},
        {"span": 11.0},
        {"swapped": 0.6, "shown": 0.6},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        Masking(**wrong)
