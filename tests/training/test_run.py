"""A whole run: from tables to a bundle, resumed, stopped early, refused."""

from __future__ import annotations

import csv
import os
import signal
import stat
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from protscribe.checkpoint import load_bundle
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.errors import Preempted, ProtscribeError
from protscribe.nn.decoder import Decoder
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.run import TrainResult, train
from protscribe.training.saving import STATE, saved
from protscribe.training.schedule import constant
from tests.training.made import COUNTS, TASKS, settings

FLAT = partial(constant, warmup_steps=0)


def checkpoints(folder: Path, mode: Literal["min", "max"] = "min", **options: Any) -> dict[str, Callback]:
    return {"checkpoints": Checkpoints(folder / "run" / "checkpoints", "valid/loss", mode, **options)}


def state_of(checkpoint: Path | None) -> dict[str, Any]:
    assert checkpoint is not None
    state: dict[str, Any] = torch.load(checkpoint / STATE, weights_only=True)
    return state


def small(folder: Path, **options: Any) -> dict[str, Any]:
    """Two quick tasks."""
    chosen = settings(folder, max_epochs=options.pop("max_epochs", 1))
    chosen["mixture"] = Mixture({name: Entry(name, name) for name in ("where", "how_much")})
    chosen["decoder"] = partial(Decoder, width=16, layers=1, heads=2, dropout=0.1)
    chosen["encoder"] = {
        "kind": "mini",
        "width": 16,
        "layers": 1,
        "attention_layers": 1,
        "heads": 2,
        "dropout": 0.1,
    }
    return {**chosen, "schedule": FLAT, "choose_readouts": False, **options}


def test_a_run_of_all_kinds_leaves_a_bundle_that_loads_and_logs(tmp_path: Path) -> None:
    keywords = settings(tmp_path, max_epochs=2)
    result = train(
        **keywords,
        schedule=FLAT,
        callbacks={**checkpoints(tmp_path), "none": None},
        logger={"csv": CSVLogger(tmp_path / "run", name="logs", version="")},
        config={"name": "made"},
    )
    assert isinstance(result, TrainResult)
    assert result.epochs == 2
    assert result.steps >= 2
    assert result.best_score == pytest.approx(result.metrics["valid/loss"], rel=1)
    assert 0 <= result.padding_share < 1
    bundle = load_bundle(result.bundle)
    assert set(bundle.tasks) == set(COUNTS) == set(bundle.readouts)
    assert bundle.tasks["where"].codec.labels == ("cytosol", "membrane", "nucleus")
    assert bundle.manifest["provenance"]["seed"] == 0
    assert "name: made" in (result.bundle / "config.yaml").read_text()
    logged = list(csv.DictReader((tmp_path / "run" / "logs" / "metrics.csv").open()))
    assert {"train/loss", "valid/loss", "valid/loss/fold", "valid/off_grammar/sites"} <= set(logged[0])


def test_the_bundle_holds_the_best_weights_not_the_last(tmp_path: Path) -> None:
    # Learning makes the loss fall, so that the epoch of the highest loss is the first.
    keywords = small(tmp_path, max_epochs=3, callbacks=checkpoints(tmp_path, mode="max"))
    result = train(**keywords)
    best, last = (
        state_of(result.best_checkpoint)["state_dict"],
        state_of(result.last_checkpoint)["state_dict"],
    )
    held = load_bundle(result.bundle).model.decoder.state_dict()
    assert all(torch.equal(held[name], best[f"model.decoder.{name}"]) for name in held)
    assert not all(torch.equal(held[name], last[f"model.decoder.{name}"]) for name in held)


def test_a_run_resumed_at_the_end_of_an_epoch_goes_on_as_if_never_interrupted(tmp_path: Path) -> None:
    states = []
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        folder = tmp_path / name
        for epochs in parts:
            result = train(**small(folder, max_epochs=epochs), callbacks=checkpoints(folder), resume="last")
        states.append(state_of(result.last_checkpoint))
    whole, resumed = states
    assert whole["epoch"] == resumed["epoch"] == 4
    assert whole["global_step"] == resumed["global_step"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_resuming_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    result = train(**small(tmp_path, callbacks=checkpoints(tmp_path)))
    keywords = small(tmp_path, max_epochs=2, resume=str(result.last_checkpoint))
    keywords["mixture"] = Mixture({name: Entry(name, name) for name in ("where", "several")})
    with pytest.raises(ProtscribeError) as caught:
        train(**keywords)
    assert caught.value.code == "config.resume"


def test_resuming_with_another_size_lists_both(tmp_path: Path) -> None:
    result = train(**small(tmp_path, callbacks=checkpoints(tmp_path)))
    keywords = small(tmp_path, max_epochs=2, resume=str(result.last_checkpoint))
    keywords["decoder"] = partial(Decoder, width=32, layers=1, heads=2)
    with pytest.raises(ProtscribeError, match=r"decoder\.width.*16.*32") as caught:
        train(**keywords)
    assert caught.value.code == "config.fixed"


def test_a_missing_checkpoint_is_an_error_unless_it_is_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(ProtscribeError) as caught:
        train(**small(tmp_path, resume=str(tmp_path / "nowhere.ckpt")))
    assert caught.value.code == "checkpoint.not_found"


class Signalled(Callback):
    """Ends training as a user or a scheduler would, after the first epoch's checkpoint is written."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 1:
            if self.how == "interrupt":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("how", ["interrupt", "SIGTERM"])
def test_a_signal_ends_training_so_that_it_can_be_resumed(tmp_path: Path, how: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    kept = checkpoints(tmp_path)
    with pytest.raises(Preempted, match="resume=") as caught:
        train(**small(tmp_path, max_epochs=3, callbacks={**kept, "signalled": Signalled(how)}))
    assert caught.value.exit_status == 75
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "run" / "bundle").exists()
    result = train(**small(tmp_path, max_epochs=3, callbacks=checkpoints(tmp_path), resume="last"))
    assert result.epochs == 3


def test_resuming_a_finished_run_writes_the_same_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the last epoch and the bundle; the date, which a bundle states, is held still."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    manifests = []
    for _ in range(2):
        result = train(**small(tmp_path, max_epochs=2, callbacks=checkpoints(tmp_path), resume="last"))
        manifests.append((result.bundle / "manifest.json").read_bytes())
        assert result.epochs == 2
        assert result.metrics["valid/loss"] > 0
    assert manifests[0] == manifests[1]


def test_a_new_run_does_not_take_what_an_unfinished_one_has_left_for_its_own(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        train(
            **small(
                tmp_path, max_epochs=3, callbacks={**checkpoints(tmp_path), "signalled": Signalled("SIGTERM")}
            )
        )
    train(**small(tmp_path, callbacks=checkpoints(tmp_path)))
    assert len(saved(tmp_path / "run" / "checkpoints.earlier-1")) == 2
    (only,) = saved(tmp_path / "run" / "checkpoints")
    assert only.name.startswith("0001-")


def test_the_last_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    # The highest loss is the first epoch's.
    result = train(**small(tmp_path, max_epochs=5, callbacks=checkpoints(tmp_path, mode="max")))
    names = [path.name[:4] for path in saved(tmp_path / "run" / "checkpoints")]
    assert names == ["0001", "0004", "0005"]
    assert result.best_checkpoint is not None
    assert result.best_checkpoint.name.startswith("0001-")


def test_resuming_falls_back_to_the_checkpoint_before_a_damaged_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(**small(tmp_path, max_epochs=3, callbacks=checkpoints(tmp_path)))
    whole = state_of(result.last_checkpoint)["state_dict"]
    assert result.last_checkpoint is not None
    (result.last_checkpoint / STATE).write_bytes(b"")
    again = train(**small(tmp_path, max_epochs=3, callbacks=checkpoints(tmp_path), resume="last"))
    assert "damaged" in caplog.text
    assert all(
        torch.equal(value, whole[name])
        for name, value in state_of(again.last_checkpoint)["state_dict"].items()
    )
    assert len(saved(tmp_path / "run" / "checkpoints")) >= 2
    with pytest.raises(ProtscribeError) as caught:
        train(
            **small(
                tmp_path,
                callbacks=checkpoints(tmp_path),
                resume=str(tmp_path / "run" / "checkpoints.earlier-1" / "0003-step-3"),
            )
        )
    assert caught.value.code == "checkpoint.corrupt"


def test_a_lightning_checkpoint_callback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtscribeError, match="callbacks=default") as caught:
        train(**small(tmp_path, callbacks={"best": ModelCheckpoint(tmp_path)}))
    assert caught.value.code == "config.value"


def test_early_stopping_on_a_named_metric(tmp_path: Path) -> None:
    stop = EarlyStopping(monitor="valid/loss/where", patience=1, mode="max", min_delta=100.0)
    result = train(**small(tmp_path, max_epochs=20, callbacks={"stop": stop}))
    assert result.epochs == 2


def test_a_metric_that_nobody_logs_is_told_before_training(tmp_path: Path) -> None:
    stop = EarlyStopping(monitor="valid/loss/wheer")
    with pytest.raises(ProtscribeError, match="did you mean 'valid/loss/where'") as caught:
        train(**small(tmp_path, callbacks={"stop": stop}))
    assert caught.value.code == "config.value"


@pytest.mark.parametrize("how", [{"how": "lora", "rank": 2}, {"how": "last_k", "last": 1}, {"how": "frozen"}])
def test_every_adaptation_is_exported_as_a_plain_encoder(tmp_path: Path, how: dict[str, Any]) -> None:
    result = train(**small(tmp_path, adaptation=how))
    names = load_bundle(result.bundle).model.encoder.state_dict()
    assert not any("lora" in name or name.startswith("encoder.") for name in names)


def test_an_adaptation_with_a_typing_error_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProtscribeError, match="did you mean 'rank'"):
        train(**small(tmp_path, adaptation={"how": "lora", "rnak": 2}))


def test_molecules_are_read_by_an_encoder_of_their_own(tmp_path: Path) -> None:
    from protscribe.data.source import Source
    from protscribe.task import Task

    plain = {
        "name": "binds",
        "title": "binds",
        "molecule": True,
        "codec": {"kind": "category", "labels": ["n", "y"]},
    }
    (tmp_path / "m.csv").write_text("id,sequence,smiles,label\n1,MKTW,CCO,y\n2,ACDE,c1ccccc1,n\n3,WWW,CN,y\n")
    keywords = small(tmp_path)
    keywords |= {
        "mixture": Mixture({"binds": Entry("binds", "m")}),
        "tasks": {"binds": Task.from_plain(plain)},
        "sources": {"m": Source(name="m", path=str(tmp_path / "m.csv"), task="binds")},
    }
    with pytest.raises(ProtscribeError, match="molecule_encoder is missing"):
        train(**keywords)
    character = {"kind": "character", "width": 16, "layers": 1, "heads": 2}
    result = train(**keywords, molecule_encoder=character)
    assert load_bundle(result.bundle).model.molecule_encoder is not None


def test_a_folder_that_cannot_be_written_to_is_told_first(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ProtscribeError) as caught:
        train(**{**small(tmp_path), "folder": str(blocked / "run")})
    assert caught.value.code == "output.write"
    assert stat.S_ISREG(blocked.stat().st_mode)


def test_a_device_that_is_not_there_is_no_silent_cpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    keywords = small(tmp_path)
    keywords["trainer"] = partial(lightning.Trainer, accelerator="cuda", max_epochs=1)
    with pytest.raises(ProtscribeError) as caught:
        train(**keywords)
    assert caught.value.code == "device.missing"


def test_rows_left_out_are_in_the_result(tmp_path: Path) -> None:
    keywords = small(tmp_path)
    path = Path(keywords["sources"]["how_much"].path)
    path.write_text(path.read_text() + "bad,MKT,11.5,human,train\n")
    keywords["data"] = partial(ScribeData, validate_on="train", on_error="collect")
    assert [failure.code for failure in train(**keywords).failures] == ["label.range"]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = train(**small(tmp_path / name, seed=seed))
        states.append(load_bundle(result.bundle).model.decoder.table.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_all_tasks_of_the_mixture_must_be_known(tmp_path: Path) -> None:
    keywords = small(tmp_path)
    keywords["tasks"] = {"where": TASKS["where"]}
    with pytest.raises(ProtscribeError) as caught:
        train(**keywords)
    assert caught.value.code == "task.unknown"
