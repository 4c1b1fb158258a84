"""Sums behind metrics, by hand."""

from __future__ import annotations

import pytest
import torch

from protscribe.data.collate import COMPANION, Numbered
from protscribe.data.datamodule import ScribeData
from protscribe.training.tally import Sums, Tally
from protscribe.vocabulary import EOS
from tests.together import together
from tests.training.made import COUNTS, read_data

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ScribeData:
    return read_data(tmp_path_factory.mktemp("tables"))


def random_logits(batch: object, choices: int) -> torch.Tensor:
    shape = (*batch.tokens_BT.shape, choices)  # type: ignore[attr-defined]
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_sums_by_hand(data: ScribeData) -> None:
    batch = next(iter(data.train_dataloader()))
    logits = random_logits(batch, len(data.lexicon.vocabulary) + batch.source_KM.shape[1])
    tally = Tally(data.tasks)
    tally.add(logits, batch)
    outside = torch.linspace(0, 1, len(batch.questions))
    asked = [number % 2 == 0 for number in batch.numbers]
    tally.add_outside(outside, asked, batch)
    sums = tally.read(CPU)
    assert set(sums) == set(COUNTS)
    rows = [row for row, question in enumerate(batch.questions) if question.task.name == "sites"]
    nats = weight = right = words = 0.0
    for row in rows:
        for column in range(batch.tokens_BT.shape[1]):
            if batch.weights_BT[row, column] > 0:
                target = int(batch.targets_BT[row, column])
                nats -= float(logits[row, column].log_softmax(-1)[target])
                weight += 1
                if target != EOS:
                    words += 1
                    right += float(int(logits[row, column].argmax()) == target)
    of_grammar = [float(outside[row]) for row in rows if asked[row]]
    expected = (nats, weight, right, words, sum(of_grammar), len(of_grammar))
    assert tuple(sums["sites"]) == pytest.approx(expected, rel=1e-5)
    assert sums["sites"].loss == pytest.approx(nats / weight)
    assert sums["sites"].accuracy == pytest.approx(right / words)
    assert sums["sites"].off_grammar == pytest.approx(sum(of_grammar) / len(of_grammar))
    assert set(tally.read(CPU).values()) == {Sums()}


def test_batches_add_up_to_what_one_batch_gives(data: ScribeData) -> None:
    batch = next(iter(data.train_dataloader()))
    choices = len(data.lexicon.vocabulary) + batch.source_KM.shape[1]
    logits = random_logits(batch, choices)
    whole, parts = Tally(data.tasks), Tally(data.tasks)
    whole.add(logits, batch)
    for row, question in enumerate(batch.questions):
        part = data.collator.numbered([Numbered(question, row)])
        columns = part.tokens_BT.shape[1]
        # A pointer's place in the logits does not depend on its neighbours, so that a row's can be cut out.
        parts.add(logits[row : row + 1, :columns], part)
    found = parts.read(CPU)
    for task, sums in whole.read(CPU).items():
        assert sums.weight > 0
        assert tuple(found[task]) == pytest.approx(tuple(sums), rel=1e-6), task


def test_a_companion_counts_for_nothing(data: ScribeData) -> None:
    batch = next(iter(data.train_dataloader()))
    questions = batch.questions[:3]
    alone = data.collator.numbered([Numbered(question, row) for row, question in enumerate(questions)])
    drawn = [Numbered(questions[0], 0), Numbered(questions[1], COMPANION), Numbered(questions[2], 2)]
    accompanied = data.collator.numbered(drawn)
    assert accompanied.weights_BT[1].abs().max() == 0
    assert torch.equal(accompanied.weights_BT[[0, 2]], alone.weights_BT[[0, 2]])
    assert torch.equal(accompanied.targets_BT, alone.targets_BT)


def test_sums_of_two_processes_are_saved_once_and_go_on_once(data: ScribeData) -> None:
    batch = next(iter(data.train_dataloader()))
    logits = random_logits(batch, len(data.lexicon.vocabulary) + batch.source_KM.shape[1])

    def work(rank: int) -> list[dict[str, Sums]]:
        torch.distributed.init_process_group("gloo")
        first, second = Tally(data.tasks), Tally(data.tasks)
        first.add(logits * (1 + rank), batch)
        saved = first.state(CPU)
        second.load_state(saved)
        return [dict(first.read(CPU)), dict(second.read(CPU))]

    (before, after), (others_before, others_after) = together(work)
    assert before == after == others_before == others_after
    alone = Tally(data.tasks)
    alone.add(logits, batch)
    alone.add(logits * 2, batch)
    for task, sums in alone.read(CPU).items():
        assert tuple(before[task]) == pytest.approx(tuple(sums), rel=1e-9)


def test_sums_of_nothing() -> None:
    assert (Sums().loss, Sums().accuracy, Sums().off_grammar) == (0.0, 1.0, 0.0)
    assert Tally(["a"]).read(CPU) == {"a": Sums()}
