"""The decoding engine's figures against the strongest open tools: encoder, short answers, ten tasks, dense answers, memory.

    python benchmarks/decoding.py --log decoding.log                 # about half an hour on a quiet core
    python benchmarks/decoding.py --quick                            # five minutes
    python benchmarks/decoding.py --only dense_vs_ctranslate2
    python benchmarks/decoding.py --trained BUNDLE                   # with greedy_parallel_vs_sequential
    python benchmarks/decoding.py --tables decoding.tables.json      # time against tasks, length and batch
    python benchmarks/decoding_report.py --log decoding.log --tables decoding.tables.json   # into docs/performance.md

The peers come with ``pip install protscribe[bench]``. One thread, single precision, processor time, the sides in turn in one
process. What each figure means stands in ``benchmarks/engine/figures.py``; the last line printed is JSON.

This file starts the measuring process with the environment it needs: one thread for everybody, and an allocator that keeps
freed memory, which can only help tools that allocate large temporaries (``--plain-allocator`` leaves it out).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, **THREADS}
    if "--plain-allocator" not in sys.argv:
        environment |= ALLOCATOR
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.engine", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
