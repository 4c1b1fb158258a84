"""Off-grammar mass along true answers, against the reference interpreter."""

import random

import numpy as np
import pytest
import torch

from protscribe.data.collate import Question
from protscribe.generation.forced import off_grammar_mass
from protscribe.grammar import allowed
from protscribe.vocabulary import EOS
from tests.generation.tiny import RECORDS, TASKS
from tests.laws.walks import random_answer


@torch.inference_mode()
def test_the_mass_is_what_the_interpreter_forbids(model, lexicon, collate):
    chooser = random.Random(3)
    questions = []
    for record in RECORDS:
        for task in TASKS.values():
            codec = task.codec
            tokens = random_answer(codec.grammar(record), chooser)
            questions.append(Question(record, task, codec.decode(tokens, record)))
    batch = collate(questions)
    logits_BTS = model(batch)
    found = off_grammar_mass(logits_BTS, batch, lexicon, most=12)
    for row, question in enumerate(batch.questions):
        codec, record = question.task.codec, question.record
        tokens = codec.encode(question.answer, record).tokens
        outside = []
        for step in range(min(len(tokens) + 1, 12)):
            following = allowed(codec.grammar(record), tokens[:step])
            legal = lexicon.numbers(following.tokens, record) + ([EOS] if following.end else [])
            chances = logits_BTS[row, int(batch.start_B[row]) - 1 + step].softmax(-1)
            outside.append(1 - float(chances[legal].sum()))
        assert float(found[row]) == pytest.approx(np.mean(outside), abs=1e-5), question.task.name
