"""Encoding the next batch while the device decodes this one.

The encoder is bound by arithmetic, a decode by memory traffic and launches: on CUDA both run side by side, each on a stream of
its own. Elsewhere a batch is encoded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from protscribe.data.batch import Batch
from protscribe.nn.decoder import Memory

Item = TypeVar("Item")


class Encoded(NamedTuple):
    """A batch, its memories, and, where they are wanted, the states ``[R, F]`` that known proteins are compared with, see
    :func:`protscribe.voting.states_of`."""

    batch: Batch
    memory: Memory
    compared_RF: Tensor | None = None


Ready = Callable[[], Encoded]


def one_ahead(
    items: Iterable[Item], encode: Callable[[Item], Encoded], device: torch.device
) -> Iterator[tuple[Item, Ready]]:
    """Each item with a function that gives its batch and memory; the next item's are under way by then.

    What goes wrong in ``encode``, such as too little memory, is raised by that function and by nothing else.
    """
    if device.type != "cuda":
        for item in items:
            yield item, lambda item=item: encode(item)  # type: ignore[misc]
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # the weights may still be on their way
    waiting: tuple[Item, Ready] | None = None
    for item in items:
        started = _start(item, encode, stream)
        if waiting is not None:
            yield waiting
        waiting = item, started
    if waiting is not None:
        yield waiting


def _start(item: Item, encode: Callable[[Item], Encoded], stream: torch.cuda.Stream) -> Ready:
    failure: Exception | None = None
    encoded: list[Encoded] = []
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        try:
            encoded.append(encode(item))
        except (RuntimeError, MemoryError) as error:
            failure = error.with_traceback(None)
        arrived.record(stream)

    def ready() -> Encoded:
        if failure is not None:
            raise failure
        current = torch.cuda.current_stream(stream.device)
        current.wait_event(arrived)
        found = encoded.pop()
        # Otherwise the side stream could be given this memory again while the current one still reads it.
        compared = () if found.compared_RF is None else (found.compared_RF,)
        for tensor in (*_tensors(found.batch), *_tensors(found.memory), *compared):
            tensor.record_stream(current)
        return found

    return ready


def _tensors(owner: Batch | Memory) -> Iterator[Tensor]:
    for value in vars(owner).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from (
                part for pair in value if isinstance(pair, tuple) for part in pair if isinstance(part, Tensor)
            )
