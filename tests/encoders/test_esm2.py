"""ESM-2 through transformers: loading, refusing, and what a folder must hold."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from protscribe.encoders import build_encoder, load_encoder
from protscribe.encoders.esm2 import Esm2Encoder
from protscribe.encoders.pretrained import convert
from protscribe.errors import CheckpointError, SequenceError
from tests.encoders.conftest import ESM_8M, pad_residues, random_proteins


@pytest.fixture
def copied(esm_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(esm_folder, tmp_path / "copy"))


def change_tensors(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def refused(folder: str | Path, **options: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        Esm2Encoder.load(str(folder), **options)
    return caught.value


@torch.no_grad()
def test_a_folder_gives_the_model_that_was_saved(esm: tuple[Path, Any]) -> None:
    folder, reference = esm
    encoder = load_encoder({"kind": "esm2", "name": str(folder), "local_files_only": True})
    residues, mask = pad_residues(random_proteins([70, 33]))
    tokens, tokens_mask = encoder.tokens(residues, mask)
    expected = reference(input_ids=tokens, attention_mask=tokens_mask.long()).last_hidden_state[:, 1:-1]
    states = encoder(residues, mask)
    torch.testing.assert_close(states, expected * mask[..., None], atol=1e-5, rtol=1e-5)
    assert not encoder.training
    assert encoder.limit == 1022
    rebuilt = build_encoder(encoder.to_plain())
    assert rebuilt.to_plain() == build_encoder({"kind": "esm2", **ESM_8M}).to_plain()
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt.eval()(residues, mask), states)


def test_a_folder_without_a_tensor_is_refused(copied: Path) -> None:
    change_tensors(
        copied, lambda state: [state.pop(name) for name in list(state) if "layer.3.LayerNorm" in name]
    )
    error = refused(copied)
    assert error.code == "checkpoint.tensors"
    assert "missing: encoder.layer.3.LayerNorm.bias, encoder.layer.3.LayerNorm.weight" in error.message
    assert str(copied) in str(error)


def test_a_folder_with_a_tensor_too_many_is_refused(copied: Path) -> None:
    change_tensors(copied, lambda state: state.update({"esm.encoder.extra.weight": torch.zeros(2)}))
    error = refused(copied)
    assert error.code == "checkpoint.tensors"
    assert "unexpected: esm.encoder.extra.weight" in error.message


def test_more_than_five_names_are_counted(copied: Path) -> None:
    change_tensors(copied, lambda state: [state.pop(name) for name in list(state) if "layer.2." in name])
    assert "and 11 more" in refused(copied).message


def test_a_tensor_of_another_shape_is_refused(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "intermediate_size": 640}))
    assert refused(copied).code == "checkpoint.tensors"


def test_a_weight_that_is_not_finite_is_refused(copied: Path) -> None:
    name = "esm.encoder.layer.1.output.dense.weight"
    change_tensors(copied, lambda state: state[name][0].fill_(float("nan")))
    error = refused(copied)
    assert (error.code, "layer.1.output" in error.message) == ("checkpoint.not_finite", True)


def test_a_cut_file_is_refused(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert refused(copied).code == "checkpoint.corrupt"


def test_pickles_are_refused_and_convertible(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    torch.save(load_file(path), copied / "pytorch_model.bin")
    path.unlink()
    error = refused(copied)
    assert error.code == "checkpoint.pickle"
    assert "convert(" in error.message
    convert(str(copied), str(tmp_path / "converted"))
    Esm2Encoder.load(str(tmp_path / "converted"))


def test_a_pickle_that_runs_code_is_not_converted(tmp_path: Path) -> None:
    torch.save({"x": Path("y")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match="weights_only"):
        convert(str(tmp_path), str(tmp_path / "new"))


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such", "no/such/folder", "not a name", "x/y/z"])
def test_a_missing_folder_is_named(name: str) -> None:
    error = refused(name)
    assert (error.code, name in error.message) == ("checkpoint.not_found", True)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert (error.code, str(tmp_path) in str(error)) == ("checkpoint.not_found", True)


@pytest.mark.parametrize("way", ["argument", "offline", "unreachable"])
def test_a_hub_name_without_network_fails_at_once(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", way == "offline")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    error = refused("facebook/esm2_t6_8M_UR50D", local_files_only=way == "argument")
    assert (error.code, "esm2_t6_8M_UR50D" in error.message) == ("checkpoint.offline", True)
    assert time.monotonic() - start < 5


def test_another_kind_of_model_is_refused(bert_folder: Path) -> None:
    error = refused(bert_folder)
    assert (error.code, "'huggingface'" in error.message) == ("checkpoint.foreign", True)


def test_other_tokens_are_refused(copied: Path) -> None:
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    tokens = list(get_default_vocab_list())
    (copied / "vocab.txt").write_text("\n".join(tokens))
    Esm2Encoder.load(str(copied))
    tokens[4], tokens[5] = tokens[5], tokens[4]
    (copied / "vocab.txt").write_text("\n".join(tokens))
    error = refused(copied)
    assert (error.code, "A, L stand at other numbers" in error.message) == ("checkpoint.foreign", True)


@torch.no_grad()
def test_absolute_places_bound_the_length(encoders: dict[str, Any]) -> None:
    encoder = encoders["esm1b"]
    longest = encoder.tokens.most
    assert longest == 64
    inputs = pad_residues(random_proteins([longest, 10]))
    wider = pad_residues(random_proteins([longest, 10]), to=longest + 9)
    torch.testing.assert_close(encoder(*wider)[:, :longest], encoder(*inputs), atol=1e-5, rtol=1e-5)
    with pytest.raises(SequenceError, match="places for 64 residues, got a protein of 65") as caught:
        encoder(*pad_residues(random_proteins([65])))
    assert caught.value.code == "seq.too_long"


@torch.no_grad()
def test_longer_than_trained_on_runs(encoders: dict[str, Any]) -> None:
    assert encoders["esm2"](*pad_residues(random_proteins([1200]))).isfinite().all()
