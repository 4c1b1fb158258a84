"""Any protein encoder that transformers knows: ProtBert and ProtT5 (Elnaggar et al. 2022), Ankh (2023), ESM-C (2024), ...

Shape legend: N proteins, L residues (padded), T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from protscribe.alphabet import RESIDUES
from protscribe.encoders.backbone import Backbone
from protscribe.encoders.pretrained import find
from protscribe.encoders.tokens import ResidueTokens
from protscribe.errors import CheckpointError, Where

STANDARD = RESIDUES[:20]
WORD_START = "\u2581"
"""What SentencePiece writes at the start of a word: ProtT5's tokens carry it."""


class HuggingFaceEncoder(nn.Module):
    """A transformers encoder that has one token for each residue. The constructor gives random weights; :meth:`load` real ones.

    Parameters
    ----------
    family, config: what :class:`~protscribe.encoders.backbone.Backbone` takes.
    table: its token for each of :data:`~protscribe.alphabet.RESIDUES`. first, last: its tokens around a protein (None: none).
    """

    kind: ClassVar[str] = "huggingface"

    def __init__(
        self,
        family: str,
        config: Mapping[str, Any],
        table: Sequence[int],
        first: int | None,
        last: int | None,
    ) -> None:
        super().__init__()
        self._take(Backbone(family, config), table, first, last)

    def _take(self, backbone: Backbone, table: Sequence[int], first: int | None, last: int | None) -> None:
        self.backbone = backbone
        self.width = backbone.width
        special = (first is not None) + (last is not None)
        trained, places = backbone.trained(), backbone.places()
        self.limit: int | None = trained - special if trained else None
        self.table = list(table)
        self.tokens = ResidueTokens(
            table, first, last, backbone.padding, places - special if places else None
        )

    @classmethod
    def load(
        cls, name_or_folder: str, local_files_only: bool = False, revision: str | None = None
    ) -> HuggingFaceEncoder:
        """The pretrained encoder of a Hub name or a local folder that holds weights and tokenizer, in eval mode.

        Raises :class:`~protscribe.errors.CheckpointError` as ``Esm2Encoder.load`` does, and ``checkpoint.foreign`` where its
        tokenizer does not write one token a residue.
        """
        folder = find(name_or_folder, local_files_only, revision)
        table, first, last = read_table(folder)
        encoder = cls.__new__(cls)
        nn.Module.__init__(encoder)
        encoder._take(Backbone.load(folder), table, first, last)
        return encoder.eval()

    def forward(self, residues_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """See :class:`~protscribe.encoders.protocol.Encoder`."""
        tokens_NT, mask_NT = self.tokens(residues_NL, mask_NL)
        return self.tokens.take(self.backbone(tokens_NT, mask_NT), mask_NL)

    def blocks(self) -> Sequence[nn.Module]:
        return self.backbone.blocks()

    def top(self) -> nn.Module | None:
        return self.backbone.top()

    def to_plain(self) -> dict[str, Any]:
        around = {"first": self.tokens.first, "last": self.tokens.last}
        return {"kind": self.kind, **self.backbone.to_plain(), "table": self.table, **around}


def read_table(folder: Path) -> tuple[list[int], int | None, int | None]:
    """The token of each residue letter and those around a protein, asked of a folder's own tokenizer.

    A letter that it does not know (U, O, B, Z in many) is read as X. Raises ``checkpoint.foreign`` where a standard amino
    acid has no token, or where the tokenizer writes a residue as anything but that one token.
    """
    from transformers import AutoTokenizer

    where = Where(file=str(folder))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (
        Exception
    ) as error:  # a tokenizer's file may be wrong in more ways than transformers has errors for
        raise CheckpointError(
            "checkpoint.foreign", f"its tokenizer cannot be read: {error}", where
        ) from error
    known = tokenizer.get_vocab()
    found = {letter: known.get(letter, known.get(WORD_START + letter)) for letter in RESIDUES}
    lacking = [letter for letter in STANDARD if found[letter] is None]
    if lacking:
        raise CheckpointError(
            "checkpoint.foreign",
            f"its tokenizer has no token for {', '.join(lacking[:5])}: it is no protein model that reads residues",
            where,
        )
    unknown = found["X"] if found["X"] is not None else tokenizer.unk_token_id
    if unknown is None:
        raise CheckpointError(
            "checkpoint.foreign", "its tokenizer has a token neither for X nor for unknown", where
        )
    table = [int(known.get(letter, known.get(WORD_START + letter, unknown))) for letter in RESIDUES]
    around: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for letter, token in zip(STANDARD, table, strict=False):
        written = tokenizer(letter)["input_ids"]
        if written.count(token) != 1:
            raise CheckpointError(
                "checkpoint.foreign",
                f"its tokenizer does not write {letter} as one token, but {written}",
                where,
            )
        place = written.index(token)
        around.add((tuple(written[:place]), tuple(written[place + 1 :])))
    before, after = next(iter(around))
    if len(around) > 1 or len(before) > 1 or len(after) > 1:
        raise CheckpointError(
            "checkpoint.foreign", f"its tokenizer writes a residue with {sorted(around)} around", where
        )
    return table, before[0] if before else None, after[0] if after else None
