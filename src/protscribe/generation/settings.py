"""How alternatives are sought: beam search and sampling, as plain values. Reading a configuration needs no torch for them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from protscribe.errors import ConfigError


@dataclass(frozen=True)
class Beam:
    """Beam search: the ``width`` most probable beginnings of an answer are kept side by side, token by token.

    width: beginnings kept a question; more find more probable answers and cost as much more. At least as many as
        alternatives are wanted are kept.
    groups: parts of the beam that avoid each other (diverse beam search, Vijayakumar et al. 2018); 1 is plain beam search.
    diversity: what a token costs a group, in natural log probability, for each beginning of an earlier group that takes the
        same token at the same place. It decides what is followed; reported probabilities never hold it.
    length_power: alternatives are ranked by log probability / ((5 + tokens) / 6) ** length_power (Wu et al. 2016). 0 ranks by
        probability; more favours long answers.
    """

    width: int = 8
    groups: int = 1
    diversity: float = 0.5
    length_power: float = 0.0

    def __post_init__(self) -> None:
        _check_whole("width", self.width, 1)
        _check_whole("groups", self.groups, 1)
        _check_number("diversity", self.diversity, 0)
        _check_number("length_power", self.length_power, 0)
        if self.width % self.groups:
            raise ConfigError(
                "config.value",
                f"a beam's width must be a multiple of its groups, got width={self.width}, groups={self.groups}",
            )

    def at_least(self, count: int) -> Beam:
        """This search with a beam that can hold ``count`` alternatives."""
        return replace(self, width=max(self.width, -(-count // self.groups) * self.groups))

    @property
    def name(self) -> str:
        return "beam" if self.groups == 1 else "diverse beam"


@dataclass(frozen=True)
class Sample:
    """Answers drawn from the model, token by token.

    temperature: above 0; log probabilities are divided by it, so that less is bolder and more is more varied.
    top_k: only the ``top_k`` most probable tokens of each step are drawn from (0: all).
    top_p: only the most probable tokens that together reach this probability are (1: all; Holtzman et al. 2020).
    seed: with the task and the protein, all that the draws depend on.
    draws: how many answers are drawn; 0 draws as many as alternatives are wanted. Equal ones count once.

    Reported probabilities are the model's own, whatever sharpened the draws.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    draws: int = 0

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0)
        _check_number("top_p", self.top_p, 0)
        for name in ("top_k", "seed", "draws"):
            _check_whole(name, getattr(self, name), 0)
        if self.temperature == 0:
            raise ConfigError(
                "config.value", "temperature must be above 0; for the one most probable answer use a beam"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError("config.value", f"top_p must be above 0 and at most 1, got {self.top_p}")

    def at_least(self, count: int) -> Sample:
        """This search with its number of draws filled in where ``count`` alternatives are wanted."""
        return self if self.draws else replace(self, draws=count)

    @property
    def name(self) -> str:
        return "sample"


Search = Beam | Sample


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError("config.value", f"{name} must be a whole number, {least} or more, got {value!r}")


def _check_number(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
        raise ConfigError("config.value", f"{name} must be a number, {least} or more, got {value!r}")
