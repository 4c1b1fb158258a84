"""What shards cost, what several processes gain, and how many records a second go through without a model.

    OMP_NUM_THREADS=1 python benchmarks/bulk.py [--quick] [--log benchmarks/bulk.log]

overhead: plan, shards, reading and writing over the bare engine (``Predictor.stream`` over records in memory), as shares of
its time; by the clock, and in seconds of this process, which other programs on the machine do not change. Wanted: at most
0.05.
processes, ray: records a second of two workers with a thread each, over one process with two threads. Wanted: at least 0.9;
the bytes are compared with those of one process with one thread. Needs two idle cores.
pipeline: records a second through plan, shards and merging with a stub in the model's place, and the most memory that took.

Every measurement is a process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

BUNDLE, TASK = "mini-multitask", "solubility"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def write_proteins(path: Path, count: int, longest: int) -> None:
    draw = random.Random(0)
    with path.open("w") as file:
        for place in range(count):
            sequence = "".join(draw.choices(LETTERS, k=draw.randint(10, longest)))
            file.write(f">p{place}\n{sequence}\n")


def digest_of(folder: Path) -> str:
    content = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in content)).hexdigest()[:16]


def measure_bare(input: str, output: str) -> dict[str, Any]:
    from protscribe.data.readers import read_records
    from protscribe.predictor import Predictor

    predictor, records = Predictor.load(BUNDLE, "cpu"), list(read_records(input))
    list(predictor.stream(records[:100], [TASK]))
    began, used = time.monotonic(), time.process_time()
    count = sum(1 for _ in predictor.stream(records, [TASK]))
    return {"records": count, "seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used}


def measure_shards(input: str, output: str) -> dict[str, Any]:
    from protscribe.bulk import predict_folder
    from protscribe.bulk.loading import BundleModel
    from protscribe.data.readers import read_records
    from protscribe.predictor import Predictor

    predictor = Predictor.load(BUNDLE, "cpu")
    list(predictor.stream(list(read_records(input))[:100], [TASK]))
    began, used = time.monotonic(), time.process_time()
    result = predict_folder(
        BUNDLE,
        input,
        output,
        [TASK],
        device="cpu",
        progress=False,
        load=lambda device: BundleModel(predictor),
    )
    return {
        "records": result.records, "seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used,
        "encoder": round(result.encoder, 3), "decoder": round(result.decoder, 3), "waiting": round(result.waiting, 3),
    }  # fmt: skip


def measure_engine(input: str, output: str, engine: str, workers: int) -> dict[str, Any]:
    """With the time that it takes to start, as a user waits for it."""
    from protscribe.bulk import predict_folder

    given: dict[str, Any] = {
        "device": "cpu",
        "progress": False,
        "engine": engine,
        "workers": workers,
        "shards": 8,
    }
    began = time.monotonic()
    result = predict_folder(BUNDLE, input, output, [TASK], **given)
    seconds = time.monotonic() - began
    return {"records": result.records, "seconds": seconds, "digest": digest_of(Path(output))}


def measure_pipeline(input: str, output: str) -> dict[str, Any]:
    from protscribe.bulk import merge
    from tests.bulk.stub import predict

    began = time.monotonic()
    result = predict(Path(input), Path(output), tasks=[TASK], shards=None)
    predicted = time.monotonic() - began
    merge(output, f"{output}/all.parquet")
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "records": result.records, "seconds": seconds, "merging": seconds - predicted,
        "records_per_second": round(result.records / seconds), "peak_megabytes": round(peak),
    }  # fmt: skip


MEASURES = {
    "bare": measure_bare,
    "shards": measure_shards,
    "local": lambda input, output: measure_engine(input, output, "local", 1),
    "processes": lambda input, output: measure_engine(input, output, "processes", 2),
    "ray": lambda input, output: measure_engine(input, output, "ray", 2),
    "pipeline": measure_pipeline,
}


def run(name: str, input: Path, threads: int = 1) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--measure", name, "--input", str(input), "--output", f"{folder}/out/"],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def overhead(input: Path, say: Any) -> dict[str, Any]:
    bare, shards = run("bare", input), run("shards", input)
    say(f"bare     {bare}")
    say(f"shards   {shards}")
    return {
        "overhead": round(shards["seconds"] / bare["seconds"] - 1, 4),
        "overhead_cpu": round(shards["cpu_seconds"] / bare["cpu_seconds"] - 1, 4),
        "bare_records_per_second": round(bare["records"] / bare["seconds"], 1),
    }


def engines(input: Path, say: Any) -> dict[str, Any]:
    one, two = run("local", input), run("local", input, threads=2)
    say(f"one process, one thread   {one}")
    say(f"one process, two threads  {two}")
    found: dict[str, Any] = {}
    for name in ("processes", "ray"):
        told = run(name, input)
        say(f"{name}, two workers  {told}")
        found[f"{name}_over_two_threads"] = round(two["seconds"] / told["seconds"], 3)
        found[f"{name}_same_bytes"] = told["digest"] == one["digest"]
    return found | {"two_threads_same_bytes": two["digest"] == one["digest"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the proteins, two sizes of the pipeline"
    )
    parser.add_argument("--proteins", type=int, default=20_000, help="of overhead and engines")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--only", nargs="+", choices=("overhead", "engines", "pipeline"))
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--input", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(MEASURES[given.measure](given.input, given.output)))
        return
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    said: dict[str, Any] = {
        "benchmark": "bulk", "quick": given.quick, "torch": metadata.version("torch"), "machine": platform.machine(),
        "cores": os.cpu_count(), "proteins": given.proteins, "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    wanted = given.only or ("overhead", "engines", "pipeline")
    with tempfile.TemporaryDirectory() as folder:
        input = Path(folder) / "in.fasta"
        write_proteins(input, given.proteins // 10 if given.quick else given.proteins, 40)
        if "overhead" in wanted:
            said |= overhead(input, say)
        if "engines" in wanted:
            said |= engines(input, say)
        if "pipeline" in wanted:
            for count in (10_000, 100_000) if given.quick else (10_000, 1_000_000, 10_000_000):
                write_proteins(input, count, 40)
                told = run("pipeline", input)
                say(f"pipeline {told}")
                said[f"pipeline_{count}"] = told
    say(json.dumps(said))
    if given.log:
        given.log.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
