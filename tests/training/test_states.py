"""Training on states from disk is training on the encoder's states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.encoders.state_cache import StateStore
from protscribe.errors import ConfigError
from protscribe.training.run import train
from protscribe.training.schedule import constant
from tests.training import made

STACKED = {"kind": "stacked", "base": made.MINI, "width": 32, "layers": 2, "dropout": 0.0}


def losses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoder: dict[str, Any], how: str, cache: Any
) -> list[float]:
    from protscribe.nn.model import Scribe
    from protscribe.training import module

    seen: list[float] = []
    encoded: list[bool] = []
    add = module.ScribeTraining.training_step
    encode = Scribe.encode

    def step(self: Any, batch: Any, index: int) -> Any:
        loss = add(self, batch, index)
        seen.append(float(loss.detach()))
        return loss

    def watch(self: Any, batch: Any) -> Any:
        if self.training:
            encoded.append(batch.states_NLE is None)
        return encode(self, batch)

    monkeypatch.setattr(module.ScribeTraining, "training_step", step)
    monkeypatch.setattr(Scribe, "encode", watch)
    train(
        **{
            **made.settings(folder, max_epochs=2),
            "schedule": constant,
            "encoder": encoder,
            "adaptation": {"how": how},
            "state_cache": cache,
            "choose_readouts": False,
        }
    )
    monkeypatch.undo()
    assert encoded
    assert all(encoded) == (cache is None)
    return seen


@pytest.mark.parametrize(("encoder", "how"), [(made.MINI, "frozen"), (STACKED, "top")], ids=["frozen", "top"])
def test_the_same_losses_with_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: dict[str, Any], how: str
) -> None:
    store = StateStore(str(tmp_path / "states"), "float32")
    without = losses(tmp_path / "a", monkeypatch, encoder, how, None)
    filled = losses(tmp_path / "b", monkeypatch, encoder, how, store)
    found = losses(tmp_path / "c", monkeypatch, encoder, how, store)
    torch.testing.assert_close(filled, without, atol=1e-4, rtol=1e-4)
    assert found == filled


@pytest.mark.parametrize(
    "encoder",
    [
        {**made.MINI, "attention_layers": 0},
        {"kind": "esm2", "weights": "untrained", "layers": 2, "width": 32, "heads": 4},
    ],
    ids=["mini", "esm2"],
)
def test_in_single_precision_training_is_the_same_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: dict[str, Any]
) -> None:
    """Of encoders whose states do not depend on what they are padded to: other ones change in their last bits by that alone."""
    store = StateStore(str(tmp_path / "states"), "float32")
    without = losses(tmp_path / "a", monkeypatch, encoder, "frozen", None)
    assert losses(tmp_path / "b", monkeypatch, encoder, "frozen", store) == without
    assert len(without) > 1


@pytest.mark.parametrize("how", ["full", "last_k", "lora"])
def test_an_encoder_that_changes_has_no_states_to_keep(tmp_path: Path, how: str) -> None:
    with pytest.raises(ConfigError, match="state_cache"):
        train(
            **made.settings(tmp_path, max_epochs=1),
            schedule=constant,
            adaptation={"how": how},
            state_cache=StateStore(str(tmp_path / "states")),
        )
