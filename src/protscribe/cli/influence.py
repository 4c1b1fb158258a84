"""``protscribe influence``: trainings with and without each task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.command import DONE, Command
from protscribe.cli.sources import with_entries
from protscribe.cli.train import check as check_training
from protscribe.cli.train import hush, training_keywords


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training needs, and as ``influence`` the keywords of
    :func:`protscribe.evaluation.influence.measure_influence`."""
    from protscribe.configuration import check_call, check_seed
    from protscribe.evaluation.influence import SUPPLIED, measure_influence

    asked = config["influence"]
    settings = check_training({key: value for key, value in config.items() if key != "influence"})
    check_call(measure_influence, asked, supplied=SUPPLIED)
    for seed in asked["seeds"]:
        check_seed(seed)
    return {**settings, "influence": asked}


def _influence(config: dict[str, Any], folder: Path | None) -> int:
    asked = check(config)["influence"]
    base = with_entries({key: value for key, value in config.items() if key != "influence"}, folder)
    whole = training_keywords(base, folder)
    hush()
    from protscribe.data.mixture import Mixture
    from protscribe.evaluation.influence import measure_influence
    from protscribe.training.run import train

    def train_one(mixture: Mixture, seed: int, place: Path) -> Path:
        told = dict(base) if mixture == whole["mixture"] else {**base, "mixture": _node(mixture)}
        # Whatever lies in the folder of the command lies in that of the training: checkpoints, logs.
        moved = _moved(told, str(base["folder"]), str(place))
        print(f"training: {place}", flush=True)
        return train(**training_keywords({**moved, "seed": seed}, folder)).bundle

    found = measure_influence(train_one, whole["mixture"], whole["sources"], base["folder"], **asked)
    found.write(base["folder"])
    print(found.to_markdown())
    print(f"report: {base['folder']}")
    return DONE


def _node(mixture: Any) -> dict[str, Any]:
    """A mixture of explicit shares, as a configuration has it."""
    shares = {"entries": mixture.to_plain(), "explicit": mixture.explicit, "epoch_size": mixture.epoch_size}
    return {"_target_": "protscribe.data.mixture.Mixture", **shares}


def _moved(value: Any, before: str, after: str) -> Any:
    """Plain data in which every path of a folder, or in it, lies in another folder."""
    if isinstance(value, Mapping):
        return {key: _moved(part, before, after) for key, part in value.items()}
    if isinstance(value, list):
        return [_moved(part, before, after) for part in value]
    inside = isinstance(value, str) and (value == before or value.startswith(f"{before}/"))
    return after + value.removeprefix(before) if inside else value


INFLUENCE = Command(
    "train with and without each task, and tabulate who helps whom", _influence, check, trains=True
)
