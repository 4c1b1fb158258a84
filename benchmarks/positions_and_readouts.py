"""Pointers against position tokens, and each readout against the greedy string, on the demo's residue tasks.

    python benchmarks/positions_and_readouts.py --seeds 0 1 2 --out docs/experiments/positions_and_readouts.md

Trains ``experiment=residues`` once a way of writing positions and seed, evaluates on the test rows, and writes the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from protscribe.cli import main as protscribe

WAYS = ("pointers", "tokens")


def run(positions: str, seed: int, folder: Path, overrides: list[str]) -> dict:
    name = f"{folder.name}/{positions}_{seed}"
    status = protscribe(
        [
            "train",
            "experiment=residues",
            f"data.positions={positions}",
            f"seed={seed}",
            f"name={name}",
            *overrides,
        ]
    )
    bundle = folder / f"{positions}_{seed}"
    status = status or protscribe(
        [
            "evaluate",
            f"bundle={bundle}/bundle",
            "mixture=residues",
            f"output={bundle}",
            "baselines=[majority]",
            "resamples=200",
        ]
    )
    if status:
        sys.exit(status)
    return json.loads((bundle / "evaluation.json").read_text())["tasks"]


def shown(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


def table(results: dict[str, list[dict]]) -> list[str]:
    lines = [
        "| task | metric | positions | readout | greedy string | majority |",
        "|---|---|---|---|---|---|",
    ]
    for task in results["pointers"][0]:
        for positions in WAYS:
            found = [one[task] for one in results[positions]]
            metric = found[0]["main_metric"]

            def values(method: str) -> list[float]:
                return [one["methods"][method]["metrics"][metric] for one in found]  # noqa: B023

            cells = [
                task,
                metric,
                positions,
                *(shown(values(m)) for m in ("protscribe", "greedy", "majority")),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--out", type=Path, help="a Markdown file; its table, between two markers, is replaced"
    )
    parser.add_argument("overrides", nargs="*", help="further overrides of protscribe train")
    options = parser.parse_args()
    began = time.time()
    folder = Path("runs/positions_and_readouts")
    results = {way: [run(way, seed, folder, options.overrides) for seed in options.seeds] for way in WAYS}
    lines = table(results)
    print("\n".join(lines))
    if options.out:
        before, rest = options.out.read_text().split("<!-- table -->")
        after = rest.split("<!-- end -->")[1]
        options.out.write_text(f"{before}<!-- table -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")
    print(json.dumps({"seconds": round(time.time() - began), "seeds": options.seeds, "table": lines[2:]}))


if __name__ == "__main__":
    main()
