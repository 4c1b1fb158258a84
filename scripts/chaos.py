"""Does everything to batch predictions that a cluster does, and looks for a row that is lost, doubled or wrong.

    python scripts/chaos.py --minutes 60

Each round makes an input, begins a folder of answers and lets things happen to it: workers killed or asked to stop at any
moment, a full disk, two writers of the same shards, damaged and removed files, an input that is cut short. Then the same
command is run until it is done, and the merged table is compared, byte for byte, with one that was written without shards.
The model is a stub, so that there is time for thousands of interruptions. Ends with status 1 at the first difference; the
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from protscribe.bulk import merge, read_plan
from protscribe.data.readers import read_records
from protscribe.errors import ProtscribeError
from protscribe.outputs import open_outputs
from tests.bulk.stub import TASKS, Stub, predict, write_fasta

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
INTERRUPTED = 130
ALLOWED = {0, 2, 75, INTERRUPTED, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGINT}
"""Statuses of a worker: done, an error of ours, asked to stop; killed, or signalled before it listened."""


class Wrong(Exception):
    """Something that must never be."""


class Round:
    """One input, one folder, and what happens to them."""

    def __init__(self, root: Path, draw: random.Random, counts: Counter[str]) -> None:
        self.draw, self.counts = draw, counts
        self.input = write_fasta(root / "in.fasta", draw.randint(20, 400), seed=draw.randrange(1 << 30))
        self.folder, self.root = root / "out", root
        self.shards = draw.randint(1, 12)
        self.formats = draw.choice([[], ["jsonl"], ["gff3", "residues.csv"]])
        self.events: dict[str, Callable[[], None]] = {
            "interrupted": self.interrupted, "full": self.full, "twice": self.twice, "damaged": self.damaged,
            "cut": self.cut,
        }  # fmt: skip

    def work(self, shard: str | None = None) -> None:
        predict(self.input, self.folder, shards=self.shards, formats=self.formats, shard=shard)

    def share(self) -> str | None:
        return self.draw.choice([None, None, f"{self.draw.randint(1, self.shards)}/{self.shards}"])

    def begin(self, limit: int | None = None) -> int:
        """A worker in a process of its own; ``limit``: the most bytes that a file can have."""
        share = self.share()
        child = os.fork()
        if child:
            return child
        status = 99
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            if limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            self.work(share)
            status = 0
        except ProtscribeError as error:
            status = error.exit_status
        except KeyboardInterrupt:
            # Before the worker listens, and after, Python's own handler is there.
            status = INTERRUPTED
        except BaseException:
            (self.root / "worker.txt").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def end(self, child: int) -> int:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in ALLOWED:
            told = self.root / "worker.txt"
            raise Wrong(f"a worker ended with {status}: {told.read_text() if told.exists() else ''}")
        self.counts[f"status {status}"] += 1
        return status

    def interrupted(self) -> None:
        child = self.begin()
        for _ in range(self.draw.randint(1, 2)):
            time.sleep(self.draw.uniform(0, 0.15))
            os.kill(child, self.draw.choice(SIGNALS))
        self.end(child)

    def full(self) -> None:
        self.end(self.begin(self.draw.randint(0, 20_000)))

    def twice(self) -> None:
        children = [self.begin() for _ in range(self.draw.randint(2, 3))]
        time.sleep(self.draw.uniform(0, 0.1))
        if self.draw.random() < 0.5:
            os.kill(children[0], signal.SIGKILL)
        for child in children:
            self.end(child)

    def damaged(self) -> None:
        found = [path for path in (self.folder / "shards").glob("*") if path.is_file()]
        if not found:
            return
        path = self.draw.choice(sorted(found))
        content = path.read_bytes()
        how = self.draw.choice(["cut", "bit", "gone", "empty"])
        if how == "gone":
            path.unlink()
        elif how == "bit" and content:
            place = self.draw.randrange(len(content))
            path.write_bytes(
                content[:place]
                + bytes([content[place] ^ (1 << self.draw.randrange(8))])
                + content[place + 1 :]
            )
        else:
            path.write_bytes(content[: self.draw.randrange(len(content) + 1)] if how == "cut" else b"")

    def cut(self) -> None:
        """The input ends too early: nothing may be answered as if that were all."""
        if not (self.folder / "plan.json").exists():
            return
        content = self.input.read_bytes()
        self.input.write_bytes(content[: self.draw.randrange(len(content))])
        status = self.end(self.begin())
        self.input.write_bytes(content)
        if status == 0:
            raise Wrong("an input that was cut short was taken for the whole")

    def finish(self) -> None:
        """The same command until it is done; then all rows, in one file, must be right."""
        self.work()
        left = [path.name for path in self.folder.rglob(".*")]
        if left:
            raise Wrong(f"left behind: {left}")
        merged = merge(self.folder, str(self.root / "merged.csv"))
        if merged.records != read_plan(self.folder).input["records"]:
            raise Wrong(f"{merged.records} records")
        with open_outputs(self.root / "direct.csv", read_plan(self.folder).asked) as outputs:
            reading = read_records(self.input, on_error="collect")
            for outcome in Stub().stream(reading.outcomes(), TASKS):
                outputs.write(outcome)
        for name in ("{}.csv", "{}.csv.rejected.csv"):
            one, other = (self.root / name.format(which) for which in ("merged", "direct"))
            if (one.read_bytes() if one.exists() else b"") != (other.read_bytes() if other.exists() else b""):
                raise Wrong(f"{one} is not {other}")
        self.counts["rows"] += merged.answers + merged.rejected


def mounted(root: Path) -> bool:
    """Whether a file system of one megabyte could be put over ``root``; needs the rights of an administrator."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def on_a_full_disk(root: Path, draw: random.Random, counts: Counter[str]) -> None:
    """A folder on a disk that others fill and free again."""
    if not mounted(root):
        counts["no tmpfs"] += 1
        return
    try:
        one = Round(root, draw, counts)
        for _ in range(3):
            (root / "others").write_bytes(b"x" * (shutil.disk_usage(root).free - draw.randint(0, 12_000)))
            if one.end(one.begin()) == 2:
                counts["disk full"] += 1
            (root / "others").unlink()
        one.finish()
    finally:
        subprocess.run(["umount", str(root)], check=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="what happens depends on it and on the machine's moods"
    )
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 30)
    draw, counts, until = random.Random(seed), Counter[str](), time.monotonic() + 60 * given.minutes
    wrong = None
    while wrong is None and time.monotonic() < until:
        root = Path(tempfile.mkdtemp(prefix="protscribe-chaos-"))
        try:
            if counts["rounds"] % 5 == 2:
                on_a_full_disk(root, draw, counts)
            else:
                one = Round(root, draw, counts)
                for _ in range(draw.randint(2, 10)):
                    event = draw.choice(sorted(one.events))
                    counts[event] += 1
                    one.events[event]()
                one.finish()
            counts["rounds"] += 1
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
            print(f"{wrong}; kept: {root}", file=sys.stderr)
            break
        shutil.rmtree(root)
    print(json.dumps({"seed": seed, "wrong": wrong, **dict(sorted(counts.items()))}))
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
