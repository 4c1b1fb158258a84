"""Dense answers read side by side, in one pass or in rounds, against one residue after the other without a batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from protscribe import transfer
from protscribe.codecs.protocol import Marginals
from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon, position_block
from protscribe.generation import dense
from protscribe.generation.answering import answer
from protscribe.generation.dense import fixed_after, marginals
from protscribe.generation.group import Asking, group_questions
from protscribe.vocabulary import MASK, Vocabulary
from tests.generation.tiny import RECORDS, task

TASKS = {
    entry.name: entry
    for entry in (
        task("labels", kind="residue_labels", labels=list("HEC")),
        task("translated", kind="sequence", alphabet=list("abcdefg")),
        task("second", chains=2, kind="residue_labels", labels=list("xy"), chain=2),
        task(
            "in_a_host",
            kind="residue_labels",
            labels=list("pqrs"),
            conditions=[{"field": "host", "values": ["m", "h"]}],
        ),
    )
}
QUESTIONS = [Question(record, one) for record in RECORDS for one in TASKS.values()]
OF_SINGLE_CHAINS = [question for question in QUESTIONS if question.task.name != "second"]


@pytest.fixture
def lexicon(positions):
    blocks = [block for entry in TASKS.values() for block in entry.blocks()]
    return Lexicon(Vocabulary.compose([*blocks, position_block(40)]), positions)


@pytest.fixture
def collate(lexicon):
    return Collator(lexicon)


def asked(model, lexicon, collate, questions, rounds=1):
    return answer(model, lexicon, collate(questions), settings=Asking(rounds=rounds))


@torch.inference_mode()
def slow(model, lexicon, collate, question, rounds):
    """Each residue by a pass of its own over what stands before it, with Python lists for what is fixed."""
    batch = collate([question])
    memory = model.remember(batch)
    record, codec = question.record, question.task.codec
    chain = getattr(codec, "chain", 1) - 1
    length, first = record.lengths[chain], sum(record.lengths[:chain])
    domain = [lexicon.number(token, record) for token in codec.grammar(record).domain.tokens()]
    prompt = batch.tokens_BT[0].tolist()

    def distribution(place, shown):
        tokens = torch.tensor([[*prompt, *shown[:place]]])
        aligned = [-1] * (len(prompt) - 1) + list(range(first, first + place + 1))
        told = model.decoder.told(batch.tokens_BT, batch.start_B)
        states = model.decoder(tokens, torch.tensor([aligned]), memory, told_BD=told)
        chances = model.decoder.choices(states, memory)[0, -1].double().softmax(-1)[domain]
        return (chances / chances.sum()).numpy(), 1 - float(chances.sum())

    shown = [MASK] * length
    kept: list[tuple[np.ndarray, float]] = []
    for done in range(1, rounds + 1):
        found = [distribution(place, shown) for place in range(length)]
        kept = [kept[place] if shown[place] != MASK else found[place] for place in range(length)]
        still_open = [place for place in range(length) if shown[place] == MASK]
        still_open.sort(key=lambda place: (-kept[place][0].max(), place))
        for place in still_open[: fixed_after(length, done, rounds) - (length - len(still_open))]:
            shown[place] = domain[int(kept[place][0].argmax())]
    return np.stack([chances for chances, _ in kept]), float(np.mean([off for _, off in kept]))


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_side_by_side_is_one_after_the_other(model, lexicon, collate, rounds):
    answers = asked(model, lexicon, collate, QUESTIONS, rounds)
    assert len(answers) == len(QUESTIONS)
    for question, (evidence, off) in zip(QUESTIONS, answers, strict=True):
        assert isinstance(evidence, Marginals)
        chances, off_slowly = slow(model, lexicon, collate, question, rounds)
        assert evidence.probabilities == pytest.approx(chances, abs=1e-5), (
            question.task.name,
            question.record.id,
        )
        assert evidence.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)
        assert off == pytest.approx(off_slowly, abs=1e-5)


def test_rounds_change_answers_but_never_the_first_residue(model, lexicon, collate):
    once, more = (asked(model, lexicon, collate, QUESTIONS, rounds) for rounds in (1, 4))
    changed = 0
    for (before, _), (after, _) in zip(once, more, strict=True):
        assert after.probabilities[0] == pytest.approx(before.probabilities[0], abs=1e-6)
        changed += int(not np.allclose(after.probabilities, before.probabilities, atol=1e-3))
    assert changed >= len(QUESTIONS) // 2, "shown labels make a difference to this model"


@pytest.mark.parametrize("rounds", [1, 3])
def test_neighbours_do_not_change_an_answer(model, lexicon, collate, rounds):
    together = asked(model, lexicon, collate, QUESTIONS, rounds)
    backwards = asked(model, lexicon, collate, QUESTIONS[::-1], rounds)[::-1]
    for place, question in enumerate(QUESTIONS):
        ((alone, off),) = asked(model, lexicon, collate, [question], rounds)
        for other in (together[place], backwards[place]):
            assert other.evidence.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
            assert other.off_grammar == pytest.approx(off, abs=1e-5)


@pytest.mark.parametrize(("columns", "size"), [(1, 2**26), (70, 2**26), (2048, 1)])
@pytest.mark.parametrize("questions", [QUESTIONS, OF_SINGLE_CHAINS], ids=["uneven", "even"])
def test_slices_change_nothing(model, lexicon, collate, monkeypatch, questions, columns, size):
    """Also where the rows of one memory do not fit into a slice."""
    whole = asked(model, lexicon, collate, questions, rounds=2)
    monkeypatch.setattr(dense, "SLICE_COLUMNS", columns)
    monkeypatch.setattr(dense, "SLICE_BYTES", size)
    cut = asked(model, lexicon, collate, questions, rounds=2)
    for one, other in zip(whole, cut, strict=True):
        assert one.evidence.probabilities == pytest.approx(other.evidence.probabilities, abs=1e-5)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.integers(1, 40))
def test_slices_hold_whole_memories_with_as_many_rows_or_parts_of_one(counts, most):
    memory_of = [memory for memory, count in enumerate(counts) for _ in range(count)]
    slices = list(dense._slices(memory_of, most))
    assert [row for first, stop in slices for row in range(first, stop)] == list(range(len(memory_of)))
    for first, stop in slices:
        assert 1 <= stop - first <= most
        inside = memory_of[first:stop]
        assert len(set(inside)) == 1 or {inside.count(one) for one in inside} == {
            counts[one] for one in inside
        }
        assert len({counts[one] for one in inside}) == 1


@given(st.integers(1, 5000), st.integers(1, 20))
def test_ever_more_tokens_are_fixed_until_all_are(length, rounds):
    fixed = [fixed_after(length, done, rounds) for done in range(rounds + 1)]
    assert fixed[0] == 0
    assert fixed[-1] == length
    assert fixed == sorted(fixed)
    for done, count in enumerate(fixed):
        assert count == pytest.approx(length * (1 - math.cos(math.pi / 2 * done / rounds)), abs=1 + 1e-6)


class Waits(TorchDispatchMode):
    """Records what would make the host wait, or give a shape that depends on content."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(
            word in str(function)
            for word in ("_local_scalar_dense", "nonzero", "masked_select", "equal.default")
        ):
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


@torch.inference_mode()
def test_the_host_waits_once_whatever_the_rounds(model, lexicon, collate, monkeypatch):
    monkeypatch.setattr(dense, "SLICE_COLUMNS", 40)
    batch = collate(QUESTIONS)
    rows = sorted(range(len(QUESTIONS)), key=batch.memory_of.__getitem__)
    group = group_questions(lexicon, batch, model.remember(batch), rows)
    points = []

    def watcher(point, tensors):
        points.append(point)
        return tuple(tensor.numpy() for tensor in tensors)

    with transfer.watched(watcher), Waits() as waits:
        marginals(model.decoder, group, Asking(rounds=4))
    assert points == ["marginals"]
    assert waits.seen == []
