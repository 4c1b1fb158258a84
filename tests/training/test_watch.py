"""A process that fails ends all within seconds, and one message says which it was (promise P20)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protscribe.cli import main
from protscribe.training.module import ScribeTraining
from tests.test_cli import TINY
from tests.test_cli import home as home
from tests.together import statuses

SECONDS = 30.0
"""What the promise allows."""


def raise_an_error() -> None:
    raise ArithmeticError("planted")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    time.sleep(100)


@pytest.mark.parametrize(
    ("acts", "ended", "said"),
    [
        ({1: raise_an_error}, [1, 1], "rank 1 of 2: this is a bug"),
        ({0: raise_an_error}, [1, 1], "rank 0 of 2: this is a bug"),
        ({1: raise_an_error, 0: wait}, [1, 1], "rank 1 of 2: this is a bug"),
        ({1: die}, [2, -9], "rank 0 of 2: rank 1 of 2 ended without a word"),
        ({0: die}, [-9, 2], "rank 1 of 2: rank 0 of 2 ended without a word"),
    ],
    ids=["second fails", "first fails", "the other is stuck", "second is killed", "first is killed"],
)
def test_one_ends_all_and_one_message_says_which(
    acts: dict[int, Callable[[], None]],
    ended: list[int],
    said: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    step = ScribeTraining.training_step

    def planted(self: ScribeTraining, batch: Any, index: int) -> Any:
        if self.global_step == 1 and self.global_rank in acts:
            if acts[self.global_rank] is not wait:
                (home / "failed").write_text(str(time.monotonic()))
            acts[self.global_rank]()
        return step(self, batch, index)

    monkeypatch.setattr(ScribeTraining, "training_step", planted)
    overrides = ["mixture=mine", "name=two", "trainer=ddp_cpu", "trainer.max_epochs=5", "data.budget.rows=8"]

    def work(rank: int) -> None:
        raise SystemExit(main(["train", "--config-dir", "my_configs", *TINY, *overrides]))

    assert statuses(work, 2, home, seconds=300) == ended
    assert time.monotonic() - float((home / "failed").read_text()) < SECONDS
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("protscribe: ")]
    assert len(told) == 1, told
    assert told[0].startswith(f"protscribe: {said}")
