"""Progress: a bar for people, a line now and then for logs, nothing where nothing is wanted."""

import io
import logging

import pytest

from protscribe import progress as module
from protscribe.progress import progress


def test_where_there_is_no_terminal_a_log_tells(caplog, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.0)
    with caplog.at_level(logging.INFO), progress("predict", 10) as advance:
        advance(4)
        advance(6)
    assert [record.message.split(" in ")[0] for record in caplog.records] == [
        "predict: 4 of 10 records", "predict: 10 of 10 records", "predict: 10 of 10 records",
    ]  # fmt: skip


def test_between_two_lines_passes_some_time(caplog):
    with caplog.at_level(logging.INFO), progress("predict", unit="proteins") as advance:
        for _ in range(100):
            advance(1)
    assert len(caplog.records) == 1
    assert caplog.records[0].message.startswith("predict: 100 proteins")


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress("predict", 2) as advance:
        advance(2)
    assert "predict" in screen.getvalue()


def test_nothing_is_said_where_nothing_is_wanted(caplog, capsys):
    with caplog.at_level(logging.INFO), progress("predict", shown=False) as advance:
        advance(1)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_errors_pass_through():
    with pytest.raises(ZeroDivisionError), progress("predict"):
        raise ZeroDivisionError
