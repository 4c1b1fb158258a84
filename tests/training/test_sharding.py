"""A model's twin, which takes its weights back. That sharding trains the same is in test_strategies.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from protscribe.data.collate import Collator, Question
from protscribe.encoders import adapt
from protscribe.errors import ConfigError
from protscribe.nn.execution import recompute_activations
from protscribe.records import ProteinRecord
from protscribe.training.sharding import shard, twin
from tests.small import TASKS, make_bundle


@pytest.mark.parametrize("how", [{"how": "full"}, {"how": "lora", "rank": 2}, {"how": "last_k", "last": 1}])
def test_a_twin_with_the_weights_answers_as_the_model(how: dict[str, Any]) -> None:
    bundle = make_bundle()
    model = bundle.model
    model.encoder = adapt(model.encoder, **how)
    recompute_activations(*model.eval().blocks())
    same = twin(model)
    assert {weight.device.type for weight in same.parameters()} == {"meta"}
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert [name for name, weight in same.named_parameters() if weight.requires_grad] == trained
    same.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    record = ProteinRecord("a", ("MKTAYIAKQR",))
    batch = Collator(bundle.lexicon)(
        [Question(record, TASKS["sites"], (3,)), Question(record, TASKS["fold"], "H" * 10)]
    )
    expected = model(batch)
    # Nothing of the twin leads back to the model: neither a weight nor a forward pass that was replaced.
    for weight in model.parameters():
        nn.init.zeros_(weight)
    assert torch.equal(same(batch), expected)
    same(batch)[..., 0].sum().backward()
    assert all(weight.grad is None for weight in model.parameters())
    assert any(weight.grad is not None for weight in same.parameters())


def test_weights_of_four_bits_are_refused() -> None:
    model = make_bundle().model
    model.encoder.packed = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match="use trainer=ddp"):
        shard(model, mesh=None)  # type: ignore[arg-type]
