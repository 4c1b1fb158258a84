"""Signals that reach the worker processes of a loader.

A scheduler signals all processes of a job, and Ctrl-C all those of a terminal. A worker that died of it would end training
with an error in the middle of a step. So while a model is fitted it goes on, and notes the signal where the process that
trains sees it; at any other time it dies of it, as Python expects at the end of a program.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class Ear:
    """Hears the signals of one loader's workers. Give :meth:`listen` to the loader as ``worker_init_fn``."""

    def __init__(self, fitting: Any) -> None:
        self._fitting, self._heard = fitting, RawValue("i", 0)

    @property
    def heard(self) -> bool:
        """Whether a worker got a signal while a model was fitted."""
        return bool(self._heard.value)

    def listen(self, worker: int) -> None:
        """Called in each worker process as it begins."""
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: Any) -> None:
        if self._fitting.value:
            self._heard.value = number
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class Ears:
    """Those of a data module's loaders, by what they are for (``"training"``, ``"validation"``).

    Each loader has its own: one that closes ends slow workers by SIGTERM, which then means nothing.
    """

    def __init__(self) -> None:
        self._fitting: Any = RawValue("i", 0)
        self._in_use: dict[str, list[Ear]] = {}

    def close(self, part: str) -> None:
        """The loaders of this part are replaced."""
        self._in_use[part] = []

    def grow(self, part: str) -> Ear:
        """One for a new loader."""
        ear = Ear(self._fitting)
        self._in_use.setdefault(part, []).append(ear)
        return ear

    def heard(self, part: str) -> bool:
        """Whether a signal has reached a worker of the loaders in use."""
        return any(ear.heard for ear in self._in_use.get(part, ()))

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """While a model is fitted."""
        self._fitting.value = 1
        try:
            yield
        finally:
            self._fitting.value = 0
