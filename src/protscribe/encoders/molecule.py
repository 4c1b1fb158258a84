"""Encoders of small molecules written as SMILES (Weininger 1988): a pretrained one, and a small one of ours.

Shape legend: K molecules, L tokens (padded, special tokens included), D width.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from protscribe.encoders.backbone import Backbone
from protscribe.encoders.mini import Attention
from protscribe.encoders.pretrained import find
from protscribe.errors import CheckpointError, InputError, Where

CHARACTERS = ["Cl", "Br", *string.ascii_letters, *string.digits, *"[]()=#$:/\\.-+@%*~>"]
"""Tokens of :class:`CharacterMolecule`, from id 1 on (0 pads): the two-letter organic elements, then single characters."""


@runtime_checkable
class MoleculeReader(Protocol):
    """A ``torch.nn.Module`` that reads molecules."""

    kind: ClassVar[str]
    width: int
    limit: int | None
    """The longest molecule, in tokens; None: any."""

    def tokenize(self, molecules: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``ids_KL`` (int64) and ``mask_KL`` (bool) of SMILES strings.

        Raises :class:`~protscribe.errors.InputError`: ``molecule.empty``, ``molecule.character`` (the position is
        1-based), ``molecule.too_long``.
        """

    def __call__(self, ids_KL: Tensor, mask_KL: Tensor) -> Tensor:
        """States ``[K, L, D]``, zero at padding, which has no influence."""

    def blocks(self) -> Sequence[nn.Module]: ...

    def top(self) -> nn.Module | None: ...

    def to_plain(self) -> dict[str, Any]:
        """``kind`` and the constructor's keywords, the tokenizer among them."""


class MoleculeEncoder(nn.Module):
    """A transformers encoder of SMILES (ChemBERTa, Chithrananda et al. 2020, ...). The constructor gives random weights.

    Parameters
    ----------
    family, config: what :class:`~protscribe.encoders.backbone.Backbone` takes.
    tokenizer: the text of a ``tokenizer.json``.
    """

    kind: ClassVar[str] = "molecule"

    def __init__(self, family: str, config: Mapping[str, Any], tokenizer: str) -> None:
        super().__init__()
        self._take(Backbone(family, config), tokenizer)

    def _take(self, backbone: Backbone, tokenizer: str) -> None:
        from tokenizers import Tokenizer

        self.backbone = backbone
        self.width = backbone.width
        self.limit: int | None = backbone.trained()
        self.text = tokenizer
        try:
            self.tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                "checkpoint.corrupt", f"its tokenizer.json cannot be read: {error}"
            ) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    @classmethod
    def load(
        cls, name_or_folder: str, local_files_only: bool = False, revision: str | None = None
    ) -> MoleculeEncoder:
        """The pretrained encoder of a Hub name or a local folder that holds weights and tokenizer, in eval mode.

        Raises :class:`~protscribe.errors.CheckpointError` as ``HuggingFaceEncoder.load`` does.
        """
        from transformers import AutoTokenizer

        folder = find(name_or_folder, local_files_only, revision)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            text = tokenizer.backend_tokenizer.to_str()
        except (
            Exception
        ) as error:  # a tokenizer's file may be wrong in more ways than transformers has errors for
            raise CheckpointError(
                "checkpoint.foreign", f"its tokenizer cannot be read: {error}", Where(file=str(folder))
            ) from error
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._take(Backbone.load(folder), text)
        return encoder.eval()

    def tokenize(self, molecules: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See :class:`MoleculeReader`."""
        for molecule in molecules:
            _check_filled(molecule)
        written = [encoding.ids for encoding in self.tokenizer.encode_batch(list(molecules))]
        for molecule, ids in zip(molecules, written, strict=True):
            if self.limit is not None and len(ids) > self.limit:
                raise InputError(
                    "molecule.too_long",
                    f"{molecule[:30]}... has {len(ids)} tokens, this encoder reads {self.limit}",
                )
        return _padded(written, self.backbone.padding)

    def forward(self, ids_KL: Tensor, mask_KL: Tensor) -> Tensor:
        """See :class:`MoleculeReader`."""
        states: Tensor = self.backbone(ids_KL.masked_fill(~mask_KL, self.backbone.padding), mask_KL)
        return states.masked_fill(~mask_KL[..., None], 0.0)

    def blocks(self) -> Sequence[nn.Module]:
        return self.backbone.blocks()

    def top(self) -> nn.Module | None:
        return self.backbone.top()

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.backbone.to_plain(), "tokenizer": self.text}


class CharacterMolecule(nn.Module):
    """A small transformer over SMILES characters with a fixed token table: needs no network and no tokenizer.

    Parameters
    ----------
    width, layers, heads, expansion, dropout: as in :class:`~protscribe.encoders.mini.MiniEncoder`.
    """

    kind: ClassVar[str] = "character"

    def __init__(
        self, width: int = 128, layers: int = 3, heads: int = 4, expansion: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.plain = {
            "width": width,
            "layers": layers,
            "heads": heads,
            "expansion": expansion,
            "dropout": dropout,
        }
        self.width = width
        self.limit: int | None = None
        self.ids = {token: place for place, token in enumerate(CHARACTERS, start=1)}
        self.table = nn.Embedding(len(CHARACTERS) + 1, width, padding_idx=0)
        self.layers = nn.ModuleList(Attention(width, heads, expansion, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def tokenize(self, molecules: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See :class:`MoleculeReader`."""
        return _padded([self._spell(molecule) for molecule in molecules], 0)

    def _spell(self, molecule: str) -> list[int]:
        _check_filled(molecule)
        ids: list[int] = []
        index = 0
        while index < len(molecule):
            token = (
                molecule[index : index + 2] if molecule[index : index + 2] in self.ids else molecule[index]
            )
            if token not in self.ids:
                raise InputError(
                    "molecule.character",
                    f"{token!r} is no SMILES character, in {molecule!r}",
                    Where(position=index + 1),
                )
            ids.append(self.ids[token])
            index += len(token)
        return ids

    def forward(self, ids_KL: Tensor, mask_KL: Tensor) -> Tensor:
        """See :class:`MoleculeReader`."""
        mask_KL1 = mask_KL[..., None]
        states: Tensor = self.table(ids_KL.masked_fill(~mask_KL, 0))
        for layer in self.layers:
            states = layer(states, mask_KL1)
        normed: Tensor = self.norm(states)
        return normed.masked_fill(~mask_KL1, 0.0)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.layers)

    def top(self) -> nn.Module | None:
        return self.norm

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.plain}


def _check_filled(molecule: str) -> None:
    if not molecule.strip():
        raise InputError("molecule.empty", "a SMILES string is empty; leave the molecule out instead")


def _padded(written: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    longest = max((len(ids) for ids in written), default=0)
    ids_KL = torch.full((len(written), longest), padding, dtype=torch.int64)
    mask_KL = torch.zeros(ids_KL.shape, dtype=torch.bool)
    for row, ids in enumerate(written):
        ids_KL[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        mask_KL[row, : len(ids)] = True
    return ids_KL, mask_KL
