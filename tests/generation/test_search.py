"""The same tokens however a decode is run: lanes that are refilled, several columns a pass, against one answer a lane."""

import numpy as np
import pytest
import torch

from protscribe.data.collate import Question
from protscribe.generation.group import group_questions
from protscribe.generation.pace import WIDTHS, Pace, expected, standing
from protscribe.generation.search import walk
from tests.generation.tiny import RECORDS, TASKS

QUESTIONS = [Question(record, task) for record in RECORDS for task in TASKS.values()]


def ragged(group, seed):
    """Answers of every question, from none to three, in the order of their memories; every other one is drawn."""
    generator = np.random.default_rng(seed)
    each = len(group.questions) // len(group.memory.mask_KM)
    question_of = [place for place in range(len(group.questions)) for _ in range(generator.integers(0, 4))]
    uniform = generator.random((len(question_of), group.grammars.longest + 1)).astype(np.float32)
    uniform[::2] = -1
    return question_of, [place // each for place in question_of], torch.from_numpy(uniform)


@pytest.fixture
def group(model, lexicon, collate):
    batch = collate([question for question in QUESTIONS if question.task.chains == 1])
    with torch.inference_mode():
        return group_questions(lexicon, batch, model.remember(batch), range(len(batch.questions)))


@torch.inference_mode()
@pytest.mark.parametrize(("lanes", "width"), [(1, 1), (3, 1), (0, 2), (0, 16), (2, 4)])
def test_lanes_and_widths_change_no_token(model, group, lanes, width, monkeypatch):
    # Guesses must be tried whatever they cost: with random weights hardly one stands.
    monkeypatch.setattr(Pace, "_best", lambda self, share: self._most)
    question_of, memory_of, uniform = ragged(group, seed=width)
    asked = {"question_of": question_of, "memory_of": memory_of}
    plain = walk(model.decoder, group.memory, group.prompts, group.grammars, uniform, **asked)
    other = walk(
        model.decoder, group.memory, group.prompts, group.grammars, uniform, lanes=lanes, width=width, **asked
    )
    assert torch.equal(other.choices_BT, plain.choices_BT)
    assert torch.equal(other.lengths_B, plain.lengths_B)
    assert len(set(plain.lengths_B.tolist())) > 5
    for name in ("log_probability_B", "off_grammar_B", "inclusion_Bn"):
        torch.testing.assert_close(getattr(other, name), getattr(plain, name), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_one_answer_alone_is_the_same(model, group):
    question_of, memory_of, uniform = ragged(group, seed=7)
    together = walk(
        model.decoder, group.memory, group.prompts, group.grammars, uniform,
        question_of=question_of, memory_of=memory_of, lanes=2,
    )  # fmt: skip
    for place in range(0, len(question_of), 5):
        alone = walk(
            model.decoder, group.memory, group.prompts, group.grammars, uniform[place : place + 1],
            question_of=question_of[place : place + 1], memory_of=memory_of[place : place + 1],
        )  # fmt: skip
        assert torch.equal(alone.choices_BT[0], together.choices_BT[place])


@torch.inference_mode()
def test_guesses_that_stand_save_passes(model, group):
    """A decoder that repeats itself is guessed right."""
    labels = [place for place, question in enumerate(group.questions) if question.task.name == "labels"]
    with torch.no_grad():
        model.decoder.score.weight.zero_()
        model.decoder.norm.bias.fill_(1.0)
        number = int(group.grammars.numbers_Bn[labels[0], 1])
        model.decoder.score.weight[number] = 1.0
    each = len(group.questions) // len(group.memory.mask_KM)
    asked = {"question_of": labels, "memory_of": [place // each for place in labels]}
    plain = walk(model.decoder, group.memory, group.prompts, group.grammars, **asked)
    fast = walk(model.decoder, group.memory, group.prompts, group.grammars, width=16, **asked)
    assert torch.equal(fast.choices_BT, plain.choices_BT)
    assert plain.passes > 3 * fast.passes


def test_a_pace_follows_the_guesses_that_stand():
    pace = Pace(lanes=1, most=16, device_type="cpu")
    assert pace.width > 1
    pace.learn(read=100, took=100)
    assert pace.width == 1
    for width in WIDTHS[1:]:
        for share in (0.1, 0.5, 0.9):
            assert standing(expected(share, width), width) == pytest.approx(share, abs=1e-6)
    assert Pace(lanes=1, most=1, device_type="cpu").width == 1
