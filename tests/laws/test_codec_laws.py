"""Laws 1 to 4 and 9 of the house, over every kind of answer."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.codecs import KINDS, codec_from_plain, codec_to_plain
from protscribe.codecs.protocol import Codec, DigitTree, Draws, First, Greedy, Inclusion, Marginals, Readout
from protscribe.errors import LabelError
from protscribe.grammar import accepts
from tests.laws.evidence import evidence_of
from tests.laws.examples import EXAMPLES, SMALL, STRATEGIES
from tests.laws.walks import every_answer, random_answer

kinds = pytest.mark.parametrize("kind", KINDS)
examples = pytest.mark.parametrize(
    ("codec", "record", "answers"), [example for kind in EXAMPLES.values() for example in kind]
)
small = pytest.mark.parametrize(("codec", "record"), [case for kind in SMALL.values() for case in kind])


@pytest.mark.parametrize("table", [EXAMPLES, STRATEGIES, SMALL])
def test_the_tables_of_examples_cover_every_kind(table):
    assert set(table) == set(KINDS)


def check_round_trip(codec, record, answer):
    canonical = codec.canonical(answer, record)
    encoded = codec.encode(answer, record)
    assert codec.decode(encoded.tokens, record) == canonical
    assert codec.encode(canonical, record).tokens == encoded.tokens
    assert codec.canonical(canonical, record) == canonical
    assert len(encoded.weights) == len(encoded.tokens)
    assert accepts(codec.grammar(record), encoded.tokens)
    assert len(encoded.tokens) <= codec.grammar(record).longest
    if codec.dense:
        residues = record.chains[getattr(codec, "chain", 1) - 1]
        letters = getattr(codec, "candidates", "") or residues
        assert len(encoded.tokens) == sum(residue in letters for residue in residues)


@examples
def test_hand_written_answers_go_round_and_are_accepted(codec, record, answers):
    for answer in answers:
        check_round_trip(codec, record, answer)


@kinds
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_answers_go_round_and_are_accepted(kind, data):
    check_round_trip(*data.draw(STRATEGIES[kind]))


@kinds
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_any_walk_ends_and_decodes_to_an_answer_spelled_like_it(kind, data, seed):
    codec, record, _ = data.draw(STRATEGIES[kind])
    tokens = random_answer(codec.grammar(record), random.Random(seed))
    answer = codec.decode(tokens, record)
    assert codec.encode(answer, record).tokens == tokens
    assert codec.canonical(answer, record) == answer


@small
def test_one_answer_has_one_spelling(codec, record):
    spellings = every_answer(codec.grammar(record))
    decoded = [codec.decode(tokens, record) for tokens in spellings]
    assert len(set(decoded)) == len(spellings)
    assert [codec.encode(answer, record).tokens for answer in decoded] == spellings
    assert [codec.canonical(answer, record) for answer in decoded] == decoded


@examples
def test_a_codec_is_plain_data(codec, record, answers):
    assert codec_from_plain(codec_to_plain(codec)) == codec
    assert hash(codec) == hash(codec_from_plain(codec_to_plain(codec)))
    assert isinstance(codec, Codec)


@pytest.mark.parametrize(("kind", "new"), [("residue_set", "marks"), ("segments", "labels")])
def test_what_came_later_is_written_only_where_it_is_needed(kind, new):
    """So that libraries of before read what they can answer."""
    assert "written" not in codec_to_plain(codec_from_plain({"kind": kind}))
    assert codec_to_plain(codec_from_plain({"kind": kind, "written": new}))["written"] == new


@examples
def test_the_grammar_uses_symbols_of_the_declared_blocks_only(codec, record, answers):
    declared = {symbol for block in codec.blocks() for symbol in block.symbols()}
    for answer in answers:
        used = {token for token in codec.encode(answer, record).tokens if hasattr(token, "text")}
        assert used <= declared


cells = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=4)
    | st.text(max_size=12)
    | st.text("0123456789.;:-<>nae ", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.lists(inner, max_size=3).map(lambda items: np.fromiter(items, dtype=object, count=len(items)))
    ),
    max_leaves=6,
)


@kinds
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), cell=cells, base=st.sampled_from([0, 1]))
def test_any_cell_is_an_answer_or_a_label_error(kind, data, cell, base):
    codec, record, _ = data.draw(st.sampled_from(EXAMPLES[kind]))
    problem = None
    try:
        answer = codec.parse(cell, record, base)
    except LabelError as error:
        problem = error
    if problem is None:
        check_round_trip(codec, record, answer)
    else:
        assert problem.code.startswith("label.")
        assert problem.where.record == record.id


# Law 9: certain evidence, and the least expected loss found by enumeration.


@examples
def test_certain_evidence_gives_the_truth(codec, record, answers):
    for answer in answers:
        tokens = codec.encode(answer, record).tokens
        reading = codec.read(evidence_of(codec, record, {tokens: 1}), record, Readout())
        assert reading.value == codec.canonical(answer, record)
        assert reading.score == pytest.approx(1)
        greedy = codec.read(Greedy(tokens, 0.0), record, Readout(way="greedy"))
        assert greedy.value == codec.canonical(answer, record)
        assert greedy.score == pytest.approx(1)


def wrong_places(one, other):
    return sum(a != b for a, b in zip(one, other, strict=True))


def wrong_residues(one, other):
    spelled = [
        [label for label, start, end in answer for _ in range(start, end + 1)] for answer in (one, other)
    ]
    return wrong_places(*spelled)


def differing(one, other):
    return len(set(one) ^ set(other))


def differing_nodes(one, other):
    """Nodes, with all above them, that only one of two answers has."""
    nodes = [
        {path[:stop] for path in answer for stop in range(1, len(path) + 1, 2)} for answer in (one, other)
    ]
    return len(nodes[0] ^ nodes[1])


LOSSES = {
    "category": lambda one, other: one != other,
    "category_set": differing,
    "category_path": differing,
    "number": lambda one, other: (one - other) ** 2,
    "residue_labels": wrong_places,
    "residue_set": differing,
    "segments": wrong_residues,
    "residue_pairs": differing,
}


def loss_of(codec):
    if codec.kind == "category_path" and codec.partial:
        return differing_nodes
    if codec.kind == "sequence" and codec.dense:
        return lambda one, other: wrong_places(
            *(text.split() if " " in text else text for text in (one, other))
        )
    return LOSSES.get(codec.kind, lambda one, other: one != other)


def draw_counts(spellings, generator):
    """A random distribution over some of the answers, in whole numbers; sometimes spread out, sometimes peaked."""
    few = generator.permutation(len(spellings))[: generator.integers(1, 1 + min(len(spellings), 12))]
    counts = np.ceil(generator.gamma(generator.choice([0.2, 1, 5]), 10, size=len(few))).astype(int)
    return {spellings[place]: int(count) for place, count in zip(few, counts, strict=True)}


@small
def test_a_readout_has_the_least_expected_loss_of_all_answers(codec, record):
    spellings = every_answer(codec.grammar(record))
    decoded = [codec.decode(tokens, record) for tokens in spellings]
    loss = loss_of(codec)
    generator = np.random.default_rng(0)
    for _ in range(25):
        counts = draw_counts(spellings, generator)
        truths = [(codec.decode(tokens, record), count) for tokens, count in counts.items()]

        def expected(answer, truths=truths):
            return sum(count * loss(answer, truth) for truth, count in truths) / sum(
                count for _, count in truths
            )

        reading = codec.read(evidence_of(codec, record, counts), record, Readout())
        assert expected(reading.value) <= min(map(expected, decoded)) + 1e-9, (counts, reading)
        assert 0 <= reading.score <= 1


@pytest.mark.parametrize(("codec", "record"), SMALL["number"])
def test_the_median_has_the_least_expected_absolute_error(codec, record):
    spellings = every_answer(codec.grammar(record))
    generator = np.random.default_rng(1)
    for _ in range(25):
        counts = draw_counts(spellings, generator)

        def expected(answer, counts=counts):
            return sum(count * abs(answer - codec.decode(tokens, record)) for tokens, count in counts.items())

        reading = codec.read(evidence_of(codec, record, counts), record, Readout(statistic="median"))
        assert expected(reading.value) <= min(expected(codec.decode(t, record)) for t in spellings) + 1e-9


def random_evidence(codec, record, generator):
    """Evidence that no distribution need fit: estimates are noisy, a reading must be an answer all the same."""
    grammar = codec.grammar(record)
    drawn = tuple(random_answer(grammar, random.Random(int(generator.integers(2**31)))) for _ in range(4))
    greedy = Greedy(drawn[0], -1.0)
    match codec.asks:
        case "first":
            return First(generator.dirichlet(np.full(len(grammar.domain.tokens()), 0.3)))
        case "marginals":
            return Marginals(
                generator.dirichlet(np.full(len(grammar.domain.tokens()), 0.3), size=grammar.longest)
            )
        case "digits":
            table = generator.dirichlet(np.full(10**codec.read_depth, 0.3)) + 1e-9
            return DigitTree.of_leading(table.reshape([10] * codec.read_depth), codec.most, codec.places)
        case "inclusion":
            # One a candidate, however they are written.
            places = grammar.longest if codec.dense else len(grammar.domain.tokens())
            chances = generator.random(places)
            return Inclusion(chances, chances * 0, 4, greedy)
        case "draws":
            return Draws(drawn[1:] if generator.random() < 0.8 else (), greedy)
        case "greedy":
            return greedy


@kinds
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 2**32), threshold=st.floats(0, 1))
def test_a_reading_of_any_evidence_is_an_answer_of_the_grammar(kind, data, seed, threshold):
    codec, record, _ = data.draw(STRATEGIES[kind])
    evidence = random_evidence(codec, record, np.random.default_rng(seed))
    reading = codec.read(evidence, record, Readout(threshold=threshold))
    assert accepts(codec.grammar(record), codec.encode(reading.value, record).tokens)
    assert 0 <= reading.score <= 1
    if kind != "number":
        assert codec.canonical(reading.value, record) == reading.value


@kinds
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_certain_evidence_gives_a_drawn_truth(kind, data):
    codec, record, answer = data.draw(STRATEGIES[kind])
    encoded = codec.encode(answer, record)
    reading = codec.read(evidence_of(codec, record, {encoded.tokens: 1}), record, Readout())
    truth = codec.canonical(answer, record)
    if kind == "number":
        # Digits below the depth that is read are unknown to it: the truth lies in the interval, half its width away.
        assert reading.lower <= truth <= reading.upper
        assert abs(reading.value - truth) <= (reading.upper - reading.lower) / 2 + codec.step
    else:
        assert reading.value == truth
