"""The command as a process: it starts, says where it is, answers, and ends well when it is asked to."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs protscribe[serve]")
pytest.importorskip("uvicorn", reason="needs protscribe[serve]")

from protscribe.cli import main
from protscribe.errors import ConfigError
from protscribe.serving import run

BUNDLE = "mini-multitask"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_the_command_serves_until_it_is_told_to_end_and_answers_what_it_took() -> None:
    command = [
        sys.executable,
        "-m",
        "protscribe",
        "serve",
        f"bundle={BUNDLE}",
        "port=0",
        "device=cpu",
        "max_wait_ms=3000",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not lines or "http://" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        found = re.search(r"http://127\.0\.0\.1:\d+/", lines[-1])
        assert found is not None, lines
        address, answers = found.group(), list[Any]()

        def ask() -> None:
            body = {
                "proteins": ">a\nGILGFVFTL",
                "tasks": ["mhc_affinity"],
                "fields": {"allele": "HLA-A*02:01"},
            }
            request = urllib.request.Request(
                f"{address}predict", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with OPENER.open(request, timeout=60) as response:
                answers.append(json.load(response))

        asking = threading.Thread(target=ask)
        asking.start()
        # It waits three seconds for others, and is told to end in the meantime.
        waiting = 0
        while not waiting:
            with OPENER.open(f"{address}health", timeout=60) as response:
                waiting = json.load(response)["waiting"]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert process.wait(60) == 0
        assert time.monotonic() - began < 30
        rest = process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
    (answer,) = answers
    assert answer["predictions"][0]["unit"] == "log10(IC50/nM)"
    assert "POST /predict 200" in rest
    assert "every request that was taken has been answered" in rest
    assert "Traceback" not in rest


def test_an_address_that_is_taken_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "bundle=no-such-bundle", f"port={port}"]) == 2
    assert "[serve.address]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["port=70000"], "config.value"),
        (["host=no.such.host.invalid"], "serve.address"),
        (["max_queue=1"], "config.value"),
        (["seconds=0"], "config.value"),
        (["max_wait_ms=-1"], "config.value"),
        (["batch_residues=0"], "config.value"),
        (["prot=8000"], "config.unknown_key"),
        ([], "checkpoint.not_found"),
    ],
)
def test_what_cannot_be_is_said(settings: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "bundle=./no-such-bundle", *(settings or ["port=0"])]) == 2
    told = capsys.readouterr().err
    assert f"[{code}]" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("lab.example", True),
    ],
)
def test_who_listens_to_strangers_is_warned(
    host: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run._warn_of_strangers(host)
    assert ("no authentication" in caplog.text.replace("\n", " ")) == warned


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"protscribe\[serve\]"):
        run.serve("bundle")
