"""Writes what ``benchmarks/decoding.py`` measured into the pages that tell it: figures, tables and plots.

    python benchmarks/decoding_report.py --log benchmarks/decoding.log --tables benchmarks/decoding.tables.json

What stands between ``<!-- NAME -->`` and ``<!-- end -->`` on a page is replaced; nothing of it is typed by hand.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

PAGES = [Path("docs/performance.md"), Path("benchmarks/README.md")]
SETTINGS = {"full": "keys and values of every head and layer", "shared": "of one head, shared by all layers"}
STYLES: dict[str, dict[str, Any]] = {
    "ours_full": {"label": "Protscribe", "color": "#0072B2", "marker": "o"},
    "ours_shared": {
        "label": "Protscribe, keys and values shared", "color": "#56B4E9", "marker": "s", "linestyle": "--",
    },
    "transformers": {"label": "transformers", "color": "#D55E00", "marker": "^"},
    "ctranslate2": {"label": "CTranslate2", "color": "#009E73", "marker": "D"},
}  # fmt: skip
"""Colours that colour-blind readers tell apart (Okabe and Ito 2008), and a marker each."""


def figures_table(result: dict[str, Any]) -> list[str]:
    """Every figure beside what was wanted, for both settings of cross-attention where a decoder takes part."""
    lines = [f"| figure | wanted | {' | '.join(SETTINGS.values())} |", "|---|---|---|---|"]
    for key, (sense, limit) in result["limits"].items():
        if key not in result:
            continue
        cells = []
        for setting in SETTINGS:
            main = setting == result["setting"]
            value = result[key] if main else of_setting(result, setting).get(key)
            cells.append("" if value is None else f"**{value:.3g}**" if main else f"{value:.3g}")
        lines.append(f"| `{key}` | {sense} {limit:g} | {' | '.join(cells)} |")
    return lines


def of_setting(result: dict[str, Any], setting: str) -> dict[str, float]:
    """The figures of one setting of cross-attention, those that depend on it."""
    ratios = f"ratios_{setting}"
    found = dict(result.get("short_detail", {}).get(ratios, {}))
    for key in ("dense", "dense_batch1"):
        for peer, ratio in result.get(f"{key}_detail", {}).get(ratios, {}).items():
            found[f"{key}_vs_{'generate' if peer == 'transformers' else peer}"] = ratio
    for key, part in (("cross_memory_ratio", "ratio"), ("grammar_share", "grammar_and_bookkeeping")):
        if f"{key}_detail" in result:
            found[key] = result[f"{key}_detail"][setting][part]
    return found


def sides_table(result: dict[str, Any]) -> list[str]:
    """The times behind the figures: each side's median, and its fastest and slowest repeat."""
    lines = ["| workload | side | median s | fastest to slowest | rate |", "|---|---|---|---|---|"]
    names = {
        "encoder_vs_sdpa_detail": "encoder",
        "short_detail": "short answers",
        "dense_detail": "a label a residue, batch 32",
        "dense_batch1_detail": "a label a residue, batch 1",
    }
    for key, words in names.items():
        for side, told in result.get(key, {}).items():
            if "median_seconds" not in told:
                continue
            rates = [
                f"{value:,.3g} {name.replace('_per_second', '/s')}"
                for name, value in told.items()
                if name.endswith("_per_second")
            ]
            spread = f"{told['fastest_seconds']:.3g} to {told['slowest_seconds']:.3g}"
            lines.append(
                f"| {words} | {side} | {told['median_seconds']:.3g} | {spread} | {', '.join(rates)} |"
            )
    return lines


def parts_table(result: dict[str, Any]) -> list[str]:
    """What a short answer's time is: encoder, keys and values of the memory, and the rest, for each side."""
    sides = result["short_detail"].items()
    told = {side: detail["median_seconds"] for side, detail in sides if "median_seconds" in detail}
    encoder, peer = told["transformers_encoder"], told["transformers"]
    lines = [
        "| side | encoder | memory: projection, keys and values | decoding and all else | together |",
        "|---|---|---|---|---|",
    ]
    for setting, words in SETTINGS.items():
        steps = [told["ours_encoder"], told[f"ours_{setting}_memory"], told[f"ours_{setting}_1"]]
        parts = [steps[0], *(after - before for before, after in itertools.pairwise(steps))]
        lines.append(f"| ours, {words} | " + " | ".join(f"{part:.3g}" for part in (*parts, steps[-1])) + " |")
    lines.append(f"| transformers | {encoder:.3g} | (in decoding) | {peer - encoder:.3g} | {peer:.3g} |")
    return lines


def steps_table(result: dict[str, Any]) -> list[str]:
    """The parts of a decode's time."""
    told = result["grammar_share_detail"]
    parts = ["layers", "scores", "choice", "allowed", "advance", "rest"]
    lines = ["| cross-attention | " + " | ".join(parts) + " |", "|---" * (len(parts) + 1) + "|"]
    for setting, shares in told.items():
        lines.append(f"| {setting} | " + " | ".join(f"{100 * shares[part]:.2g}%" for part in parts) + " |")
    return lines


def greedy_table(result: dict[str, Any]) -> list[str]:
    """Parallel against sequential greedy decoding at every batch size."""
    lines = [
        "| batch | one token a pass: passes, residues/s | several: passes, residues/s | faster by |",
        "|---|---|---|---|",
    ]
    for name, told in result["greedy_parallel_vs_sequential_detail"].items():
        if name.startswith("batch_"):
            cells = [
                f"{told[way]['passes']:,}, {told[way]['residues_per_second']:,.0f}"
                for way in ("sequential", "parallel")
            ]
            lines.append(f"| {name.removeprefix('batch_')} | {cells[0]} | {cells[1]} | {told['ratio']:.3g} |")
    return lines


def machine_lines(result: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    counts = ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in result["parameters"].items())
    allocator = (
        " ".join(f"{name}={value}" for name, value in result["allocator"].items() if value) or "as it is"
    )
    return [
        f"{result['machine']}, one thread; {versions}; allocator: {allocator}; load of the machine "
        f"{result['load'][0]}. Weights of the decoders: {counts}."
    ]


def series_table(told: dict[str, Any]) -> list[str]:
    """A row for each x, a column for each side."""
    names = [STYLES[name]["label"] for name in told["series"]]
    lines = [f"| {told['x_label']} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place, x in enumerate(told["x"]):
        values = [series[place] for series in told["series"].values()]
        cells = ["" if value is None else f"{value:.3g}" for value in values]
        lines.append(f"| {x:,} | " + " | ".join(cells) + " |")
    return lines


def plot(told: dict[str, Any], path: Path) -> None:
    """One table as a picture: both axes logarithmic, every measured point marked."""
    picture, axes = plt.subplots(figsize=(5.6, 3.9), layout="constrained")
    for name, values in told["series"].items():
        points = [(x, y) for x, y in zip(told["x"], values, strict=True) if y is not None]
        axes.plot(*zip(*points, strict=True), linewidth=1.8, markersize=6, **STYLES[name])
    axes.set(xscale="log", yscale="log", title=told["title"], xlabel=told["x_label"], ylabel=told["y_label"])
    axes.set_xticks(told["x"], [f"{x:,}" for x in told["x"]])
    low, high = axes.get_ylim()
    ticks = [tick * 10.0**power for power in range(-4, 4) for tick in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    picture.savefig(path, metadata={"Date": None})
    plt.close(picture)


def fill(pages: dict[Path, str], name: str, lines: Sequence[str]) -> None:
    """Replaces the block ``name`` on every page that has one. Raises ``KeyError`` where none has."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    found = [path for path, page in pages.items() if pattern.search(page)]
    if not found:
        raise KeyError(f"no page has a block <!-- {name} -->")
    for path in found:
        pages[path] = pattern.sub(lambda block: block[1] + "\n".join(lines) + "\n" + block[2], pages[path])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--log",
        type=Path,
        nargs="+",
        help="what decoding.py --log wrote; figures of later ones replace earlier ones",
    )
    parser.add_argument("--tables", type=Path, help="what decoding.py --tables wrote")
    parser.add_argument(
        "--pages", type=Path, nargs="+", default=PAGES, help="plots go to images/ beside the first"
    )
    options = parser.parse_args(arguments)
    pages = {path: path.read_text(encoding="utf-8") for path in options.pages}
    if options.log:
        result: dict[str, Any] = {}
        for log in options.log:
            result |= json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        blocks = {"figures": figures_table, "machine": machine_lines, "sides": sides_table}
        if "short_detail" in result:
            blocks["parts"] = parts_table
        if "grammar_share_detail" in result:
            blocks["steps"] = steps_table
        if "greedy_parallel_vs_sequential_detail" in result:
            blocks["greedy"] = greedy_table
        for name, lines_of in blocks.items():
            fill(pages, name, lines_of(result))
    if options.tables:
        # Text stays text and names do not change from run to run, so that a picture differs where its numbers do.
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "decoding", "font.size": 10})
        images = options.pages[0].parent / "images"
        images.mkdir(exist_ok=True)
        for name, told in json.loads(options.tables.read_text(encoding="utf-8")).items():
            plot(told, images / f"decoding_{name}.svg")
            fill(pages, f"table {name}", series_table(told))
    for path, page in pages.items():
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
