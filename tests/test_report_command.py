"""``protscribe report`` and ``protscribe explain``, from the command line to their files."""

import csv
import json
from pathlib import Path

import pytest

from protscribe.cli import DONE, REJECTED, USAGE, main
from tests.checkpoint.made import save
from tests.evaluation.report.folders import made_result, write_folder


def test_a_folder_given_alone_is_reported_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "run", [made_result("rich_in_k")])
    assert main(["report", "run"]) == DONE
    assert capsys.readouterr().out == "report: run/report.html\nreport: run/report.md\n"
    first = Path("run/report.html").read_bytes()
    Path("run/report.html").unlink()
    assert main(["report", f"folder={tmp_path}/run"]) == DONE
    assert Path("run/report.html").read_bytes() == first


def test_other_seeds_of_the_training_are_reported_on_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, right in enumerate((0.6, 0.7, 0.9)):
        write_folder(tmp_path / f"run{place}", [made_result("rich_in_k", right=right, seed=place)])
    write_folder(tmp_path / "other", [made_result("rich_in_k", count=20)])
    assert main(["report", "run0"]) == DONE
    assert "Trained again" not in Path("run0/report.md").read_text()
    assert main(["report", "run0", "seeds=[run1,run2]"]) == DONE
    page, text = Path("run0/report.html").read_text(), Path("run0/report.md").read_text()
    assert "The same training 3 times, with other seeds" in page
    told = json.loads(Path("run0/seeds.json").read_text())
    main_metric = json.loads(Path("run0/evaluation.json").read_text())["tasks"]["rich_in_k"]["main_metric"]
    ours = told["metrics"]["rich_in_k"]["protscribe"][main_metric]
    values = [f"{value:.3f}" for value in ours["values"]]
    assert len(set(values)) == 3
    assert ", ".join(values) in text
    assert f"{ours['mean']:.3f} ± {ours['deviation']:.3f}" in text
    assert Path("run0/seeds.md").is_file()
    capsys.readouterr()
    before = Path("run0/report.md").read_bytes()
    assert main(["report", "run0", "seeds=[other]"]) == USAGE
    assert "evaluation.seeds" in capsys.readouterr().err
    assert main(["report", "run0", "seeds=[run1,./run0]"]) == USAGE
    assert "given twice" in capsys.readouterr().err
    assert main(["report", "run0", "seeds=nowhere"]) == USAGE
    assert "input.not_found" in capsys.readouterr().err
    assert Path("run0/report.md").read_bytes() == before


def test_there_is_nothing_to_report_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == USAGE
    assert "input.not_found" in capsys.readouterr().err
    assert main(["report"]) == USAGE
    assert "folder" in capsys.readouterr().err
    assert main(["report", "folder=x", "depth=2"]) == USAGE


def test_answers_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "bundle")
    Path("in.fasta").write_text(">a\nMKTAYIAKSTY\n>b\nMK4\n")
    asked = ["explain", "bundle=bundle", "input=in.fasta", "output=out", "task=where", "window=3"]
    assert main([*asked, "device=cpu", "progress=false"]) == REJECTED
    said = capsys.readouterr()
    assert "1 answers about 2 records looked into: out/explanations.csv" in said.out
    assert "picture: out/00001.where.png" in said.out
    assert "seq.char" in said.err
    with Path("out/explanations.csv").open(newline="") as file:
        assert [row["position"] for row in csv.DictReader(file)] == [str(place) for place in range(1, 12)]
    assert main([*asked, "about=nowhere", "device=cpu", "on_error=raise"]) == USAGE
    assert "has no answer 'nowhere'" in capsys.readouterr().err
