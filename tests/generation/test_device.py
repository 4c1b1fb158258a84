"""The decode loop asks the device nothing and has no data-dependent shape: what CUDA needs, proved on a CPU."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from protscribe.data.collate import Question
from protscribe.generation.group import group_questions
from protscribe.generation.search import CHECK_EVERY, renormalise, walk
from tests.generation.tiny import RECORDS, TASKS

SYNCHRONISING = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique",
    "is_nonzero",
    "equal.default",
    "_to_copy",
)


class NoSynchronisation(TorchDispatchMode):
    """Records every operation that would make the host wait for a device, or give a shape that depends on data."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(word in name for word in SYNCHRONISING[:-1]):
            self.seen.append(name)
        if "_to_copy" in name and (kwargs or {}).get("device") is not None:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def grouped(model, lexicon, collate, names):
    questions = [Question(record, TASKS[name]) for record in RECORDS for name in names]
    batch = collate(questions)
    return group_questions(lexicon, batch, model.remember(batch), range(len(questions)))


SHORT = ["one_of", "set", "path", "fine", "string"]


@torch.inference_mode()
def test_the_loop_never_waits_for_the_device(model, lexicon, collate):
    group = grouped(model, lexicon, collate, SHORT)
    assert group.grammars.longest < CHECK_EVERY
    with NoSynchronisation() as mode:
        walk(model.decoder, group.memory, group.prompts, group.grammars)
    assert mode.seen == []


@torch.inference_mode()
def test_a_long_loop_waits_once_every_few_steps(model, lexicon, collate):
    group = grouped(model, lexicon, collate, ["labels"])
    with NoSynchronisation() as mode:
        walk(model.decoder, group.memory, group.prompts, group.grammars)
    assert 0 < len(mode.seen) <= 1 + (group.grammars.longest + 1) // CHECK_EVERY


def test_the_mode_notices_a_synchronisation():
    with NoSynchronisation() as mode:
        torch.ones(3).nonzero()
        bool(torch.ones(1).all())
    assert len(mode.seen) == 2


@pytest.mark.parametrize("names", [SHORT, ["labels", "sites", "parts", "contacts"]])
def test_a_step_compiles_to_one_graph(model, lexicon, collate, names):
    group = grouped(model, lexicon, collate, names)
    rows = len(group.questions)

    def step(token_B, column_B, registers, caches):
        aligned_B1 = group.prompts.aligned_at(1)[:, None]
        state_BQD = model.decoder(token_B[:, None], aligned_B1, group.memory, column_B[:, None], caches)
        scores_BS = model.decoder.choices(state_BQD, group.memory)[:, 0]
        choice_B = renormalise(scores_BS, group.grammars.allowed(registers)).log_BS.argmax(-1)
        return choice_B, group.grammars.advance(registers, choice_B)

    torch._dynamo.reset()  # graphs of other parameters would only make this one dynamic
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        results = []
        for function in (step, compiled):
            caches = model.decoder.caches(rows, 8)
            tokens, columns = torch.full((rows,), 5), torch.zeros(rows, dtype=torch.long)
            results.append(function(tokens, columns, group.grammars.start(), caches))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
