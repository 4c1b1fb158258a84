"""Files of answers: what stands in them, and that they are complete or not there."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas
import pytest
from pyarrow import parquet

from protscribe.codecs.segments import Segment
from protscribe.errors import OutputError, ProtscribeError
from protscribe.generation.answering import Asking
from protscribe.outputs import (
    FORMATS,
    format_of,
    open_outputs,
    predict_file,
    rejected_path,
    write_predictions,
)
from protscribe.outputs.atomic import pending_file
from protscribe.outputs.tables import Asked
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction, ProteinRecord
from tests.small import TASKS, make_bundle

ODD = 'sp|P1;=cmd,"x" ü%&>'
RECORD = ProteinRecord(ODD, ("MSTYK",))
PAIR = ProteinRecord("pair", ("MSTYK", "GGY"), ordinal=1)


def answer(task, value, record=RECORD, **other):
    given = {
        "score": 0.75,
        "score_meaning": "how sure it is",
        "readout": "risk",
        "off_grammar": 0.125,
        **other,
    }
    return Prediction(record.id, task, TASKS[task].codec.kind, value, record=record, **given)


def rows_of(labels, chances):
    return tuple({label: chance, "other": 1 - chance} for label, chance in zip(labels, chances, strict=True))


ANSWERS = [
    answer("place", "outside", probabilities={"inside": 0.2, "outside": 0.75, "membrane": 0.05}),
    answer("activities", (), probabilities={"p": 0.1, "q": 0.2, "r": 0.01, "s": 1e-9}),
    answer("enzyme", ("1.1.1", "2.1.1"), probabilities={"1": 0.9, "1.1.1": 0.8}),
    answer("melting", 41.25, lower=30.1, upper=50.0, interval_level=0.9, unit="°C"),
    answer("fold", "HHEEC", chain=1, probabilities=rows_of("HHEEC", [0.9, 0.7, 0.6, 0.6, 0.5])),
    answer("sites", (2, 4), chain=1, probabilities=np.array([0, 0.9, 0.2, 0.6, 0])),
    answer("parts", (Segment("signal", 1, 2), Segment("mature", 3, 5)), chain=1),
    answer("contacts", ((1, 4), (2, 5)), chain=1, probabilities={(1, 4): 0.75, (2, 5): 0.5, (1, 5): 0.1}),
    answer("letters", "abcda", chain=1, probabilities=np.array([0.5, 0.5, 0.5, 0.5, 0.5])),
    answer("name", "xyz"),
    answer("bind", "yes", PAIR, probabilities={"no": 0.25, "yes": 0.75}),
    answer("epitope", (3,), PAIR, chain=2, probabilities=np.array([0.1, 0.2, 0.8])),
    answer("interface", ((1, 3),), PAIR, chain=2, probabilities={(1, 3): 0.75}),
]
FAILED = [Failure(2, "b;=d", "seq.char", "two\nlines", None), Failure(3, "c", "task.chains", "no", "bind")]
ASKED = [Asked.of(TASKS[one.task]) for one in ANSWERS]


def write(path, answers=ANSWERS, failures=()):
    with open_outputs(path, ASKED) as outputs:
        for outcome in (*answers, *failures):
            outputs.write(outcome)
    return path


# Tables -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_wide_table_has_one_row_a_prediction(tmp_path, suffix, delimiter):
    path = write(tmp_path / f"all{suffix}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert len(rows) == len(ANSWERS)
    assert [row["id"] for row in rows] == [ODD] * 10 + ["pair"] * 3
    by_task = {row["task"]: row for row in rows}
    expected = {
        "place": "outside", "activities": "<none>", "enzyme": "1.1.1;2.1.1", "melting": "41.25", "fold": "HHEEC",
        "sites": "2;4", "parts": "signal:1-2;mature:3-5", "contacts": "1-4;2-5", "letters": "abcda", "name": "xyz",
        "bind": "yes", "epitope": "3", "interface": "1-3",
    }  # fmt: skip
    assert {task: row["prediction"] for task, row in by_task.items()} == expected
    assert by_task["place"]["p_outside"] == "0.75"
    assert by_task["place"]["p_p"] == by_task["fold"]["p_outside"] == ""
    assert by_task["activities"]["p_s"] == "1e-09"
    assert (by_task["melting"]["lower"], by_task["melting"]["upper"], by_task["melting"]["unit"]) == (
        "30.1",
        "50",
        "°C",
    )
    assert {row["score_meaning"] for row in rows} == {"how sure it is"}
    assert {row["score"] for row in rows} == {"0.75"}
    assert by_task["bind"]["residues_used"] == "5;3"


def test_what_a_table_says_is_read_back_by_the_task(tmp_path):
    frame = pandas.read_csv(write(tmp_path / "all.csv"), keep_default_na=False, dtype=str)
    for prediction, text in zip(ANSWERS, frame["prediction"], strict=True):
        assert TASKS[prediction.task].codec.parse(text, prediction.record) == prediction.value


def test_parquet_is_the_same_table_typed(tmp_path):
    table = parquet.read_table(write(tmp_path / "all.parquet"))
    text = pandas.read_csv(write(tmp_path / "all.csv"), keep_default_na=False, dtype=str)
    assert table.column_names == list(text.columns)
    frame = table.to_pandas()
    assert list(frame["prediction"]) == list(text["prediction"])
    assert list(frame["id"]) == list(text["id"])
    assert frame["score"].dtype == frame["p_outside"].dtype == np.float64
    assert frame["upper"].dropna().tolist() == [50.0]


def test_a_residue_table_has_one_row_a_residue(tmp_path):
    csv_frame = pandas.read_csv(
        write(tmp_path / "all.residues.csv"), keep_default_na=False, dtype={"label": str}
    )
    assert list(csv_frame.columns) == ["id", "task", "position", "residue", "label", "score"]
    sites = csv_frame[csv_frame.task == "sites"]
    assert list(sites["position"]) == [1, 2, 3, 4, 5]
    assert "".join(sites["residue"]) == "MSTYK"
    assert "".join(sites["label"]) == "01010"
    assert list(sites["score"].astype(float)) == [0, 0.9, 0.2, 0.6, 0]
    assert "".join(csv_frame[csv_frame.task == "epitope"]["residue"]) == "GGY"
    assert list(csv_frame[csv_frame.task == "parts"]["label"]) == [
        "signal",
        "signal",
        "mature",
        "mature",
        "mature",
    ]
    assert set(csv_frame[csv_frame.task == "parts"]["score"]) == {""}
    assert set(csv_frame["task"]) == {"fold", "sites", "parts", "letters", "epitope"}
    typed = parquet.read_table(write(tmp_path / "all.residues.parquet")).to_pandas()
    assert typed["position"].dtype == np.int64
    assert list(typed["label"]) == list(csv_frame["label"])
    tsv = write(tmp_path / "all.residues.tsv").read_text(encoding="utf-8")
    assert tsv.splitlines()[0].split("\t") == list(csv_frame.columns)


def test_json_lines_hold_typed_values_and_all_probabilities(tmp_path):
    lines = [
        json.loads(line) for line in write(tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    by_task = {line["task"]: line for line in lines}
    assert by_task["place"]["probabilities"] == {"inside": 0.2, "outside": 0.75, "membrane": 0.05}
    assert by_task["melting"]["prediction"] == 41.25
    assert by_task["melting"]["interval_level"] == 0.9
    assert by_task["sites"]["prediction"] == [2, 4]
    assert by_task["sites"]["probabilities"] == [0, 0.9, 0.2, 0.6, 0]
    assert by_task["parts"]["prediction"] == [["signal", 1, 2], ["mature", 3, 5]]
    assert by_task["contacts"]["probabilities"] == {"1-4": 0.75, "2-5": 0.5, "1-5": 0.1}
    assert by_task["fold"]["probabilities"][0]["H"] == 0.9
    assert by_task["activities"]["prediction"] == []
    assert lines[0]["id"] == ODD


def test_bytes_that_are_no_text_come_out_as_they_came_in(tmp_path):
    odd = replace(ANSWERS[0], id=b"caf\xe9".decode("utf-8", "surrogateescape"))
    for suffix in (".csv", ".tsv", ".jsonl"):
        assert b"caf\xe9" in write(tmp_path / f"a{suffix}", [odd]).read_bytes()
    with pytest.raises(OutputError) as raised:
        write(tmp_path / "a.parquet", [odd])
    assert raised.value.code == "output.encoding"
    assert not (tmp_path / "a.parquet").exists()


# Features and three lines -------------------------------------------------------------------------------------------------


def unescaped(text):
    from urllib.parse import unquote

    return unquote(text)


def test_gff3_is_valid_and_complete(tmp_path):
    lines = write(tmp_path / "all.gff3").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "##gff-version 3"
    regions = [line.split(" ") for line in lines if line.startswith("##sequence-region")]
    assert [(unescaped(name), first, last) for _, name, first, last in regions] == [
        (ODD, "1", "5"), ("pair:1", "1", "5"), ("pair:2", "1", "3"),
    ]  # fmt: skip
    lengths = {name: int(last) for _, name, _, last in regions}
    features = [line.split("\t") for line in lines if not line.startswith("#")]
    seen = {}
    for columns in features:
        assert len(columns) == 9
        seqid, source, type, start, end, score, strand, phase, attributes = columns
        assert source == "protscribe"
        assert (strand, phase) == (".", ".")
        assert 1 <= int(start) <= int(end) <= lengths[seqid]
        assert 0 <= float(score) <= 1
        pairs = dict(pair.split("=") for pair in attributes.split(";"))
        seen.setdefault(unescaped(pairs["task"]), []).append(
            (type, seqid, int(start), int(end), float(score), pairs)
        )
    assert set(seen) == {one.task for one in ANSWERS}
    spans = {
        task: [(type, start, end, score) for type, _, start, end, score, _ in rows]
        for task, rows in seen.items()
    }
    assert spans["place"] == [("polypeptide", 1, 5, 0.75)]
    assert spans["sites"] == [("polypeptide_region", 2, 2, 0.9), ("polypeptide_region", 4, 4, 0.6)]
    region = "polypeptide_region"
    assert spans["fold"] == [
        (region, 1, 2, pytest.approx(0.8)),
        (region, 3, 4, pytest.approx(0.6)),
        (region, 5, 5, 0.5),
    ]
    assert spans["parts"] == [("signal_peptide", 1, 2, 0.75), ("mature_protein_region", 3, 5, 0.75)]
    assert seen["parts"][0][5]["score_meaning"] == "how sure it is"
    assert [(seqid, start) for _, seqid, start, _, _, _ in seen["epitope"]] == [("pair:2", 3)]
    interface = seen["interface"]
    assert [(seqid, start) for _, seqid, start, _, _, _ in interface] == [("pair:1", 1), ("pair:2", 3)]
    assert interface[0][5]["ID"] == interface[1][5]["ID"]
    ids = {row[5]["ID"] for task in ("contacts", "interface") for row in seen[task]}
    assert len(ids) == 3
    assert unescaped(seen["enzyme"][0][5]["Name"]) == "1.1.1;2.1.1"
    assert [seqid for _, seqid, *_ in seen["bind"]] == ["pair:1", "pair:2"]
    assert seen["bind"][0][5]["record"] == "pair"


def test_gff3_is_read_by_another_program(tmp_path):
    """pandas stands in for a browser: nine tab-separated columns, and no character that would split one."""
    path = write(tmp_path / "all.gff3")
    frame = pandas.read_csv(path, sep="\t", comment="#", header=None)
    assert frame.shape[1] == 9
    assert frame[0].iloc[0].startswith("sp|P1%3B%3Dcmd%2C%22x%22%20%C3%BC%25%26%3E")


def test_three_lines_a_protein(tmp_path):
    fit = [one for one in ANSWERS if one.task in ("fold", "sites", "letters", "epitope")]
    with open_outputs(tmp_path / "a.3line", [Asked.of(TASKS[one.task]) for one in fit]) as outputs:
        for one in fit:
            outputs.write(one)
    lines = (tmp_path / "a.3line").read_text(encoding="utf-8").splitlines()
    assert lines[:6] == [f">{ODD} fold", "MSTYK", "HHEEC", f">{ODD} sites", "MSTYK", "01010"]
    assert lines[-3:] == [">pair epitope", "GGY", "001"]
    with pytest.raises(
        OutputError, match=r"place, .* have no one character a residue.*fold, sites"
    ) as raised:
        write(tmp_path / "b.3line")
    assert raised.value.code == "output.format"
    assert not list(tmp_path.glob("*b.3line*"))


# Whole or not at all ------------------------------------------------------------------------------------------------------


def test_suffixes():
    assert format_of("a/b.residues.csv") == ".residues.csv"
    assert format_of("a/b.CSV") == ".csv"
    for wrong in ("a.txt", "a", ".csv", "a.csv.gz"):
        with pytest.raises(OutputError) as raised:
            format_of(wrong)
        assert raised.value.code == "output.format"
        assert all(suffix in str(raised.value) for suffix in FORMATS)


def test_rejected_records_have_their_own_table(tmp_path):
    path = tmp_path / "all.csv"
    write(path, failures=FAILED)
    with rejected_path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["ordinal", "id", "code", "detail", "task"],
        ["2", "b;=d", "seq.char", "two lines", ""],
        ["3", "c", "task.chains", "no", "bind"],
    ]
    write(path)
    assert not rejected_path(path).exists()


def test_an_exception_leaves_what_was_there_before(tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "a.parquet", tmp_path / "a.gff3"]
    paths[0].write_text("before")

    def outcomes():
        yield ANSWERS[0]
        yield FAILED[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(paths, outcomes())
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert paths[0].read_text() == "before"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".gff3", ".parquet"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, suffix):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left") as raised:
        write(tmp_path / f"a{suffix}")
    assert raised.value.code == "output.write"
    assert not list(tmp_path.iterdir())


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    child = os.fork()
    if child == 0:
        with open_outputs(tmp_path / "a.csv", [Asked("x", "category", ("a", "b"))]) as outputs:
            outputs._open[0][0].stream.write(b"half a")
            outputs._open[0][0].stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    other = tmp_path / ".b.csv.012345678901.partial"
    other.write_text("of another output")
    assert len(hidden(tmp_path)) == 2
    with pending_file(tmp_path / "a.csv") as pending:
        pending.stream.write(b"new")
    assert hidden(tmp_path) == [other.name]
    assert (tmp_path / "a.csv").read_bytes() == b"new"


def test_what_living_writers_write_is_not_removed(tmp_path):
    """Neither another process's, nor this one's, nor a file that another may have made this moment."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with pending_file(tmp_path / "a.csv") as pending:
            pending.stream.write(b"theirs")
            pending.stream.flush()
            os.write(told, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    fresh = tmp_path / ".a.csv.012345678901.partial"
    fresh.touch()
    with pending_file(tmp_path / "a.csv") as first:
        first.stream.write(b"first")
        first.stream.flush()
        with pending_file(tmp_path / "a.csv") as second:
            second.stream.write(b"second")
        assert len(hidden(tmp_path)) == 3
    assert (tmp_path / "a.csv").read_bytes() == b"first"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.utime(fresh, (0, 0))
    with pending_file(tmp_path / "a.csv"):
        pass
    assert hidden(tmp_path) == []


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "file" / "a.csv", tmp_path / "folder.csv"):
        with pytest.raises(OutputError) as raised:
            write(path)
        assert raised.value.code == "output.write"
    assert write(tmp_path / "new" / "folder" / "a.csv").exists()


def test_hand_made_predictions_are_written_without_their_tasks(tmp_path):
    for suffix in FORMATS:
        if suffix != ".3line":
            write(tmp_path / f"one{suffix}")
            write_predictions(tmp_path / f"two{suffix}", ANSWERS)
            assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_writing_loads_no_torch():
    code = "import sys, protscribe.outputs, protscribe.predictions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# From file to file --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu", Asking(draws=2))


FASTA = ">a one\nMSTYKLM\n>b;=d\nMK1\n>c\nGGYSTYGGYMSTY\n>d\nM\n"


def test_from_file_to_files(predictor, tmp_path):
    (tmp_path / "in.fasta.gz").write_bytes(gzip.compress(FASTA.encode()))
    outputs = [str(tmp_path / name) for name in ("out.csv", "out.gff3", "out.jsonl")]
    names = ["place", "fold", "sites"]
    result = predict_file(predictor, str(tmp_path / "in.fasta.gz"), outputs, names, progress=False)
    assert (result.rows, result.rejected, result.records) == (9, 1, 4)
    assert result.counts["failures"] == 1
    assert [str(path) for path in result.paths] == outputs
    assert result.seconds > 0
    frame = pandas.read_csv(outputs[0], keep_default_na=False)
    assert [(row.id, row.task) for row in frame.itertuples()] == [
        (id, task) for id in "acd" for task in names
    ]
    rejected = pandas.read_csv(result.rejected_path)
    assert rejected[["ordinal", "id", "code"]].values.tolist() == [[1, "b;=d", "seq.char"]]
    direct = predictor.predict_many({"a": "MSTYKLM"}, names)
    assert list(frame["prediction"][:2]) == [direct[0].value, direct[1].value]


def test_the_same_run_writes_the_same_bytes(predictor, tmp_path):
    (tmp_path / "in.fasta").write_text(FASTA)
    written = []
    for turn in ("1", "2"):
        outputs = [str(tmp_path / f"{turn}{suffix}") for suffix in FORMATS if suffix != ".3line"]
        predict_file(predictor, str(tmp_path / "in.fasta"), outputs, progress=False)
        written.append(
            [(tmp_path / f"{turn}{suffix}").read_bytes() for suffix in FORMATS if suffix != ".3line"]
        )
    assert written[0] == written[1]


def test_tables_of_pairs_and_mixed_tasks(predictor, tmp_path):
    (tmp_path / "in.csv").write_text("id,sequence_a,sequence_b\n1,MSTY,GGY\n2,,GGY\n3,GGYM,MK\n")
    result = predict_file(
        predictor, str(tmp_path / "in.csv"), str(tmp_path / "o.csv"), ["bind", "epitope"], progress=False
    )
    assert (result.rows, result.rejected) == (4, 1)
    every = predict_file(predictor, str(tmp_path / "in.csv"), str(tmp_path / "o.csv"), progress=False)
    assert (every.rows, every.rejected) == (8, 1)
    mixed = predict_file(
        predictor, str(tmp_path / "in.csv"), str(tmp_path / "o.csv"), ["bind", "place"], progress=False
    )
    assert (mixed.rows, mixed.rejected) == (2, 3)
    (tmp_path / "in.fasta").write_text(FASTA)
    with pytest.raises(ProtscribeError) as raised:
        predict_file(predictor, str(tmp_path / "in.fasta"), str(tmp_path / "o.csv"), ["bind"], progress=False)
    assert raised.value.code == "input.chains"


def test_what_is_wrong_is_told_and_leaves_no_output(predictor, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("id,sequence\na,MSTY\nb,MK1\n")
    out = str(tmp_path / "out.csv")
    for output, keywords, code in (
        (out, {"on_error": "raise"}, "seq.char"),
        (str(source), {}, "output.input"),
        (str(tmp_path / "out.txt"), {}, "output.format"),
        ([], {}, "output.format"),
        ([out, out], {}, "output.format"),
        (out, {"tasks": ["plaice"]}, "task.unknown"),
        (str(tmp_path / "out.3line"), {"tasks": ["place"]}, "output.format"),
    ):
        with pytest.raises(ProtscribeError) as raised:
            predict_file(predictor, str(source), output, **{"progress": False, **keywords})
        assert raised.value.code == code
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
