"""Puts a trained bundle among those that ship with the package: weights rounded, held-out results in its card.

    python scripts/release_bundle.py runs/multitask/bundle mini-multitask --license mit
    protscribe evaluate bundle=mini-multitask mixture=demo output=runs/released
    python scripts/release_bundle.py mini-multitask mini-multitask --evaluation runs/released/evaluation.json
    python -m tests.checkpoint.test_released mini-multitask

The second call rewrites the same weights, which are rounded already, with their results beside them; the last line keeps the
answers that every later version must give.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from protscribe.checkpoint import find_bundle, rewrite_bundle
from protscribe.checkpoint.hub import RELEASED
from protscribe.checkpoint.manifest import WEIGHTS, read_manifest


def results(path: Path) -> dict[str, dict[str, Any]]:
    """The metrics of each task, out of what ``protscribe evaluate output=...`` wrote."""
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return {task: found["methods"]["protscribe"]["metrics"] for task, found in tasks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="a bundle folder, or the name of a released one")
    parser.add_argument("name", help="what it will be called")
    parser.add_argument("--dtype", default="bfloat16", help="what its weights are stored as")
    parser.add_argument("--license", help="the Hub's identifier of the bundle's licence")
    parser.add_argument("--evaluation", type=Path, help="evaluation.json of its held-out results")
    given = parser.parse_args()
    told: dict[str, Any] = {}
    if given.license:
        told["license"] = given.license
    if given.evaluation:
        told["evaluation"] = results(given.evaluation)
    # A folder of this name in the working directory must not be taken for the released bundle.
    source = RELEASED / given.bundle if (RELEASED / given.bundle).is_dir() else find_bundle(given.bundle)
    folder = rewrite_bundle(source, RELEASED / given.name, dtype=given.dtype, told=told)
    size = (folder / WEIGHTS).stat().st_size
    print(f"{folder}: {size / 1e6:.1f} MB of weights, seal {read_manifest(folder)['seal'][:16]}")


if __name__ == "__main__":
    main()
