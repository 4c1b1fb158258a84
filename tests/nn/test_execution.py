"""Half precision and compiled networks, as a user asks for them."""

import shutil

import pytest
import torch
from torch import nn

from protscribe.checkpoint import save_bundle
from protscribe.errors import ConfigError
from protscribe.nn.execution import compile_parts, set_precision
from protscribe.outputs.run import predict_file
from protscribe.predictor import Predictor
from tests.small import TASKS, make_bundle

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
PROTEINS = {"a": LETTERS[:16], "b": LETTERS[3:15]}
ASKED = ["place", "activities", "melting", "fold", "sites", "name"]


class Rotating(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("frequencies", torch.tensor([1.0, 0.1]))
        self.register_buffer("count", torch.tensor(3))


def test_weights_are_cast_and_buffers_are_not():
    model = Rotating()
    set_precision(model, "bfloat16")
    assert model.linear.weight.dtype == model.linear.bias.dtype == torch.bfloat16
    assert torch.equal(model.frequencies, torch.tensor([1.0, 0.1]))
    assert model.count.dtype == torch.int64


def test_float32_leaves_a_model_as_it_is():
    model = Rotating()
    before = model.linear.weight.data_ptr()
    set_precision(model, "float32")
    assert model.linear.weight.data_ptr() == before


def test_what_was_lost_does_not_come_back():
    bundle = make_bundle()
    Predictor(bundle, "cpu", precision="bfloat16")
    with pytest.raises(ConfigError, match="cast before and cannot be float32; load it again"):
        Predictor(bundle, "cpu")
    Predictor(bundle, "cpu", precision="bfloat16")


def test_an_unknown_precision_says_which_there_are():
    with pytest.raises(ConfigError, match="precision must be 'float32' or 'bfloat16', got 'float16'"):
        Predictor(make_bundle(), "cpu", precision="float16")


@pytest.mark.parametrize("readout", [None, "greedy"])
def test_half_precision_gives_valid_answers_near_those_of_full(readout):
    full = Predictor(make_bundle(), "cpu").predict_many(PROTEINS, ASKED, readout=readout)
    half = Predictor(make_bundle(), "cpu", precision="bfloat16").predict_many(
        PROTEINS, ASKED, readout=readout
    )
    assert not half.failures
    for one, other in zip(full, half, strict=True):
        codec, record = TASKS[one.task].codec, one.record
        codec.encode(other.value, record)  # a value that the task's language has
        assert other.score == pytest.approx(one.score, rel=0.5, abs=0.1) or one.value != other.value
    equal = sum(one.value == other.value for one, other in zip(full, half, strict=True))
    assert equal >= len(full) / 2


def test_a_file_is_predicted_in_half_precision(tmp_path):
    bundle = make_bundle()
    save_bundle(tmp_path / "bundle", model=bundle.model, lexicon=bundle.lexicon, tasks=bundle.tasks)
    (tmp_path / "in.fasta").write_text("".join(f">{id}\n{chain}\n" for id, chain in PROTEINS.items()))
    result = predict_file(
        str(tmp_path / "bundle"), str(tmp_path / "in.fasta"), str(tmp_path / "out.csv"), ["place", "fold"],
        device="cpu", precision="bfloat16", progress=False,
    )  # fmt: skip
    assert result.rows == 2 * len(PROTEINS)


def test_compiling_replaces_the_forward_pass_alone():
    model = Rotating()
    names = list(model.state_dict())
    compile_parts(model, None)
    assert model._compiled_call_impl is not None
    assert list(model.state_dict()) == names


def compiled_and_eager(tasks):
    torch._dynamo.reset()
    eager = Predictor(make_bundle(), "cpu").predict_many(PROTEINS, tasks, readout="greedy")
    compiled = Predictor(make_bundle(), "cpu", compile=True)
    assert compiled._model.decoder._compiled_call_impl is not None
    assert compiled._model.encoder._compiled_call_impl is not None
    return compiled.predict_many(PROTEINS, tasks, readout="greedy"), eager


def same(found, eager):
    assert [one.value for one in found] == [one.value for one in eager]
    assert [one.score for one in found] == pytest.approx([one.score for one in eager], rel=1e-4)


def test_compiled_networks_give_the_same_tokens(monkeypatch):
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: plain(self, backend="aot_eager", **how))
    same(*compiled_and_eager(["place"]))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which torch.compile needs on a CPU")
def test_generated_code_gives_the_same_tokens():
    same(*compiled_and_eager(["place", "fold", "sites"]))
