"""A model's shape to plain data and back."""

import json

import pytest
import torch

from protscribe.architecture import build_model, describe_model
from protscribe.data.lexicon import Lexicon, position_block
from protscribe.errors import ConfigError
from protscribe.vocabulary import Block, Vocabulary

MINI = {"kind": "mini", "width": 16, "layers": 1, "attention_layers": 1, "heads": 2}
DECODER = {"width": 16, "layers": 2, "heads": 4, "cross_attention": {"kv_heads": 2, "shared": True}}
ESM = {"layers": 1, "width": 16, "heads": 2}
BERT = {
    "family": "bert",
    "config": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40,
    },
}  # fmt: skip
T5 = {
    "family": "t5",
    "config": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 40},
}
TOKENS = {"table": list(range(5, 30)), "first": 1, "last": 2}
TOKENIZER = json.dumps(
    {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"C": 0, "O": 1}, "unk_token": "C"},
    }
)  # fmt: skip
ENCODERS = {
    "mini": MINI,
    "esm2": {"kind": "esm2", **ESM},
    "fair_esm": {"kind": "fair_esm", **ESM},
    "bert": {"kind": "huggingface", **BERT, **TOKENS},
    "t5": {"kind": "huggingface", **T5, **TOKENS},
}
MOLECULES = {
    "none": None,
    "character": {"kind": "character", "width": 8, "layers": 1, "heads": 2},
    "molecule": {"kind": "molecule", **BERT, "tokenizer": TOKENIZER},
}


def lexicon(positions="pointers", texts=("a", "b")):
    return Lexicon(Vocabulary.compose([Block("letter", tuple(texts)), position_block(9)]), positions)


def architecture(encoder="mini", molecule="none", **decoder):
    return {
        "encoder": ENCODERS[encoder],
        "decoder": {**DECODER, **decoder},
        "molecule_encoder": MOLECULES[molecule],
    }


@pytest.mark.parametrize(
    ("encoder", "molecule"),
    [*((encoder, "none") for encoder in ENCODERS), ("mini", "character"), ("mini", "molecule")],
)
def test_description_gives_the_same_model_and_the_same_description(encoder, molecule):
    model = build_model(architecture(encoder, molecule), lexicon())
    described = json.loads(json.dumps(describe_model(model)))
    again = build_model(described, lexicon())
    assert describe_model(again) == described
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in again.state_dict().items()} == shapes


@pytest.mark.parametrize("told", [False, True])
def test_whether_columns_are_told_the_prompt_is_part_of_a_description(told):
    described = describe_model(build_model(architecture(prompt_everywhere=told), lexicon()))
    assert build_model(described, lexicon()).decoder.prompt_everywhere is told


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_model_can_be_described_without_making_its_weights(encoder):
    with torch.device("meta"):
        model = build_model(architecture(encoder), lexicon())
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    real = build_model(architecture(encoder), lexicon())
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in real.state_dict().items()
    }


def test_vocabulary_and_pointers_come_from_the_lexicon():
    pointing = build_model(architecture(), lexicon("pointers", "abcde"))
    naming = build_model(architecture(), lexicon("tokens", "abcde"))
    assert pointing.decoder.vocabulary == naming.decoder.vocabulary == 4 + 5 + 9
    assert pointing.decoder.pointer_query is not None
    assert naming.decoder.pointer_query is None
    assert describe_model(pointing) == describe_model(naming)


def test_widths_come_from_the_encoders():
    model = build_model(architecture(molecule="character"), lexicon())
    assert model.decoder.memory_in[0].normalized_shape == (16,)
    assert model.decoder.molecule_in[0].normalized_shape == (8,)
    assert build_model(architecture(), lexicon()).decoder.molecule_in is None


@pytest.mark.parametrize(
    ("plain", "code", "said"),
    [
        ({"decoder": DECODER}, "config.missing", "encoder"),
        ({"encoder": MINI}, "config.missing", "decoder"),
        ({"encoder": "mini", "decoder": DECODER}, "config.missing", "encoder"),
        ({**architecture(), "encodr": {}}, "config.unknown", "did you mean 'encoder'"),
        ({**architecture(), "encoder": {**MINI, "kind": "minni"}}, "config.unknown", "did you mean 'mini'"),
        ({**architecture(), "encoder": {**MINI, "widht": 3}}, "config.unknown", "did you mean 'width'"),
        ({**architecture(), "molecule_encoder": {"kind": "mini"}}, "config.unknown", "character"),
        (architecture(layer=3), "config.unknown", "did you mean 'layers'"),
        (architecture(vocabulary=3), "config.unknown", "'vocabulary'"),
        (architecture(cross_attention={"heads": 1}), "config.unknown", "kv_heads"),
        (architecture(heads=3), "config.value", "kv_heads=2"),
        (architecture(width="wide"), "config.value", "wide"),
    ],
)
def test_what_does_not_fit_is_named(plain, code, said):
    with pytest.raises(ConfigError) as caught:
        build_model(plain, lexicon())
    assert caught.value.code == code
    assert said in caught.value.message
