"""First paths in a tree of classes are exact, against every answer written out by the slow, obvious way."""

import math

import numpy as np
import pytest
import torch

from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon
from protscribe.generation.answering import Asking, answer
from protscribe.generation.group import group_questions
from protscribe.generation.paths import _follow, first_paths, inner_nodes
from protscribe.grammar import Ascending
from protscribe.vocabulary import Vocabulary
from tests.generation.conftest import random_model
from tests.generation.exhaustive import every_answer, two_models
from tests.generation.test_answering import exact_inclusion
from tests.generation.tiny import RECORDS, task

LEAVES = ["1.1.1", "1.1.2", "1.2.1", "2.1.1", "2.1.3", "3.1.1"]
TREES = [
    task("one_path", kind="category_path", paths=LEAVES, most=1),
    task("several", kind="category_path", paths=LEAVES[:4], most=3),
    task("perhaps", kind="category_path", paths=LEAVES[:4], most=2, least=0),
    task("open", kind="category_path", paths=LEAVES[:3], most=2, partial=True),
    task("shallow", kind="category_path", paths=["a.x", "a.y", "b", "c.z"], most=2),
]
QUESTIONS = [Question(record, tree) for record in RECORDS[:2] for tree in TREES]


@pytest.fixture
def lexicon(positions):
    return Lexicon(Vocabulary.compose([block for tree in TREES for block in tree.blocks()]), positions)


@pytest.fixture
def model(lexicon, cross_attention):
    return random_model(lexicon, cross_attention)


@torch.inference_mode()
def first_of(model, lexicon, collate, questions, **settings):
    """The chances of the nodes of first paths, of each question."""
    batch = collate(questions)
    group = group_questions(lexicon, batch, model.remember(batch), range(len(questions)))
    found = first_paths(model.decoder, group, Asking(**settings)).numpy()
    return [row[:size] for row, size in zip(found, group.sizes, strict=True)]


def slow_first(model, lexicon, collate, question):
    """The chance of each node, from all answers."""
    grammar = question.task.codec.grammar(question.record)
    chances = np.zeros(len(grammar.ranks))
    for tokens, log in every_answer(model, lexicon, collate, question):
        above = -1
        for rank in (grammar.ranks[token] for token in tokens):
            if grammar.parents[rank] != above:
                break
            chances[rank] += math.exp(log)
            above = rank
    return chances


@two_models
def test_first_paths_are_those_of_all_answers(model, lexicon, collate):
    found = first_of(model, lexicon, collate, QUESTIONS)
    for question, chances in zip(QUESTIONS, found, strict=True):
        slow = slow_first(model, lexicon, collate, question)
        assert chances == pytest.approx(slow, abs=1e-5), question.task.name


@two_models
def test_a_single_path_is_known_without_error(model, lexicon, collate):
    questions = [Question(record, TREES[0]) for record in RECORDS]
    answers = answer(model, lexicon, collate(questions), settings=Asking(draws=3, exact="never"))
    for question, (evidence, _) in zip(questions, answers, strict=True):
        exact = exact_inclusion(model, lexicon, collate, question)
        assert evidence.probabilities == pytest.approx(exact, abs=1e-5)
        assert evidence.standard_error == pytest.approx(np.zeros(len(exact)), abs=1e-6)


@two_models
def test_what_follows_the_first_path_is_estimated_without_bias(model, lexicon, collate):
    questions = [Question(RECORDS[1], tree) for tree in TREES[1:]]
    answers = answer(model, lexicon, collate(questions), settings=Asking(draws=4000, exact="never"))
    for question, (evidence, _) in zip(questions, answers, strict=True):
        exact = exact_inclusion(model, lexicon, collate, question)
        # Below a second branch that was never drawn the estimate is that of first paths and its error 0.
        assert (np.abs(evidence.probabilities - exact) <= 5 * evidence.standard_error + 2e-3).all()
        assert evidence.draws == 4000


@two_models
@pytest.mark.parametrize("nodes", [1, 2])
def test_children_of_nodes_that_are_not_followed_share_evenly(model, lexicon, collate, nodes):
    questions = [Question(record, TREES[0]) for record in RECORDS]
    found = first_of(model, lexicon, collate, questions, nodes=nodes)
    for question, chances in zip(questions, found, strict=True):
        exact = exact_inclusion(model, lexicon, collate, question)
        grammar = question.task.codec.grammar(question.record)
        parents = np.array(grammar.parents)
        roots = parents == -1
        assert chances[roots] == pytest.approx(exact[roots], abs=1e-5)
        followed = np.argsort(-chances * roots, kind="stable")[:nodes]
        for rank in set(grammar.parents) - {-1}:
            below = chances[parents == rank]
            assert below.sum() == pytest.approx(chances[rank], abs=1e-5)
            if roots[rank] and rank not in followed:
                assert below == pytest.approx(np.full(len(below), chances[rank] / len(below)))
            elif roots[rank]:
                assert below == pytest.approx(exact[parents == rank], abs=1e-5)


@two_models
def test_first_paths_do_not_depend_on_the_batch(model, lexicon, collate):
    together = first_of(model, lexicon, collate, QUESTIONS)
    in_parts = first_of(model, lexicon, collate, QUESTIONS, columns=1)
    for place, question in enumerate(QUESTIONS):
        (alone,) = first_of(model, lexicon, collate, [question])
        assert alone == pytest.approx(together[place], abs=1e-5)
        assert in_parts[place] == pytest.approx(together[place], abs=1e-5)


def test_a_probability_is_no_larger_than_one(cross_attention):
    lexicon = Lexicon(Vocabulary.compose(TREES[1].blocks()), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    with torch.no_grad():
        model.decoder.score.weight.zero_()
    questions = [Question(record, TREES[1]) for record in RECORDS]
    for evidence, _ in answer(model, lexicon, collate(questions), settings=Asking(draws=1, exact="never")):
        assert (evidence.probabilities >= 0).all()
        assert (evidence.probabilities <= 1).all()


def test_inner_nodes_are_counted_by_level():
    codecs = [tree.codec.grammar(RECORDS[0]) for tree in TREES]
    assert codecs[0].inner_nodes == (3, 4)
    assert codecs[4].inner_nodes == (2,)
    assert inner_nodes([codecs[0], codecs[4]]) == [3, 4]
    assert Ascending(codecs[0].domain, 0, 2).inner_nodes == ()


def test_following_compiles_to_one_graph(cross_attention):
    torch._dynamo.reset()
    lexicon = Lexicon(Vocabulary.compose([block for tree in TREES for block in tree.blocks()]), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    with torch.no_grad():
        batch = collate(QUESTIONS)
        group = group_questions(lexicon, batch, model.remember(batch), range(len(QUESTIONS)))
        given = (model.decoder, group.memory, group.prompts, group.grammars, [3, 2])
        compiled = torch.compile(_follow, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(_follow(*given), compiled(*given))
