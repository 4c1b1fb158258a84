"""The server under many clients at once: every answer checked, how long each took, and what batching gains.

    python benchmarks/serving.py --log benchmarks/serving.log       # 64 clients, two minutes and three shorter runs
    python benchmarks/serving.py --seconds 20 --clients 16          # a quick look

Starts ``protscribe serve`` as a process of its own for each run: batching as it is by default, and one protein at a time
(``max_batch=1``) for comparison; with proteins of up to 400 residues, and with peptides of up to 30. The first run lasts
``--seconds``, the others a quarter of that. Each client has one connection and asks again as soon as it has an answer: one
protein of real ones (``data/``), one task, chosen anew every time. What comes back must be what ``Predictor.predict`` gives for
that protein and task: the same answer, every number within ``TOLERANCE``, which is what the sums of another batch shape may
differ by.

Where a machine has other work, seconds say little; so each run also tells the processor time of the server for an answer. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protscribe.outputs.tables import json_texts
from protscribe.predictor import Predictor

TABLES = ("solubility", "capsid", "antimicrobial", "rna_binding", "long_disorder")
TASKS = (
    "solubility",
    "capsid",
    "antimicrobial",
    "rna_binding",
    "mmp2_cleavage",
    "long_disorder",
    "mhc_affinity",
)
LOADS = {"proteins": 400, "peptides": 30}
"""Residues of the longest one, by load."""
TOLERANCE = 2e-4
DATA = Path(__file__).resolve().parents[1] / "data"


@dataclass(frozen=True)
class Question:
    """One protein and one task, the bytes that ask, and the answer that is right."""

    body: bytes
    id: str
    answer: dict[str, Any]


@dataclass
class Found:
    """What the clients of one run saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    processor: float | None = None

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def cost(self) -> float | None:
        """Milliseconds of the server's processor time for an answer, where the system tells it."""
        return None if self.processor is None else 1000 * self.processor / max(len(self.latencies), 1)

    @property
    def per_batch(self) -> float:
        """Proteins in a batch, warm-up included."""
        return self.counts["protscribe_batch_proteins_sum"] / self.counts["protscribe_batch_proteins_count"]

    def quantile(self, level: float) -> float:
        return float(np.quantile(self.latencies, level)) * 1000 if self.latencies else float("nan")


def read_proteins(count: int, residues: int, seed: int = 0) -> list[tuple[str, str]]:
    """Ids and sequences of so many ``residues`` at most from the tables that ship, in random order."""
    random_ = random.Random(seed)
    found: list[tuple[str, str]] = []
    for name in TABLES:
        with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["id"], row["sequence"]) for row in csv.DictReader(file)]
        rows = [row for row in dict(rows).items() if len(row[1]) <= residues]
        found += random_.sample(rows, min(len(rows), count))
    random_.shuffle(found)
    return found[:count]


def make_questions(bundle: str, proteins: Sequence[tuple[str, str]], tasks: Sequence[str]) -> list[Question]:
    """Every protein with every task, answered alone."""
    predictor = Predictor.load(bundle, device="cpu")
    found = []
    for id, sequence in proteins:
        for task in tasks:
            prediction = predictor.predict({id: sequence}, task)
            body = json.dumps({"proteins": [{"id": id, "sequence": sequence}], "tasks": [task]}).encode()
            found.append(Question(body, id, json.loads(next(json_texts(prediction)))))
    return found


def difference(got: Any, wanted: Any, place: str = "") -> str:
    """Where two JSON values differ by more than rounding; empty where they do not."""
    if isinstance(got, float) and isinstance(wanted, float):
        return "" if abs(got - wanted) <= TOLERANCE else f"{place}: {got} is not {wanted}"
    if isinstance(got, dict) and isinstance(wanted, dict) and got.keys() == wanted.keys():
        parts: Any = ((got[key], wanted[key], f"{place}.{key}") for key in wanted)
    elif isinstance(got, list) and isinstance(wanted, list) and len(got) == len(wanted):
        parts = (
            (one, other, f"{place}[{row}]") for row, (one, other) in enumerate(zip(got, wanted, strict=True))
        )
    else:
        return "" if got == wanted else f"{place}: {str(got)[:60]!r} is not {str(wanted)[:60]!r}"
    return next(filter(None, (difference(*part) for part in parts)), "")


@contextmanager
def server(bundle: str, *settings: str) -> Iterator[tuple[int, int]]:
    """The port and the id of a server process, which ends with the block and must end well."""
    command = [
        sys.executable,
        "-m",
        "protscribe",
        "serve",
        f"bundle={bundle}",
        "port=0",
        "device=cpu",
        *settings,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines, port = [], 0
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            port = int(found.group(1))
            break
    if not port:
        raise SystemExit("the server did not start:\n" + "".join(lines))
    # A log line a request is part of what is measured; somebody must read them.
    drain = threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True)
    drain.start()
    try:
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(120)
        drain.join()
    if status:
        raise SystemExit(f"the server ended with status {status}")


def ask(
    port: int, questions: Sequence[Question], until: float, seed: int, found: Found, lock: threading.Lock
) -> None:
    """One client: one question after the other on one connection, until it is time."""
    random_ = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    latencies, wrong = [], []
    while time.monotonic() < until:
        question = random_.choice(questions)
        began = time.monotonic()
        try:
            connection.request("POST", "/predict", question.body, {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"no answer: {error!r}")
            connection.close()
            continue
        latencies.append(time.monotonic() - began)
        wrong += filter(None, [judge(response.status, text, question)])
    connection.close()
    with lock:
        found.latencies += latencies
        found.wrong += wrong


def judge(status: int, text: bytes, question: Question) -> str:
    """What is wrong with a response; empty where nothing is."""
    if status != 200:
        return f"status {status}: {text[:200]!r}"
    answer = json.loads(text)
    if (
        len(answer["predictions"]) != 1
        or answer["failures"]
        or [one["id"] for one in answer["proteins"]] != [question.id]
    ):
        return f"not one answer about {question.id}: {text[:200]!r}"
    return difference(answer["predictions"][0], question.answer)


def measure(
    bundle: str, questions: Sequence[Question], clients: int, seconds: float, *settings: str
) -> Found:
    """A run of so many clients against a server of its own."""
    found, lock = Found(), threading.Lock()
    with server(bundle, *settings) as (port, process):
        began, spent = time.monotonic(), processor_seconds(process)
        threads = [
            threading.Thread(target=ask, args=(port, questions, began + seconds, seed, found, lock))
            for seed in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.seconds = time.monotonic() - began
        if spent is not None:
            found.processor = (processor_seconds(process) or 0.0) - spent
        found.counts = read_metrics(port)
    told = int(found.counts["protscribe_answers_total"])
    if told != len(found.latencies):
        found.wrong.append(f"the server gave {told} answers, clients got {len(found.latencies)}")
    return found


def processor_seconds(process: int) -> float | None:
    """What a process has used so far; ``None`` where there is no ``/proc``."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_metrics(port: int) -> dict[str, float]:
    """The server's own counters, each summed over its labels."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    sums: Counter[str] = Counter()
    for name, value in re.findall(r"^(protscribe_[a-z_]+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        if not name.endswith("_bucket"):
            sums[name] += float(value)
    return dict(sums)


def report(found: Found, title: str) -> str:
    cost = "" if found.cost is None else f", {found.cost:.0f} ms of processor time each"
    return (
        f"{title}: {len(found.latencies)} answers in {found.seconds:.1f} s, {found.rate:.1f} a second{cost}; "
        f"p50 {found.quantile(0.5):.0f} ms, p99 {found.quantile(0.99):.0f} ms; {found.per_batch:.1f} proteins a batch; "
        f"{len(found.wrong)} wrong or lost"
    )


def gains(together: Found, alone: Found, load: str) -> dict[str, Any]:
    """The figures of one load."""
    by_cost = None if not together.cost or not alone.cost else round(alone.cost / together.cost, 2)
    figures = {
        "answers": len(together.latencies) + len(alone.latencies),
        "wrong_or_lost": len(together.wrong) + len(alone.wrong),
        "p50_ms": round(together.quantile(0.5), 1),
        "p99_ms": round(together.quantile(0.99), 1),
        "answers_per_second": round(together.rate, 2),
        "one_by_one_per_second": round(alone.rate, 2),
        "one_by_one_p99_ms": round(alone.quantile(0.99), 1),
        "gain": round(together.rate / alone.rate, 2),
        "gain_in_processor_time": by_cost,
        "proteins_per_batch": round(together.per_batch, 1),
    }
    return {f"{load}_{name}": value for name, value in figures.items()}


def run(
    bundle: str, clients: int, seconds: float, proteins: int, tasks: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """Lines to read, and the figures."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"{clients} clients, {proteins} proteins and {len(tasks)} tasks, bundle {bundle}; server and clients together on "
        f"{cores} core(s), {platform.machine()}"
    ]
    figures: dict[str, Any] = {"clients": clients, "seconds": seconds, "cores": cores}
    for load, residues in LOADS.items():
        questions = make_questions(bundle, read_proteins(proteins, residues), tasks)
        mean = sum(int(question.answer["residues_used"]) for question in questions) / len(questions)
        lines.append(f"{load}: up to {residues} residues, {mean:.0f} on average")
        together = measure(bundle, questions, clients, seconds if load == "proteins" else seconds / 4)
        alone = measure(bundle, questions, clients, seconds / 4, "max_batch=1", "max_wait_ms=0")
        lines += [report(together, f"{load}, batching"), report(alone, f"{load}, one by one")]
        lines += [f"wrong: {one}" for one in [*together.wrong, *alone.wrong][:20]]
        figures |= gains(together, alone, load)
    figures["wrong_or_lost"] = sum(figures[f"{load}_wrong_or_lost"] for load in LOADS)
    return lines, figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="mini-multitask")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--proteins", type=int, default=100)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--log", type=Path)
    chosen = parser.parse_args(argv)
    lines, figures = run(chosen.bundle, chosen.clients, chosen.seconds, chosen.proteins, chosen.tasks)
    text = "\n".join([*lines, json.dumps(figures)]) + "\n"
    print(text, end="")
    if chosen.log:
        chosen.log.write_text(text, encoding="utf-8")
    return 1 if figures["wrong_or_lost"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
