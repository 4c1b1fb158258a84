"""Protein encoders that transformers knows, with small random weights and tokenizers of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.alphabet import RESIDUES
from protscribe.encoders import build_encoder
from protscribe.encoders.esm2 import Esm2Encoder
from protscribe.encoders.huggingface import HuggingFaceEncoder
from protscribe.errors import CheckpointError, ConfigError
from tests.encoders.conftest import pad_residues, random_proteins, save_bert, save_letter_tokenizer

PROTEINS = random_proteins([31, 12], seed=3)


@torch.no_grad()
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_states_are_those_of_its_own_tokenizer_and_model(family: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoModelForTextEncoding, AutoTokenizer

    folder = request.getfixturevalue(f"{family}_folder")
    encoder = HuggingFaceEncoder.load(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTextEncoding.from_pretrained(folder).eval()
    before = int(encoder.tokens.first is not None)
    for protein in PROTEINS:
        known = "".join(letter if letter not in "BZUO" or family == "t5" else "X" for letter in protein)
        batch = tokenizer(" ".join(known), return_tensors="pt", return_token_type_ids=False)
        expected = model(**batch).last_hidden_state[0, before : before + len(protein)]
        assert batch["input_ids"].shape[1] == len(protein) + before + 1
        states = encoder(*pad_residues([protein]))[0]
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_special_tokens_are_found(bert_folder: Path, t5_folder: Path) -> None:
    bert, t5 = HuggingFaceEncoder.load(str(bert_folder)), HuggingFaceEncoder.load(str(t5_folder))
    assert (bert.tokens.first, bert.tokens.last) == (2, 3)
    assert (t5.tokens.first, t5.tokens.last) == (None, 4)
    assert (bert.limit, t5.limit) == (64, None)


def test_a_tokenizer_of_words_is_refused(tmp_path: Path) -> None:
    save_bert(tmp_path)
    save_letter_tokenizer(tmp_path, ["[CLS]"], ["[SEP]"], "ACDEFGHIKLMNPQRSTV")
    with pytest.raises(CheckpointError, match="no token for W, Y") as caught:
        HuggingFaceEncoder.load(str(tmp_path))
    assert caught.value.code == "checkpoint.foreign"


def test_a_tokenizer_that_spells_residues_is_refused(tmp_path: Path) -> None:
    import json

    save_bert(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not write A as one token") as caught:
        HuggingFaceEncoder.load(str(tmp_path))
    assert caught.value.code == "checkpoint.foreign"


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        HuggingFaceEncoder.load(str(tmp_path))
    assert caught.value.code == "checkpoint.foreign"


def test_code_from_a_folder_is_never_run(tmp_path: Path) -> None:
    import json

    save_bert(tmp_path)
    (tmp_path / "modeling_mine.py").write_text("raise SystemExit('run')")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "modeling_mine.C", "AutoModel": "modeling_mine.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        HuggingFaceEncoder.load(str(tmp_path))
    assert caught.value.code == "checkpoint.foreign"


def test_unknown_families_are_named() -> None:
    with pytest.raises(ConfigError, match="no model family 'brt'") as caught:
        build_encoder(
            {
                "kind": "huggingface",
                "family": "brt",
                "config": {},
                "table": [0] * 25,
                "first": None,
                "last": None,
            }
        )
    assert caught.value.code == "config.unknown"


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("roberta", {"max_position_embeddings": 70, "pad_token_id": 1}),
        (
            "distilbert",
            {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 70},
        ),
        (
            "modernbert",
            {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "bos_token_id": 1},
        ),
        ("esmc", {"pad_token_id": 1}),
    ],
)
def test_other_families_run(family: str, config: dict[str, Any]) -> None:
    """Alone as among others, for models with other attention and other places."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    shape = {} if family == "distilbert" else shape
    plain = {"family": family, "config": {**shape, **config, "vocab_size": 40}, "table": list(range(5, 30))}
    encoder: Any = build_encoder({"kind": "huggingface", **plain, "first": 0, "last": 2}).eval()
    assert encoder.width == 32
    assert len(encoder.blocks()) == 2
    states = encoder(*pad_residues(PROTEINS))
    for row, protein in enumerate(PROTEINS):
        torch.testing.assert_close(
            states[row, : len(protein)], encoder(*pad_residues([protein]))[0], atol=1e-5, rtol=1e-5
        )


def test_esm_folders_have_their_own_kind(esm_folder: Path) -> None:
    assert Esm2Encoder.load(str(esm_folder)).kind == "esm2"
    assert len(RESIDUES) == len(set(RESIDUES))
