"""Signals that ask a run to stop: SIGTERM, SIGINT (Ctrl-C), and SIGUSR1, which SLURM sends ahead of time. Pure Python.

While a model is fitted they only set a flag: the step in progress is finished and a checkpoint saved, however many more
signals come; so it is while a file is put in its place, or is begun and not yet anybody's to remove. Elsewhere, where there is
nothing to finish, the first one ends the run at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from protscribe.errors import Preempted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

CODE = "train.preempted"
ADVICE = "resume=last goes on from what is saved of it"


class Interruption:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self, code: str = CODE, advice: str = ADVICE) -> None:
        self.signal: int | None = None
        self._code, self._advice = code, advice
        self._deferred = False

    @property
    def name(self) -> str:
        return "a signal" if self.signal is None else signal.Signals(self.signal).name

    def handle(self, number: int, frame: Any) -> None:
        """What the system calls."""
        first = self.signal is None
        self.signal = self.signal or number
        if first and not self._deferred:
            raise self._ended()

    def check(self) -> None:
        """Raises :class:`~protscribe.errors.Preempted` where a signal was heard."""
        if self.signal is not None:
            raise self._ended()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, signals set the flag and nothing more; where it ends, unless inside another, the first one ends the run."""
        before, self._deferred = self._deferred, True
        heard = self.signal
        try:
            yield
        finally:
            self._deferred = before
        if not before and heard is None:
            self.check()

    def _ended(self) -> Preempted:
        return Preempted(self._code, f"{self.name} ended the run; {self._advice}")


_current: list[Interruption] = []


def interruption() -> Interruption:
    """What was heard so far; nothing, where nobody listens."""
    return _current[-1] if _current else Interruption()


@contextmanager
def listening(code: str = CODE, advice: str = ADVICE) -> Iterator[None]:
    """Listens for :data:`SIGNALS`; afterwards they do what they did before. Only a main thread can hear them.

    ``code`` and ``advice`` are those of the :class:`~protscribe.errors.Preempted` that is raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _current.append(Interruption(code, advice))
    before = {number: signal.signal(number, _current[-1].handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, and cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _current.pop()
