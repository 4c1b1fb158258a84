"""``protscribe neighbours``: from a bundle without to one whose known proteins vote, and what it says of a wrong request."""

from pathlib import Path

import pytest

from protscribe.checkpoint import load_bundle
from protscribe.cli import DONE, USAGE, main
from tests.checkpoint.made import save

ROWS = [
    ("MKTAYISSYTAK", "human", "inside"),
    ("ACDEFGHIKL", "yeast", "outside"),
    ("MSTYKRDE", "human", "inside"),
    ("PLKMNACDW", "yeast", "outside"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "old")
    rows = [
        f"{chain}{letter},{host},{label},{split}"
        for chain, host, label in ROWS
        for letter, split in zip("ACDEFGHIKL", ["train", "validation"] * 5, strict=True)
    ]
    Path("rows.csv").write_text("\n".join(["sequence,host,label,split", *rows]) + "\n")
    Path("my/source").mkdir(parents=True)
    Path("my/source/rows.yaml").write_text(
        "name: rows\npath: rows.csv\ntask: where\nsplits: {train: train, validation: validation}\n"
    )
    Path("in.fasta").write_text(">a\nMKTAYIAK\n>b\nACDEFG\n")
    return tmp_path


def run(*arguments: str) -> int:
    return main([*arguments, "device=cpu"])


def test_from_a_bundle_without_to_one_with_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--config-dir", "my", "bundle=old", "source=rows"]
    assert run("neighbours", *asked, "output=new") == DONE
    said = capsys.readouterr().out
    assert "loss without" in said
    assert "bundle: " in said
    near = load_bundle("new").neighbours["where"]
    assert near.known == 20
    assert near.prompts == (("human",), ("yeast",))
    predict = ["predict", "input=in.fasta", "tasks=where", "progress=false", "bundle=new", "output=out.csv"]
    assert run(*predict) == DONE
    assert main(["inspect", "bundle=new"]) == DONE
    assert "neighbours that vote" in capsys.readouterr().out


def test_what_is_wrong_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("neighbours", "bundle=old", "output=new") == USAGE
    assert "say whose proteins are to vote" in capsys.readouterr().err
    asked = ["neighbours", "--config-dir", "my", "bundle=old", "source=rows"]
    assert run(*asked, "known=test", "output=new") == USAGE
    assert "no usable row" in capsys.readouterr().err
    assert run(*asked, "share=0.5") == USAGE
    assert "share" in capsys.readouterr().err
    assert not Path("new").exists()
