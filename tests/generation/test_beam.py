"""Beam search against enumeration by the slow, obvious way; a beam of one against greedy decoding."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from protscribe.data.collate import Question
from protscribe.errors import ConfigError
from protscribe.generation.answering import answer
from protscribe.generation.beam import _pick, beam_search, normalisation
from protscribe.generation.group import group_questions
from protscribe.generation.pace import CHECK_EVERY
from protscribe.generation.ranking import search_answers
from protscribe.generation.sampling import draw, sharpen
from protscribe.generation.settings import Beam
from protscribe.grammar import accepts
from tests.generation.exhaustive import TINY, every_answer, lexicon_of, two_models
from tests.generation.test_answering import QUESTIONS
from tests.generation.tiny import RECORDS, TASKS
from tests.watching import watching


@pytest.fixture
def lexicon(positions):
    return lexicon_of(positions)


@pytest.fixture(params=TINY, ids=lambda entry: entry[0].name)
def tiny(request, model, lexicon, collate):
    chosen, record, count = request.param
    question = Question(record, chosen)
    everything = every_answer(model, lexicon, collate, question)
    assert len(everything) == count
    return question, everything


def ranked(model, lexicon, collate, questions, search, most, beginnings=None):
    beginnings = beginnings or [()] * len(questions)
    return search_answers(model, lexicon, collate(questions), search, most, beginnings)


@two_models
def test_a_beam_as_wide_as_there_are_answers_finds_all_of_them(model, lexicon, collate, tiny):
    question, everything = tiny
    search = partial(ranked, model, lexicon, collate, [question])
    (found,) = search(Beam(width=len(everything)), len(everything))
    assert [one.tokens for one in found.answers] == [tokens for tokens, _ in everything]
    assert [one.log_probability for one in found.answers] == pytest.approx(
        [log for _, log in everything], abs=1e-4
    )
    assert sum(math.exp(one.log_probability) for one in found.answers) == pytest.approx(1, abs=1e-4)
    # Fewer are the first of them, and length normalisation only ranks them anew.
    (few,) = search(Beam(width=len(everything)), 2)
    assert [one.tokens for one in few.answers] == [tokens for tokens, _ in everything[:2]]
    (longer,) = search(Beam(width=len(everything), length_power=1.5), len(everything))
    by_score = sorted(everything, key=lambda one: -one[1] / normalisation(len(one[0]), 1.5))
    assert [one.tokens for one in longer.answers] == [tokens for tokens, _ in by_score]
    # Groups each find everything; what several of them find stands once.
    (diverse,) = search(Beam(width=2 * len(everything), groups=2, diversity=1.0), len(everything))
    assert [one.tokens for one in diverse.answers] == [tokens for tokens, _ in everything]


@two_models
def test_a_beam_of_one_is_greedy(model, lexicon, collate):
    greedy = answer(model, lexicon, collate(QUESTIONS), ways=["greedy"] * len(QUESTIONS))
    found = ranked(model, lexicon, collate, QUESTIONS, Beam(width=1), 1)
    for question, one, (other, _) in zip(QUESTIONS, found, greedy, strict=True):
        (best,) = one.answers
        assert best.tokens == other.tokens, (question.task.name, question.record.id)
        assert best.log_probability == pytest.approx(other.log_probability, abs=1e-3)


@two_models
def test_a_wider_beam_is_never_worse_on_average_and_all_its_answers_are_valid(model, lexicon, collate):
    logs = []
    for width in (1, 4):
        found = ranked(model, lexicon, collate, QUESTIONS, Beam(width=width), width)
        for question, one in zip(QUESTIONS, found, strict=True):
            grammar = question.task.codec.grammar(question.record)
            assert 1 <= len(one.answers) <= width
            assert all(accepts(grammar, given.tokens) for given in one.answers)
            assert len({given.tokens for given in one.answers}) == len(one.answers)
            assert list(one.scores) == sorted(one.scores, reverse=True)
        logs.append(np.mean([one.answers[0].log_probability for one in found]))
    assert logs[0] <= logs[1] + 1e-6


@two_models
def test_groups_differ_where_diversity_asks_for_it(model, lexicon, collate):
    questions = [Question(record, TASKS["labels"]) for record in RECORDS]
    plain, diverse = (
        ranked(model, lexicon, collate, questions, Beam(4, 4, diversity), 4) for diversity in (0.0, 50.0)
    )
    for question, one, other in zip(questions, plain, diverse, strict=True):
        assert len(one.answers) == 1, "groups that do not avoid each other are the same greedy search"
        if question.record.lengths[0] == 1:
            continue
        # Three letters for four groups: of each place the first three groups take all.
        first = {given.tokens[0] for given in other.answers}
        assert len(first) == 3
        assert one.answers[0].tokens in {given.tokens for given in other.answers}


@two_models
def test_alternatives_do_not_depend_on_the_batch(model, lexicon, collate):
    search = partial(ranked, model, lexicon, collate)
    for settings in (Beam(4), Beam(4, 2, 0.5), Beam(4, length_power=1.0)):
        together = search(QUESTIONS, settings, 3)
        backwards = search(QUESTIONS[::-1], settings, 3)[::-1]
        for place in range(0, len(QUESTIONS), 3):
            (alone,) = search([QUESTIONS[place]], settings, 3)
            for other in (together[place], backwards[place]):
                assert [one.tokens for one in alone.answers] == [one.tokens for one in other.answers]
                assert alone.scores == pytest.approx(other.scores, abs=1e-3)


@two_models
@torch.inference_mode()
def test_the_loop_waits_only_for_its_check(model, lexicon, collate):
    for names, longest in ((["one_of", "set", "path", "fine", "string"], 0), (["labels"], 30)):
        questions = [Question(record, TASKS[name]) for record in RECORDS for name in names]
        batch = collate(questions)
        group = group_questions(lexicon, batch, model.remember(batch), range(len(questions)))
        with watching() as found:
            beam_search(model.decoder, group.memory, group.prompts, group.grammars, Beam(4, 2), 2)
        assert found.seen == []
        assert found.points["finished"] == (longest + 1) // CHECK_EVERY


@two_models
@torch.inference_mode()
def test_memory_is_not_copied_for_a_beam(model, lexicon, collate):
    questions = [Question(RECORDS[0], TASKS[name]) for name in ("one_of", "set", "fine")]
    batch = collate(questions)
    memory = model.decoder.project(model.remember(batch))
    group = group_questions(lexicon, batch, memory, range(3))
    keys = []
    attention = model.decoder.layers[0].cross_attention
    handle = attention.register_forward_hook(lambda module, given, made: keys.append(given[4][0].data_ptr()))
    beam_search(model.decoder, group.memory, group.prompts, group.grammars, Beam(5), 5)
    handle.remove()
    assert set(keys) == {memory.projected[0][0].data_ptr()}
    assert len(keys) > 2


def test_choosing_compiles_to_one_graph():
    total_QGWS = torch.randn(3, 2, 4, 11, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    log_BS, uniform_B = total_QGWS[:, 0, 0], torch.tensor([0.1, 0.5, 0.9])

    def chosen():
        return *_pick(total_QGWS, 0.5), draw(sharpen(log_BS, 0.7, 3, 0.9), uniform_B)

    torch._dynamo.reset()
    compiled = torch.compile(chosen, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(one, other) for one, other in zip(chosen(), compiled(), strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 8, "groups": 3},
        {"groups": 0},
        {"diversity": -1},
        {"length_power": math.nan},
        {"width": 2.5},
        {"width": True},
    ],
)
def test_settings_that_cannot_be_meant_are_errors(wrong):
    with pytest.raises(ConfigError) as caught:
        Beam(**wrong)
    assert caught.value.code == "config.value"


def test_a_beam_grows_to_what_is_wanted():
    assert Beam(4).at_least(9).width == 9
    assert Beam(4, 2).at_least(9).width == 10
    assert Beam(8).at_least(5).width == 8
