"""How long something takes: the sides of a comparison in turn, in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of the repeats of one side: processor time of this process on a CPU, wall time on a GPU."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def to_plain(self, **more: Any) -> dict[str, Any]:
        plain = {
            "median_seconds": self.median,
            "fastest_seconds": min(self.seconds),
            "slowest_seconds": max(self.seconds),
            "repeats": len(self.seconds),
        }
        return rounded({**plain, **more})


def rounded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers with five significant digits."""
    return {
        name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in plain.items()
    }


def seconds_of(work: Callable[[], Any], device: str = "cpu") -> float:
    """One timed call. On a CPU other processes take time from this one, which processor time leaves out."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    began = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - began


def race(sides: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu") -> dict[str, Times]:
    """The times of all sides, interleaved: each repeat runs every side once, every other one in reverse order.

    What a side does once for all (making a network, choosing a batch size) belongs before the race.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        order = list(sides) if repeat % 2 == 0 else list(reversed(sides))
        gc.collect()
        for name in order:
            seconds[name].append(seconds_of(sides[name], device))
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def fastest(choices: Mapping[Any, Callable[[], Any]], device: str = "cpu") -> Any:
    """The key of the choice that takes least, each tried twice: how a peer's best setting is found."""
    found = race(choices, 2, device)
    return min(found, key=lambda choice: min(found[choice].seconds))
