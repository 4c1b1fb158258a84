"""The processes that train together keep an eye on each other: where one fails all end, and one message says which.

A process that waits for another in a collective operation would go on waiting when that one has failed, for as long as the
timeout of the strategy lets it, and then complain about the wrong thing. So each process looks every second whether
another has left word of a failure, and ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import lightning
import torch.distributed
from lightning.pytorch.callbacks import Callback

from protscribe.errors import Preempted, ProcessError, ProtscribeError, TrainingError
from protscribe.processes import Seat, seat

LOOK = 1.0
"""Seconds between two looks, and between two signs of life."""
GRACE = 8.0
"""Seconds that a process has to end by itself once one has failed."""
SILENT = 3.5
"""A process without a sign of life for so many seconds is lost, where an operation has failed that it took part in."""
FIRST = "failed"
ENDED = (Preempted, KeyboardInterrupt, SystemExit)
"""What ends a process without a failure."""


class Word(NamedTuple):
    """What a process leaves that fails: its rank, the exit status that all take, and what is wrong."""

    rank: int
    status: int
    said: str


class Watch(Callback):
    """Watches over one fit of several processes. Alone, it does nothing."""

    def __init__(self) -> None:
        self._seat = Seat(0, 1)
        self._store: Any = None
        self._word: Word | None = None
        self._gone = False
        self._over = threading.Event()

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._seat = seat()
        if self._seat.world == 1 or self._store is not None:
            return
        # A connection of its own: that of the process group is taken while an operation waits.
        server = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=30),
        )
        # torchrun keeps its store when it starts the processes again.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = torch.distributed.PrefixStore(f"protscribe/{attempt}", server)  # type: ignore[attr-defined]
        self._launched = getattr(trainer.strategy.launcher, "procs", [])
        self._store.set(f"alive/{self._seat.rank}", "0")
        threading.Thread(target=self._look, name="protscribe-watch", daemon=True).start()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Leaves word before anything else: what follows may hang."""
        if self._store is not None and not isinstance(exception, ENDED) and not _of_peers(exception):
            status = exception.exit_status if isinstance(exception, ProtscribeError) else 1
            self._leave(Word(self._seat.rank, status, str(exception)))

    def explain(self, exception: BaseException) -> BaseException:
        """What a fit that ended with this exception is to raise: the same, or what the failure of another has done."""
        if self._store is None or isinstance(exception, ENDED):
            return exception
        until = time.monotonic() + GRACE
        while self._find() is None and _of_peers(exception) and time.monotonic() < until:
            if lost := self._lost():
                # Said by this process; that one cannot.
                self._leave(Word(self._seat.rank, TrainingError.exit_status, ""))
                exception = TrainingError(
                    "train.process_lost",
                    f"{' and '.join(map(str, lost))} ended without a word: killed from outside, or out of memory",
                )
                break
        word = self._find()
        if word is None or word.rank == self._seat.rank:
            self._wait_until_heard()
            return exception
        return ProcessError(word.rank, self._seat.world, word.said, word.status)

    def end(self) -> None:
        """Stops watching."""
        self._over.set()

    def _leave(self, word: Word) -> None:
        """The first word stays."""
        self._ask("compare_set", FIRST, "", json.dumps(word))
        self._find()

    def _find(self) -> Word | None:
        """The word that was left, if any was. It is remembered, for the store ends with the first process."""
        if self._word is None and self._ask("check", [FIRST]):
            self._word = Word(*json.loads(self._ask("get", FIRST)))
            self._ask("set", f"heard/{self._seat.rank}", "")
        return self._word

    def _wait_until_heard(self) -> None:
        """A process that ends at once might take the store with it, before the others have looked."""
        heard = [f"heard/{rank}" for rank in range(self._seat.world)]
        until = time.monotonic() + 3 * LOOK
        while self._word is not None and time.monotonic() < until and not self._ask("check", heard):
            time.sleep(0.1)

    def _lost(self) -> list[Seat]:
        """Processes that have ended, as far as can be told from here."""
        ended = [rank for rank, process in enumerate(self._launched, start=1) if process.poll()]
        if not ended:
            ranks = range(self._seat.world)
            before = [self._ask("get", f"alive/{rank}") for rank in ranks]
            time.sleep(SILENT)
            after = [self._ask("get", f"alive/{rank}") for rank in ranks]
            ended = [rank for rank in ranks if before[rank] == after[rank]] if any(after) else [0]
        return [Seat(rank, self._seat.world) for rank in ended if rank != self._seat.rank]

    def _ask(self, what: str, *about: Any) -> Any:
        """Asks the store; nothing once it is gone."""
        if self._gone:
            return None
        try:
            return getattr(self._store, what)(*about)
        except RuntimeError:
            self._gone = True
            return None

    def _look(self) -> None:
        beats = 0
        while not self._over.wait(LOOK):
            beats += 1
            self._ask("set", f"alive/{self._seat.rank}", str(beats))
            word = self._find() or (Word(0, TrainingError.exit_status, "") if self._gone else None)
            if word is not None and not self._over.wait(GRACE):
                if word.rank == self._seat.rank and word.said:
                    print(f"protscribe: {self._seat}: {word.said}", file=sys.stderr, flush=True)
                # The main thread waits where no exception reaches it.
                os._exit(word.status)


def _of_peers(exception: BaseException) -> bool:
    """Whether an exception is what a process feels that another one has failed, or may be."""
    if isinstance(exception, torch.distributed.DistError):
        return True
    said = str(exception)
    return isinstance(exception, RuntimeError) and any(
        name in said for name in ("gloo", "NCCL", "Connection")
    )


@contextmanager
def watched(trainer: lightning.Trainer) -> Iterator[None]:
    """Watches over a fit of this trainer."""
    watch = Watch()
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.insert(0, watch)
    try:
        yield
    except BaseException as exception:
        explained = watch.explain(exception)
        if explained is exception:
            raise
        raise explained from exception
    finally:
        watch.end()
        callbacks.remove(watch)
