"""Encoders of SMILES."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from protscribe.encoders import MOLECULE_ENCODERS, build_molecule_encoder, load_molecule_encoder
from protscribe.encoders.molecule import CharacterMolecule, MoleculeReader
from protscribe.errors import InputError

MOLECULES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "Clc1ccc(Br)cc1", "[Na+].[O-]C(=O)/C=C\\N1C[C@@H]1%12"]


@pytest.fixture(scope="module")
def chemberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random RoBERTa with a byte-pair tokenizer, as ChemBERTa is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    folder = tmp_path_factory.mktemp("chemberta")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(MOLECULES * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=42,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["character", "molecule"])
def reader(request: pytest.FixtureRequest, chemberta_folder: Path) -> Any:
    torch.manual_seed(0)
    if request.param == "molecule":
        return load_molecule_encoder({"kind": "molecule", "name": str(chemberta_folder)})
    return load_molecule_encoder({"kind": "character", "width": 32, "layers": 2}).eval()


@torch.no_grad()
def test_alone_and_among_others_agree_whatever_pads(reader: Any) -> None:
    assert isinstance(reader, MoleculeReader)
    ids, mask = reader.tokenize(MOLECULES)
    states = reader(ids, mask)
    assert states.shape == (4, ids.shape[1], 32)
    assert not states[~mask].any()
    for poison in (5, -1, 99_999):
        assert torch.equal(reader(ids.masked_fill(~mask, poison), mask), states)
    for row, molecule in enumerate(MOLECULES):
        alone = reader(*reader.tokenize([molecule]))[0]
        torch.testing.assert_close(states[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_plain_data_and_weights_give_the_encoder_back(reader: Any) -> None:
    plain = json.loads(json.dumps(reader.to_plain()))
    rebuilt: Any = build_molecule_encoder(plain).eval()
    rebuilt.load_state_dict(load(save(reader.state_dict())))
    ids, mask = reader.tokenize(MOLECULES)
    again, again_mask = rebuilt.tokenize(MOLECULES)
    assert torch.equal(ids, again)
    assert torch.equal(mask, again_mask)
    assert torch.equal(rebuilt(ids, mask), reader(ids, mask))
    assert rebuilt.kind in MOLECULE_ENCODERS


def test_an_empty_molecule_is_refused(reader: Any) -> None:
    with pytest.raises(InputError) as caught:
        reader.tokenize(["CC", " "])
    assert caught.value.code == "molecule.empty"


def test_characters_are_tokens_of_a_fixed_table() -> None:
    reader = CharacterMolecule(16, 1, 2)
    ids, mask = reader.tokenize(["ClCC[Br-]", "C"])
    assert ids.shape == (2, 7)
    assert mask.sum(dim=1).tolist() == [7, 1]
    assert ids[0, 0] == reader.ids["Cl"]
    assert ids[0, 1] == ids[0, 2] == ids[1, 0] == reader.ids["C"]
    assert ids[1, 1:].tolist() == [0] * 6
    with pytest.raises(InputError, match="'é' is no SMILES character") as caught:
        reader.tokenize(["CCé"])
    assert (caught.value.code, caught.value.where.position) == ("molecule.character", 3)


def test_a_molecule_too_long_is_refused(chemberta_folder: Path) -> None:
    reader: Any = load_molecule_encoder({"kind": "molecule", "name": str(chemberta_folder)})
    assert reader.limit == 40
    reader.tokenize(["N" * 38])
    with pytest.raises(InputError, match="41 tokens, this encoder reads 40") as caught:
        reader.tokenize(["N" * 39])
    assert caught.value.code == "molecule.too_long"
