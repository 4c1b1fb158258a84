"""The command line behind ``benchmarks/decoding.py``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.bench import Bench
from benchmarks.engine.figures import FIGURES, LIMITS, met
from benchmarks.engine.tables import TABLES, write_tables
from benchmarks.engine.workload import PRODUCT

ALLOCATOR = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


class Log:
    """Prints, and writes what is printed to a file."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w", encoding="utf-8") if path else None

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        if self._file:
            print(line, file=self._file, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    keys = [key for _, keys in FIGURES.values() for key in keys]
    parser = argparse.ArgumentParser("decoding.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="24 proteins and one repeat: five minutes")
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=[*keys, *FIGURES], help=", ".join(keys))
    parser.add_argument("--proteins", type=int, help="so many proteins where lengths vary (default 200)")
    parser.add_argument("--repeats", type=int, help="timings of each side (default 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--trained", metavar="BUNDLE", help="a bundle with a dense task, for greedy_parallel_vs_sequential"
    )
    parser.add_argument(
        "--tables", type=Path, metavar="JSON", help="measure the tables instead, and write them here"
    )
    parser.add_argument("--table", nargs="+", choices=list(TABLES), help="only these tables")
    parser.add_argument("--log", type=Path, help="write what is printed to this file too")
    parser.add_argument("--plain-allocator", action="store_true", help="leave glibc's allocator as it is")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, bench: Bench | None = None) -> dict[str, Any]:
    options = parse(arguments)
    log = Log(options.log)
    if options.device == "cpu":
        torch.set_num_threads(1)
    bench = bench or Bench(
        device=options.device,
        repeats=options.repeats or (1 if options.quick else 3),
        proteins=options.proteins or (24 if options.quick else 200),
        trained=options.trained,
    )
    log(f"{about()}\n{bench.proteins} proteins, {bench.residues} residues; {bench.repeats} repeat(s)")
    log("decoder parameters: " + ", ".join(f"{name} {count:,}" for name, count in bench.parameters().items()))
    if options.tables:
        return write_tables(bench, options.tables, options.table or list(TABLES), options.quick, log)
    result: dict[str, Any] = {}
    for name, (function, keys) in FIGURES.items():
        if options.only and not {name, *keys} & set(options.only):
            continue
        began = time.perf_counter()
        found = function(bench)
        for key in keys:
            if key in found:
                sense, limit = LIMITS[key]
                verdict = "met" if met(key, found[key]) else "MISSED"
                log(f"{key:32} {found[key]:8.3f}   {sense} {limit}: {verdict}")
            else:
                log(f"{key:32} not measured: give --trained BUNDLE")
        for key, detail in found.items():
            if key.endswith("_detail"):
                for side, told in detail.items():
                    log(f"    {side:22} {told}")
        log(f"    ({time.perf_counter() - began:.0f} s)")
        result |= found
    told = {"benchmark": "decoding", "setting": PRODUCT, "limits": LIMITS, "parameters": bench.parameters()}
    result |= {**told, **machine()}
    log(json.dumps(result))
    return result


def machine() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "allocator": {name: os.environ.get(name) for name in ALLOCATOR},
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "ctranslate2")},
    }


def about() -> str:
    told = machine()
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    allocator = " ".join(f"{name}={value}" for name, value in told["allocator"].items())
    return f"{versions}; load {told['load']}; threads {torch.get_num_threads()}; {allocator}"


if __name__ == "__main__":
    main(sys.argv[1:])
