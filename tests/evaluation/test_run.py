"""A whole evaluation of a random-weight bundle on small tables: what is counted, written and said."""

import csv
import json

import pytest
import torch

from protscribe.checkpoint import save_bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon
from protscribe.data.source import Source
from protscribe.encoders.mini import MiniEncoder
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.metrics import METRICS, metrics_of
from protscribe.evaluation.run import evaluate
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.vocabulary import Vocabulary
from tests.evaluation.toys import TASKS, examples

NAMES = ("rich_in_k", "tyrosines", "by_host", "near")


def cell(answer):
    if isinstance(answer, tuple):
        return ";".join("-".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in answer)
    return str(answer)


def write_table(path, name, count=40):
    """Splits of 60, 20 and 20 in a hundred; the first test row repeats a training row's protein."""
    rows = examples(name, count)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "sequence", "label", "split", "host"])
        for place, row in enumerate(rows):
            split = "train" if place % 5 < 3 else "validation" if place % 5 == 3 else "test"
            shown = rows[0] if place == 4 else row
            writer.writerow(
                [row.record.id, shown.record.sequence, cell(shown.answer), split, row.record.fields["host"]]
            )
    return Source(
        name=name,
        path=path.name,
        task=name,
        splits={split: (split,) for split in ("train", "validation", "test")},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def sources(folder):
    return [write_table(folder / f"{name}.csv", name) for name in NAMES]


@pytest.fixture(scope="module")
def bundle(folder):
    torch.manual_seed(2)
    tasks = {name: TASKS[name] for name in NAMES}
    lexicon = Lexicon(Vocabulary.compose(block for entry in tasks.values() for block in entry.blocks()))
    encoder = MiniEncoder(width=16, layers=1, attention_layers=0, heads=2)
    decoder = Decoder(len(lexicon.vocabulary), 16, width=16, layers=1, heads=2)
    readouts = {"tyrosines": Readout(threshold=0.3)}
    return str(
        save_bundle(
            folder / "bundle",
            model=Scribe(encoder, decoder).eval(),
            lexicon=lexicon,
            tasks=tasks,
            readouts=readouts,
        )
    )


@pytest.fixture(scope="module")
def result(bundle, sources, folder):
    return evaluate(bundle, sources, root=folder, output=folder / "out", resamples=30, progress=False)


def test_every_method_is_judged_on_every_protein(result):
    assert [found.task.name for found in result.tasks] == list(NAMES)
    for found in result.tasks:
        assert found.metrics == metrics_of(TASKS[found.task.name])
        assert (found.count, found.training, found.rejected) == (8, 24, ())
        has_head = found.task.name != "near"
        assert set(found.methods) == {"protscribe", "greedy", "majority"} | ({"head"} if has_head else set())
        assert set(found.gains) == set(found.methods) - {"protscribe"}
        for method in found.methods.values():
            assert (method.scores.count, method.scores.missing) == (8, 0)
            assert method.main.value == method.scores[found.metrics[0]]
            assert method.main.lower <= method.main.value <= method.main.upper
        assert len(found.examples) == len(found.predictions) == 8
        assert [e.record.id for e in found.examples] == [p.id for p in found.predictions]


def test_a_gain_is_positive_where_ours_is_better(result):
    for found in result.tasks:
        higher = METRICS[found.metrics[0]].higher
        for name, gain in found.gains.items():
            apart = found.methods["protscribe"].main.value - found.methods[name].main.value
            assert gain.value == pytest.approx(apart if higher else -apart)


def test_proteins_that_also_occur_in_training_are_counted(result):
    assert [found.shared for found in result.tasks] == [1, 1, 1, 1]
    assert "WARNING: 1 test proteins also occur in the training rows" in result.to_text()


def test_answers_are_read_with_the_threshold_in_the_bundle(result):
    for found in result["tyrosines"].predictions:
        candidates = [place for place, letter in enumerate(found.record.sequence, start=1) if letter in "STY"]
        assert found.value == tuple(place for place in candidates if found.probabilities[place - 1] >= 0.3)


def test_the_text_is_for_people(result):
    text = result.to_text()
    assert "tyrosines: tyrosines of a toy (8 test proteins, 24 training rows)" in text
    for word in (
        "Protscribe",
        "greedy string",
        "majority",
        "linear head",
        "F1 of sites",
        "(lower is better)",
    ):
        assert word in text
    assert "95% intervals from 30 resamples" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 118


def test_what_is_written_says_the_same(result, folder):
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "evaluation.txt",
        "report.png",
    ]
    plain = json.loads((folder / "out" / "evaluation.json").read_text())
    with (folder / "out" / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(found.metrics) * len(found.methods) for found in result.tasks)
    for row in rows:
        found = result[row["task"]]
        value = found.methods[row["method"]].scores[row["metric"]]
        said = plain["tasks"][row["task"]]["methods"][row["method"]]["metrics"][row["metric"]]
        if value != value:
            assert said is None
            assert row["value"] == ""
        else:
            assert float(row["value"]) == said == pytest.approx(value)
        assert (row["count"], row["missing"], row["shared_with_training"]) == ("8", "0", "1")
        assert bool(row["lower"]) == (row["main"] == "1")
    assert plain["provenance"]["split"] == "test"


def test_seeds_repeat(bundle, sources, folder, result):
    again = evaluate(bundle, sources[:1], root=folder, resamples=30, progress=False)
    assert again["rich_in_k"].methods == result["rich_in_k"].methods


def test_limit_is_drawn_from_all_test_rows(bundle, sources, folder):
    keys = {"root": folder, "resamples": 5, "baselines": (), "greedy": False, "progress": False}
    found = evaluate(bundle, sources[:1], limit=3, seed=1, **keys)["rich_in_k"]
    assert (found.count, set(found.methods), dict(found.gains)) == (3, {"protscribe"}, {})
    other = evaluate(bundle, sources[:1], limit=3, seed=2, **keys)["rich_in_k"]
    assert [e.record.id for e in found.examples] != [e.record.id for e in other.examples]


def test_rows_that_cannot_be_read_are_counted(bundle, folder):
    source = write_table(folder / "spoilt.csv", "rich_in_k")
    path = folder / "spoilt.csv"
    lines = path.read_text().splitlines()
    place = next(place for place, line in enumerate(lines) if ",test," in line)
    lines[place] = lines[place].replace(",yes,", ",perhaps,").replace(",no,", ",perhaps,")
    path.write_text("\n".join(lines) + "\n")
    found = evaluate(bundle, [source], root=folder, resamples=5, baselines=(), greedy=False, progress=False)
    assert found["rich_in_k"].count == 7
    assert [failure.code for failure in found["rich_in_k"].rejected] == ["label.unknown_class"]
    assert "1 further rows were rejected" in found.to_text()


def test_what_cannot_be_predicted_counts_as_wrong(bundle, sources, folder, monkeypatch):
    monkeypatch.setattr(MiniEncoder, "limit", None, raising=False)
    from protscribe.predictor import Predictor

    load = Predictor.load

    def limited(*arguments, **keys):
        predictor = load(*arguments, **keys)
        predictor.limit = 20
        return predictor

    monkeypatch.setattr(Predictor, "load", limited)
    found = evaluate(
        bundle,
        sources[:1],
        root=folder,
        resamples=5,
        baselines=(),
        greedy=False,
        long="error",
        progress=False,
    )["rich_in_k"]
    long = [e for e in found.examples if len(e.record.sequence) > 20]
    assert 0 < len(long) < found.count
    assert found.methods["protscribe"].scores.missing == len(long)
    assert found.methods["protscribe"].scores.count == found.count
    assert any("count as wrong" in note for note in found.notes())


def test_strict_split(bundle, sources, folder):
    with pytest.raises(TaskError) as caught:
        evaluate(bundle, sources[:1], root=folder, strict_split=True, progress=False)
    assert caught.value.code == "task.shared_sequences"


def test_refusals(bundle, sources, folder):
    with pytest.raises(ConfigError, match="did you mean 'majority'") as caught:
        evaluate(bundle, sources, root=folder, baselines=("majorty",), progress=False)
    assert caught.value.code == "config.value"
    with pytest.raises(ConfigError, match="at least one source"):
        evaluate(bundle, [], root=folder, progress=False)
    for wrong in ({"limit": 0}, {"resamples": 0}, {"level": 1.0}):
        with pytest.raises(ConfigError, match="at least 1"):
            evaluate(bundle, sources, root=folder, progress=False, **wrong)
    with pytest.raises(TaskError) as unknown:
        evaluate(bundle, [Source("other", "rich_in_k.csv", "other")], root=folder, progress=False)
    assert unknown.value.code == "task.unknown"
    with pytest.raises(TaskError) as empty:
        evaluate(bundle, [Source("s", "rich_in_k.csv", "rich_in_k")], root=folder, progress=False)
    assert empty.value.code == "task.no_data"
