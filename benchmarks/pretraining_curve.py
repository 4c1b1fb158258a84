"""The course of a pretraining run, and of pilots beside each other at equal processor time.

    python benchmarks/pretraining_curve.py --run benchmarks/pretraining.csv --plot docs/images/pretraining.svg \\
        --pilots mixed=benchmarks/pretraining_pilot_mixed.csv convolutions=... --seconds 200

Reads the ``metrics.csv`` that ``protscribe pretrain`` leaves in ``runs/NAME/logs``. A pilot's figure is the mean training loss
over its last ``--over`` residues before ``--seconds`` of processor time. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import pandas as pd


def read_run(path: Path) -> pd.DataFrame:
    """One row a step that was logged; a run that was resumed has repeated steps only once, the last time."""
    table = pd.read_csv(path)
    return table.groupby("step", as_index=False).last().sort_values("step")


def pilot_loss(table: pd.DataFrame, seconds: float, over: float) -> dict[str, float]:
    """Mean training loss over the last ``over`` residues seen before ``seconds`` of processor time."""
    seen = table.dropna(subset=["train/loss", "train/cpu_seconds"])
    seen = seen[seen["train/cpu_seconds"] <= seconds]
    last = float(seen["train/residues"].iloc[-1])
    window = seen[seen["train/residues"] > last - over]
    return {"loss": round(float(window["train/loss"].mean()), 4), "residues": last, "points": len(window)}


def plot(table: pd.DataFrame, unigram: float, path: Path) -> None:
    """Training loss, smoothed, and validation perplexities, over residues seen."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    millions = table["train/residues"].interpolate() / 1e6
    axis.plot(
        millions, table["train/loss"].rolling(9, min_periods=1, center=True).mean(), color="#9aa5b1", lw=1
    )
    axis.set_ylabel("training loss, nats a masked residue")
    axis.set_xlabel("residues seen, millions")
    right = axis.twinx()
    for name, colour in (("single", "#1f4e79"), ("span", "#c0504d")):
        column = f"valid/{name}/perplexity"
        known = table[column].notna() if column in table else []
        right.plot(
            millions[known],
            table[column][known],
            "o-",
            color=colour,
            ms=3,
            label=f"validation, {name} residues",
        )
    right.axhline(unigram, color="black", lw=0.8, ls=":", label=f"residue frequencies alone ({unigram:.2f})")
    right.set_ylabel("perplexity")
    right.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.55, 0.9))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--unigram", type=float, default=float("nan"))
    parser.add_argument("--pilots", nargs="*", default=[], metavar="NAME=CSV")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--over", type=float, default=2e5)
    asked = parser.parse_args()
    told: dict[str, object] = {"benchmark": "pretraining_curve", "seconds": asked.seconds, "pilots": {}}
    pilots: dict[str, dict[str, float]] = {}
    if asked.pilots:
        print(f"| pilot | training loss at {asked.seconds:.0f} s | residues seen |\n|---|---|---|")
    for named in asked.pilots:
        name, _, path = named.partition("=")
        pilots[name] = pilot_loss(read_run(Path(path)), asked.seconds, asked.over)
        print(f"| {name} | {pilots[name]['loss']:.3f} | {pilots[name]['residues']:,.0f} |")
    told["pilots"] = pilots
    if asked.run:
        table = read_run(asked.run)
        known = table.dropna(subset=["valid/single/perplexity"])
        print("\n| step | perplexity, single residues | perplexity, spans |\n|---|---|---|")
        for _, row in known.iterrows():
            print(
                f"| {int(row['step']) + 1} | {row['valid/single/perplexity']:.2f} | {row['valid/span/perplexity']:.2f} |"
            )
        told["perplexity"] = round(float(known["valid/single/perplexity"].iloc[-1]), 3)
        if asked.plot:
            plot(table, asked.unigram, asked.plot)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
