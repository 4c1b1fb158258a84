"""Checking a composed configuration against the constructors it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from protscribe.configuration import check_call, check_seed, check_yaml_files, find_target, fits
from protscribe.errors import ConfigError


def run(folder: str, optimizer: Any, sizes: Mapping[str, int] | None = None, *, total: int) -> None:
    """Something to be configured."""


ADAMW = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3}


def code_of(config: dict[str, Any], **options: Any) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        check_call(run, config, supplied=("total",), runtime={"optimizer": ("params",)}, **options)
    return caught.value.code, caught.value.message


def test_what_is_right_passes() -> None:
    check_call(run, {"folder": "x", "optimizer": ADAMW, "sizes": {"a": 1}}, supplied=("total",))


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"folder": "x", "optmizer": ADAMW}, "config.unknown_key", "did you mean 'optimizer'"),
        (
            {"folder": "x", "optimizer": {**ADAMW, "weigth_decay": 0.1}},
            "config.unknown_key",
            "did you mean 'weight_decay'",
        ),
        ({"optimizer": ADAMW}, "config.missing", "'folder'"),
        ({"folder": 3, "optimizer": ADAMW}, "config.type", "folder must be text"),
        ({"folder": "x", "optimizer": ADAMW, "sizes": [1]}, "config.type", "sizes"),
        ({"folder": "x", "optimizer": {**ADAMW, "lr": "1e-4x"}}, "config.type", "optimizer.lr"),
        ({"folder": "x", "optimizer": {**ADAMW, "params": []}}, "config.fixed", "optimizer.params"),
        ({"folder": "x", "optimizer": ADAMW, "total": 3}, "config.unknown_key", "total"),
        ({"folder": "x", "optimizer": {**ADAMW, "_args_": [1]}}, "config.unknown_key", "_args_"),
        ({"folder": "x", "optimizer": {**ADAMW, "_partial_": "yes"}}, "config.type", "_partial_"),
        ({"folder": "x", "optimizer": {"_target_": "torch.optim.AdamW"}}, "config.missing", "'params'"),
        ({"folder": "x", "optimizer": {"_target_": "torch.optim.AdamWW"}}, "config.unknown_key", "AdamWW"),
        ({"folder": "x", "optimizer": {"_target_": 3}}, "config.forbidden", "_target_"),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], code: str, said: str) -> None:
    found, message = code_of(config)
    assert found == code
    assert said in message


def test_a_node_deep_below_is_checked_too() -> None:
    code, message = code_of({"folder": "x", "optimizer": {**ADAMW, "betas": [{"_target_": "os.system"}, 1]}})
    assert code == "config.forbidden"
    assert "optimizer.betas.0._target_" in message


def test_all_problems_are_told_at_once() -> None:
    _, message = code_of({"fodler": "x", "optimizer": {**ADAMW, "lrr": 1, "epss": 2}})
    assert all(word in message for word in ("4 problems", "fodler", "lrr", "epss", "'folder'"))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "torch.os.system",
        "protscribe.cli.sys.exit",
        "torch",
        "torch..x",
        "numpy.zeros",
        "",
    ],
)
def test_nothing_but_three_packages_is_called(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_target(name, "x")
    assert caught.value.code in ("config.forbidden", "config.unknown_key")


def test_a_target_outside_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError):
        find_target("evil_module.f")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "hint", "good"),
    [
        (1, float, True), (True, float, False), ("1e-4", float, False), (1e-4, float, True), (1.0, int, False),
        (True, int, False), (1, bool, False), (None, int | None, True), (None, int, False), ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False), (1, Literal[True], False), ([1], Sequence[int], True), ("ab", Sequence[str], False),
        ({}, Mapping[str, int], True), ([], Mapping[str, int], False), ("x", Path, True), (3, str | Path, False),
        ("anything", Any, True),
    ],
)  # fmt: skip
def test_fits(value: Any, hint: Any, good: bool) -> None:
    assert fits(value, hint) is good


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", True, None])
def test_seeds_that_no_generator_takes(seed: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check_seed(seed)
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 1\na: 2\n", "config.duplicate_key"),
        ("a: !!python/object/apply:os.system ['true']\n", "config.forbidden"),
        (
            "a: &x [1, 1, 1]\n"
            + "".join(
                f"a{i}: &x{i} [{', '.join(['*x' + (str(i - 1) if i else '')] * 9)}]\n" for i in range(8)
            ),
            "config.too_large",
        ),
        ("a: " + "[" * 200 + "]" * 200 + "\n", "config.too_large"),
        ("#" * 1_100_000, "config.too_large"),
        ("a: [1\n", "config.syntax"),
    ],
)
def test_yaml_that_no_run_may_read(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_yaml_files(tmp_path)
    assert caught.value.code == code
    assert "bad.yaml" in str(caught.value)
