"""Tensors are read only where they fit exactly, and headers only where they are sane."""

import json

import pytest
import torch
from safetensors.torch import save_file

from protscribe.checkpoint.weights import Form, check_header, check_weights, compare, forms, stored
from protscribe.errors import CheckpointError

TENSORS = {"a": torch.ones(2, 3), "b": torch.arange(4), "c": torch.tensor(True)}
EXPECTED = {"a": Form("F32", (2, 3)), "b": Form("I64", (4,)), "c": Form("BOOL", ())}


def written(folder, tensors):
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


def with_header(folder, header, payload=b""):
    path = folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + payload)
    return path


def test_what_fits_is_taken(tmp_path):
    check_weights(written(tmp_path, TENSORS), EXPECTED)
    assert forms(TENSORS) == EXPECTED


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": TENSORS["a"], "b": TENSORS["b"]}, "missing: c"),
        ({**TENSORS, "z": torch.ones(1)}, "unexpected: z"),
        ({**TENSORS, "a": torch.ones(3, 2)}, "a is F32 [3, 2], must be F32 [2, 3]"),
        ({**TENSORS, "a": torch.ones(2, 3).half()}, "a is F16 [2, 3], must be F32 [2, 3]"),
        ({**TENSORS, "b": torch.arange(4).int()}, "b is I32 [4], must be I64 [4]"),
        ({**TENSORS, "a": torch.ones(6)}, "a is F32 [6]"),
        ({"A": TENSORS["a"], "b": TENSORS["b"], "c": TENSORS["c"]}, "missing: a; unexpected: A"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, found, said):
    with pytest.raises(CheckpointError) as caught:
        check_weights(written(tmp_path, found), EXPECTED)
    assert caught.value.code == "checkpoint.tensors"
    assert said in caught.value.message


def test_only_the_first_five_are_named():
    many = {f"layer{place}": Form("F32", ()) for place in range(9)}
    (text,) = compare({}, many)
    assert text == "missing: layer0, layer1, layer2, layer3, layer4 and 4 more"
    (text,) = compare({name: Form("F16", ()) for name in many}, many)
    assert text.count("must be") == 5
    assert text.endswith("and 4 more")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"", "checkpoint.corrupt"),
        (b"[]", "checkpoint.corrupt"),
        (b"{", "checkpoint.corrupt"),
        (b"[" * 100_000, "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}', "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}', "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}', "checkpoint.corrupt"),
        (b'{"a":{"dtype":"F32","shape":[2]}}', "checkpoint.corrupt"),
        (
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            "checkpoint.corrupt",
        ),
        (
            json.dumps(
                {
                    f"t{place}": {"dtype": "F32", "shape": [], "data_offsets": [0, 0]}
                    for place in range(100_001)
                }
            ).encode(),
            "checkpoint.too_large",
        ),
    ],
    ids=range(12),
)
def test_headers_that_make_no_sense(tmp_path, header, code):
    with pytest.raises(CheckpointError) as caught:
        check_weights(with_header(tmp_path, header, bytes(8)), EXPECTED)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("size", "held", "code"),
    [
        (25_000_001, 25_000_009, "checkpoint.too_large"),
        (2**40, 2**41, "checkpoint.too_large"),
        (2**40, 100, "checkpoint.corrupt"),
        (2**64 - 1, 100, "checkpoint.corrupt"),
        (0, 4, "checkpoint.corrupt"),
    ],
)
def test_a_header_that_claims_to_be_long_is_not_read(tmp_path, size, held, code):
    path = tmp_path / "model.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + b"{}")
    with path.open("r+b") as file:
        file.truncate(held)
    with pytest.raises(CheckpointError) as caught:
        check_header(path)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_stored(value):
    model = torch.nn.Linear(3, 2)
    model.bias.data[1] = value
    with pytest.raises(CheckpointError) as caught:
        stored(model)
    assert caught.value.code == "checkpoint.not_finite"
    assert "bias" in caught.value.message


def test_views_of_one_storage_are_stored_apart(tmp_path):
    model = torch.nn.Module()
    whole = torch.arange(6.0)
    model.register_buffer("front", whole[:3])
    model.register_buffer("back", whole[3:])
    model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    path = written(tmp_path, stored(model))
    check_weights(path, forms(model.state_dict()))
