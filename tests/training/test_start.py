"""A run that starts from a bundle: what is added, what is trained, what stays to the last bit, and what is told of it."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from protscribe.checkpoint import load_bundle, rewrite_bundle
from protscribe.checkpoint.lineage import trained_on
from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.errors import ConfigError, Preempted, TaskError
from protscribe.evaluation import change
from protscribe.evaluation.confidence.neighbours import add_neighbours
from protscribe.inspection import describe_bundle
from protscribe.nn.decoder import Decoder
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.run import train
from protscribe.training.schedule import constant
from tests.checkpoint.test_golden import GOLDEN
from tests.checkpoint.test_golden import greedy as answers
from tests.generation.test_stages import same
from tests.training.made import LETTERS, label, made_task

MINI = {"kind": "mini", "width": 16, "layers": 1, "attention_layers": 1, "heads": 2, "dropout": 0.2}
OLD = ("where", "how_much", "sites")
TASKS = {
    one.name: one
    for one in (
        made_task("where", ("host",), kind="category"),
        made_task("how_much", kind="number", low=0, high=10, step=0.1),
        made_task("sites", kind="residue_set"),
        made_task("fold", kind="residue_labels", labels=list("HEC")),
        made_task("several", ("host",), kind="category_set", labels=list("pqrs")),
        Task.from_plain({"name": "bind", "title": "bind", "chains": 2, "symmetric": True, "codec": {"kind": "category"}}),
    )
}  # fmt: skip
RECORDS = [
    ProteinRecord("a", ("MKTAYIAKQRQISFVKSH",), None, {"host": "human"}, 0),
    ProteinRecord("b", ("ACDEFGHIKLMN",), None, {}, 1),
]


def write_table(folder: Path, name: str, rows: int = 10, hosts: str = "human yeast") -> Source:
    draw = random.Random(name)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        chains = ["sequence_a", "sequence_b"] if name == "bind" else ["sequence"]
        writer.writerow(["id", *chains, "label", "host", "split"])
        for row in range(rows):
            written = ["".join(draw.choices(LETTERS, k=draw.randint(8, 16))) for _ in chains]
            answer = draw.choice(["no", "yes"]) if name == "bind" else label(name, len(written[0]), draw)
            split = "train" if row < rows - 4 else "test"
            writer.writerow([f"{name}{row}", *written, answer, draw.choice(hosts.split()), split])
    splits = {"train": ("train",), "test": ("test",)}
    return Source(name=name, path=f"{name}.csv", task=name, splits=splits)


def settings(folder: Path, names: tuple[str, ...], run: str, **options: Any) -> dict[str, Any]:
    sources = {name: write_table(folder, name) for name in TASKS}
    chosen = {
        "folder": str(folder / run),
        "mixture": Mixture({name: Entry(name, name) for name in names}),
        "data": partial(ScribeData, holdout=0.2, unknown=0.0, budget=Budget(tokens=4096, rows=8)),
        "optimizer": partial(torch.optim.AdamW, lr=0.02, weight_decay=0.3),
        "schedule": partial(constant, warmup_steps=0),
        "trainer": partial(
            lightning.Trainer, accelerator="cpu", devices=1, max_epochs=options.pop("epochs", 1), num_sanity_val_steps=0
        ),
        "tasks": TASKS,
        "sources": sources,
        "root": folder,
        "choose_readouts": False,
        "measured_rows": None,
    }  # fmt: skip
    return chosen | options


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, and a bundle that knows three tasks."""
    folder = tmp_path_factory.mktemp("home")
    networks = {"encoder": MINI, "decoder": partial(Decoder, width=16, layers=1, heads=2, dropout=0.2)}
    train(**settings(folder, OLD, "old", **networks))
    return folder


def grown(home: Path, names: tuple[str, ...], run: str, of: str = "old", **options: Any) -> Any:
    return train(**settings(home, names, run, bundle=str(home / of / "bundle"), **options))


def told(bundle: Path, names: tuple[str, ...]) -> list[Any]:
    predictor = Predictor.load(str(bundle), "cpu")
    found: list[Any] = []
    for name in names:
        found += predictor.predict_many(RECORDS, name, probabilities=True)
        found += predictor.predict_many(RECORDS, name, readout="greedy")
        found += predictor.n_best_many(RECORDS, name, n=2)
    return found


# What stays


@pytest.fixture(scope="module")
def by_symbols(home: Path) -> Any:
    return grown(home, ("fold", "several"), "first", grow="symbols", epochs=4, choose_readouts=True)


def test_with_symbols_alone_every_old_answer_is_the_same_to_the_last_bit(home: Path, by_symbols: Any) -> None:
    old, new = told(home / "old" / "bundle", OLD), told(by_symbols.bundle, OLD)
    assert len(old) == len(new) == 3 * 6
    assert all(same(first, second) for first, second in zip(old, new, strict=True))


def test_with_symbols_alone_nothing_but_new_rows_has_moved(home: Path, by_symbols: Any) -> None:
    before, after = (load_bundle(home / run / "bundle") for run in ("old", "first"))
    known = len(before.lexicon.vocabulary)
    assert after.lexicon.vocabulary.symbols[:known] == before.lexicon.vocabulary.symbols
    assert after.lexicon.stages == (known,)
    tables = ("decoder.table.weight", "decoder.score.weight")
    old_weights, weights = before.model.state_dict(), after.model.state_dict()
    assert list(old_weights) == list(weights)
    for name, weight in weights.items():
        kept = weight[:known] if name in tables else weight
        assert torch.equal(kept, old_weights[name]), name
    assert {name: before.readouts[name] for name in OLD} == {name: after.readouts[name] for name in OLD}
    assert list(after.tasks) == [*before.tasks, "fold", "several"]
    assert {name: after.tasks[name] for name in OLD} == before.tasks


class Modes(Callback):
    """Notes which parts are in training mode while a batch is trained on."""

    def __init__(self) -> None:
        self.seen: set[tuple[bool, bool]] = set()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        encoder, decoder = module.model.encoder.encoder, module.model.decoder
        self.seen.add(
            (any(one.training for one in encoder.modules()), all(one.training for one in decoder.modules()))
        )


@pytest.mark.parametrize(
    ("grow", "encoder", "decoder"), [("symbols", False, False), ("decoder", False, True), ("all", True, True)]
)
def test_dropout_is_off_wherever_nothing_is_trained(
    home: Path, grow: str, encoder: bool, decoder: bool
) -> None:
    modes = Modes()
    grown(home, ("fold",), "modes", grow=grow, epochs=2, callbacks={"modes": modes})
    assert modes.seen == {(encoder, decoder)}


def test_new_rows_are_learnt_and_learnt_alike_each_time(home: Path, by_symbols: Any) -> None:
    again = grown(home, ("fold", "several"), "again", grow="symbols", epochs=4)
    none = grown(home, ("fold", "several"), "none", grow="symbols", epochs=0)
    one, two, start = (load_bundle(run.bundle).model.decoder for run in (by_symbols, again, none))
    known = len(load_bundle(home / "old" / "bundle").lexicon.vocabulary)
    for name in ("table", "score"):
        weights = [getattr(decoder, name).weight[known:] for decoder in (one, two, start)]
        assert torch.equal(weights[0], weights[1])
        assert (weights[0] != weights[2]).any(dim=1).sum() >= 5  # two tasks, three labels of every residue


def test_growing_twice_keeps_what_was_before_each_time(home: Path, by_symbols: Any) -> None:
    second = grown(home, ("bind",), "second", of="first", grow="symbols", epochs=2)
    names = (*OLD, "fold", "several")
    old, new = told(by_symbols.bundle, names), told(second.bundle, names)
    assert all(same(first, second) for first, second in zip(old, new, strict=True))
    stages = load_bundle(second.bundle).lexicon.stages
    assert len(stages) == 2
    pair = Predictor.load(str(second.bundle), "cpu").predict(("MKTAYI", "ACDEF"), "bind")
    assert pair.value in ("no", "yes")
    lineage = load_bundle(second.bundle).manifest["provenance"]["lineage"]
    assert [step["tasks"] for step in lineage] == [["fold", "several"], ["bind"]]
    assert lineage[1]["from"] == "first/bundle"
    assert set(trained_on(load_bundle(second.bundle).manifest)) == {*names, "bind"}


def test_with_the_decoder_the_encoder_stays(home: Path) -> None:
    result = grown(home, ("fold",), "decoder", grow="decoder")
    before, after = (load_bundle(path).model for path in (home / "old" / "bundle", result.bundle))
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.encoder.parameters(), after.encoder.parameters(), strict=True)
    )
    assert not torch.equal(before.decoder.norm.weight, after.decoder.norm.weight)
    assert load_bundle(result.bundle).lexicon.stages == ()


def test_with_all_the_encoder_moves_as_it_is_adapted(home: Path) -> None:
    result = grown(home, ("fold",), "all", adaptation={"how": "lora", "rank": 2})
    before, after = (load_bundle(path).model.encoder for path in (home / "old" / "bundle", result.bundle))
    moved = {
        name for name, one in after.state_dict().items() if not torch.equal(one, before.state_dict()[name])
    }
    assert moved
    assert not any("norm" in name for name in moved)


def test_training_everything_of_a_staged_bundle_ends_its_stages(home: Path, by_symbols: Any) -> None:
    result = grown(home, ("fold",), "everything", of="first")
    assert load_bundle(result.bundle).lexicon.stages == ()


def test_a_bundle_of_every_earlier_format_grows_and_answers_as_it_always_did(
    home: Path, tmp_path: Path
) -> None:
    heat = made_task("heat", kind="category", labels=["no", "yes"])
    rows = [["id", "sequence", "label"], ["a", "MKTAYI", "no"], ["b", "ACDEF", "yes"]]
    with (tmp_path / "heat.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for golden in sorted(GOLDEN.iterdir()):
        keywords = settings(home, ("fold",), "golden", bundle=str(golden / "bundle"), grow="symbols")
        keywords |= {
            "folder": str(tmp_path / golden.name),
            "root": tmp_path,
            "mixture": Mixture({"heat": Entry("heat", "heat")}),
        }
        keywords |= {
            "tasks": {"heat": heat},
            "sources": {"heat": Source(name="heat", path="heat.csv", task="heat")},
        }
        keywords["data"] = partial(keywords["data"], holdout=0.0)
        grown = load_bundle(train(**keywords).bundle)
        old = dataclasses.replace(
            grown, tasks={name: one for name, one in grown.tasks.items() if name != "heat"}
        )
        assert answers(old) == json.loads((golden / "answers.json").read_text())
        assert describe_bundle(tmp_path / golden.name / "bundle") is not None


# What is refused


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"grow": "head"}, "config.value", "grow must be one of symbols, decoder, all"),
        ({"encoder": {**MINI, "width": 32}}, "config.fixed", "encoder.width is 32, the bundle's is 16"),
        (
            {"decoder": partial(Decoder, width=16, layers=2)},
            "config.fixed",
            "decoder.layers is 2, the bundle's is 1",
        ),
        (
            {"decoder": partial(Decoder, width=16, layers=1, prompt_everywhere=True)},
            "config.fixed",
            "decoder.prompt_everywhere is True, the bundle's is False",
        ),
        ({"molecule_encoder": {"kind": "character"}}, "config.fixed", "molecule_encoder.kind is 'character'"),
        ({"replay": 1.0}, "config.value", "replay must be 0 or more and below 1"),
    ],
)
def test_what_a_bundle_does_not_allow(home: Path, options: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        grown(home, ("fold",), "refused", **options)
    assert caught.value.code == code
    assert message in caught.value.message


def test_an_architecture_that_is_equal_may_be_given(home: Path) -> None:
    decoder = partial(
        Decoder,
        width=16,
        layers=1,
        heads=2,
        dropout=0.2,
        cross_attention={"shared": False},
        prompt_everywhere=False,
    )
    assert grown(home, ("fold",), "equal", encoder=MINI, decoder=decoder, epochs=0).bundle.is_dir()


def test_neither_networks_nor_a_bundle(home: Path) -> None:
    with pytest.raises(ConfigError, match="give an encoder and a decoder, or a bundle"):
        train(**settings(home, ("fold",), "refused"))


def test_a_run_does_not_replace_the_bundle_it_starts_from(home: Path) -> None:
    with pytest.raises(ConfigError, match="would replace the bundle it starts from"):
        grown(home, ("fold",), "old")


def test_symbols_alone_cannot_train_a_task_that_has_them_all(home: Path) -> None:
    with pytest.raises(ConfigError, match="the bundle has all that these tasks need"):
        grown(home, ("where",), "refused", grow="symbols")


def test_a_molecule_needs_its_encoder_from_the_start(home: Path) -> None:
    ligand = Task.from_plain({"name": "fold", "title": "x", "molecule": True, "codec": {"kind": "category"}})
    keywords = settings(
        home, ("fold",), "refused", bundle=str(home / "old" / "bundle"), tasks={**TASKS, "fold": ligand}
    )
    with (home / "fold.csv").open("w", newline="") as file:
        rows = [["a", "MKT", "CCO", "x", "train"], ["b", "MKA", "CC", "y", "train"]]
        csv.writer(file).writerows([["id", "sequence", "smiles", "label", "split"], *rows])
    with pytest.raises(ConfigError, match=r"have molecules as input, which the bundle .* cannot read"):
        train(**keywords)


def test_another_task_of_an_old_name_is_refused_with_what_differs(home: Path) -> None:
    other = {**TASKS, "how_much": made_task("how_much", kind="number", low=0, high=20, step=0.1)}
    with pytest.raises(TaskError, match=r"high of its answers was 10.*, is 20"):
        grown(home, ("how_much",), "refused", tasks=other)


# More of an old task


def test_open_labels_and_values_of_an_old_task_grow_at_their_ends(home: Path) -> None:
    keywords = settings(home, ("where",), "more", bundle=str(home / "old" / "bundle"), grow="symbols")
    text = (home / "where.csv").read_text().replace("nucleus", "vacuole", 1).replace("human", "ant", 1)
    assert "vacuole" in text
    (home / "where.csv").write_text(text)
    before, after = load_bundle(home / "old" / "bundle"), load_bundle(train(**keywords).bundle)
    labels = [bundle.tasks["where"].codec.labels for bundle in (before, after)]
    assert labels[1] == (*labels[0], "vacuole")
    values = [bundle.tasks["where"].conditions[0].values for bundle in (before, after)]
    assert values[1] == (*values[0], "ant")
    assert len(after.lexicon.vocabulary) == len(before.lexicon.vocabulary) + 2


def test_a_task_of_the_bundle_needs_no_file(home: Path) -> None:
    tasks = {name: one for name, one in TASKS.items() if name != "sites"}
    assert grown(home, ("sites",), "brought", tasks=tasks, epochs=0).bundle.is_dir()


# Replay


def test_replay_gives_exactly_its_share_of_an_epoch(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    class Listening(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            asked.extend(question.task.name for question in batch.questions)

    keywords = settings(home, ("fold",), "replayed", bundle=str(home / "old" / "bundle"), replay=0.5)
    del keywords["sources"]["sites"]
    with caplog.at_level(logging.WARNING):
        result = train(**keywords, callbacks={"listening": Listening()})
    new = asked.count("fold")
    assert new in (5, 6)
    assert {name: asked.count(name) for name in ("where", "how_much")} == {
        "where": new // 2 + new % 2,
        "how_much": new // 2,
    }
    assert len(asked) == 2 * new
    assert "not replayed, since no source of their rows is known here: sites" in caplog.text
    assert set(trained_on(load_bundle(result.bundle).manifest)) == {*OLD, "fold"}


def test_with_nothing_to_replay_it_is_an_error(home: Path) -> None:
    keywords = settings(home, ("fold",), "refused", bundle=str(home / "old" / "bundle"), replay=0.5)
    keywords["sources"] = {"fold": keywords["sources"]["fold"]}
    with pytest.raises(ConfigError, match="no source of an older task is known"):
        train(**keywords)


# What is told


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of measuring goes into resampling."""
    monkeypatch.setattr(change, "measure_changes", partial(change.measure_changes, resamples=20))


@pytest.mark.usefixtures("few_resamples")
def test_every_task_is_measured_before_and_after(home: Path) -> None:
    result = grown(home, ("bind",), "measured", grow="symbols", measured_rows=3)
    changes = result.changes
    assert [one.task for one in changes.tasks] == [*load_bundle(result.bundle).tasks]
    for name in OLD:
        one = changes[name]
        assert (one.split, one.count, one.changed) == ("test", 3, 0)
        assert one.before == one.after
        assert one.gain.value == one.gain.lower == one.gain.upper == 0
    assert changes["bind"].before is None
    plain = json.loads((home / "measured" / "growth.json").read_text())
    assert plain["tasks"]["where"]["before"]["value"] == changes["where"].before.value
    assert plain["provenance"]["trained"] == "symbols"
    assert "| bind |" in (home / "measured" / "growth.md").read_text()


@pytest.mark.usefixtures("few_resamples")
def test_a_task_without_rows_here_is_told_and_no_error(home: Path) -> None:
    keywords = settings(home, ("bind",), "lost", bundle=str(home / "old" / "bundle"), measured_rows=0)
    del keywords["sources"]["where"]
    (home / "sites.csv").unlink()
    changes = train(**keywords).changes
    assert [one.task for one in changes.tasks] == ["how_much", "bind"]
    assert changes.not_measured["where"] == "its source 'where' is not known here"
    assert "sites.csv" in changes.not_measured["sites"]
    assert "not measured: where" in changes.to_text()


def test_a_bundle_that_has_changed_meanwhile_is_told_and_no_error(home: Path, tmp_path: Path) -> None:
    keywords = settings(home, ("bind",), "meanwhile", bundle=str(tmp_path / "moved"), measured_rows=0)
    for how in ("changed", "gone"):
        shutil.rmtree(tmp_path / "moved", ignore_errors=True)
        shutil.copytree(home / "old" / "bundle", tmp_path / "moved")
        changes = train(**keywords, callbacks={"meddling": Meddling(tmp_path / "moved", how)}).changes
        assert changes.tasks == ()
        assert set(changes.not_measured) == {*OLD, "bind"}
        assert {"changed": "not the bundle any more", "gone": "no such bundle"}[how] in changes.not_measured[
            "where"
        ]
        assert "`where` was not measured" in (home / "meanwhile" / "growth.md").read_text()


class Meddling(Callback):
    """Somebody trains another bundle into the same place, or removes it."""

    def __init__(self, place: Path, how: str) -> None:
        self.place, self.how = place, how

    def on_train_end(self, trainer: Any, module: Any) -> None:
        if self.how == "gone":
            shutil.rmtree(self.place)
        else:
            rewrite_bundle(self.place, self.place, told={"seed": 99})


# Interrupted


class Stop(Callback):
    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step == 3:
            signal.raise_signal(signal.SIGTERM)


def test_a_growing_run_resumes_to_the_same_bytes_and_nothing_else(home: Path) -> None:
    def run(name: str, **options: Any) -> Any:
        kept = {"saved": Checkpoints(folder=home / name / "checkpoints"), **options.pop("callbacks", {})}
        return grown(
            home,
            ("fold", "several"),
            name,
            grow=options.pop("grow", "symbols"),
            epochs=4,
            callbacks=kept,
            **options,
        )

    whole = run("whole")
    with pytest.raises(Preempted):
        run("halved", callbacks={"stop": Stop()})
    with pytest.raises(ConfigError, match="grow: symbols then, decoder now"):
        run("halved", resume="last", grow="decoder")
    resumed = run("halved", resume="last")
    first, second = ((one.bundle / "model.safetensors").read_bytes() for one in (whole, resumed))
    assert first == second


# Neighbours ---------------------------------------------------------------------------------------------------------------


def test_neighbours_stay_where_answers_stay_and_only_there(home: Path) -> None:
    source = dataclasses.replace(
        write_table(home, "where", rows=40), splits={"train": ("train",), "validation": ("test",)}
    )
    voting = add_neighbours(
        str(home / "old" / "bundle"), [source], home / "voting" / "bundle", root=home, device="cpu"
    )
    assert voting.fitted["where"].neighbours is not None
    before = told(home / "voting" / "bundle", ("where",))
    more = grown(home, ("fold",), "voting_grown", of="voting", grow="symbols", encoder=None, decoder=None)
    assert set(load_bundle(more.bundle).neighbours) == {"where"}
    assert told(more.bundle, ("where",)) == before
    # All weights are trained on: states of known proteins are others now.
    on = grown(home, ("where",), "voting_on", of="voting")
    assert load_bundle(on.bundle).neighbours == {}
