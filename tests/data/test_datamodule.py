"""From tables to batches."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from protscribe.catalogue import read_task
from protscribe.data.batching import Budget, Sizes
from protscribe.data.collate import Question
from protscribe.data.datamodule import ScribeData
from protscribe.data.epochs import EpochBatches, Place, Questions
from protscribe.data.examples import records_of
from protscribe.data.makers import Find, Hide
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.errors import ProtscribeError
from protscribe.vocabulary import POSITION_BLOCK, UNKNOWN, Symbol
from tests.training.made import COUNTS, TASKS, mixture, read_data, write_tables

MANY = {"where": 60, "sites": 40, "fold": 25}


def ids(loader: object) -> list[list[str]]:
    return [[question.record.id for question in batch.questions] for batch in loader]  # type: ignore[attr-defined]


def test_an_epoch_holds_every_row_once_and_open_labels_are_filled(tmp_path: Path) -> None:
    data = read_data(tmp_path)
    assert Counter(itertools.chain(*ids(data.train_dataloader()))) == Counter(
        f"{name}{row}" for name, count in COUNTS.items() for row in range(count)
    )
    assert data.tasks["where"].codec.labels == ("cytosol", "membrane", "nucleus")
    assert data.tasks["where"].conditions[0].values == ("human", "yeast")


def test_the_vocabulary_does_not_depend_on_the_order_of_the_mixture(tmp_path: Path) -> None:
    sources = write_tables(tmp_path)
    prints = set()
    for names in (tuple(COUNTS), tuple(reversed(COUNTS))):
        data = ScribeData(mixture(names), TASKS, sources)
        data.read()
        prints.add(data.lexicon.vocabulary.fingerprint)
    assert len(prints) == 1


def test_batches_differ_by_epoch_and_repeat_by_seed(tmp_path: Path) -> None:
    sources = write_tables(tmp_path, counts=MANY)
    batches = []
    for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)):
        data = ScribeData(mixture(tuple(MANY)), TASKS, sources, seed=seed, budget=Budget(rows=8))
        data.read()
        data.sampler.set_epoch(epoch)
        batches.append(list(data.sampler))
    assert batches[0] == batches[1]
    assert batches[0] != batches[3]
    rows = [sorted(place[:2] for place in itertools.chain(*batch)) for batch in batches]
    assert rows[0] == rows[2]
    assert batches[0] != batches[2]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch_without_overlap(tmp_path: Path, world: int) -> None:
    data = ScribeData(mixture(tuple(MANY)), TASKS, write_tables(tmp_path, counts=MANY), budget=Budget(rows=7))
    data.read()
    parts = [EpochBatches(data.mixture, data._sizes, data.budget, 0, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    seen = Counter(place for part in parts for batch in part for place in batch)
    assert set(seen.values()) == {1}
    assert len(seen) == sum(len(part) for part in data.training)


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        data = ScribeData(
            mixture(tuple(MANY)),
            TASKS,
            write_tables(tmp_path, counts=MANY),
            unknown=0.5,
            workers=workers,
            seed=4,
        )
        data.read()
        found.append([(batch.tokens_BT, ids([batch])) for batch in data.train_dataloader()])
    for (tokens, names), (others, other_names) in zip(*found, strict=True):
        assert names == other_names
        assert torch.equal(tokens, others)


def test_a_source_without_validation_split_is_held_out_by_sequence(tmp_path: Path) -> None:
    sources = write_tables(tmp_path, counts={"where": 300})
    data = ScribeData(mixture(("where",)), TASKS, sources, holdout=0.2)
    data.read()
    training = {example.record.id for example in data.training[0]}
    validation = {example.record.id for example in data.validation["where"]}
    assert not training & validation
    assert len(training) + len(validation) == 300
    assert 30 < len(validation) < 90


def test_a_source_with_splits_validates_on_its_own(tmp_path: Path) -> None:
    source = write_tables(tmp_path, counts={"where": 20})["where"]
    path = Path(source.path)
    rows = list(csv.reader(path.open(newline="")))
    for row in rows[1:6]:
        row[4] = "valid"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    split = dataclasses.replace(source, splits={"train": ("train",), "validation": ("valid",)})
    data = ScribeData(mixture(("where",)), TASKS, {"where": split})
    data.read()
    assert [example.record.id for example in data.validation["where"]] == [f"where{row}" for row in range(5)]
    assert len(data.training[0]) == 15
    (loader,) = data.val_dataloader()
    assert sorted(itertools.chain(*ids(loader))) == [f"where{row}" for row in range(5)]


def test_unknown_conditions_are_hidden_at_their_rate_by_epoch(tmp_path: Path) -> None:
    data = ScribeData(mixture(("where",)), TASKS, write_tables(tmp_path, counts={"where": 200}))
    data.read()
    task = data.tasks["where"]
    questions = Questions([(task, data.training[0])], seed=3, unknown=0.3)

    def hidden(epoch: int) -> list[bool]:
        rows = range(len(data.training[0]))
        asked = [questions[Place(0, row, epoch)].question for row in rows]
        return [Symbol("host", UNKNOWN) in task.prompt(question.record) for question in asked]

    assert hidden(0) == hidden(0)
    assert hidden(0) != hidden(1)
    share = sum(map(sum, map(hidden, range(10)))) / (10 * len(data.training[0]))
    assert 0.25 < share < 0.35
    plain = Questions([(task, data.training[0])])
    assert not any(plain[Place(0, row, 0)].question.record.fields == {} for row in range(50))


def test_numbers_are_moved_in_training_by_their_spread_anew_in_every_epoch(tmp_path: Path) -> None:
    data = read_data(tmp_path, ("how_much",), number_spread=0.3)
    known = np.array([example.answer for example in data.training[0]])
    task, questions = data.tasks["how_much"], data._questions()

    def answers(epoch: int) -> np.ndarray:
        return np.array([questions[Place(0, row, epoch)].question.answer for row in range(len(known))])

    assert np.array_equal(answers(4), answers(4))
    inside = [answers(epoch) for epoch in range(200)]
    assert min(map(np.min, inside)) >= task.codec.low  # type: ignore[attr-defined]
    assert max(map(np.max, inside)) <= task.codec.high  # type: ignore[attr-defined]
    # Where the ends of the range are far, the answer is right in the mean and moved by three tenths of the labels' deviation.
    middle = np.abs(known - np.median(known)) <= known.std() / 2
    moved = np.array(inside)[:, middle] - known[middle]
    assert abs(moved.mean()) < 0.05 * known.std()
    assert moved.std() == pytest.approx(0.3 * known.std(), rel=0.1)
    # Validation, and other kinds of answer, stay as they are.
    (loader,) = data.val_dataloader()
    validated = [question.answer for batch in loader for question in batch.questions]
    assert sorted(validated) == sorted(example.answer for example in data.validation["how_much"])
    other = read_data(tmp_path, ("where",), number_spread=0.3)
    row = other._questions()[Place(0, 3, 1)]
    assert row.question.answer == other.training[0][3].answer


def test_position_tokens_reach_as_far_as_training_does(tmp_path: Path) -> None:
    data = read_data(tmp_path, ("sites",), positions="tokens")
    longest = max(len(example.record.sequence) for example in data.training[0])
    assert data.lexicon.vocabulary.block(POSITION_BLOCK).texts[-1] == str(longest)
    batch = next(iter(data.train_dataloader()))
    assert int(batch.tokens_BT.max()) < len(data.lexicon.vocabulary)


def test_limit_and_padding_share(tmp_path: Path) -> None:
    data = ScribeData(
        mixture(tuple(MANY)), TASKS, write_tables(tmp_path, counts=MANY), limit=10, validate_on="train"
    )
    data.read()
    assert [len(part) for part in data.training] == [10, 10, 10]
    assert 0 < data.padding_share() < 1


def test_long_proteins_follow_the_policy(tmp_path: Path) -> None:
    sources = write_tables(tmp_path, counts={"where": 10})
    with pytest.raises(ProtscribeError) as caught:
        ScribeData(mixture(("where",)), TASKS, sources, encoder_limit=15).read()
    assert caught.value.code == "seq.too_long"
    assert caught.value.where.record is not None
    cut = ScribeData(mixture(("where",)), TASKS, sources, encoder_limit=15, long="truncate", holdout=0)
    cut.read()
    assert max(len(example.record.sequence) for example in cut.training[0]) == 15


def test_bad_rows_are_collected_where_asked(tmp_path: Path) -> None:
    source = write_tables(tmp_path, counts={"how_much": 9})["how_much"]
    path = Path(source.path)
    path.write_text(path.read_text() + "bad,MKT,11.5,human,train\n")
    with pytest.raises(ProtscribeError) as caught:
        ScribeData(mixture(("how_much",)), TASKS, {"how_much": source}).read()
    assert caught.value.code == "label.range"
    data = ScribeData(mixture(("how_much",)), TASKS, {"how_much": source}, on_error="collect", holdout=0)
    data.read()
    assert [(failure.id, failure.code) for failure in data.failures] == [("bad", "label.range")]
    assert len(data.training[0]) == 9


def test_unknown_tasks_and_sources_name_their_neighbours(tmp_path: Path) -> None:
    sources = write_tables(tmp_path)
    with pytest.raises(ProtscribeError, match="did you mean 'sites'"):
        ScribeData(Mixture({"x": Entry("sitse", "sites")}), TASKS, sources).read()
    with pytest.raises(ProtscribeError, match="did you mean 'sites'") as caught:
        ScribeData(Mixture({"sites": Entry("sites", "sitse")}), TASKS, sources).read()
    assert caught.value.code == "config.unknown_source"


def test_a_source_of_another_task_is_refused(tmp_path: Path) -> None:
    sources = write_tables(tmp_path)
    with pytest.raises(ProtscribeError) as caught:
        ScribeData(Mixture({"fold": Entry("fold", "sites")}), TASKS, sources).read()
    assert caught.value.code in ("config.value", "task.no_data")


def test_a_symmetric_pair_is_measured_as_it_is_asked(tmp_path: Path) -> None:
    from protscribe.task import Task

    pair = Task.from_plain(
        {
            "name": "binds", "title": "binds", "chains": 2, "symmetric": True,
            "codec": {"kind": "category", "labels": ["no", "yes"]},
        }
    )  # fmt: skip
    path = tmp_path / "pairs.csv"
    path.write_text("id,sequence_a,sequence_b,label\n1,MKT,ACDE,yes\n2,WW,GGGGG,no\n")
    source = Source(name="pairs", path=str(path), task="binds")
    data = ScribeData(
        Mixture({"binds": Entry("binds", "pairs")}), {"binds": pair}, {"pairs": source}, holdout=0
    )
    data.read()
    batch = data.collator([Question(e.record, data.tasks["binds"], e.answer) for e in data.training[0]])
    assert [question.record.chains for question in batch.questions] == [("ACDE", "MKT"), ("GGGGG", "WW")]
    assert data._sizes[0].residues.tolist() == [7, 7]


# Labels that are made


def made_data(folder: Path, **options: object) -> ScribeData:
    """Sites of a table, and questions made about the proteins of another one."""
    sources = write_tables(folder, counts=MANY)
    makers = {"where_is_residue": Find(("residue",)), "restore_residues": Hide(share=0.4)}
    sources |= {
        name: dataclasses.replace(sources["where"], name=name, task=name, make=maker)
        for name, maker in makers.items()
    }
    entries = {name: Entry(name, name) for name in ("sites", *makers)}
    tasks = {**TASKS, **{name: read_task(name) for name in makers}}
    data = ScribeData(Mixture(entries), tasks, sources, **{"budget": Budget(tokens=300, rows=9), **options})  # type: ignore[arg-type]
    data.read()
    return data


def asked(question: Question) -> tuple[object, ...]:
    return question.task.name, question.record, question.answer


def test_made_questions_are_planned_at_the_sizes_they_have(tmp_path: Path) -> None:
    data = made_data(tmp_path)
    for epoch in (0, 1, 2):
        data.sampler.set_epoch(epoch)
        loader = data._loader(data._questions(), data.sampler, "training")
        for turn, batch in enumerate(loader):
            _, sizes = data.sampler.drawn(turn)
            real = Sizes.of(map(data._size, batch.questions))
            assert sizes.tokens.tolist() == real.tokens.tolist()
            assert sizes.residues.tolist() == real.residues.tolist()
            padded = data.budget.padded(len(real), int(real.longest.max()), len(real), int(real.tokens.max()))
            assert padded <= data.budget.tokens or len(real) == 1
        assert turn + 1 == len(data.sampler)


def test_a_made_question_is_a_function_of_seed_epoch_entry_and_row(tmp_path: Path) -> None:
    first, again = (made_data(tmp_path, seed=3)._questions() for _ in range(2))
    other = made_data(tmp_path, seed=4)._questions()
    places = [Place(entry, row, epoch) for entry in (1, 2) for row in (0, 7) for epoch in (0, 1)]
    found = [asked(first[place].question) for place in places]
    assert found == [asked(again[place].question) for place in reversed(places)][::-1]
    assert len(set(map(str, found))) == len(found)
    assert found != [asked(other[place].question) for place in places]
    # The number in the epoch's order is no part of it.
    assert found == [asked(first[place._replace(number=5)].question) for place in places]


def test_workers_make_the_same_questions(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        data = made_data(tmp_path, workers=workers, seed=4)
        found.append([[asked(question) for question in batch.questions] for batch in data.train_dataloader()])
    assert found[0] == found[1]


def test_validation_asks_the_same_in_every_epoch_and_run(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        data = made_data(tmp_path, seed=seed)
        found.append({name: [asked(Question(one.record, data.tasks[name], one.answer)) for one in examples]
                      for name, examples in data.validation.items()})  # fmt: skip
    assert found[0] == found[1]
    training = {record.chains for record in records_of(data.training[1])}
    held_out = {one.record.chains for one in data.validation["where_is_residue"]}
    assert held_out
    assert not training & held_out
