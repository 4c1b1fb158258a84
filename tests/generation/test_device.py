"""Answering waits for the device at declared points only, and its passes compile to one graph: proved on a CPU."""

import pytest
import torch

from protscribe.data.collate import Question
from protscribe.generation.answering import Asking, _need, answer
from protscribe.generation.dense import _look
from protscribe.generation.group import group_questions
from protscribe.generation.lanes import Lanes, Queue
from protscribe.generation.pace import CHECK_EVERY
from protscribe.generation.ranking import judge_answers, search_answers
from protscribe.generation.search import walk, write
from protscribe.generation.settings import Beam, Sample
from tests.generation.tiny import RECORDS, TASKS
from tests.watching import watching

SHORT = ["one_of", "set", "path", "fine", "string"]
LONG = ["labels", "sites", "parts", "contacts"]


@pytest.fixture
def positions():
    return "pointers"


@pytest.fixture
def cross_attention():
    return {"kv_heads": 1, "shared": True}


def asked(collate, names, records=RECORDS):
    questions = [
        Question(record, TASKS[name])
        for record in records
        for name in names
        if len(record.chains) >= TASKS[name].chains
    ]
    return collate(questions), questions


def grouped(model, lexicon, collate, names):
    batch, questions = asked(collate, names)
    return group_questions(lexicon, batch, model.remember(batch), range(len(questions)))


@pytest.mark.parametrize("way", ["risk", "greedy"])
def test_answering_waits_for_the_device_at_declared_points_only(model, lexicon, collate, way):
    batch, questions = asked(collate, list(TASKS), RECORDS[1:3])
    settings = Asking(draws=2)
    with watching() as found:
        answers = answer(model, lexicon, batch, ways=[way] * len(questions), settings=settings)
    needs = {_need(question, way, settings) for question in questions}
    assert found.seen == []
    assert len(answers) == len(questions)
    # Once for each kind of evidence; of drawn answers the hazards along them are read as well.
    others = sum(count for point, count in found.points.items() if point != "finished")
    assert len(needs) <= others <= len(needs) + 1


@pytest.mark.parametrize("search", [Beam(width=4, groups=2), Sample(temperature=0.8, top_k=3)])
def test_alternatives_wait_for_the_device_at_declared_points_only(model, lexicon, collate, search):
    batch, questions = asked(collate, ["set", "fine", "labels", "sites"], RECORDS[1:3])
    with watching() as found:
        answers = search_answers(model, lexicon, batch, search, 2, [()] * len(questions))
        judge_answers(model, lexicon, batch, [[one.tokens for one in each.answers] for each in answers])
    assert found.seen == []
    assert {"decoded", "followed"} <= set(found.points) <= {"finished", "decoded", "followed"}


@torch.inference_mode()
def test_a_short_search_never_asks_how_far_it_has_got(model, lexicon, collate):
    group = grouped(model, lexicon, collate, SHORT)
    assert group.grammars.longest < CHECK_EVERY
    with watching() as found:
        walk(model.decoder, group.memory, group.prompts, group.grammars)
    assert found.seen == []
    assert not found.points


@torch.inference_mode()
@pytest.mark.parametrize("width", [1, 4])
def test_a_long_search_asks_once_every_few_passes(model, lexicon, collate, width):
    group = grouped(model, lexicon, collate, ["labels"])
    with watching() as found:
        decoded = walk(model.decoder, group.memory, group.prompts, group.grammars, width=width)
    assert found.seen == []
    assert 1 <= found.points["finished"] <= 1 + width * decoded.passes / CHECK_EVERY


def one_pass(model, group, width):
    """Everything that a pass of a search needs, as it is before the first one."""
    prompts, grammars = group.prompts, group.grammars
    rows, columns = prompts.tokens_BP.shape
    columns += grammars.longest + 1 + 2 * width
    memories = len(group.memory.mask_KM)
    of = [row * memories // rows for row in range(rows)]
    queue = Queue.of(prompts, range(rows), of, memories, columns, None)
    lanes = Lanes.idle(queue, rows // memories, prompts, grammars).refilled(queue, prompts, grammars)
    return queue, lanes, model.decoder.caches(rows, columns)


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors_of(part)


@pytest.mark.parametrize(("names", "width"), [([*SHORT, *LONG], 1), (["labels"], 2)])
def test_a_pass_of_a_search_compiles_to_one_graph(model, lexicon, collate, names, width):
    torch._dynamo.reset()  # graphs of other parameters would only make this one dynamic
    compiled = torch.compile(write, fullgraph=True, backend="aot_eager")
    results = []
    with torch.no_grad():
        group = grouped(model, lexicon, collate, names)
        for function in (write, compiled):
            queue, lanes, caches = one_pass(model, group, width)
            columns = group.prompts.tokens_BP.shape[1]
            lanes = function(model.decoder, group.memory, queue, lanes, caches, columns, columns)
            lanes = function(model.decoder, group.memory, queue, lanes, caches, width, columns + width)
            results.append((queue.text_JT, *tensors_of(tuple(lanes))))
    assert len(results[0]) > 10
    for eager, fused in zip(*results, strict=True):
        torch.testing.assert_close(eager, fused)


def test_the_dense_pass_compiles_to_one_graph(model, lexicon, collate):
    torch._dynamo.reset()
    with torch.no_grad():
        group = grouped(model, lexicon, collate, ["labels"])
        shown_BT = torch.full((len(group.questions), group.grammars.longest), 3)
        given = (model.decoder, group.memory, group.prompts, group.grammars.numbers_Bn, shown_BT)
        compiled = torch.compile(_look, fullgraph=True, backend="aot_eager")
        for eager, fused in zip(_look(*given), compiled(*given), strict=True):
            torch.testing.assert_close(eager, fused)
