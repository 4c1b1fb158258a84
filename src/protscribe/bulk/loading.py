"""The model behind a shard: a predictor, with the time its device spends in the encoder. Imports torch when it is called."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from protscribe.records import Failure, Prediction


@dataclass(frozen=True)
class LoadBundle:
    """Loads a bundle's predictor on a device. ``folder`` is the bundle's, on this machine; the rest as
    :class:`protscribe.predictor.Predictor` takes it."""

    folder: str
    draws: int = 16
    seed: int = 0
    precision: Any = "float32"
    compile: bool = False
    wish: Any = None

    def __call__(self, device: str) -> BundleModel:
        from protscribe.generation.answering import Asking
        from protscribe.predictor import Predictor

        asking = Asking(draws=self.draws, seed=self.seed)
        found = own_device(device, int(os.environ.get("LOCAL_RANK", 0)))
        how: dict[str, Any] = {"precision": self.precision, "compile": self.compile}
        return BundleModel(Predictor.load(self.folder, found, asking=asking, **how), self.wish)


def own_device(device: str, place: int) -> str:
    """The device of the process at this place (0-based) on its machine; ``auto`` and ``cuda`` share out the GPUs there are."""
    if device not in ("auto", "cuda"):
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{place % count}" if count else device


class BundleModel:
    """A predictor that a worker asks, and what is wished for beyond usual answers."""

    def __init__(self, predictor: Any, wish: Any = None) -> None:
        self.predictor, self.wish = predictor, wish

    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Iterator[Prediction | Failure]:
        stream: Iterator[Prediction | Failure] = self.predictor.stream(records, tasks, wish=self.wish, **how)
        return stream

    @contextmanager
    def timed(self) -> Iterator[Callable[[], float]]:
        """Inside, counts the seconds in the encoder; yields a function that tells how many there were.

        On CUDA those of the device, between two events; the function waits for the last of them.
        """
        encoder = self.predictor.bundle.model.encoder
        cuda = self.predictor.device.type == "cuda"
        seconds = 0.0
        begun: list[Any] = []
        open_events: list[tuple[Any, Any]] = []

        def begins(*_: Any) -> None:
            begun.append(_event() if cuda else time.perf_counter())

        def ends(*_: Any) -> None:
            nonlocal seconds
            start = begun.pop()
            if cuda:
                open_events.append((start, _event()))
            else:
                seconds += time.perf_counter() - start

        def spent() -> float:
            nonlocal seconds
            while open_events:
                start, end = open_events.pop()
                end.synchronize()
                seconds += start.elapsed_time(end) / 1000
            return seconds

        hooks = [
            encoder.register_forward_pre_hook(begins),
            encoder.register_forward_hook(ends, always_call=True),
        ]
        try:
            yield spent
        finally:
            for hook in hooks:
                hook.remove()


def _event() -> Any:
    import torch

    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
