"""From a file of proteins to a folder of answers in shards. What ``protscribe predict output=FOLDER/`` calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protscribe.bulk.engines import find_engine
from protscribe.bulk.loading import LoadBundle
from protscribe.bulk.opening import Asked, open_plan
from protscribe.bulk.plan import Plan
from protscribe.bulk.seats import chosen_shards, count_of
from protscribe.bulk.shard import SHARDS, Seal, counted, read_seal
from protscribe.bulk.work import Job, Loader, Report, hearing
from protscribe.errors import ConfigError, OutputError, Where
from protscribe.progress import progress as telling

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderResult:
    """What was done.

    ``shards`` are those that were asked for, of ``of`` that the plan has; ``done`` of them were made now, ``found`` had been
    done before. They hold ``records`` records, ``answers`` answers and ``rejected`` lines in their tables of rejected ones.
    ``seconds`` is the time all of it took; ``encoder``, ``decoder`` and ``waiting`` are the shares of the workers' time that
    went into the encoder, into the decoder and reading answers off, and into waiting for records.
    """

    folder: Path
    of: int
    shards: int
    done: int
    found: int
    records: int
    answers: int
    rejected: int
    seconds: float
    encoder: float
    decoder: float
    waiting: float


def predict_folder(
    bundle: str,
    input: str,
    output: str,
    tasks: str | Sequence[str] | None = None,
    *,
    shards: int | None = None,
    shard: str | int | None = None,
    engine: str = "local",
    workers: int | None = None,
    formats: Sequence[str] = (".parquet",),
    device: str = "auto",
    compile: bool = False,
    progress: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    load: Loader | None = None,
    **asked: Any,
) -> FolderResult:
    """Answers the tasks about every protein of a file into a folder, shard by shard; run again, it does what is missing.

    Parameters
    ----------
    bundle, input, tasks: as :func:`protscribe.outputs.predict_file` takes them; standard input cannot be read again and is
        refused.
    output: the folder. Its ``plan.json`` is made by who comes first, and must be the same for all who come later.
    shards: how many shards there are; ``None`` makes them of about 16,000 records. They are cut to equal cost, not
        to equal number.
    shard: which are done now: ``None`` all that are missing, ``3`` or ``"3/64"`` one (from 1), ``"auto"`` this process's share
        (see :func:`protscribe.bulk.seats.chosen_shards`).
    engine, workers: see :mod:`protscribe.bulk.engines`; ``workers=None`` is one a GPU, or two.
    formats: what each shard holds beside Parquet, as suffixes of :mod:`protscribe.outputs`; what is kept here, :func:`~.merge`
        gives with all that it can say.
    load: makes the model instead of the bundle, for tests.
    asked: whatever else :func:`protscribe.outputs.predict_file` takes, but for ``on_error``: rejected records are
        collected.

    Raises
    ------
    :class:`~protscribe.errors.OutputError`: ``output.plan_differs``, ``output.locked`` where others work on shards that were
    asked for, ``output.write``; :class:`~protscribe.errors.Preempted` ``predict.preempted`` after a signal; and what reading
    the input and loading the bundle raise. Finished shards stay finished.
    """
    run = find_engine(engine)
    wanted = Asked.of(bundle, input, output, tasks, count_of(shard, shards), formats, asked)
    began = time.monotonic()
    with hearing():
        plan, found = open_plan(
            wanted, whole=shard is None, revision=revision, local_files_only=local_files_only
        )
        chosen = chosen_shards(shard, len(plan.shards))
        job = Job(
            folder=str(wanted.folder),
            input=input,
            load=load or LoadBundle(str(found), compile=compile, **wanted.loading()),
            device=device,
            how=wanted.how(),
        )
        reports = []
        missing = [
            one for one in chosen if not isinstance(read_seal(wanted.folder, plan, one, digests=False), Seal)
        ]
        total = sum(map(plan.records, missing))
        with telling("predict", total, shown=progress) as advance:
            for report in run(job, chosen, _workers(workers, engine), advance):
                reports.append(report)
    return _result(wanted.folder, plan, reports, time.monotonic() - began)


def _workers(workers: int | None, engine: str) -> int:
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigError("config.value", f"workers must be a whole number above 0, got {workers!r}")
    if engine == "local":
        if workers not in (None, 1):
            raise ConfigError("config.value", "engine=local has one worker; take engine=processes")
        return 1
    if workers is not None:
        return workers
    import torch

    return torch.cuda.device_count() or 2


def _result(folder: Path, plan: Plan, reports: Sequence[Report], seconds: float) -> FolderResult:
    held = [report for report in reports if report.seal is None]
    if held:
        numbers = ", ".join(str(report.shard + 1) for report in held[:10])
        message = (
            f"others work on the shards {numbers}{' and more' if len(held) > 10 else ''}: {held[0].held}"
        )
        raise OutputError("output.locked", message, Where(file=str(folder / SHARDS)))
    seals = [report.seal for report in reports if report.seal is not None]
    total = counted(seals)
    fresh = [report for report in reports if report.fresh]
    spent = sum(report.seconds for report in fresh) or 1.0
    return FolderResult(
        folder=folder,
        of=len(plan.shards),
        shards=len(reports),
        done=len(fresh),
        found=len(reports) - len(fresh),
        records=total["records"],
        answers=total["answers"],
        rejected=total["rejected"],
        seconds=seconds,
        encoder=sum(report.encoder for report in fresh) / spent,
        decoder=sum(report.decoder for report in fresh) / spent,
        waiting=sum(report.waiting for report in fresh) / spent,
    )
