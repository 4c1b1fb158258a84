"""Signals: at any moment, however often, to whichever process, they end a run with status 75, and it goes on as if nothing
had happened."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from protscribe.checkpoint import read_manifest
from protscribe.errors import Preempted, ProtscribeError
from protscribe.interruption import SIGNALS, interruption, listening
from protscribe.training import saving
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.run import train
from protscribe.training.saving import STATE, newest_intact, saved
from protscribe.training.table import MetricsTable
from tests.training.resuming import Story, run
from tests.training.test_run import checkpoints, small

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


class At(Callback):
    """Does something once, at a hook's n-th call."""

    def __init__(self, hook: str, number: int, act: Callable[[Any], None]) -> None:
        self.left, self.act = number, act
        setattr(self, hook, self._called)

    def _called(self, trainer: Any, *_: Any, **__: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.act(trainer)


def send(*numbers: int) -> Callable[[Any], None]:
    def act(trainer: Any) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return act


def send_to_worker(number: int) -> Callable[[Any], None]:
    def act(trainer: Any) -> None:
        for worker in multiprocessing.active_children():
            assert worker.pid is not None
            os.kill(worker.pid, number)
        until = time.monotonic() + 20
        while not any(map(trainer.datamodule.ears.heard, ("training", "validation"))):
            assert time.monotonic() < until
            time.sleep(0.01)

    return act


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return run(tmp_path_factory.mktemp("whole"), accumulate_grad_batches=3)


def interrupted(folder: Path, *callbacks: Callback, **options: Any) -> Preempted:
    """The way a run that is interrupted ends."""
    keeping = Checkpoints(folder / "checkpoints", "valid/loss", every_minutes=0)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Preempted) as caught, listening():
        run(folder, keeping, callbacks=callbacks, accumulate_grad_batches=3, **options)
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert caught.value.exit_status == 75
    return caught.value


def goes_on_as(folder: Path, whole: Story, **options: Any) -> list[Any]:
    """Where it goes on: the first batch."""
    last = newest_intact(folder / "checkpoints")
    assert last is not None
    rest = run(folder, resumed=last, accumulate_grad_batches=3, **options)
    assert rest.batches == whole.batches[len(whole.batches) - len(rest.batches) :]
    assert rest.validations == whole.validations[len(whole.validations) - len(rest.validations) :]
    assert rest.left == whole.left
    return [*rest.batches[:1], None][0]


@pytest.mark.parametrize(
    ("hook", "number", "turns"),
    [("on_train_batch_start", 2, 3), ("on_before_optimizer_step", 1, 3), ("on_train_batch_end", 3, 3)],
    ids=["inside an accumulated step", "before its weights change", "after it"],
)
@pytest.mark.parametrize("numbers", [(TERM,), (USR1, TERM), (INT, INT)], ids=["TERM", "USR1 TERM", "INT INT"])
def test_in_a_step(
    tmp_path: Path, whole: Story, hook: str, number: int, turns: int, numbers: tuple[int, ...]
) -> None:
    """The step in progress is finished and saved."""
    error = interrupted(tmp_path, At(hook, number, send(*numbers)))
    assert f"resume={tmp_path / 'checkpoints'}" in str(error)
    assert signal.Signals(numbers[0]).name in str(error)
    assert goes_on_as(tmp_path, whole)[:2] == (0, turns)


@pytest.mark.parametrize(("hook", "number"), [("on_validation_start", 1), ("on_validation_batch_start", 2)])
def test_in_validation(tmp_path: Path, whole: Story, hook: str, number: int) -> None:
    """It is given up, and runs again from its beginning."""
    interrupted(tmp_path, At(hook, number, send(TERM, USR1)))
    (path,) = saved(tmp_path / "checkpoints")
    assert torch.load(path / STATE, weights_only=True)["run"]["position"]["validate"]
    last = newest_intact(tmp_path / "checkpoints")
    again = run(tmp_path, resumed=last, accumulate_grad_batches=3)
    assert again.validations == whole.validations
    assert again.left == whole.left


def test_at_the_end_of_an_epoch(tmp_path: Path, whole: Story) -> None:
    interrupted(tmp_path, At("on_train_epoch_end", 1, send(INT)))
    assert goes_on_as(tmp_path, whole)[:2] == (1, 0)


def test_at_the_end_of_the_last_epoch_nothing_is_left_to_train(tmp_path: Path, whole: Story) -> None:
    interrupted(tmp_path, At("on_train_epoch_end", 2, send(TERM)))
    assert goes_on_as(tmp_path, whole) is None


def test_twice_in_a_save(tmp_path: Path, whole: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save in progress is not broken by signals, and nothing is saved twice."""
    whole_save = saving.save

    def slow(folder: Path, name: str, write: Callable[[Any], None], facts: Any) -> Path:
        def writing(file: Any) -> None:
            send(TERM, INT)(None)
            write(file)
            send(USR1, TERM)(None)

        return whole_save(folder, name, writing, facts)

    monkeypatch.setattr(saving, "save", slow)
    interrupted(tmp_path)
    monkeypatch.undo()
    assert len(saved(tmp_path / "checkpoints")) == 1
    assert goes_on_as(tmp_path, whole)[:2] == (1, 0)


@pytest.mark.parametrize(("hook", "number"), [("on_train_batch_start", 2), ("on_validation_batch_start", 1)])
@pytest.mark.parametrize("sent", [TERM, INT, USR1], ids=["TERM", "INT", "USR1"])
def test_to_a_worker(tmp_path: Path, whole: Story, hook: str, number: int, sent: int) -> None:
    interrupted(tmp_path, At(hook, number, send_to_worker(sent)), data={"workers": 2})
    last = newest_intact(tmp_path / "checkpoints")
    again = run(tmp_path, resumed=last, accumulate_grad_batches=3, data={"workers": 1})
    assert again.left == whole.left


def test_workers_that_a_loader_ends_do_not_end_the_run(tmp_path: Path, whole: Story) -> None:
    """A loader that closes sends SIGTERM to workers that are slow to end: those of a validation that is over."""

    def act(trainer: Any) -> None:
        for ear in trainer.datamodule.ears._in_use["validation"]:
            ear._heard.value = TERM

    story = run(tmp_path, accumulate_grad_batches=3, callbacks=(At("on_train_epoch_end", 1, act),))
    assert story.left == whole.left


def test_without_checkpoints_a_run_ends_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(Preempted, match="nothing of it is saved"), listening():
        run(tmp_path, callbacks=(At("on_train_batch_start", 1, send(TERM)),))


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_a_fit_a_run_ends_at_once(tmp_path: Path, number: int) -> None:
    keywords = small(tmp_path)
    read, begun = keywords["data"], time.monotonic()

    def reading(**given: Any) -> Any:
        send(number)(None)
        time.sleep(30)
        return read(**given)

    with pytest.raises(Preempted) as caught:
        train(**{**keywords, "data": reading})
    assert time.monotonic() - begun < 20
    assert caught.value.code == "train.preempted"


def test_a_signal_that_nobody_saw_before_the_fit_was_over_ends_the_run() -> None:
    with pytest.raises(Preempted), listening(), interruption().deferred():
        send(TERM, TERM)(None)


def test_where_nobody_listens_nothing_is_heard() -> None:
    assert interruption().signal is None
    found = []

    def elsewhere() -> None:
        with listening():  # not in a main thread: allowed, and deaf
            found.append(signal.getsignal(TERM))

    before = signal.getsignal(TERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


def trains(folder: Path, resume: str | None = None) -> int:
    """Starts a whole run in a process of its own, forked; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        kept, table = checkpoints(folder, every_steps=1), MetricsTable(str(folder / "metrics.csv"))
        train(**small(folder, max_epochs=8, callbacks=kept, logger={"table": table}, resume=resume))
        status = 0
    except ProtscribeError as error:
        status = error.exit_status
    finally:
        os._exit(status)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def bundle_of(folder: Path) -> dict[str, Any]:
    """The manifest, with the digests of all files, but for the time it was written at."""
    manifest = read_manifest(folder / "run" / "bundle")
    return {name: value for name, value in manifest.items() if name not in ("created", "seal")}


def test_whole_processes_interrupted_until_they_are_done_write_the_bundle_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    assert ended(trains(tmp_path / "whole")) == 0
    statuses: list[int] = []
    folder = tmp_path / "parts" / "run" / "checkpoints"
    numbers = itertools.cycle([TERM, USR1, INT, signal.SIGKILL])
    while statuses[-1:] != [0]:
        assert len(statuses) < 100
        before = saved(folder)[-1:]
        child = trains(tmp_path / "parts", resume="last")
        while saved(folder)[-1:] == before and not os.waitid(
            os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.005)
        for number in [next(numbers)] * 2:
            os.kill(child, number)
        statuses.append(ended(child))
    assert {75, -signal.SIGKILL} <= set(statuses) <= {0, 75, -signal.SIGKILL}
    assert bundle_of(tmp_path / "parts") == bundle_of(tmp_path / "whole")
    logs = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert logs[0].count(b"\n") > 16
