"""When checkpoints are saved, what of them is kept, and what is told where that fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from protscribe.checkpoint import folder as folders
from protscribe.errors import ConfigError, ProtscribeError
from protscribe.training import saving
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.run import train
from protscribe.training.saving import MANIFEST, STATE, check, locked, saved
from tests.training.resuming import Story, run
from tests.training.test_run import checkpoints, small
from tests.training.test_saving import FaultyOs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return run(tmp_path_factory.mktemp("whole"))


def steps_saved(folder: Path) -> list[int]:
    return [check(path)["run"]["position"]["steps"] for path in saved(folder)]


def test_by_minutes_by_steps_and_at_the_end_of_every_epoch(tmp_path: Path, whole: Story) -> None:
    first, last = (max(entry[2] for entry in whole.batches if entry[0] == epoch) for epoch in (0, 1))
    every = list(range(1, first + 1))
    for name, options, expected in (
        ("neither", {"every_minutes": 0}, [first, last]),
        ("seldom", {"every_minutes": 1e9}, [first, last]),
        ("minutes", {"every_minutes": 1e-9}, [*every, first, *range(first + 1, last + 1), last]),
        ("steps", {"every_minutes": 0, "every_steps": 4}, [4, first, first + 4, last]),
    ):
        run(tmp_path, Checkpoints(tmp_path / name, keep=100, **options))
        assert steps_saved(tmp_path / name) == expected, name


def test_a_checkpoint_says_what_it_is_and_holds_no_code(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints(tmp_path / "c", "valid/loss"), max_epochs=1)
    (path,) = saved(tmp_path / "c")
    assert sorted(file.name for file in path.iterdir()) == [MANIFEST, STATE]
    told = json.loads((path / MANIFEST).read_text())["run"]
    assert told["position"]["epoch"] == 1
    assert told["finished"] is True
    assert told["best"] == path.name
    assert told["best_score"] == told["metrics"]["valid/loss"]
    state = torch.load(path / STATE, weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "run", "ScribeData"} <= set(state)
    assert "loops" not in state


def test_a_state_that_could_only_be_read_by_running_code_is_refused(tmp_path: Path) -> None:
    class Strange(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"seen": [1, Path("somewhere")]}

    with pytest.raises(ConfigError, match=r"Strange\.seen\[1\], of type PosixPath"):
        run(tmp_path, Checkpoints(tmp_path / "c"), callbacks=(Strange(),))
    assert saved(tmp_path / "c") == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keep": 1}, "keep"),
        ({"every_minutes": -1}, "every_minutes"),
        ({"every_steps": -1}, "every_steps"),
        ({"mode": "up"}, "mode"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Checkpoints("c", **values)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS], ids=errno.errorcode.get
)
def test_a_disk_that_fails_ends_the_run_which_goes_on_from_before(
    tmp_path: Path, whole: Story, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Failing(FaultyOs):
        """Fails where the fifth checkpoint is to get its name."""

        CALLS = ("rename",)

    shim = Failing(7, number)
    for module in (saving, folders):
        monkeypatch.setattr(module, "os", shim)
    keeping = Checkpoints(tmp_path / "c", every_minutes=0, every_steps=1)
    with pytest.raises(ProtscribeError, match=os.strerror(number)) as caught:
        run(tmp_path, keeping)
    monkeypatch.undo()
    assert caught.value.code == "output.write"
    assert caught.value.exit_status == 2
    found = steps_saved(tmp_path / "c")
    assert len(found) >= 2
    rest = run(tmp_path, resumed=saved(tmp_path / "c")[-1])
    assert rest.batches == whole.batches[found[-1] :]
    assert rest.left == whole.left


def test_a_place_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    with pytest.raises(ProtscribeError) as caught:
        train(**small(tmp_path, callbacks=checkpoints(tmp_path)))
    assert caught.value.code == "output.write"
    assert (tmp_path / "run" / "checkpoints").read_text() == "in the way"


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path / "run" / "checkpoints"):
            os.write(told, b"x")
            time.sleep(60)
    os.read(ready, 1)
    with pytest.raises(ProtscribeError, match=str(child)) as caught:
        train(**small(tmp_path, callbacks=checkpoints(tmp_path)))
    assert caught.value.code == "output.locked"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert train(**small(tmp_path, callbacks=checkpoints(tmp_path))).epochs == 1
    # Two after each other in one process do not stand in each other's way, however the first one ended.
    assert train(**small(tmp_path, callbacks=checkpoints(tmp_path))).epochs == 1


def test_a_run_that_branches_off_another_leaves_that_one_as_it_is(tmp_path: Path, whole: Story) -> None:
    run(tmp_path, Checkpoints(tmp_path / "a", "valid/loss", keep=100))
    before = {path.name: check(path) for path in saved(tmp_path / "a")}
    branch = Checkpoints(tmp_path / "b", "valid/loss")
    story = run(tmp_path, branch, resumed=saved(tmp_path / "a")[0])
    assert story.left == whole.left
    assert {path.name: check(path) for path in saved(tmp_path / "a")} == before
    assert len(saved(tmp_path / "b")) == 1
    assert branch.best is not None
    assert branch.best_score == before[saved(tmp_path / "a")[-1].name]["run"]["best_score"]


def test_a_best_checkpoint_that_is_gone_is_told_and_a_new_one_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeping = Checkpoints(tmp_path / "c", "valid/loss", "max")  # the first epoch's, which is then lost
    run(tmp_path, keeping, max_epochs=3)
    assert keeping.best is not None
    shutil.rmtree(keeping.best)
    again = Checkpoints(tmp_path / "c", "valid/loss", "max")
    run(tmp_path, again, resumed=saved(tmp_path / "c")[0], max_epochs=3)
    assert "best checkpoint so far cannot be read" in caplog.text
    assert again.best is not None
    assert again.best.name in {path.name for path in saved(tmp_path / "c")}
