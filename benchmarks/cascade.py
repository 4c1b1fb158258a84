"""What a cascade costs and is worth: a small model answers, and a large one the proteins that the small one is unsure of.

    python benchmarks/central_claim.py --questions secondary_structure_3 --seeds 1 --methods protscribe   # the large model
    protscribe train --config-dir runs/central_claim/configs experiment=central_claim task=secondary_structure_3 \\
        source=secondary_structure_3 encoder=mini encoder.width=64 encoder.layers=4 encoder.attention_layers=0 \\
        adaptation=full ~state_cache data.on_error=collect trainer.max_epochs=20 name=cascade_small
    python benchmarks/cascade.py --small runs/cascade_small/bundle --large runs/central_claim/secondary_structure_3_1/bundle \\
        --source secondary_structure_3 --config-dir runs/central_claim/configs

The log also has ``signal_peptide``, its small model by the same command with that name and eight passes,
its large one ``runs/central_claim/joint_0/bundle`` (``central_claim.py --ways joint``).

Both models answer the validation and the test rows of one source. The curve of validation rows chooses the threshold: the
cheapest cascade that loses at most ``--lost`` of what the large model's answers are worth there. What is told of it is measured
on test rows, with :class:`protscribe.cascade.Cascade` itself, beside each model alone, three times in turn. Work is residues
times parameters; seconds are of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protscribe.cascade import ESCALATED, Cascade
from protscribe.catalogue import find_source
from protscribe.data.examples import Example, read_source
from protscribe.evaluation.confidence.selection import CascadeCurve, cascade_curve, work_of, worth
from protscribe.predictor import Predictor
from protscribe.records import Prediction

ROOT = Path(__file__).parents[1]
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def curve_of(small: Predictor, large: Predictor, name: str, examples: list[Example]) -> CascadeCurve:
    records, truths = [one.record for one in examples], [one.answer for one in examples]
    task = small.tasks[name]
    found = list(small.stream(records, [name]))
    return cascade_curve(
        np.array([one.score if isinstance(one, Prediction) else 0.0 for one in found]),
        worth(task, truths, found, records),
        worth(task, truths, list(large.stream(records, [name])), records),
        small_cost=work_of(small, records),
        large_cost=work_of(large, records),
    )


def at_share(curve: CascadeCurve, share: float) -> int:
    """The place in a curve where as near to this share of proteins as can be is asked again."""
    return int(np.abs(curve.escalated - share).argmin())


def tell(title: str, curve: CascadeCurve, large_work: float) -> None:
    print(f"\n{title}\n{'asked again':>12} {'threshold':>10} {'work':>7} {'worth':>7}")
    for share in SHARES:
        place = at_share(curve, share)
        print(
            f"{curve.escalated[place]:>12.2f} {curve.thresholds[place]:>10.3f} {curve.cost[place] / large_work:>7.2f} "
            f"{curve.quality[place]:>7.4f}"
        )


def run(
    models: dict[str, Any], name: str, examples: list[Example], repeats: int
) -> dict[str, dict[str, float]]:
    """Each model, in turn, on the same rows: what its answers are worth, and the median of its seconds."""
    records, truths = [one.record for one in examples], [one.answer for one in examples]
    seconds: dict[str, list[float]] = {model: [] for model in models}
    answers: dict[str, list[Any]] = {}
    for _ in range(repeats):
        for model, predictor in models.items():
            began = time.perf_counter()
            answers[model] = list(predictor.stream(records, [name]))
            seconds[model].append(time.perf_counter() - began)
    task = next(iter(models.values())).tasks[name]
    return {
        model: {
            "worth": float(worth(task, truths, found, records).mean()),
            "seconds": statistics.median(seconds[model]),
            "escalated": sum(isinstance(one, Prediction) and ESCALATED in one.status for one in found)
            / len(found),
        }
        for model, found in answers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", required=True)
    parser.add_argument("--large", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--config-dir", type=Path)
    parser.add_argument(
        "--lost", type=float, default=0.005, help="worth that a cascade may lose on validation rows"
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    small, large = Predictor.load(given.small, "cpu"), Predictor.load(given.large, "cpu")
    variables = {
        f"oc.env:{name}": text for name, text in os.environ.items() if name.startswith("PROTSCRIBE_")
    }
    source = find_source(given.source, {"paths.data": str(ROOT / "data"), **variables}, given.config_dir)
    name = source.task
    rows = {
        split: read_source(source, small.tasks[name], split, root=ROOT, on_error="collect", failures=[])
        for split in ("validation", "test")
    }
    curves: dict[str, CascadeCurve] = {}
    print(" ".join(sys.argv))
    for split, examples in rows.items():
        curves[split] = curve_of(small, large, name, examples)
        alone = float(work_of(large, [one.record for one in examples]).mean())
        tell(f"{split}: {len(examples)} proteins; work in parts of the large model's", curves[split], alone)
    whole = curves["validation"].quality[-1]
    threshold = curves["validation"].cheapest(whole - given.lost)
    assert threshold is not None
    models = {"small": small, "large": large, "cascade": Cascade(small, large, {name: threshold})}
    found = run(models, name, rows["test"], given.repeats)
    print(
        f"\nthreshold {threshold:.3f}: the cheapest that loses at most {given.lost} on validation rows; on test rows"
    )
    for model, told in found.items():
        print(
            f"{model:>8} worth {told['worth']:.4f}, {told['seconds']:.1f} s, {told['escalated']:.0%} asked again"
        )
    print(json.dumps({"benchmark": "cascade", "task": name, "threshold": threshold, **found}))


if __name__ == "__main__":
    main()
