"""Every fast path of decoding against the slow, obvious one: one question alone, no cache, the reference interpreter."""

import math

import numpy as np
import pytest
import torch

from protscribe.codecs.protocol import DigitTree, Draws, First, Inclusion, Marginals
from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon
from protscribe.generation.answering import Asking, answer
from protscribe.grammar import accepts, allowed
from protscribe.records import ProteinRecord
from protscribe.vocabulary import EOS, MASK, Vocabulary
from tests.generation.conftest import random_model
from tests.generation.tiny import MARKED, MARKED_SECOND, MARKED_STY, RECORDS, SPANS, TASKS

QUESTIONS = [Question(record, task) for record in RECORDS for task in TASKS.values()]


def aligned_place(question, step):
    codec = question.task.codec
    if not codec.dense:
        return -1
    letters, chain = getattr(codec, "candidates", ""), getattr(codec, "chain", 1) - 1
    residues = question.record.chains[chain]
    places = [place for place, residue in enumerate(residues) if not letters or residue in letters]
    return sum(question.record.lengths[:chain]) + places[step] if step < len(places) else -1


@torch.inference_mode()
def next_distribution(model, lexicon, collate, question, history, hide=False):
    """Probability of every allowed token (and EOS) after ``history``; and of what is forbidden. No cache, no batch."""
    batch = collate([question])
    memory = model.remember(batch)
    prompt = batch.tokens_BT[0, : int(batch.start_B[0])].tolist()
    numbers = [MASK] * len(history) if hide else lexicon.numbers(history, batch.questions[0].record)
    tokens = torch.tensor([prompt + numbers])
    aligned = [-1] * (len(prompt) - 1) + [aligned_place(question, step) for step in range(len(history) + 1)]
    told = model.decoder.told(batch.tokens_BT, batch.start_B)
    states = model.decoder(tokens, torch.tensor([aligned]), memory, told_BD=told)
    scores = model.decoder.choices(states, memory)[0, -1]
    chances = scores.softmax(-1)
    following = allowed(question.task.codec.grammar(question.record), history)
    legal = {token: float(chances[lexicon.number(token, question.record)]) for token in following.tokens}
    if following.end:
        legal[EOS] = float(chances[EOS])
    mass = sum(legal.values())
    return {token: chance / mass for token, chance in legal.items()}, 1 - mass


def slow_greedy(model, lexicon, collate, question):
    history, log_probability, off = [], 0.0, []
    while True:
        chances, outside = next_distribution(model, lexicon, collate, question, history)
        best = max(chances, key=chances.get)
        log_probability += math.log(chances[best])
        off.append(outside)
        if best == EOS:
            return tuple(history), log_probability, float(np.mean(off))
        history.append(best)


def test_batched_cached_greedy_is_the_slow_greedy(model, lexicon, collate):
    answers = answer(model, lexicon, collate(QUESTIONS), ways=["greedy"] * len(QUESTIONS))
    for question, (evidence, off_grammar) in zip(QUESTIONS, answers, strict=True):
        tokens, log_probability, off = slow_greedy(model, lexicon, collate, question)
        assert evidence.tokens == tokens, (question.task.name, question.record.id)
        assert evidence.log_probability == pytest.approx(log_probability, abs=1e-3)
        assert off_grammar == pytest.approx(off, abs=1e-4)
        assert accepts(question.task.codec.grammar(question.record), evidence.tokens)


def test_the_first_token_has_its_distribution(model, lexicon, collate):
    questions = [
        Question(record, TASKS[name]) for record in RECORDS for name in ("one_of", "asked_of_a_host")
    ]
    for question, (evidence, off) in zip(questions, answer(model, lexicon, collate(questions)), strict=True):
        assert isinstance(evidence, First)
        chances, outside = next_distribution(model, lexicon, collate, question, [])
        assert evidence.probabilities == pytest.approx(list(chances.values()), abs=1e-5)
        assert off == pytest.approx(outside, abs=1e-5)


@pytest.mark.parametrize("task", [TASKS["labels"], SPANS], ids=["labels", "segments"])
def test_marginals_are_those_of_a_masked_prefix(cross_attention, task):
    lexicon = Lexicon(Vocabulary.compose(task.blocks()), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    questions = [Question(record, task) for record in RECORDS]
    for question, (evidence, _) in zip(questions, answer(model, lexicon, collate(questions)), strict=True):
        assert isinstance(evidence, Marginals)
        letters = question.task.codec.grammar(question.record).domain.tokens()
        for place in range(question.record.lengths[0]):
            chances, _ = next_distribution(model, lexicon, collate, question, [letters[0]] * place, hide=True)
            assert evidence.probabilities[place] == pytest.approx(list(chances.values()), abs=1e-5)


def test_marks_say_what_is_included(cross_attention):
    lexicon = Lexicon(Vocabulary.compose(MARKED.blocks()), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    questions = [Question(record, MARKED) for record in RECORDS]
    for question, (evidence, _) in zip(questions, answer(model, lexicon, collate(questions)), strict=True):
        assert isinstance(evidence, Inclusion)
        out, within = question.task.codec.grammar(question.record).domain.tokens()
        for place in range(question.record.lengths[0]):
            chances, _ = next_distribution(model, lexicon, collate, question, [out] * place, hide=True)
            assert evidence.probabilities[place] == pytest.approx(chances[within], abs=1e-5)


@pytest.mark.parametrize("asked", [MARKED_STY, MARKED_SECOND], ids=lambda task: task.name)
@pytest.mark.parametrize("together", [True, False])
def test_marks_of_candidates_are_told_their_own_residue(cross_attention, asked, together):
    lexicon = Lexicon(Vocabulary.compose(asked.blocks()), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    records = [*RECORDS, ProteinRecord("none", ("AAAA", "AAA"))]
    questions = [Question(record, asked) for record in records]
    batches = [questions] if together else [[question] for question in questions]
    answers = [found for batch in batches for found in answer(model, lexicon, collate(batch))]
    letters, chain = asked.codec.candidates, asked.codec.chain - 1
    for question, (evidence, off) in zip(questions, answers, strict=True):
        assert len(evidence.probabilities) == sum(question.record.chains[chain].count(one) for one in letters)
        out, within = question.task.codec.grammar(question.record).domain.tokens()
        for place, chance in enumerate(evidence.probabilities):
            slow, _ = next_distribution(model, lexicon, collate, question, [out] * place, hide=True)
            assert chance == pytest.approx(slow[within], abs=1e-5)
        assert np.isfinite(off)
    for question, (evidence, _) in zip(
        questions, answer(model, lexicon, collate(questions), ways=["greedy"] * len(questions)), strict=True
    ):
        tokens, log_probability, _ = slow_greedy(model, lexicon, collate, question)
        assert evidence.tokens == tokens
        assert evidence.log_probability == pytest.approx(log_probability, abs=1e-4)


def test_training_tells_a_mark_the_residue_that_reading_tells_it(cross_attention):
    lexicon = Lexicon(Vocabulary.compose(MARKED_STY.blocks()), "pointers")
    model, collate = random_model(lexicon, cross_attention), Collator(lexicon)
    record = RECORDS[0]
    batch = collate([Question(record, MARKED_STY, (3, 7))])
    with torch.inference_mode():
        logits = model(batch, torch.ones_like(batch.answer_BT))[0]
    (evidence, _) = answer(model, lexicon, collate([Question(record, MARKED_STY)]))[0]
    numbers = [lexicon.number(token, record) for token in MARKED_STY.codec.grammar(record).domain.tokens()]
    start = int(batch.start_B[0]) - 1
    for place, chance in enumerate(evidence.probabilities):
        shares = logits[start + place, numbers].softmax(-1)
        assert chance == pytest.approx(float(shares[1]), abs=1e-5)


@pytest.mark.parametrize("name", ["coarse", "fine"])
@pytest.mark.parametrize("prefixes", [4, 1000])
def test_the_digit_tree_multiplies_out(model, lexicon, collate, name, prefixes):
    questions = [Question(record, TASKS[name]) for record in RECORDS[:2]]
    answers = answer(model, lexicon, collate(questions), settings=Asking(prefixes=prefixes))
    for question, (tree, off) in zip(questions, answers, strict=True):
        assert isinstance(tree, DigitTree)
        assert 0 <= off <= 1
        exact = exact_digits(model, lexicon, collate, question)
        assert tree.first[0] == 0
        assert tree.last[-1] == question.task.codec.most
        assert (tree.first[1:] == tree.last[:-1] + 1).all()
        whole = np.array(
            [exact[first : last + 1].sum() for first, last in zip(tree.first, tree.last, strict=True)]
        )
        assert tree.probabilities == pytest.approx(whole, abs=1e-5)
        if prefixes == 1000:
            assert (tree.first == tree.last).all()


def exact_digits(model, lexicon, collate, question):
    """The probability of every number, one digit after the other."""
    codec = question.task.codec
    chances, digits = np.zeros(codec.most + 1), codec.grammar(question.record).digits.symbols

    def visit(history, probability):
        if len(history) == codec.places:
            chances[int("".join(token.text for token in history))] = probability
            return
        following, _ = next_distribution(model, lexicon, collate, question, history)
        for digit in digits:
            if digit in following:
                visit([*history, digit], probability * following[digit])

    visit([], 1.0)
    return chances


def exact_inclusion(model, lexicon, collate, question):
    """By enumeration of every answer."""
    domain = question.task.codec.grammar(question.record).domain.tokens()
    inclusion = dict.fromkeys(domain, 0.0)

    def visit(history, probability):
        chances, _ = next_distribution(model, lexicon, collate, question, history)
        for token, chance in chances.items():
            if token == EOS:
                for member in history:
                    inclusion[member] += probability * chance
            else:
                visit([*history, token], probability * chance)

    visit([], 1.0)
    return np.array(list(inclusion.values()))


@pytest.mark.parametrize(("name", "place"), [("set", 0), ("path", 1), ("any_site", 1), ("sites", 0)])
def test_inclusion_estimates_what_enumeration_gives(model, lexicon, collate, name, place):
    question = Question(RECORDS[place], TASKS[name])
    ((evidence, _),) = answer(model, lexicon, collate([question]), settings=Asking(draws=6000, exact="never"))
    assert isinstance(evidence, Inclusion)
    exact = exact_inclusion(model, lexicon, collate, question)
    assert evidence.probabilities == pytest.approx(exact, abs=0.06)
    # Below a prefix that was never drawn the estimate is 0 and so is its standard error: 6,000 draws seldom miss a thousandth.
    assert (np.abs(evidence.probabilities - exact) <= 5 * evidence.standard_error + 1e-3).all()


def test_answers_do_not_depend_on_the_batch(model, lexicon, collate):
    settings = Asking(draws=4)
    together = answer(model, lexicon, collate(QUESTIONS), settings=settings)
    backwards = answer(model, lexicon, collate(QUESTIONS[::-1]), settings=settings)[::-1]
    for place, question in enumerate(QUESTIONS):
        (alone,) = answer(model, lexicon, collate([question]), settings=settings)
        for other in (together[place], backwards[place]):
            if isinstance(alone.evidence, Draws):
                assert alone.evidence.answers == other.evidence.answers
            elif hasattr(alone.evidence, "probabilities"):
                assert alone.evidence.probabilities == pytest.approx(other.evidence.probabilities, abs=1e-4)


def test_drawn_answers_are_valid_and_follow_the_seed(model, lexicon, collate):
    questions = [Question(record, TASKS[name]) for record in RECORDS for name in ("parts", "contacts")]
    first, again, other = (
        answer(model, lexicon, collate(questions), settings=Asking(draws=5, seed=seed)) for seed in (1, 1, 2)
    )
    for question, answered in zip(questions, first, strict=True):
        for tokens in answered.evidence.answers:
            assert accepts(question.task.codec.grammar(question.record), tokens)
    assert [a.evidence.answers for a in first] == [a.evidence.answers for a in again]
    assert [a.evidence.answers for a in first] != [a.evidence.answers for a in other]


@pytest.mark.parametrize("way", ["autocast", "weights"])
def test_half_precision_gives_valid_answers(model, lexicon, collate, way):
    if way == "weights":
        model = model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        answers = answer(model, lexicon, collate(QUESTIONS), ways=["greedy"] * len(QUESTIONS))
    for question, (evidence, _) in zip(QUESTIONS, answers, strict=True):
        assert accepts(question.task.codec.grammar(question.record), evidence.tokens)
        assert math.isfinite(evidence.log_probability)
