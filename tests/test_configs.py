"""Every shipped YAML is composed as its command would, and bound to the constructors it names. How many there
are is written here."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from protscribe.catalogue import configs_folder
from protscribe.cli import COMMANDS, check
from protscribe.encoders import ENCODERS, MOLECULE_ENCODERS, adapt

FOLDER = configs_folder()
COUNTS = {
    ".": 15, "adaptation": 6, "callbacks": 4, "data": 1, "debug": 2, "decoder": 5, "encoder": 13,
    "experiment": 11, "hydra": 2, "logger": 4, "mixture": 6, "molecule_encoder": 2, "objective": 1,
    "optimizer": 2, "paths": 1, "rates": 1, "schedule": 3, "search": 3, "state_cache": 1, "trainer": 9,
}  # fmt: skip
"""Files in each folder; those of ``task`` and ``source`` are counted in test_catalogue.py."""
CATALOGUE = ("task", "source")
NEEDED = {
    "predict": ["bundle=b", "input=i.fasta", "output=o.csv"],
    "evaluate": ["bundle=b", "sources=[solubility]"],
    "inspect": ["bundle=b"],
    "merge": ["folder=f", "output=o.csv"],
    "status": ["folder=f"],
    "serve": ["bundle=b"],
    "report": ["folder=f"],
    "explain": ["bundle=b", "input=i.fasta", "output=o", "tasks=[solubility]"],
    "neighbours": ["bundle=b", "sources=[solubility]", "output=o"],
    "calibrate": ["bundle=b", "sources=[solubility]", "output=o"],
    "split": ["input=i.csv", "output=o.csv"],
    "audit": ["sources=[solubility]"],
    "train": ["folder=f"],
    "pretrain": ["folder=f"],
    "influence": ["folder=f"],
}
"""What a user must give."""
OPEN = {"encoder/esm_local", "encoder/fair_esm", "encoder/huggingface", "molecule_encoder/huggingface"}
"""Files with a name that a user must give."""
UNMIXED = {"experiment/central_claim"}
"""Experiments whose task and source a user must give."""


def files() -> list[Path]:
    found = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
    return [path for path in found if path.parts[0] not in CATALOGUE]


def composed(command: str, overrides: list[str]) -> dict[str, Any]:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        found = OmegaConf.to_container(
            compose(command, [*NEEDED[command], *overrides]), resolve=True, throw_on_missing=True
        )
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def test_how_many_there_are() -> None:
    assert dict(Counter(path.parent.as_posix() for path in files())) == COUNTS


@pytest.mark.parametrize("path", files(), ids=str)
def test_every_file_says_what_it_is_and_who_uses_it(path: Path) -> None:
    text = (FOLDER / path).read_text(encoding="utf-8")
    comments = [line for line in text.splitlines()[:4] if line.startswith("# ") and "@package" not in line]
    assert text.startswith("#")
    assert any(f"Used by: protscribe {name}" in " ".join(comments) for name in COMMANDS), comments


def uses() -> Iterator[tuple[str, list[str]]]:
    """Every file, as the command and the override that brings it in."""
    for path in files():
        group, name = path.parent.as_posix(), path.stem
        if group == ".":
            yield name, []
        elif group == "hydra":
            yield ("train" if name == "train" else "predict"), []
        elif group == "search":
            yield "predict", [f"search={name}"]
        else:
            given = [f"{group}.name=org/name"] if f"{group}/{name}" in OPEN else []
            given += ["mixture=demo"] if f"{group}/{name}" in UNMIXED else []
            yield "train", [f"{group}={name}", *given]


@pytest.mark.parametrize(("command", "overrides"), uses(), ids=str)
def test_every_file_composes_to_a_call_that_binds(command: str, overrides: list[str]) -> None:
    config = composed(command, overrides)
    check(command, config)
    if command == "train":
        bind_kind(config["encoder"], ENCODERS)
        inspect.signature(adapt).bind(None, **config["adaptation"])
        if "molecule_encoder" in config:
            bind_kind(config["molecule_encoder"], MOLECULE_ENCODERS)


def bind_kind(plain: dict[str, Any], table: dict[str, Any]) -> None:
    """An encoder's keys are the keywords of its kind, or of how that kind is loaded by name."""
    keywords = {key: value for key, value in plain.items() if key not in ("kind", "name")}
    kind = table[plain["kind"]]
    if "name" in plain:
        inspect.signature(kind.load).bind(plain["name"], **keywords)
    else:
        inspect.signature(kind).bind(**keywords)


def test_a_binding_can_fail() -> None:
    config = composed("train", ["+optimizer.momentum=0.9"])
    with pytest.raises(Exception, match="momentum"):
        check("train", config)
    with pytest.raises(TypeError):
        bind_kind({"kind": "mini", "widht": 3}, ENCODERS)


@pytest.mark.parametrize(
    ("command", "name"),
    [("train", "train"), ("predict", "quiet"), ("evaluate", "quiet"), ("inspect", "quiet")],
)
def test_hydra_writes_below_the_run_or_nothing(command: str, name: str) -> None:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(
            command,
            [*NEEDED[command], *(["name=mine"] if command == "train" else [])],
            return_hydra_config=True,
        )
    hydra = config.hydra
    assert not hydra.job.chdir
    assert hydra.job_logging.root is None or not hydra.job_logging.root.get("handlers")
    if command == "train":
        HydraConfig.instance().set_config(config)
        assert hydra.run.dir == "runs/mine"
        assert hydra.output_subdir == "hydra"
    else:
        assert hydra.run.dir == "."
        assert hydra.output_subdir is None


def test_nothing_that_a_run_supplies_stands_in_a_file() -> None:
    from protscribe.training.run import SUPPLIED_TO

    config = composed("train", [])
    for node, keywords in SUPPLIED_TO.items():
        assert not set(config[node]) & set(keywords)
