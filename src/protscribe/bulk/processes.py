"""Several processes of this machine, one a device, that are handed shards until there are none left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from protscribe.bulk.work import Job, Report, Told, Worker, hearing
from protscribe.errors import DeviceError, ProtscribeError

DEATHS = 3
"""Processes that may die over one shard before it is taken to be the shard's fault."""
GRACE = 20.0
"""Seconds that processes have to drop what they are at before they are killed."""
TELLING = 0.5


def run_processes(job: Job, shards: Sequence[int], workers: int, told: Told) -> Iterator[Report]:
    """Reports of so many processes. One that dies is replaced, and its shard done again.

    Raises what a process raised, and :class:`~protscribe.errors.DeviceError` ``device.worker_died`` where a shard has
    killed :data:`DEATHS` of them; all others have ended by then.
    """
    pool = _Pool(job, workers)
    left = deque(shards)
    deaths: Counter[int] = Counter()
    try:
        pool.start(min(workers, len(left)))
        while left or pool.busy:
            pool.hand_out(left)
            for member in pool.those_that_speak():
                kind, said = member.hear()
                if kind == "told":
                    told(said)
                elif kind == "done":
                    yield said
                elif kind == "died":
                    shard = pool.bury(member)
                    if shard is not None:
                        deaths[shard] += 1
                        left.appendleft(shard)
                        _check_deaths(shard, deaths[shard], said)
                    if left:
                        pool.start(1)
                else:
                    raise said
    finally:
        pool.stop()


def _check_deaths(shard: int, count: int, status: int | None) -> None:
    if count >= DEATHS:
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        message = (
            f"{count} processes died at shard {shard + 1}, the last one by {how}; where the system ends what needs too "
            "much memory, use fewer workers or a smaller batch_residues"
        )
        raise DeviceError("device.worker_died", message)


class _Member:
    """One process: its pipe, and the shard it is at."""

    def __init__(self, job: Job, place: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.place, self.shard = place, _NONE
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, job, place), daemon=False)
        self.process.start()
        theirs.close()

    def hear(self) -> tuple[str, Any]:
        """What it says; ``died`` where it has ended without a word."""
        try:
            kind, said = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE)
            return "died", self.process.exitcode
        if kind == "done":
            self.shard = _NONE
        return kind, said

    def hand(self, shard: int) -> None:
        self.shard = shard
        with suppress(OSError):  # it has died, which is seen when it is listened to
            self.pipe.send(shard)


_NONE = -1


class _Pool:
    def __init__(self, job: Job, workers: int) -> None:
        self.job = job
        self.members: list[_Member] = []
        self._free = deque(range(workers))
        self._threads = str(max(1, (os.cpu_count() or 1) // workers))

    @property
    def busy(self) -> bool:
        return any(member.shard != _NONE for member in self.members)

    def start(self, count: int) -> None:
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ.setdefault("OMP_NUM_THREADS", self._threads)
        try:
            self.members += [_Member(self.job, self._free.popleft()) for _ in range(count)]
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]

    def hand_out(self, left: deque[int]) -> None:
        for member in self.members:
            if left and member.shard == _NONE:
                member.hand(left.popleft())

    def those_that_speak(self) -> list[_Member]:
        ready = connection.wait([member.pipe for member in self.members])
        return [member for member in self.members if member.pipe in ready]

    def bury(self, member: _Member) -> int | None:
        """The shard that a dead process was at."""
        self.members.remove(member)
        member.pipe.close()
        self._free.append(member.place)
        return None if member.shard == _NONE else member.shard

    def stop(self) -> None:
        """Ends all processes: those without a shard by closing their pipe, the others by a signal, at last by force."""
        for member in self.members:
            if member.shard != _NONE and member.process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(member.process.pid or 0, signal.SIGTERM)
            member.pipe.close()
        until = time.monotonic() + GRACE
        for member in self.members:
            member.process.join(max(0.0, until - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
                member.process.join()


def _serve(pipe: Any, job: Job, place: int) -> None:
    """What a process does: shards as they are handed to it, until the pipe is closed."""
    os.environ["LOCAL_RANK"] = str(place)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with hearing():
            worker = Worker(job)
            while True:
                try:
                    shard = pipe.recv()
                except EOFError:
                    return
                teller = _Teller(pipe)
                report = worker.do(shard, teller)
                teller.tell()
                pipe.send(("done", report))
    except ProtscribeError as error:
        _send(pipe, error)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        _send(pipe, RuntimeError(f"a worker failed:\n{text}"))


def _send(pipe: Any, error: Exception) -> None:
    with suppress(OSError):
        pipe.send(("error", error))


class _Teller:
    """Tells the parent of answered records, some at a time."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._count, self._told = pipe, 0, time.monotonic()

    def __call__(self, count: int) -> None:
        self._count += count
        if time.monotonic() - self._told > TELLING:
            self.tell()

    def tell(self) -> None:
        if self._count:
            self._pipe.send(("told", self._count))
        self._count, self._told = 0, time.monotonic()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
