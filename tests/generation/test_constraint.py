"""Law 5, agreement: the compiled grammars allow exactly what the reference interpreter allows, at every step."""

import random

import pytest
import torch

from protscribe.data.lexicon import Lexicon, position_block
from protscribe.generation.constraint import compile_grammars
from protscribe.grammar import Ascending, Digits, Pairs, Positions, Repeat, Segments, Symbols, allowed
from protscribe.records import ProteinRecord
from protscribe.vocabulary import EOS, Block, Symbol, Vocabulary

BLOCK = Block("letters", tuple("abcdefgh"))
DIGIT = Block("digit", tuple("0123456789"))
LETTERS, DIGITS = Symbols(BLOCK.symbols()), Symbols(DIGIT.symbols())
FOREST = (-1, 0, 1, 1, 0, 4, -1, 6)
INNER = tuple(rank in FOREST for rank in range(8))
RECORD = ProteinRecord("a", ("MKTAYIAK", "GSGSG"))

GRAMMARS = {
    "one of": Repeat(LETTERS, 1, 1),
    "exactly": Repeat(LETTERS, 5, 5),
    "free length": Repeat(LETTERS, 0, 4),
    "subset": Ascending(LETTERS, 0, 8),
    "subset with bounds": Ascending(LETTERS, 2, 3),
    "none at all": Ascending(LETTERS, 0, 0),
    "forest to the leaves": Ascending(LETTERS, 1, 3, FOREST, INNER),
    "forest, partial": Ascending(LETTERS, 0, 2, FOREST),
    "residues": Ascending(Positions(0, (1, 2, 5, 7)), 0, 4),
    "residues of chain 2": Ascending(Positions(1, (0, 3)), 0, 2),
    "no candidates": Ascending(Positions(0, ()), 0, 0),
    "digits": Digits(DIGITS, (6, 5, 0)),
    "one digit": Digits(DIGITS, (3,)),
    "segments": Segments(LETTERS, 0, 8, 8),
    "three segments": Segments(LETTERS, 0, 8, 3),
    "one segment": Segments(LETTERS, 1, 5, 1),
    "contacts": Pairs(0, 8, 0, 8, 2, 6),
    "interface": Pairs(0, 8, 1, 5, 0, 9),
    "too short for contacts": Pairs(0, 8, 0, 8, 12, 4),
}


def lexicon(positions):
    return Lexicon(Vocabulary.compose([BLOCK, DIGIT, position_block(8)]), positions)


@pytest.mark.parametrize("positions", ["pointers", "tokens"])
def test_compiled_grammars_agree_with_the_interpreter_at_every_step(positions):
    words = lexicon(positions)
    grammars = list(GRAMMARS.values())
    records = [RECORD] * len(grammars)
    choices = len(words.vocabulary) + sum(RECORD.lengths)
    compiled = compile_grammars(grammars, words, records, choices)
    chooser = random.Random(0)
    for _ in range(60):
        histories = [[] for _ in grammars]
        open_rows = set(range(len(grammars)))
        state = compiled.start()
        for _ in range(compiled.longest + 1):
            mask = compiled.allowed(state)
            chosen = []
            for row, grammar in enumerate(grammars):
                if row not in open_rows:
                    chosen.append(EOS)
                    continue
                expected = allowed(grammar, histories[row])
                numbers = {words.number(token, RECORD): token for token in expected.tokens}
                wanted = set(numbers) | ({EOS} if expected.end else set())
                got = set(mask[row].nonzero().flatten().tolist())
                assert got == wanted, (list(GRAMMARS)[row], histories[row])
                assert got, "no dead end"
                # Lean towards going on, so that walks reach the far end of every grammar.
                pick = (
                    chooser.choice(sorted(numbers))
                    if numbers and (chooser.random() < 0.9 or not expected.end)
                    else EOS
                )
                if pick == EOS:
                    open_rows.discard(row)
                else:
                    histories[row].append(numbers[pick])
                chosen.append(pick)
            state = compiled.advance(state, torch.tensor(chosen))
            if not open_rows:
                break
        assert not open_rows, f"every walk ends within longest={compiled.longest}"


def test_a_repeated_row_has_the_same_program():
    words = lexicon("pointers")
    compiled = compile_grammars(
        [GRAMMARS["digits"], GRAMMARS["subset"]], words, [RECORD] * 2, len(words.vocabulary) + 13
    )
    mask = compiled.repeat(3).allowed(compiled.repeat(3).start())
    assert mask.shape[0] == 6
    assert torch.equal(mask[0], mask[2])
    assert not torch.equal(mask[2], mask[3])


def test_symbols_of_another_block_are_never_allowed():
    words = lexicon("pointers")
    compiled = compile_grammars([GRAMMARS["digits"]], words, [RECORD], len(words.vocabulary) + 13)
    mask = compiled.allowed(compiled.start())[0]
    letters = words.vocabulary.ids(Symbol("letters", text) for text in "abcdefgh")
    assert not mask[letters].any()
