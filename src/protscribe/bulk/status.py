"""How far a folder of answers is, read from what lies in it: of a running job, or of a dead one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protscribe.bulk.lease import Lease, is_alive, read_lease
from protscribe.bulk.plan import Plan, read_plan
from protscribe.bulk.shard import Paths, Seal, counted, read_seal

RECENT = 3600.0
"""Seconds over which throughput is measured, at most."""


@dataclass(frozen=True)
class Running:
    """A shard (0-based) that somebody works on, or did (``alive`` is false)."""

    shard: int
    lease: Lease
    age: float
    alive: bool


@dataclass(frozen=True)
class Status:
    """``done`` of ``shards`` are finished, ``running`` worked on, ``stale`` left by workers that died, ``damaged`` not what was
    written, ``missing`` not begun. ``records`` of ``total`` are done, those of running shards included; ``rate`` is
    how many a second lately (``None`` where that is not known), ``eta`` the seconds that are left at that rate."""

    folder: Path
    shards: int
    done: int
    running: tuple[Running, ...]
    stale: tuple[Running, ...]
    damaged: tuple[str, ...]
    missing: int
    records: int
    total: int
    answers: int
    rejected: int
    rate: float | None
    eta: float | None

    @property
    def is_complete(self) -> bool:
        return self.done == self.shards

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {'complete' if self.is_complete else 'not complete'}",
            f"shards   {self.done} of {self.shards} done, {len(self.running)} running, {len(self.stale)} stale, "
            f"{self.missing} missing, {len(self.damaged)} damaged",
            f"records  {self.records} of {self.total} ({self.records / max(1, self.total):.1%}), "
            f"{self.answers} answers, {self.rejected} rejected",
        ]
        if self.rate is not None:
            left = "" if self.eta is None else f", {_duration(self.eta)} left"
            lines.append(f"speed    {self.rate:.1f} records/s{left}")
        lines += [_line(one) for one in self.running[:20]]
        lines += [f"{_line(one)}: it died" for one in self.stale[:20]]
        lines += [f"damaged  {one}" for one in self.damaged[:20]]
        if not self.is_complete and not self.running:
            lines.append("nobody works on it: run the same predict command again, which does what is missing")
        return "\n".join(lines)


def read_status(folder: str | Path, *, digests: bool = False) -> Status:
    """The status of a folder. ``digests``: look at every byte of finished shards, and not at their sizes alone.

    Raises :class:`~protscribe.errors.OutputError`: ``output.no_plan``, ``output.plan``.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    seals: dict[int, Seal] = {}
    damaged: list[str] = []
    at_work: list[Running] = []
    for shard in range(len(plan.shards)):
        found = read_seal(folder, plan, shard, digests=digests)
        if isinstance(found, Seal):
            seals[shard] = found
            continue
        lease = read_lease(Paths(folder, shard).lock)
        if lease is not None:
            at_work.append(Running(shard, *lease, is_alive(*lease)))
        elif found is not None:
            damaged.append(found)
    running = tuple(one for one in at_work if one.alive)
    stale = tuple(one for one in at_work if not one.alive)
    total = counted(list(seals.values()))
    records = total["records"] + sum(one.lease.done for one in running)
    rate = _rate(folder, plan, seals, running)
    all_records = plan.input["records"]
    return Status(
        folder=folder,
        shards=len(plan.shards),
        done=len(seals),
        running=running,
        stale=stale,
        damaged=tuple(damaged),
        missing=len(plan.shards) - len(seals) - len(at_work) - len(damaged),
        records=records,
        total=all_records,
        answers=total["answers"],
        rejected=total["rejected"],
        rate=rate,
        eta=(all_records - records) / rate if rate and records < all_records else None,
    )


def _rate(folder: Path, plan: Plan, seals: dict[int, Seal], running: Sequence[Running]) -> float | None:
    """Records a second: of those who work now; otherwise between the first and the last shard that was finished lately."""
    now = sum(one.lease.done / one.lease.seconds for one in running if one.lease.seconds > 0)
    if now > 0:
        return now
    times = sorted((Paths(folder, shard).seal.stat().st_mtime, seal.records) for shard, seal in seals.items())
    recent = [one for one in times if times[-1][0] - one[0] <= RECENT]
    seconds = recent[-1][0] - recent[0][0] if recent else 0.0
    return sum(records for _, records in recent[1:]) / seconds if seconds > 0 else None


def _line(one: Running) -> str:
    lease = one.lease
    spent = max(lease.seconds, 1e-9)
    shares = f"encoder {lease.encoder / spent:.0%}, decoder {lease.decoder / spent:.0%}"
    return (
        f"shard {one.shard + 1:<5} {lease.done} of {lease.total} records by {lease}, {shares}, "
        f"sign of life {max(0.0, one.age):.0f} s ago"
    )


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
