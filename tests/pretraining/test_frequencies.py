"""Perplexities of counting, checked where they are known."""

from __future__ import annotations

import random

import pytest

from protscribe.pretraining.frequencies import neighbour_perplexity, unigram_perplexity


def test_even_letters_have_perplexity_twenty() -> None:
    draw = random.Random(0)
    known = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=4000)) for _ in range(50)]
    assert unigram_perplexity(known[:40], known[40:]) == pytest.approx(20, rel=0.01)
    assert neighbour_perplexity(known[:40], known[40:]) == pytest.approx(20, rel=0.02)


def test_neighbours_know_what_follows_what() -> None:
    turns = ["ACDE" * 250] * 20
    assert unigram_perplexity(turns, turns) == pytest.approx(4, rel=0.01)
    assert neighbour_perplexity(turns, turns) == pytest.approx(1, abs=0.1)


def test_letters_that_are_no_standard_residue_are_not_counted() -> None:
    assert unigram_perplexity(["AAAA" * 500], ["AXXB"]) == pytest.approx(1, abs=0.02)
    assert neighbour_perplexity(["AC" * 500], ["ACACXACAC"]) < 1.5
