"""Laws of alternatives, over every kind of answer: all decode, none stands twice, and together they are at most sure."""

import math
from dataclasses import fields, replace

import pytest

from protscribe.generation.settings import Beam, Sample
from protscribe.grammar import accepts
from protscribe.predictor import Predictor
from protscribe.task import Task
from tests.laws.examples import SMALL
from tests.laws.walks import every_answer
from tests.small import make_bundle

TASKS = {
    f"{kind}_{place}": (Task(f"{kind}_{place}", kind, codec, chains=len(record.chains)), record)
    for kind, cases in SMALL.items()
    for place, (codec, record) in enumerate(cases)
}


@pytest.fixture(scope="module")
def predictor():
    """A model of random weights that has every small task; each keeps its labels to itself."""
    own = {}
    for name, (task, _) in TASKS.items():
        labelled = "block" in {field.name for field in fields(task.codec)} and task.codec.kind != "number"
        own[name] = replace(task, codec=replace(task.codec, block=name)) if labelled else task
    return Predictor(make_bundle(own), "cpu")


@pytest.mark.parametrize("name", TASKS)
def test_a_wide_beam_finds_every_answer_once_and_they_are_sure_together(predictor, name):
    task, record = predictor.tasks[name], TASKS[name][1]
    spellings = every_answer(task.codec.grammar(record))
    found = predictor.n_best(record, name, len(spellings))
    assert len(found) == len(spellings)
    assert {one.value for one in found} == {task.codec.decode(tokens, record) for tokens in spellings}
    assert found.mass == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "search", [Beam(2), Beam(4, 2, 1.0), Sample(2.0, draws=8)], ids=["beam", "diverse", "sample"]
)
def test_alternatives_decode_and_are_at_most_sure(predictor, name, search):
    task, record = predictor.tasks[name], TASKS[name][1]
    found = predictor.n_best(record, name, 4, search=search)
    assert len({one.value for one in found}) == len(found) >= 1
    assert found.mass <= 1 + 1e-6
    for one in found:
        assert accepts(task.codec.grammar(record), task.codec.encode(one.value, record).tokens)
        assert math.isfinite(one.log_probability)
    # What a search says of an answer is what teacher forcing says of it.
    judged = predictor.predict(record, name, candidates=[one.value for one in found])
    absolute = {one.value: one.log_probability for one in judged.alternatives}
    for one in found:
        assert absolute[one.value] == pytest.approx(one.log_probability, abs=1e-3)
