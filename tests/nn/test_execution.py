"""Half precision, compiled networks and activations computed twice, as a user asks for them."""

import copy
import shutil

import pytest
import torch
from torch import nn

from protscribe.checkpoint import save_bundle
from protscribe.data.collate import Collator, Question
from protscribe.errors import ConfigError
from protscribe.nn.execution import compile_parts, recompute_activations, set_precision
from protscribe.outputs.run import predict_file
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
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


def answered(bundle):
    """A batch of answered questions of several kinds, one of them dense."""
    asked = {"place": "inside", "fold": "HEC" * 5 + "H", "sites": [], "melting": 3.5}
    record = ProteinRecord("a", (LETTERS[:16],))
    return Collator(bundle.lexicon)([Question(record, TASKS[name], answer) for name, answer in asked.items()])


def gradients(model, batch):
    model.zero_grad()
    torch.manual_seed(5)
    model.train()(batch).logsumexp(-1).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_activations_computed_twice_give_the_same_gradients():
    """Encoder and decoder together, with the dropout of both."""
    bundle = make_bundle()
    batch, model = answered(bundle), bundle.model
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    once = gradients(model, batch)
    assert all(torch.equal(once[name], other) for name, other in gradients(model, batch).items())
    passes = []
    for block in model.blocks():
        block.register_forward_hook(lambda *given: passes.append(given))
        inner = block.forward
        block.forward = lambda *given, inner=inner: passes.append(given) or inner(*given)
    recompute_activations(*model.blocks())
    twice = gradients(model, batch)
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)
    # Each block is called once, and computed twice; where nothing is recorded, once.
    blocks = len([*model.encoder.blocks(), *model.decoder.layers])
    assert len(passes) == 3 * blocks
    passes.clear()
    with torch.no_grad():
        model(batch)
    assert len(passes) == 2 * blocks


def test_a_copy_of_a_model_that_computes_twice_computes_with_its_own_weights():
    bundle = make_bundle()
    batch, model = answered(bundle), bundle.model
    recompute_activations(*model.blocks())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
        assert not torch.allclose(other.eval()(batch), model.eval()(batch))
        for weight in other.parameters():
            weight.div_(1.5)
        torch.testing.assert_close(other(batch), model(batch))
