"""``protscribe calibrate``, and asking its bundle for coverage from the command line."""

import csv
from pathlib import Path

import pytest

from protscribe.cli import DONE, USAGE, main
from tests.checkpoint.made import save

ROWS = [
    ("MKTAYISSYTAK", "inside"),
    ("ACDEFGHIKL", "outside"),
    ("MSTYKRDE", "inside"),
    ("PLKMNACDW", "outside"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "old")
    lines = [f"{chain}{letter},human,{label},validation" for chain, label in ROWS for letter in "ACDEFGHIKL"]
    Path("rows.csv").write_text("\n".join(["sequence,host,label,split", *lines]) + "\n")
    Path("my/source").mkdir(parents=True)
    Path("my/source/rows.yaml").write_text(
        "name: rows\npath: rows.csv\ntask: where\nsplits: {validation: validation, test: test}\n"
    )
    Path("in.fasta").write_text(">a\nMKTAYIAK\n>b\nACDEFG\n")
    return tmp_path


def run(*arguments: str) -> int:
    return main([*arguments, "device=cpu"])


def test_from_a_bundle_without_to_one_with_guarantees(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--config-dir", "my", "bundle=old", "source=rows"]
    assert run("calibrate", *asked, "output=new") == DONE
    said = capsys.readouterr().out
    assert "where" in said
    assert "bundle: " in said
    predict = [
        "predict",
        "input=in.fasta",
        "tasks=where",
        "progress=false",
        "coverage=0.9",
        "abstain_below=0.99",
    ]
    assert run(*predict, "bundle=new", "output=out.csv") == DONE
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [row["guarantee_rows"] for row in rows] == ["40", "40"]
    assert all("abstained" in row["status"] for row in rows)
    capsys.readouterr()
    assert run(*predict, "bundle=old", "output=none.csv") == USAGE
    assert "protscribe calibrate" in capsys.readouterr().err
    assert not Path("none.csv").exists()
    assert main(["inspect", "bundle=new"]) == DONE
    assert "up to 0.97" in capsys.readouterr().out


def test_what_is_missing_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calibrate", "bundle=old", "output=new") == USAGE
    assert "say on what to calibrate" in capsys.readouterr().err
    assert (
        run("calibrate", "--config-dir", "my", "bundle=old", "source=rows", "split=test", "output=new")
        == USAGE
    )
    assert "no usable row" in capsys.readouterr().err
    assert not Path("new").exists()
