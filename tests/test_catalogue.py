"""The shipped tasks and sources: all of them parse, and every row of the shared data goes through its task and back."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from protscribe import catalogue
from protscribe.codecs.protocol import Codec
from protscribe.data.examples import Example, fill_task, read_source
from protscribe.data.source import SPLITS, Source
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.metrics import METRICS, evaluate_task, metrics_of
from protscribe.grammar import accepts
from protscribe.records import Failure, Prediction
from protscribe.task import Task

FOLDER = catalogue.configs_folder()
SHARED = os.environ.get("PROTSCRIBE_DATA", "")
VARIABLES = {"paths.data": str(FOLDER.parent / "data"), "oc.env:PROTSCRIBE_DATA": SHARED or "nowhere"}
DEMO = (
    *("solubility", "antimicrobial", "capsid", "rna_binding"),
    *("mmp2_cleavage", "long_disorder", "mhc_affinity", "tcr_epitope"),
)
MADE = ("where_is_residue", "where_is_motif", "partial_sequences", "hidden_residues")
"""Sources whose labels are made from the demo's proteins, and with ``natural_`` before it from natural ones."""
NATURAL = tuple(f"natural_{name}" for name in MADE)
ALL_SHARED = [name for name in catalogue.source_names() if name not in (*DEMO, *MADE, *NATURAL)]

needs_shared_data = pytest.mark.skipif(not SHARED, reason="PROTSCRIBE_DATA is not set")


def source_named(name: str) -> Source:
    return catalogue.find_source(name, VARIABLES)


def is_demo(name: str) -> bool:
    return source_named(name).path.startswith(VARIABLES["paths.data"])


# The files


def test_every_file_is_found_and_there_are_as_many_as_there_should_be() -> None:
    assert len(list((FOLDER / "task").rglob("*.yaml"))) == len(catalogue.task_names()) == 60
    assert len(list((FOLDER / "source").rglob("*.yaml"))) == len(catalogue.source_names()) == 57
    assert sorted(filter(is_demo, catalogue.source_names())) == sorted((*DEMO, *MADE))
    made = {name for name in catalogue.source_names() if source_named(name).make is not None}
    assert made == {*MADE, *NATURAL}


@pytest.mark.parametrize("path", sorted((FOLDER / "task").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_parses_and_survives_being_written_and_read(path: Path) -> None:
    task = catalogue.read_task(path.stem)
    assert Task.from_plain(task.to_plain()) == task
    assert task.title
    assert task.description
    assert task.reference
    assert metrics_of(task) == task.metrics
    assert re.match(r"# .+\. Used by: protscribe ", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((FOLDER / "source").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_source_parses_and_names_a_task(path: Path) -> None:
    source = source_named(path.stem)
    assert source.task in catalogue.task_names()
    assert Source.from_plain(source.to_plain()) == source
    assert re.match(r"# .+\. Used by: protscribe ", path.read_text(encoding="utf-8"))


def test_every_kind_of_answer_has_a_task() -> None:
    kinds = {task.codec.kind for task in catalogue.all_tasks().values()}
    assert kinds == {
        *("category", "category_set", "category_path", "number", "residue_labels"),
        *("residue_set", "segments", "residue_pairs", "sequence"),
    }


def test_every_shared_table_with_labels_has_a_source() -> None:
    if not SHARED:
        pytest.skip("PROTSCRIBE_DATA is not set")
    tables = {path.stem for path in Path(SHARED).glob("*.parquet")}
    assert {Path(source_named(name).path).stem for name in ALL_SHARED} == tables - {
        "pretrain_proteins",
        "go_swissprot2014_graph",
    }


# What goes wrong


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(TaskError, match="did you mean 'solubility'") as task_error:
        catalogue.read_task("solubilty")
    assert task_error.value.code == "task.unknown"
    with pytest.raises(ConfigError, match="did you mean 'deeploc2'") as source_error:
        catalogue.find_source("deploc2", VARIABLES)
    assert source_error.value.code == "config.unknown_source"


def test_a_reference_that_is_not_given_is_an_error() -> None:
    with pytest.raises(ConfigError) as error:
        catalogue.find_source("deeploc2", {"paths.data": "data"})
    assert error.value.code == "config.interpolation"
    assert "PROTSCRIBE_DATA" in error.value.message


TASK = "name: {0}\ntitle: Mine\ncodec: {{kind: category, labels: [a, b]}}\n"


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "task" / "deep").mkdir(parents=True)
    (tmp_path / "task" / "deep" / "mine.yaml").write_text(TASK.format("mine"))
    (tmp_path / "task" / "capsid.yaml").write_text(TASK.format("capsid"))
    assert "mine" in catalogue.task_names(tmp_path)
    assert catalogue.read_task("mine", tmp_path).title == "Mine"
    assert catalogue.read_task("capsid", tmp_path).title == "Mine"
    assert catalogue.read_task("capsid").title != "Mine"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"task/a.yaml": TASK.format("b")}, "config.value"),
        ({"task/a.yaml": "- a list\n"}, "config.type"),
        ({"task/a.yaml": TASK.format("a"), "task/x/a.yaml": TASK.format("a")}, "config.duplicate_key"),
        ({"task/a.yaml": "name: a\nname: a\n"}, "config.duplicate_key"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, files: dict[str, str], code: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error:
        catalogue.read_task("a", tmp_path)
    assert error.value.code == code


# Laws 1, 2 and 6 on real rows


def rows(source: Source, task: Task, unfit: dict[str, int]) -> Iterator[list[Example]]:
    """The examples of each split. Rows with a label that training does not have are counted in ``unfit``, by split."""
    for split in SPLITS:
        failures: list[Failure] = []
        examples = read_source(source, task, split, on_error="collect", failures=failures)
        assert {failure.code for failure in failures} <= {"label.unknown_class"}
        if failures:
            unfit[split] = len(failures)
        yield examples


def prediction_of(task: Task, example: Example) -> Prediction:
    """What a model that is certain of the truth predicts."""
    codec, record = task.codec, example.record
    value = codec.decode(codec.encode(example.answer, record).tokens, record)
    certain = certainty(codec, value, record.lengths)
    return Prediction(record.id, task.name, codec.kind, value, 1.0, "certain", record, probabilities=certain)


def certainty(codec: Codec, value: object, lengths: tuple[int, ...]) -> object:
    plain = {name: getattr(codec, name, ()) for name in ("labels", "chain")}
    if codec.kind == "category":
        return {label: float(label == value) for label in plain["labels"]}
    if codec.kind in ("category_set", "category_path"):
        nodes = codec.blocks()[0].texts
        assert isinstance(value, tuple)
        separator = getattr(codec, "separator", "")
        return {
            node: float(any(f"{one}{separator}".startswith(f"{node}{separator}") for one in value))
            if codec.kind == "category_path"
            else float(node in value)
            for node in nodes
        }
    if codec.kind == "residue_set":
        assert isinstance(value, tuple)
        members = set(value)
        return [float(position in members) for position in range(1, lengths[plain["chain"] - 1] + 1)]
    return None


def check_all(source: Source) -> tuple[int, dict[str, int]]:
    """Truth, tokens and back on all rows; the grammar and the metrics on a seeded sample.

    Gives the number of rows, and, by split, of those whose label training does not have.
    """
    task, count, unfit = catalogue.read_task(source.task), 0, dict[str, int]()
    # A source for testing only has nothing to fill labels from: its task must leave none open.
    task = fill_task(task, [source]) if "train" in source.splits else task
    codec = task.codec
    for examples in rows(source, task, unfit):
        sizes = []
        for example in examples:
            record, answer = example.record, example.answer
            encoded = codec.encode(answer, record)
            assert len(encoded.tokens) == len(encoded.weights)
            assert codec.decode(encoded.tokens, record) == codec.canonical(answer, record), record.id
            sizes.append(len(encoded.tokens))
        count += len(examples)
        if examples:
            places = random.Random(source.name).sample(range(len(examples)), min(40, len(examples)))
            # Asking the reference interpreter at every token is quadratic: the shorter answers of the sample.
            for place in sorted(places, key=sizes.__getitem__)[:15]:
                example = examples[place]
                tokens = codec.encode(example.answer, example.record).tokens
                assert accepts(codec.grammar(example.record), tokens), example.record.id
            check_oracle(task, [examples[place] for place in places])
    return count, unfit


def is_of_one_kind(task: Task, sample: list[Example]) -> bool:
    """Whether nothing in the sample differs from the rest, so that nothing can be told apart."""
    kind, codec = task.codec.kind, task.codec
    answers = [example.answer for example in sample]
    if kind == "residue_set":
        sites = sum(map(len, answers))
        return sites in (0, sum(len(candidate_indices(codec, example.record)) for example in sample))
    if kind == "segments":
        return len({label for answer in answers for label, _, _ in answer}) < 2
    if kind == "residue_labels":
        return len(set("".join(answers)) - {getattr(codec, "unscored", "")}) < 2
    return kind == "category" and len(set(answers)) < 2


AVERAGED = ("protein_auroc", "protein_average_precision", "macro_average_precision")
"""Means over proteins or labels, of which a small sample may hold none that can be ranked."""


def check_oracle(task: Task, sample: list[Example]) -> None:
    """The truth, predicted, gets the best value of every metric (numbers: up to half a step)."""
    scores = evaluate_task(
        task,
        [example.answer for example in sample],
        [prediction_of(task, example) for example in sample],
        [example.record for example in sample],
    )
    step = getattr(task.codec, "step", 0.0)
    for metric, value in scores.items():
        # Half a step of a 0.01 grid also moves ranks of near ties, so correlations come close to 1 only.
        slack = 0.51 * step if METRICS[metric].in_unit else 0.02 if step else 1e-9
        if math.isnan(value):
            # Single classes, chains without any boundary, groups of one: this sample cannot tell.
            known = metric in ("auroc", "boundary_accuracy", *AVERAGED) or ":" in metric
            assert known or is_of_one_kind(task, sample), (task.name, metric)
        else:
            assert value == pytest.approx(METRICS[metric].best, abs=slack), (task.name, metric)


@pytest.mark.parametrize("name", [*DEMO, *MADE])
def test_every_row_of_the_demo(name: str) -> None:
    count, unfit = check_all(source_named(name))
    assert count > 200
    assert unfit == {}


@needs_shared_data
@pytest.mark.parametrize("name", NATURAL)
def test_what_is_made_about_natural_proteins(name: str) -> None:
    assert check_all(dataclasses.replace(source_named(name), limit=150)) == (300, {})


@needs_shared_data
@pytest.mark.parametrize("name", ALL_SHARED)
def test_every_row_of_the_shared_data(name: str) -> None:
    source = source_named(name)
    values = [value for split in source.splits.values() for value in split]
    count, unfit = check_all(source)
    split, label = (
        pyarrow.parquet.read_table(source.path).column(c).to_pylist() for c in ("split", label_of(source))
    )
    assert count + sum(unfit.values()) == sum(part in values for part in split)
    assert set(unfit) <= {"test"}
    if unfit:
        # Enzymes of New-392 and Price-149 with EC numbers that are not in training; nothing else may be left out.
        assert name == "clean_ec"
        known = {item for part, items in zip(split, label, strict=True) if part == "train" for item in items}
        assert unfit["test"] == sum(not known.issuperset(items) for items in label)
        everything = dataclasses.replace(source, splits={"train": tuple(values)})
        assert check_all(everything) == (len(split), {})


def label_of(source: Source) -> str:
    return source.columns.get("label", "label")


def entries(*tasks: str, sources: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    return catalogue.name_entries(tasks, sources)


def test_a_task_that_is_only_named_gets_the_source_of_its_name_or_the_only_one() -> None:
    assert entries("capsid") == {"capsid": {"task": "capsid", "source": "capsid"}}
    assert entries("melting_temperature")["melting_temperature"]["source"] == "meltome_tm"


def test_a_named_source_says_its_task_and_a_table_is_of_the_one_that_is_named() -> None:
    assert entries(sources=("deeploc2",)) == {"localisation": {"task": "localisation", "source": "deeploc2"}}
    assert entries("capsid", sources=("my.csv",)) == {"capsid": {"task": "capsid", "source": "my.csv"}}
    both = entries("capsid", sources=("capsid", "more.tsv"))
    assert both == {
        "capsid": {"task": "capsid", "source": "capsid"},
        "capsid_2": {"task": "capsid", "source": "more.tsv"},
    }


@pytest.mark.parametrize(
    ("tasks", "sources", "message"),
    [
        ((), ("my.csv",), "say which task the rows of my.csv are of"),
        (("capsid", "solubility"), ("my.csv",), "say which task the rows of my.csv are of"),
        (("capsid",), ("solubility",), "source 'solubility' is of task 'solubility', not of capsid"),
        (("capsid",), ("capsd",), "did you mean 'capsid'"),
        (("secret",), (), "say where the rows of task 'secret' lie"),
        (("localisation",), (), "there are several: deeploc2, deeploc2_hpa"),
    ],
)
def test_what_does_not_say_which_rows_are_meant(
    tasks: tuple[str, ...], sources: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        catalogue.name_entries(tasks, sources)
