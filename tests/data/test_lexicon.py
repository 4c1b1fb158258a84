"""A lexicon that grows: ids stay, and old symbols are looked for in the vocabulary they came with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.data.lexicon import Lexicon
from protscribe.errors import TaskError
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Position, Symbol, Vocabulary

RECORD = ProteinRecord("r", ("MKTAY",))
blocks = st.lists(
    st.builds(
        Block, st.sampled_from("abc"), st.lists(st.sampled_from("uvwxyz"), unique=True, max_size=4).map(tuple)
    ),
    max_size=3,
)


@given(st.lists(blocks, max_size=4), st.booleans())
def test_growing_never_moves_an_id_and_every_stage_is_a_beginning(steps, staged):
    lexicon, sizes = Lexicon(Vocabulary()), []
    for more in steps:
        before, lexicon = lexicon, lexicon.extend(more, staged=staged)
        assert lexicon.vocabulary.symbols[: len(before.vocabulary)] == before.vocabulary.symbols
        if len(lexicon.vocabulary) > len(before.vocabulary):
            sizes.append(len(before.vocabulary))
    assert lexicon.stages == (tuple(sizes) if staged else ())
    for size in (*lexicon.stages, len(lexicon.vocabulary)):
        earlier = lexicon.at_stage(size)
        assert earlier.vocabulary.symbols == lexicon.vocabulary.symbols[:size]
        assert lexicon.stage_of(earlier.vocabulary.symbols) == size


def test_a_stage_is_the_earliest_that_holds_all():
    lexicon = Lexicon(Vocabulary.compose([Block("a", ("x", "y"))]))
    lexicon = lexicon.extend([Block("b", ("x",))], staged=True).extend([Block("a", ("z",))], staged=True)
    assert lexicon.stages == (6, 7)
    assert lexicon.stage_of([Symbol("a", "y")]) == 6
    assert lexicon.stage_of([Symbol("a", "y"), Symbol("b", "x")]) == 7
    assert lexicon.stage_of([Symbol("a", "z")]) == 8
    with pytest.raises(TaskError, match="no symbol of block"):
        lexicon.stage_of([Symbol("c", "x")])


def test_a_pointer_has_another_number_at_each_stage_and_means_the_same_residue():
    lexicon = Lexicon(Vocabulary.compose([Block("a", ("x",))])).extend([Block("b", ("x",))], staged=True)
    for size in (5, 6):
        earlier = lexicon.at_stage(size)
        assert earlier.number(Position(0, 2), RECORD) == size + 2
        assert earlier.token(size + 2, RECORD) == Position(0, 2)


def test_training_all_of_it_ends_what_stages_promised():
    lexicon = Lexicon(Vocabulary()).extend([Block("a", ("x",))], staged=True)
    assert lexicon.stages == (4,)
    assert lexicon.extend([], staged=True).stages == (4,)
    assert lexicon.extend([]).stages == ()


@pytest.mark.parametrize("stages", [(0,), (5,), (4, 4), (-1,), (9,)])
def test_stages_that_cannot_be(stages):
    with pytest.raises(TaskError, match="stages must ascend"):
        Lexicon(Vocabulary.compose([Block("a", ("x",))]), stages=stages)
