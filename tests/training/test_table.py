"""The table of metrics: what CSV readers find, and how it goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from protscribe.errors import OutputError
from protscribe.training.table import MetricsTable


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


def filled(path: Path, steps: int) -> MetricsTable:
    table = MetricsTable(str(path))
    for step in range(1, steps + 1):
        table.log_metrics(
            {"train/loss": 1 / step, "epoch": 0, **({"valid/loss": 0.5} if step == 3 else {})}, step
        )
    return table


def test_a_row_for_what_is_logged_with_columns_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "metrics.csv"
    assert filled(path, 4).rows == 4
    assert list(rows(path)[0]) == ["epoch", "step", "train/loss", "valid/loss"]
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4"]
    assert [row["valid/loss"] for row in rows(path)] == ["", "", "0.5", ""]
    assert float(rows(path)[2]["train/loss"]) == 1 / 3


def test_it_goes_on_from_where_it_is_cut_off_byte_for_byte(tmp_path: Path) -> None:
    whole = tmp_path / "whole.csv"
    filled(whole, 6)
    for cut in range(6):
        path = tmp_path / f"{cut}.csv"
        filled(path, 5)
        path.write_text(path.read_text() + "0,6,0.1")  # killed in the middle of a row
        table = MetricsTable(str(path))
        table.rewind(cut)
        for step in range(cut + 1, 7):
            table.log_metrics(
                {"train/loss": 1 / step, "epoch": 0, **({"valid/loss": 0.5} if step == 3 else {})}, step
            )
        assert path.read_bytes() == whole.read_bytes()


def test_a_new_run_begins_a_new_table(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    filled(path, 5)
    filled(path, 2)
    assert len(rows(path)) == 2


def test_a_table_that_has_lost_rows_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = MetricsTable(str(tmp_path / "metrics.csv"))
    table.rewind(7)
    assert "has 0 rows, of 7" in caplog.text
    table.log_metrics({"a": 1.0}, 8)
    assert len(rows(tmp_path / "metrics.csv")) == 1


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        filled(tmp_path / "file" / "metrics.csv", 1)
    assert caught.value.code == "output.write"
