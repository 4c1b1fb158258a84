"""How fast each part learns: which weight is in which group, at which rate, and that the rates are told."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.encoders import adapt, load_encoder
from protscribe.errors import ConfigError
from protscribe.nn.decoder import Decoder
from protscribe.nn.growth import hold_known
from protscribe.nn.model import Scribe
from protscribe.training.module import ScribeTraining
from protscribe.training.rates import Rates, scale_rates, weight_groups
from protscribe.training.schedule import cosine
from tests.training.made import MINI, read_data
from tests.training.test_module import trainer


def model(how: str = "full") -> Scribe:
    torch.manual_seed(0)
    encoder: Any = adapt(load_encoder(MINI), how, rank=2)  # type: ignore[arg-type]
    return Scribe(encoder, Decoder(30, encoder.width, width=32, layers=1, heads=2))


def groups_of(model: Scribe, **rates: float) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in weight_groups(model, Rates(**rates))}


def names_in(model: Scribe, group: dict[str, Any]) -> set[str]:
    inside = {id(weight) for weight in group["params"]}
    return {name for name, weight in model.named_parameters() if id(weight) in inside}


@pytest.mark.parametrize("how", ["frozen", "last_k", "full", "lora"])
def test_every_weight_that_is_trained_is_in_one_group(how: str) -> None:
    made = model(how)
    held = [weight for group in groups_of(made).values() for weight in group["params"]]
    assert len(held) == len({id(weight) for weight in held})
    assert {id(one) for one in held} == {id(one) for one in made.parameters() if one.requires_grad}


def test_parts_by_name() -> None:
    made = model("lora")
    groups = groups_of(made, adapters=4, symbols=0.5)
    assert set(groups) == {"adapters", "decoder", "decoder, no decay", "symbols", "symbols, no decay"}
    assert all(".lora_" in name for name in names_in(made, groups["adapters"]))
    assert names_in(made, groups["symbols"]) == {"decoder.score.weight"}
    assert names_in(made, groups["symbols, no decay"]) == {"decoder.table.weight"}
    assert {name: group["multiple"] for name, group in groups.items()} == {
        "adapters": 4.0, "decoder": 1.0, "decoder, no decay": 1.0, "symbols": 0.5, "symbols, no decay": 0.5,
    }  # fmt: skip


def test_norms_biases_and_embeddings_do_not_decay() -> None:
    made = model()
    groups = groups_of(made)
    plain = set.union(*(names_in(made, group) for group in groups.values() if group.get("weight_decay") == 0))
    spared = {name for name, weight in made.named_parameters() if weight.ndim < 2 or ".table." in name}
    assert plain == spared | {"decoder.parts.weight"}
    assert {name for name, group in groups.items() if "weight_decay" in group} == {
        "encoder, no decay", "decoder, no decay", "symbols, no decay",
    }  # fmt: skip


def test_new_symbols_alone_are_symbols() -> None:
    made = model()
    hold_known(made, made.decoder, 20)
    assert set(groups_of(made)) == {"symbols", "symbols, no decay"}


def test_rates_fall_from_block_to_block_down_to_the_embedding() -> None:
    made = model()
    found = {
        name: group["multiple"]
        for group in groups_of(made, encoder=2.0, block_decay=0.5).values()
        for name in names_in(made, group)
    }
    blocks = len(made.encoder.blocks())  # type: ignore[operator]
    for name, multiple in found.items():
        if name.startswith("decoder."):
            assert multiple == 1.0
        elif (block := re.search(r"layers\.(\d+)", name)) is not None:
            assert multiple == 2.0 * 0.5 ** (blocks - 1 - int(block[1])), name
        else:
            assert multiple == 2.0 * (0.5**blocks if ".table." in name else 1.0), name


def test_an_optimizer_takes_the_rates_and_a_schedule_moves_them_together() -> None:
    made = model("lora")
    optimizer = torch.optim.AdamW(weight_groups(made, Rates(adapters=3.0)), lr=1e-2)
    scale_rates(optimizer)
    schedule = cosine(optimizer, total_steps=10, warmup_steps=0, floor=0.0)
    for _ in range(10):
        now = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert now["adapters"] == pytest.approx(3 * now["decoder"])
        optimizer.step()
        schedule.step()
    assert now["decoder"] < 1e-2


def test_a_part_with_rate_0_stays_as_it_is_and_rates_are_logged(tmp_path: Path) -> None:
    data = read_data(tmp_path)
    encoder: Any = adapt(load_encoder(MINI))
    decoder = Decoder(len(data.lexicon.vocabulary), encoder.width, width=32, layers=1, heads=2)
    module = ScribeTraining(
        Scribe(encoder, decoder), data.lexicon, data.tasks, partial(torch.optim.AdamW, lr=1e-3),
        lambda optimizer, total_steps: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0),
        rates=Rates(encoder=0.0, symbols=2.0),
    )  # fmt: skip
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    fitted = trainer(tmp_path)
    fitted.fit(module, datamodule=data)
    moved = {
        name for name, value in module.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert {name.split(".")[0] for name in moved} == {"decoder"}
    logged = {name: float(value) for name, value in fitted.callback_metrics.items() if "rate" in name}
    assert logged == pytest.approx(
        {"train/rate/encoder": 0.0, "train/rate/decoder": 1e-3, "train/rate/symbols": 2e-3}
    )


@pytest.mark.parametrize(
    "values", [{"encoder": -1}, {"adapters": 1e4}, {"block_decay": 0}, {"block_decay": 1.1}]
)
def test_a_rate_out_of_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))) as caught:
        Rates(**values)
    assert caught.value.code == "config.value"
