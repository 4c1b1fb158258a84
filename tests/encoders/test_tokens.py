"""P9: residue i is token i + 1, for any string of residues."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.alphabet import RESIDUES
from protscribe.encoders.esm2 import CLS, EOS, PAD, TOKENS
from protscribe.encoders.tokens import ResidueTokens, attended
from tests.encoders.conftest import pad_residues

PROTEINS = st.lists(st.text(RESIDUES, min_size=0, max_size=40), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(PROTEINS, st.booleans(), st.booleans(), st.integers(0, 9))
def test_residue_i_is_token_i_plus_one(proteins: list[str], starts: bool, ends: bool, extra: int) -> None:
    tokens = ResidueTokens(TOKENS, CLS if starts else None, EOS if ends else None, PAD)
    residues, mask = pad_residues(proteins, to=max(map(len, proteins)) + extra)
    tokens_NT, mask_NT = tokens(residues, mask)
    assert tokens_NT.shape == mask_NT.shape
    for row, protein in enumerate(proteins):
        expected = [CLS] * starts + [TOKENS[RESIDUES.index(letter)] for letter in protein] + [EOS] * ends
        rest = tokens_NT.shape[1] - len(expected)
        assert tokens_NT[row].tolist() == expected + [PAD] * rest
        assert mask_NT[row].tolist() == [True] * len(expected) + [False] * rest
    taken = tokens.take(tokens_NT[..., None].float(), mask)[..., 0]
    expected_states = torch.tensor([*TOKENS, 0])[residues].float()
    assert torch.equal(taken, expected_states)


def test_our_esm_table_is_fair_esms() -> None:
    from esm.data import Alphabet

    alphabet = Alphabet.from_architecture("ESM-1b")
    assert tuple(alphabet.get_idx(letter) for letter in RESIDUES) == TOKENS
    assert (alphabet.cls_idx, alphabet.padding_idx, alphabet.eos_idx) == (CLS, PAD, EOS)
    assert len(alphabet) == 33


def test_a_row_without_residues_attends_to_something() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    assert attended(mask)[:, 0, 0].tolist() == [[True, False], [True, True]]
