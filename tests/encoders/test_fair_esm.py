"""P8: fair-esm and transformers give the same states from the same weights."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.encoders import load_encoder
from protscribe.encoders.esm2 import Esm2Encoder
from protscribe.encoders.fair_esm import FairEsmEncoder, fair_esm_from_transformers
from protscribe.errors import CheckpointError
from tests.encoders.conftest import pad_residues, random_proteins


def save_pt(path: Path, encoder: Any, **more: Any) -> Path:
    """As fair-esm's published files: names with a prefix, settings in a Namespace, heads beside the encoder."""
    state = {f"encoder.sentence_encoder.{name}": value for name, value in encoder.model.state_dict().items()}
    state["encoder.lm_head.bias"] = torch.zeros(33)
    settings = argparse.Namespace(
        encoder_layers=encoder.plain["layers"],
        encoder_embed_dim=encoder.plain["width"],
        encoder_attention_heads=encoder.plain["heads"],
        token_dropout=encoder.plain["token_dropout"],
    )
    torch.save({"cfg": {"model": settings}, "model": state, **more}, path)
    return path


@torch.no_grad()
def test_both_back_ends_agree(esm_folder: Path) -> None:
    inputs = pad_residues(random_proteins([200, 1, 63, 128]))
    fair = load_encoder({"kind": "fair_esm", "name": str(esm_folder)})
    ours = Esm2Encoder.load(str(esm_folder))
    assert fair(*inputs)[0].std(dim=0).mean() > 0.1  # otherwise agreement would mean little
    torch.testing.assert_close(fair(*inputs), ours(*inputs), atol=1e-4, rtol=0)


@torch.no_grad()
def test_our_forward_is_fair_esms_own(esm_folder: Path) -> None:
    """Its scaling of token dropout and its final norm included."""
    from esm.model.esm2 import ESM2

    state = fair_esm_from_transformers(Esm2Encoder.load(str(esm_folder)).model.state_dict())
    package = ESM2(num_layers=6, embed_dim=320, attention_heads=20).eval()
    found = package.load_state_dict(state, strict=False)
    assert found.unexpected_keys == []
    assert {name.split(".")[0] for name in found.missing_keys} == {"lm_head", "contact_head"}
    residues, mask = pad_residues(random_proteins([90, 41]))
    encoder = FairEsmEncoder.load(str(esm_folder))
    tokens, _ = encoder.tokens(residues, mask)
    expected = package(tokens, repr_layers=[6])["representations"][6][:, 1:-1] * mask[..., None]
    torch.testing.assert_close(encoder(residues, mask), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_token_dropout_is_a_setting() -> None:
    torch.manual_seed(0)
    scaled = FairEsmEncoder(2, 32, 4).eval()
    plain = FairEsmEncoder(2, 32, 4, token_dropout=False).eval()
    plain.load_state_dict(scaled.state_dict())
    inputs = pad_residues(random_proteins([20]))
    assert not torch.allclose(scaled(*inputs), plain(*inputs), atol=1e-3)
    other = Esm2Encoder(2, 32, 4, token_dropout=False)
    assert other.to_plain()["token_dropout"] is False


def test_a_pt_file_loads(encoders: dict[str, Any], tmp_path: Path) -> None:
    path = save_pt(tmp_path / "esm2_small.pt", encoders["fair_esm"])
    loaded = FairEsmEncoder.load(str(path))
    inputs = pad_residues(random_proteins([30, 12]))
    assert torch.equal(loaded(*inputs), encoders["fair_esm"](*inputs))


def test_bad_pt_files_are_refused(encoders: dict[str, Any], tmp_path: Path) -> None:
    def code(path: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            FairEsmEncoder.load(str(path))
        return caught.value.code

    assert code(tmp_path / "missing.pt") == "checkpoint.not_found"
    assert code(save_pt(tmp_path / "code.pt", encoders["fair_esm"], extra=Path("x"))) == "checkpoint.pickle"
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    assert code(tmp_path / "foreign.pt") == "checkpoint.foreign"
    whole = save_pt(tmp_path / "whole.pt", encoders["fair_esm"]).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert code(tmp_path / "cut.pt") == "checkpoint.corrupt"
    content = torch.load(tmp_path / "whole.pt", weights_only=False)
    content["model"].pop("encoder.sentence_encoder.layers.1.fc1.weight")
    torch.save(content, tmp_path / "lacking.pt")
    assert code(tmp_path / "lacking.pt") == "checkpoint.tensors"


def test_a_shape_that_fair_esm_cannot_have_is_refused(esm_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(esm_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-12}))
    with pytest.raises(CheckpointError, match="epsilon") as caught:
        FairEsmEncoder.load(str(folder))
    assert caught.value.code == "checkpoint.foreign"


def test_unknown_tensors_are_not_dropped_silently(esm_folder: Path) -> None:
    state = Esm2Encoder.load(str(esm_folder)).model.state_dict()
    assert "encoder.extra" in fair_esm_from_transformers({**state, "encoder.extra": torch.zeros(1)})
    prefixed = {f"esm.{name}": value for name, value in state.items()}
    assert fair_esm_from_transformers(prefixed).keys() == fair_esm_from_transformers(state).keys()
