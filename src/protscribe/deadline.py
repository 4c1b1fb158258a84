"""A time limit on a computation in this process, held by a timer of the system's. Pure Python."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OutOfTime(RuntimeError):
    """A computation took longer than it was given."""


def _ring(number: int, frame: Any) -> None:
    raise OutOfTime("out of time")


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raises :class:`OutOfTime` inside after so many seconds, between two steps of Python; ``None`` never does.

    Only a main thread can be interrupted, so that elsewhere, and on Windows, there is no limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
