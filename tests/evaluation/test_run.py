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
from protscribe.errors import ConfigError, TableError, TaskError
from protscribe.evaluation.metrics import METRICS, metrics_of
from protscribe.evaluation.result import METHODS
from protscribe.evaluation.run import evaluate
from protscribe.homology import can_search
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
        learned = {"composition", "head"} if has_head else set()
        assert set(found.methods) == {"protscribe", "greedy", "majority"} | learned
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


def test_many_methods_stand_in_several_tables(bundle, sources, folder):
    pytest.importorskip("rapidfuzz")
    found = evaluate(
        bundle, sources[:1], root=folder, baselines="all", resamples=5, audit=False, progress=False
    )
    assert set(found["rich_in_k"].methods) == set(METHODS) - {"bias"}
    text = found.to_text()
    assert max(map(len, text.splitlines())) <= 118
    assert text.count("gain over it  ") == 2
    for name in found["rich_in_k"].methods:
        assert METHODS[name] in text
    assert "macro F1 [" not in text
    assert text.count("area under ROC") == 2


def test_what_is_written_says_the_same(result, folder):
    assert {path.name for path in (folder / "out").iterdir()} >= {
        "answers.parquet",
        "evaluation.csv",
        "evaluation.json",
        "evaluation.txt",
        "report.html",
        "report.md",
        "report.png",
    }
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


def spoil(folder, name, changes):
    """A table whose first test rows have other cells, by column."""
    source = write_table(folder / f"{name}.csv", "rich_in_k")
    path = folder / f"{name}.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row, (column, cell) in zip((row for row in rows if row["split"] == "test"), changes, strict=False):
        row[column] = cell
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return source


QUICK = {"resamples": 5, "baselines": (), "greedy": False, "progress": False}


def test_rows_that_cannot_be_read_are_counted(bundle, folder):
    source = spoil(folder, "spoilt", [("label", ""), ("sequence", "MK1")])
    found = evaluate(bundle, [source], root=folder, **QUICK)
    assert found["rich_in_k"].count == 6
    assert [failure.code for failure in found["rich_in_k"].rejected] == ["label.unknown_class", "seq.char"]
    text = " ".join(found.to_text().split())
    assert "2 further rows were rejected" in text
    assert (
        "judged: 6 rows (6 proteins); not judged: 1, sequence unreadable; not judged: 1, label malformed"
        in text
    )


def test_a_label_that_the_model_cannot_write_is_wrong(bundle, sources, folder):
    """The same rows, but for three labels that no training row has: as many are judged, and none of these is right."""
    usual = evaluate(bundle, sources[:1], root=folder, **QUICK)["rich_in_k"]
    source = spoil(folder, "unseen", [("label", "perhaps")] * 3)
    found = evaluate(bundle, [source], root=folder, **QUICK)["rich_in_k"]
    assert (found.count, found.unwritten, found.rejected) == (usual.count, 3, ())
    assert [example.answer for example in found.examples].count("perhaps") == 3
    right = sum(e.answer == p.value for e, p in zip(found.examples, found.predictions, strict=True))
    assert found.methods["protscribe"].scores["accuracy"] == right / found.count
    assert found.methods["protscribe"].scores.missing == 0
    assert "of these 3 with labels that the model cannot write, which count as wrong" in found.denominators()
    assert [row.label for row in found.breakdown.classes] == ["no", "yes", "perhaps"]
    assert found.breakdown.classes[2].true == 3
    (unseen,) = (band for band in found.bands["label_frequency"] if band.name == "0")
    assert (unseen.count, unseen.ours.value) == (3, 0.0)


def test_clusters_are_drawn_whole(bundle, folder):
    """All rows of a host are one cluster: with two of them, resamples have few values."""
    source = write_table(folder / "hosts.csv", "rich_in_k")
    found = evaluate(bundle, [source], root=folder, clusters="host", **QUICK)["rich_in_k"]
    assert (found.count, found.units, found.drawn) == (8, 2, "clusters")
    with pytest.raises(TableError, match="no column 'hots'") as caught:
        evaluate(bundle, [source], root=folder, clusters="hots", **QUICK)
    assert caught.value.code == "table.missing_column"


def test_rows_about_one_protein_are_drawn_together(bundle, folder):
    source = write_table(folder / "repeated.csv", "rich_in_k")
    path = folder / "repeated.csv"
    lines = path.read_text().splitlines()
    tests = [line for line in lines if ",test," in line]
    path.write_text("\n".join([*lines, *(f"again{line}" for line in tests)]) + "\n")
    found = evaluate(bundle, [source], root=folder, **QUICK)["rich_in_k"]
    assert (found.count, found.units) == (16, 8)


def test_bands_hold_all_rows(result, folder):
    plain = json.loads((folder / "out" / "evaluation.json").read_text())
    for found in result.tasks:
        assert "length" in found.bands
        assert ("label_frequency" in found.bands) is (found.task.codec.kind == "category")
        for division, bands in found.bands.items():
            assert sum(band.count for band in bands) == found.count
            said = plain["tasks"][found.task.name]["bands"][division]
            assert [part["band"] for part in said] == [band.name for band in bands]
            for part, band in zip(said, bands, strict=True):
                assert set(part["methods"]) == set(found.methods)
                assert part["count"] == band.count
    assert "by length, in residues" in result.to_text()


@pytest.mark.skipif(not can_search(), reason="the extra homology is not installed")
def test_how_near_test_proteins_are_to_training_stands_before_the_scores(result, folder):
    text, plain = result.to_text(), json.loads((folder / "out" / "evaluation.json").read_text())
    assert text.index("tyrosines: nearest of") < text.index("tyrosines: tyrosines of a toy")
    for found in result.tasks:
        said = plain["tasks"][found.task.name]["leakage"]
        assert len(said["identities"]) == found.count
        assert said["identities"][0] == 1.0  # the first test row repeats a training protein
        assert said["histogram"]["identical"] == found.shared == 1
        assert sum(said["histogram"].values()) == found.count


def test_an_audit_can_be_left_out(bundle, sources, folder):
    without = {"baselines": [], "greedy": False, "resamples": 5, "progress": False, "audit": False}
    found = evaluate(bundle, sources[:1], root=folder, **without)
    assert found.tasks[0].audit is None
    assert "nearest of" not in found.to_text()
    assert any("audit=true" in note or "homology" in note for note in found.tasks[0].notes())


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
    with pytest.raises(ConfigError, match="no bands by 'lenght'; did you mean 'length'"):
        evaluate(bundle, sources, root=folder, bands=["lenght"], progress=False)
    with pytest.raises(ConfigError, match="only label sets have a hierarchy"):
        evaluate(bundle, sources, root=folder, hierarchies={"near": "graph.csv"}, progress=False)
    with pytest.raises(ConfigError, match="hierarchies: no task 'go'"):
        evaluate(bundle, sources, root=folder, hierarchies={"go": "graph.csv"}, progress=False)
    with pytest.raises(ConfigError, match="fitting_limit must be at least 1"):
        evaluate(bundle, sources, root=folder, fitting_limit=0, progress=False)
    for wrong in ({"limit": 0}, {"resamples": 0}, {"level": 1.0}):
        with pytest.raises(ConfigError, match="at least 1"):
            evaluate(bundle, sources, root=folder, progress=False, **wrong)
    with pytest.raises(TaskError) as unknown:
        evaluate(bundle, [Source("other", "rich_in_k.csv", "other")], root=folder, progress=False)
    assert unknown.value.code == "task.unknown"
    with pytest.raises(TaskError) as empty:
        evaluate(bundle, [Source("s", "rich_in_k.csv", "rich_in_k")], root=folder, progress=False)
    assert empty.value.code == "task.no_data"
