"""Given answers are scored exactly, and small answer spaces known exactly: against one question alone, step by step."""

import math
import random

import numpy as np
import pytest
import torch

from protscribe.data.collate import Question
from protscribe.generation.answering import Asking, answer
from protscribe.generation.enumeration import MOST_ANSWERS, rows_to_follow, space_of
from protscribe.generation.ranking import judge_answers
from protscribe.grammar import Ascending, Digits, Symbols, allowed
from protscribe.vocabulary import EOS, Block
from tests.generation.exhaustive import TINY, every_answer, lexicon_of, two_models
from tests.generation.test_answering import QUESTIONS, exact_inclusion, next_distribution, slow_greedy
from tests.generation.tiny import RECORDS, TASKS, task
from tests.laws.walks import every_answer as every_spelling
from tests.laws.walks import random_answer


@pytest.fixture
def lexicon(positions):
    return lexicon_of(positions)


def slow_score(model, lexicon, collate, question, tokens):
    log = 0.0
    for step, token in enumerate((*tokens, EOS)):
        chances, _ = next_distribution(model, lexicon, collate, question, list(tokens[:step]))
        log += math.log(chances[token])
    return log


@two_models
def test_given_answers_have_the_probability_of_the_slow_way(model, lexicon, collate):
    chooser = random.Random(1)
    answers = []
    for question in QUESTIONS:
        grammar = question.task.codec.grammar(question.record)
        made = {random_answer(grammar, chooser, ending=0.3) for _ in range(chooser.randint(1, 4))}
        answers.append(sorted(made, key=str))
    found = judge_answers(model, lexicon, collate(QUESTIONS), answers)
    for question, given, one in zip(QUESTIONS, answers, found, strict=True):
        assert {scored.tokens for scored in one.answers} == set(given)
        assert list(one.scores) == sorted(one.scores, reverse=True)
        for scored in one.answers[:2]:
            slow = slow_score(model, lexicon, collate, question, scored.tokens)
            assert scored.log_probability == pytest.approx(slow, abs=1e-3), question.task.name


@two_models
def test_all_answers_together_have_probability_one(model, lexicon, collate):
    questions = [Question(record, task) for task, record, _ in TINY]
    answers = [every_spelling(question.task.codec.grammar(question.record)) for question in questions]
    found = judge_answers(model, lexicon, collate(questions), answers)
    for (task_, _, count), one in zip(TINY, found, strict=True):
        assert len(one.answers) == count, task_.name
        assert sum(math.exp(given.log_probability) for given in one.answers) == pytest.approx(1, abs=1e-4)


@two_models
def test_scores_do_not_depend_on_the_other_candidates_or_the_batch(model, lexicon, collate):
    question = Question(RECORDS[0], TASKS["path"])
    spellings = every_spelling(question.task.codec.grammar(question.record))
    (everything,) = judge_answers(model, lexicon, collate([question]), [spellings])
    logs = {one.tokens: one.log_probability for one in everything.answers}
    others = [Question(RECORDS[0], TASKS["labels"]), question, Question(RECORDS[3], TASKS["sites"])]
    first = allowed(TASKS["labels"].codec.grammar(RECORDS[0]), ()).tokens[:1]
    given = [[first * 12], spellings[3:4], [()]]
    _, one, _ = judge_answers(model, lexicon, collate(others), given)
    assert one.answers[0].log_probability == pytest.approx(logs[one.answers[0].tokens], abs=1e-4)


SETS = [TASKS["set"], TASKS["path"], TASKS["sites"], TASKS["any_site"], TASKS["second_chain"]]


@two_models
@pytest.mark.parametrize("way", ["cheap", "always"])
def test_small_sets_are_known_exactly_and_without_a_draw(model, lexicon, collate, way):
    found = 0
    questions = [Question(record, one) for record in RECORDS for one in SETS]
    for question, (evidence, off) in zip(
        questions, answer(model, lexicon, collate(questions), settings=Asking(exact=way)), strict=True
    ):
        if evidence.draws is not None:
            drawn = 17 if way == "cheap" else None
            assert rows_to_follow(question.task.codec.grammar(question.record), drawn) is None
            continue
        found += 1
        assert evidence.standard_error is None
        exact = exact_inclusion(model, lexicon, collate, question)
        assert evidence.probabilities == pytest.approx(exact, abs=1e-5), question.task.name
        tokens, log_probability, slow_off = slow_greedy(model, lexicon, collate, question)
        assert evidence.greedy.tokens == tokens
        assert evidence.greedy.log_probability == pytest.approx(log_probability, abs=1e-3)
        assert off == pytest.approx(slow_off, abs=1e-4)
    assert 5 < found < len(questions), "some sets are small and some are not"


@two_models
def test_what_is_exact_does_not_depend_on_the_batch(model, lexicon, collate):
    questions = [Question(record, one) for record in RECORDS for one in SETS]
    together = answer(model, lexicon, collate(questions))
    for place in range(0, len(questions), 3):
        (alone,) = answer(model, lexicon, collate([questions[place]]))
        assert alone.evidence.draws == together[place].evidence.draws
        assert alone.evidence.probabilities == pytest.approx(together[place].evidence.probabilities, abs=1e-5)


def letters(count):
    return Symbols(Block("letters", tuple(map(str, range(count)))).symbols())


@pytest.mark.parametrize(
    "grammar",
    [
        Ascending(letters(6), 0, 6),
        Ascending(letters(6), 2, 3),
        Ascending(letters(0), 0, 0),
        Ascending(letters(8), 1, 3, (-1, 0, 1, 1, 0, 4, -1, 6), (1, 1, 0, 0, 1, 0, 1, 0)),
        Ascending(letters(8), 0, 2, (-1, 0, 1, 1, 0, 4, -1, 6)),
    ],
)
def test_a_space_holds_every_answer_once(grammar):
    space = space_of(grammar)
    answers = set(every_spelling(grammar))
    ending = [history for history in space.histories if allowed(grammar, history).end]
    assert set(ending) == answers
    assert len(ending) == len(answers)
    # Each beginning stands where it is said to stand, and its children continue it.
    for place, history in enumerate(space.histories):
        assert space.rows[space.row_N[place]][: space.length_N[place]] == history
        assert {grammar.domain.tokens()[rank] for rank in np.flatnonzero(space.members_Nn[place])} == set(
            history
        )
        assert {space.histories[child] for child in space.children[place]} == {
            (*history, token) for token in allowed(grammar, history).tokens
        }


def test_large_spaces_and_other_forms_have_none():
    assert space_of(Ascending(letters(9), 0, 9)) is not None
    assert space_of(Ascending(letters(10), 0, 10)) is None
    assert space_of(Ascending(letters(500), 0, 1)) is not None
    assert space_of(Ascending(letters(MOST_ANSWERS + 1), 0, 1)) is None
    roots = tuple(-1 if rank % 2 == 0 else rank - 1 for rank in range(40))
    assert space_of(Ascending(letters(40), 1, 4, roots)) is None
    assert space_of(Digits(letters(10), (3, 4))) is None


def test_drawing_is_preferred_where_it_is_cheaper():
    grammar = Ascending(letters(9), 0, 9)
    assert rows_to_follow(grammar, 1) is None
    assert rows_to_follow(grammar, 1000) == rows_to_follow(grammar, None) == 256


@two_models
@torch.inference_mode()
def test_a_traced_greedy_answer_multiplies_out(model, lexicon, collate):
    questions = [
        Question(record, one) for record in RECORDS[:3] for one in (TASKS["string"], TASKS["labels"])
    ]
    traced = answer(model, lexicon, collate(questions), ways=["traced"] * len(questions))
    for question, (evidence, _) in zip(questions, traced, strict=True):
        assert len(evidence.steps) == len(evidence.tokens)
        chances, _ = next_distribution(model, lexicon, collate, question, list(evidence.tokens))
        whole = math.log(chances[EOS]) + sum(map(math.log, evidence.steps))
        assert evidence.log_probability == pytest.approx(whole, abs=1e-3)


@two_models
def test_every_kind_that_is_tiny_is_tiny(model, lexicon, collate):
    # The oracle above walks what the model allows, the spellings what the grammar does: they are the same.
    chosen, record, count = TINY[0]
    assert len(every_answer(model, lexicon, collate, Question(record, chosen))) == count
    assert (
        len(every_spelling(task("few", kind="category_set", labels=list("pqr")).codec.grammar(record))) == 8
    )
