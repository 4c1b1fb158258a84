"""Small encoders with random weights, one of each kind, and proteins to read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.alphabet import PAD_RESIDUE, RESIDUES

ESM_8M = {"layers": 6, "width": 320, "heads": 20}


def pad_residues(proteins: list[str], to: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """``residues_NL`` and ``mask_NL``, padded to the longest protein, or to ``to``."""
    length = max([*map(len, proteins), to])
    residues = torch.full((len(proteins), length), PAD_RESIDUE)
    for row, protein in enumerate(proteins):
        residues[row, : len(protein)] = torch.tensor([RESIDUES.index(letter) for letter in protein])
    return residues, residues != PAD_RESIDUE


def random_proteins(lengths: list[int], seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(RESIDUES, k=length)) for length in lengths]


def save_letter_tokenizer(
    folder: Path, before: list[str], after: list[str], letters: str, start: str = ""
) -> Any:
    """A tokenizer that reads one letter a token, with special tokens around, saved as transformers saves one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<unk>", "[CLS]", "[SEP]", "</s>", *(start + letter for letter in letters)]
    ids = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Metaspace(prepend_scheme="always") if start else pre_tokenizers.WhitespaceSplit()
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*before, "$A", *after]),
        special_tokens=[(name, ids[name]) for name in before + after],
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return ids


def save_bert(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    save_letter_tokenizer(folder, ["[CLS]"], ["[SEP]"], "LAGVSERTIDPKQNFYMHWCX")
    config = BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_t5(folder: Path) -> Path:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    save_letter_tokenizer(folder, [], ["</s>"], "ALGVSREDTIPKFQNYMHWCXBOUZ", start="\u2581")
    config = T5Config(
        vocab_size=40, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, is_encoder_decoder=False
    )
    T5EncoderModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def esm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Random weights in the shape of ESM-2 8M, saved by transformers as the published ones are (with a head), and the model."""
    from transformers import EsmConfig, EsmForMaskedLM

    folder = tmp_path_factory.mktemp("esm")
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        layer_norm_eps=1e-5,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = EsmForMaskedLM(config)
    for name, weight in model.named_parameters():
        if "norm" in name.lower() or name.endswith(
            "bias"
        ):  # fresh ones are all 1 or 0, and would hide a mistake
            torch.nn.init.normal_(weight, mean=float("norm.weight" in name.lower()), std=0.2)
        if "word_embeddings" in name or "query" in name:  # residues that differ, attention that chooses
            torch.nn.init.normal_(weight)
    model.save_pretrained(folder)
    return folder, model.esm.eval()


@pytest.fixture(scope="session")
def esm_folder(esm: tuple[Path, Any]) -> Path:
    return esm[0]


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5"))


KINDS = ("mini", "unirep", "stacked", "esm2", "esm1b", "fair_esm", "bert", "t5")


@pytest.fixture(scope="session")
def encoders(bert_folder: Path, t5_folder: Path) -> dict[str, torch.nn.Module]:
    """One encoder of each kind, in eval mode."""
    from protscribe.encoders import build_encoder, load_encoder

    torch.manual_seed(0)
    small = {"layers": 2, "width": 32, "heads": 4}
    made = {
        "mini": build_encoder({"kind": "mini", "width": 32, "layers": 4, "heads": 4, "dropout": 0.2}),
        "unirep": build_encoder({"kind": "unirep", "width": 32, "layers": 2}),
        "stacked": build_encoder(
            {"kind": "stacked", "base": {"kind": "esm2", **small}, "width": 32, "layers": 2}
        ),
        "esm2": build_encoder({"kind": "esm2", **small}),
        "esm1b": build_encoder(
            {"kind": "esm2", **small, "positions": "absolute", "places": 68, "norm_before": True}
        ),
        "fair_esm": build_encoder({"kind": "fair_esm", **small}),
        "bert": load_encoder({"kind": "huggingface", "name": str(bert_folder)}),
        "t5": load_encoder({"kind": "huggingface", "name": str(t5_folder)}),
    }
    assert tuple(made) == KINDS
    return {kind: encoder.eval() for kind, encoder in made.items()}


@pytest.fixture(params=KINDS)
def encoder(request: pytest.FixtureRequest, encoders: dict[str, torch.nn.Module]) -> torch.nn.Module:
    return encoders[request.param]
