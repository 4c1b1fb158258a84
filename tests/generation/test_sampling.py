"""Sampling: a step against the definition, whole answers against enumeration."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from protscribe.data.collate import Question
from protscribe.errors import ConfigError
from protscribe.generation.group import group_questions
from protscribe.generation.pace import CHECK_EVERY
from protscribe.generation.ranking import search_answers
from protscribe.generation.samples import sample
from protscribe.generation.sampling import draw, sharpen, uniforms
from protscribe.generation.settings import Beam, Sample
from protscribe.generation.writing import Writing
from protscribe.grammar import accepts
from tests.generation.exhaustive import TINY, every_answer, lexicon_of, two_models
from tests.generation.test_answering import QUESTIONS, next_distribution
from tests.generation.tiny import RECORDS, TASKS
from tests.watching import watching

NONE = float("-inf")


@pytest.fixture
def lexicon(positions):
    return lexicon_of(positions)


def logs(rows=6, choices=9, seed=0):
    scores = torch.randn(rows, choices, generator=torch.Generator().manual_seed(seed)) * 2
    scores[:, [1, 4]] = NONE
    return scores.log_softmax(-1)


def by_definition(log_S, temperature, top_k, top_p):
    """One row, in plain Python."""
    weights = {place: math.exp(log / temperature) for place, log in enumerate(log_S) if log > NONE}
    order = sorted(weights, key=lambda place: -weights[place])
    order = order[:top_k] if top_k else order
    total, kept, reached = sum(weights[place] for place in order), [], 0.0
    for place in order:
        if kept and reached >= top_p:
            break
        kept.append(place)
        reached += weights[place] / total
    mass = sum(weights[place] for place in kept)
    return [weights[place] / mass if place in kept else 0.0 for place in range(len(log_S))]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 3, 50])
@pytest.mark.parametrize("top_p", [1e-9, 0.4, 0.9, 1.0])
def test_sharpen_is_its_definition(temperature, top_k, top_p):
    log_BS = logs()
    found_BS = sharpen(log_BS, temperature, top_k, top_p)
    for given, found in zip(log_BS.tolist(), found_BS.exp().tolist(), strict=True):
        assert found == pytest.approx(by_definition(given, temperature, top_k, top_p), abs=1e-5)


def test_the_best_choice_stays_and_ties_are_cut_to_size():
    log_BS = torch.zeros(1, 4).log_softmax(-1)
    assert sharpen(log_BS, top_k=2).exp().tolist() == [[0.5, 0.5, 0.0, 0.0]]
    sure_BS = torch.tensor([[NONE, 0.0, NONE]])
    assert sharpen(sure_BS, 0.1, 1, 0.01).tolist() == sure_BS.tolist()


def test_draws_invert_the_cumulative_distribution():
    log_BS = torch.tensor([[0.2, 0.0, 0.5, 0.3]]).log().expand(5, -1)
    uniform_B = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.999])
    assert draw(log_BS, uniform_B).tolist() == [0, 0, 2, 2, 3]


def test_the_numbers_of_a_question_depend_on_its_own_task_and_protein_alone():
    alone = uniforms([QUESTIONS[3]], 1, 5, 4)
    together = uniforms(QUESTIONS, 1, 9, 4).reshape(len(QUESTIONS), 4, 9)
    assert np.array_equal(alone, together[3][:, :5])
    assert not np.array_equal(alone, uniforms([QUESTIONS[3]], 2, 5, 4))
    assert 0 <= together.min() <= together.max() < 1


@two_models
def test_drawn_answers_follow_the_model_and_have_their_exact_probability(model, lexicon, collate):
    for task, record, _ in TINY[:2] + TINY[5:8]:
        question = Question(record, task)
        batch = collate([question])
        group = group_questions(lexicon, batch, model.remember(batch), [0])
        draws = 4000
        with torch.inference_mode():
            writing = Writing(
                model.decoder, group.memory, group.prompts.repeat(draws), group.grammars.repeat(draws)
            )
            numbers = torch.from_numpy(uniforms([question], 0, writing.steps, draws))
            drawn = sample(writing, Sample(draws=draws), numbers)
        exact = dict(every_answer(model, lexicon, collate, question))
        counts = dict.fromkeys(exact, 0)
        for row, length in enumerate(drawn.lengths_B.tolist()):
            tokens = group.tokens(0, drawn.choices_BT[row, :length].tolist())
            counts[tokens] += 1
            assert float(drawn.log_B[row]) == pytest.approx(exact[tokens], abs=1e-3)
        for tokens, log in exact.items():
            chance = math.exp(log)
            error = math.sqrt(chance * (1 - chance) / draws)
            assert abs(counts[tokens] / draws - chance) <= 4.5 * error + 1e-3, (task.name, tokens)


def ranked(model, lexicon, collate, questions, search, most=4):
    return search_answers(model, lexicon, collate(questions), search, most, [()] * len(questions))


@two_models
def test_alternatives_are_distinct_valid_and_reproducible(model, lexicon, collate):
    search = partial(ranked, model, lexicon, collate)
    bold = Sample(temperature=0.7, top_k=3, top_p=0.9, seed=5, draws=6)
    together, again = search(QUESTIONS, bold), search(QUESTIONS, bold)
    backwards = search(QUESTIONS[::-1], bold)[::-1]
    other = search(QUESTIONS, Sample(0.7, 3, 0.9, seed=6, draws=6))
    assert [one.answers for one in together] == [one.answers for one in again]
    assert [[a.tokens for a in one.answers] for one in together] != [
        [a.tokens for a in one.answers] for one in other
    ]
    for place, (question, one) in enumerate(zip(QUESTIONS, together, strict=True)):
        tokens = [given.tokens for given in one.answers]
        assert 1 <= len(tokens) == len(set(tokens)) <= 4
        assert all(accepts(question.task.codec.grammar(question.record), given) for given in tokens)
        assert list(one.scores) == sorted(one.scores, reverse=True)
        assert tokens == [given.tokens for given in backwards[place].answers]
        if place % 5 == 0:
            (alone,) = search([question], bold)
            assert tokens == [given.tokens for given in alone.answers]


@two_models
def test_a_small_top_k_leaves_the_greedy_answer_and_reports_its_own_probability(model, lexicon, collate):
    drawn = ranked(model, lexicon, collate, QUESTIONS, Sample(temperature=5.0, top_k=1, draws=3))
    greedy = ranked(model, lexicon, collate, QUESTIONS, Beam(1), 1)
    for one, other in zip(drawn, greedy, strict=True):
        assert [given.tokens for given in one.answers] == [given.tokens for given in other.answers]
        assert one.scores == pytest.approx(other.scores, abs=1e-3)


@two_models
@pytest.mark.parametrize("search", [Beam(4), Sample(draws=6)], ids=["beam", "sample"])
def test_a_beginning_is_kept_and_probabilities_are_those_given_it(model, lexicon, collate, search):
    questions, beginnings, wanted = [], [], []
    for task, record, _ in TINY:
        question = Question(record, task)
        # The beginning of the least probable answer: none that would come about by itself.
        everything = every_answer(model, lexicon, collate, question)
        beginning = everything[-1][0][:1]
        follow = [(tokens, log) for tokens, log in everything if tokens[: len(beginning)] == beginning]
        chances, _ = next_distribution(model, lexicon, collate, question, [])
        mass = chances[beginning[0]] if beginning else 1.0
        questions.append(question)
        beginnings.append(beginning)
        wanted.append({tokens: log - math.log(mass) for tokens, log in follow})
    found = search_answers(model, lexicon, collate(questions), search, 3, beginnings)
    for one, expected, beginning in zip(found, wanted, beginnings, strict=True):
        assert one.answers
        for given in one.answers:
            assert given.tokens[: len(beginning)] == beginning
            assert given.log_probability == pytest.approx(expected[given.tokens], abs=1e-3)


@two_models
@torch.inference_mode()
def test_the_loop_waits_only_for_its_check(model, lexicon, collate):
    batch = collate([Question(record, TASKS["labels"]) for record in RECORDS])
    group = group_questions(lexicon, batch, model.remember(batch), range(len(RECORDS)))
    bold = Sample(0.5, 2, 0.9, draws=2)
    with watching() as found:
        writing = Writing(model.decoder, group.memory, group.prompts.repeat(2), group.grammars.repeat(2))
        sample(writing, bold, torch.rand(2 * len(RECORDS), writing.steps))
    assert found.seen == []
    assert found.points["finished"] == writing.steps // CHECK_EVERY


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"temperature": -1},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"seed": -1},
        {"draws": 1.5},
    ],
)
def test_settings_that_cannot_be_meant_are_errors(wrong):
    with pytest.raises(ConfigError) as caught:
        Sample(**wrong)
    assert caught.value.code == "config.value"
