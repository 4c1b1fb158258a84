"""A dry run: what an input holds, and about what its answers will cost, from a short measured probe."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protscribe.bulk.loading import LoadBundle
from protscribe.bulk.opening import Asked, find_tasks, look_through, questions_of
from protscribe.bulk.survey import Survey
from protscribe.bulk.work import Loader
from protscribe.records import Failure, ProteinRecord

SAMPLE = 64
"""Records that are answered to measure with, drawn evenly from the whole input."""
SHARES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Estimate:
    """What a prediction would do. ``lengths``: shares of all chains, and how many residues those have at most.
    ``rejected``: records that cannot be read, by code; ``refused``: of the ``probed`` ones those that got no answer, by code.
    ``seconds``: what the whole input would take on ``device`` with one worker."""

    records: int
    residues: int
    rejected: Counter[str]
    lengths: dict[float, int]
    probed: int
    refused: Counter[str]
    probe_seconds: float
    seconds: float
    device: str

    def __str__(self) -> str:
        lengths = ", ".join(f"{share:.0%} <= {length}" for share, length in self.lengths.items())
        lines = [
            f"records    {self.records}, {sum(self.rejected.values())} cannot be read {_counts(self.rejected)}".rstrip(),
            f"residues   {self.residues}; lengths of chains: {lengths}",
            f"probe      {self.probed} records in {self.probe_seconds:.1f} s on {self.device}, "
            f"{sum(self.refused.values())} without an answer {_counts(self.refused)}".rstrip(),
            f"estimated  {self.seconds / 3600:.2f} h with one worker; n workers take about an n-th",
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return f"({', '.join(f'{code} {count}' for code, count in sorted(counter.items()))})" if counter else ""


def estimate(
    bundle: str,
    input: str,
    tasks: str | Sequence[str] | None = None,
    *,
    device: str = "auto",
    revision: str | None = None,
    local_files_only: bool = False,
    load: Loader | None = None,
    **asked: Any,
) -> Estimate:
    """Reads the whole input and answers a few records of it; writes nothing.

    Keywords as :func:`protscribe.bulk.predict_folder` takes them. Raises what that raises about input, bundle and keys.
    """
    wanted = Asked.of(bundle, input, ".", tasks, None, (), asked)
    folder, _, known = find_tasks(bundle, revision, local_files_only)
    drawn = Drawn(SAMPLE)
    survey, _ = look_through(wanted, questions_of(wanted, known), drawn.through)
    model = (load or LoadBundle(str(folder), **wanted.loading()))(device)
    names = None if wanted.tasks is None else list(wanted.tasks)
    records = [replace(record, ordinal=place) for place, record in enumerate(drawn.records)]
    refused: Counter[str] = Counter()

    def ask(some: list[ProteinRecord]) -> None:
        for outcome in model.stream(iter(some), names, **wanted.how()):
            if isinstance(outcome, Failure):
                refused[outcome.code] += 1

    ask(records[:2])  # what happens once: kernels, buffers
    refused.clear()
    began = time.monotonic()
    ask(records)
    seconds = time.monotonic() - began
    residues = sum(sum(record.lengths) for record in records)
    return Estimate(
        records=survey.records,
        residues=survey.residues,
        rejected=survey.rejected,
        lengths=_shares(survey),
        probed=len(records),
        refused=refused,
        probe_seconds=seconds,
        seconds=seconds * survey.residues / residues if residues else 0.0,
        device=str(getattr(getattr(model, "predictor", None), "device", device)),
    )


class Drawn:
    """So many records, each of a stream with equal chance (reservoir sampling), the same ones every time."""

    def __init__(self, count: int) -> None:
        self.records: list[ProteinRecord] = []
        self._count, self._seen, self._draw = count, 0, random.Random(0)

    def through(self, outcomes: Iterator[ProteinRecord | Failure]) -> Iterator[ProteinRecord | Failure]:
        for outcome in outcomes:
            if isinstance(outcome, ProteinRecord):
                self._seen += 1
                if len(self.records) < self._count:
                    self.records.append(outcome)
                elif (place := self._draw.randrange(self._seen)) < self._count:
                    self.records[place] = outcome
            yield outcome


def _shares(survey: Survey) -> dict[float, int]:
    total, found, seen = sum(survey.lengths.values()), {}, 0
    lengths = sorted(survey.lengths.items())
    wanted = list(SHARES)
    for length, count in lengths:
        seen += count
        while wanted and seen >= max(1, wanted[0] * total):
            found[wanted.pop(0)] = length
    return found
