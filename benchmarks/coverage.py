"""Whether guarantees hold and probabilities are what they say, on real held-out rows of a bundle's tasks.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --bundle runs/mine/bundle --sources deeploc2 tmbed_topology
    python benchmarks/coverage.py --bundle runs/mine/bundle --config-dir my/configs --sources mine --most 1000

The held-out rows of a task (validation and test) are pooled, and the model is asked about each once. A hundred times they
are cut at random into rows to calibrate on (as ``protscribe calibrate`` does) and rows to test on: such rows are
exchangeable, and the guarantee must hold on average. Then they are cut so that they are not: the shorter half and the
longer half of proteins, and two groups of unlike composition (k-means of amino acid shares), each way round. What shifts
cost is the difference to what was asked for. Validation rows also chose the weights that a bundle holds, as most do, so
that they are a little easier than fresh ones.

Expected calibration errors are those of test rows, before and after a map that was fitted on validation rows: plain in 15
bins of equal mass, debiased (Kumar, Liang and Ma 2019), what perfect probabilities would show on average with as many
independent events, and ``p``, how often they would show as much. ``pooled`` is the error of all held-out rows together,
each half through a map of the other one, plain and debiased, the mean of five cuts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from protscribe.catalogue import find_source
from protscribe.codecs.protocol import Evidence, Readout
from protscribe.data.examples import Example, read_source
from protscribe.errors import ProtscribeError
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.confidence.calibration import (
    calibration_scores,
    events_of,
    has_events,
    reliability,
)
from protscribe.evaluation.confidence.trust import calibrated_crosswise, fit_rows, keeps_order, scores_of
from protscribe.predictor import Predictor
from protscribe.task import Task
from protscribe.trust import Trust
from protscribe.trust.conformal import SLACK, Conformal, Losses, family_of, guarantee

ROOT = Path(__file__).parents[1]
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass
class Pool:
    """The held-out rows of a task, and what the model says of each."""

    task: Task
    examples: list[Example]
    evidence: list[Evidence]
    tested: np.ndarray
    seconds: float

    @cached_property
    def losses(self) -> list[Losses | None]:
        """Of every row, by the model's own probabilities."""
        return scores_of(self.task, self.examples, self.evidence)

    def scores(self, places: Sequence[int]) -> list[Losses]:
        return [one for place in places if (one := self.losses[place]) is not None]

    def rows(self, places: Sequence[int], trust: Trust) -> tuple[list[Example], list[Evidence]]:
        return [self.examples[i] for i in places], [trust.calibrated(self.evidence[i]) for i in places]


def ask(
    predictor: Predictor, source_name: str, most: int, seed: int, configs: Path | None = None
) -> Pool | None:
    variables = {
        f"oc.env:{name}": value for name, value in os.environ.items() if name.startswith("PROTSCRIBE_")
    }
    source = find_source(source_name, {"paths.data": str(ROOT / "data"), **variables}, configs)
    if source.task not in predictor.tasks:
        print(f"{source_name}: the bundle has no task {source.task}", file=sys.stderr)
        return None
    task = predictor.tasks[source.task]
    parts = []
    for split in ("validation", "test"):
        try:
            found = read_source(source, task, split, root=ROOT, on_error="collect", failures=[])
        except ProtscribeError as error:
            print(f"{source_name}: {error}", file=sys.stderr)
            found = []
        if len(found) > most:
            drawn = np.random.default_rng([seed, 23]).choice(len(found), most, replace=False)
            found = [found[place] for place in sorted(drawn)]
        parts.append(found)
    examples = [*parts[0], *parts[1]]
    if len(examples) < 20:
        print(f"{source_name}: {len(examples)} held-out rows are too few", file=sys.stderr)
        return None
    began = time.monotonic()
    asked = predictor.evidence([example.record for example in examples], task.name, calibrated=False)
    tested = np.arange(len(examples)) >= len(parts[0])
    return Pool(task, examples, [one.evidence for one in asked], tested, time.monotonic() - began)


def fitted(pool: Pool, places: np.ndarray, seed: int) -> Trust:
    """As ``protscribe calibrate`` does on these rows. Where calibrations change no guarantee, none is fitted, to save time."""
    if keeps_order(pool.task):
        return Trust(None, Conformal.of_losses(pool.scores(places), family_of(pool.task).highest))
    return fit_rows(pool.task, *pool.rows(places, Trust()), seed=seed)


def covered(pool: Pool, trust: Trust, places: np.ndarray, level: float) -> float:
    """The mean share of truths within the guarantee of test rows; NaN where there is no guarantee at this level."""
    threshold = None if trust.conformal is None else trust.conformal.threshold(level)
    if threshold is None:
        return float("nan")
    same = keeps_order(pool.task)
    losses = pool.scores(places) if same else scores_of(pool.task, *pool.rows(places, trust))
    lost = [one.weights[one.scores > threshold + SLACK].sum() for one in losses if one is not None]
    return 1 - float(np.mean(lost)) if lost else float("nan")


def size(pool: Pool, trust: Trust, places: np.ndarray, level: float) -> float:
    """How much a guarantee takes in, as a mean share of all there is: classes, labels, residues, or the declared range."""
    if trust.conformal is None or trust.conformal.threshold(level) is None:
        return float("nan")
    shares = []
    for example, one in zip(*pool.rows(places, trust), strict=True):
        record = pool.task.arrange(example.record)
        reading = pool.task.codec.read(one, record, Readout())
        value = guarantee(pool.task, record, reading, trust.conformal, level).value
        shares.append(_share(pool.task, record, reading, value))
    return float(np.nanmean(shares))


def _share(task: Task, record: Any, reading: Any, value: Any) -> float:
    codec: Any = task.codec
    if codec.kind == "number":
        return (value[1] - value[0]) / (codec.high - codec.low)
    if codec.kind in ("residue_labels", "segments"):
        return float(np.mean([len(labels) for labels in value])) / len(codec.labels)
    if codec.kind == "residue_set":
        candidates = candidate_indices(codec, record)
        return len(value) / len(candidates) if len(candidates) else float("nan")
    if codec.kind == "residue_pairs":
        return float(len(value))
    return len(value) / len(reading.probabilities)


def random_cuts(count: int, repeats: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for repeat in range(repeats):
        order = np.random.default_rng([seed, 29, repeat]).permutation(count)
        yield np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def shifts(pool: Pool, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Cuts into rows that are not exchangeable, by what they calibrate on and what they test on."""
    lengths = np.array([sum(example.record.lengths) for example in pool.examples])
    order = np.argsort(lengths, kind="stable")
    half = len(order) // 2
    shares = np.array(
        [[("".join(one.record.chains)).count(letter) for letter in LETTERS] for one in pool.examples],
        dtype=float,
    )
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    groups = KMeans(2, n_init=10, random_state=seed).fit_predict(shares)
    first, second = np.flatnonzero(groups == 0), np.flatnonzero(groups == 1)
    larger, smaller = (first, second) if len(first) >= len(second) else (second, first)
    return {
        "short -> long": (order[:half], order[half:]),
        "long -> short": (order[half:], order[:half]),
        "larger group -> smaller": (larger, smaller),
        "smaller group -> larger": (smaller, larger),
    }


def measure(pool: Pool, level: float, repeats: int, seed: int) -> dict[str, Any]:
    count = len(pool.examples)
    found, sizes, rows = [], [], []
    for repeat, (fit, test) in enumerate(random_cuts(count, repeats, seed)):
        trust = fitted(pool, fit, repeat)
        found.append(covered(pool, trust, test, level))
        rows.append(0 if trust.conformal is None else trust.conformal.rows)
        if repeat < 3:
            sizes.append(size(pool, trust, test, level))
    usable = np.array([one for one in found if one == one])
    told: dict[str, Any] = {
        "task": pool.task.name,
        "kind": pool.task.codec.kind,
        "rows": count,
        "scores": int(np.mean(rows)),
        "coverage": float(usable.mean()) if len(usable) else None,
        "coverage_sd": float(usable.std()) if len(usable) else None,
        "unreachable": len(found) - len(usable),
        "size": float(np.nanmean(sizes)) if not np.isnan(sizes).all() else None,
        "shifted": {},
        "seconds": round(pool.seconds, 1),
    }
    for name, (fit, test) in shifts(pool, seed).items():
        trust = fitted(pool, fit, seed)
        told["shifted"][name] = {"coverage": covered(pool, trust, test, level), "rows": len(fit)}
    if has_events(pool.task):
        told["calibration"] = errors(pool, seed)
    return told


def errors(pool: Pool, seed: int) -> dict[str, Any]:
    """Calibration errors of test rows before and after, with the map that training fits on validation rows; and of all held-out
    rows, each half with a map of the other one."""
    validation, test = np.flatnonzero(~pool.tested), np.flatnonzero(pool.tested)
    if not len(validation) or not len(test):
        return {}
    known = fit_rows(pool.task, *pool.rows(validation, Trust()), seed=seed)
    told: dict[str, Any] = {"rows": len(test)}
    for name, trust in (("before", Trust()), ("after", known)):
        scores = calibration_scores(pool.task, *pool.rows(test, trust))
        told |= {
            f"ece_{name}": scores.ece,
            f"debiased_{name}": scores.ece_debiased,
            f"chance_{name}": scores.ece_by_chance,
            f"brier_{name}": scores.brier,
            f"loss_{name}": scores.loss,
        }
        told["events"] = scores.events
    told["as_much_by_chance"] = by_chance(pool, known, test, seed)
    if known.calibration is not None:
        told |= {"slope": known.calibration.slope, "offset": known.calibration.offset}
    pooled = [
        calibration_scores(
            pool.task,
            pool.examples,
            calibrated_crosswise(pool.task, pool.examples, pool.evidence, seed + cut),
        )
        for cut in range(5)
    ]
    told["pooled_chance"] = float(np.mean([one.ece_by_chance for one in pooled]))
    told["pooled"] = float(np.mean([one.ece for one in pooled]))
    told["pooled_debiased"] = float(np.mean([one.ece_debiased for one in pooled]))
    return told


def by_chance(pool: Pool, trust: Trust, test: np.ndarray, seed: int, draws: int = 1000) -> float:
    """How often perfect probabilities, were events independent, would show as much error as test rows do (consistency
    resampling, Bröcker and Smith 2007): outcomes are drawn from the probabilities themselves."""
    said = events_of(pool.task, *pool.rows(test, trust))
    found = reliability(said.confidence, said.happened)
    generator = np.random.default_rng([seed, 31])
    held = generator.binomial(found.counts, np.clip(found.confidence, 0, 1), size=(draws, len(found.counts)))
    gaps = np.abs(held / found.counts - found.confidence) @ found.counts / found.counts.sum()
    return float((gaps >= found.ece).mean())


def show(results: Sequence[dict[str, Any]], level: float) -> None:
    shift_names = list(results[0]["shifted"])
    print(f"\ncoverage at {level:.0%}: mean (sd) over random cuts, and under shifts")
    head = f"{'task':20} {'kind':15} {'rows':>5} {'scores':>6} {'exchangeable':>14} {'size':>6}"
    print(head + "".join(f" {name:>24}" for name in shift_names))
    for one in results:
        value = (
            "unreachable" if one["coverage"] is None else f"{one['coverage']:.3f} ({one['coverage_sd']:.3f})"
        )
        taken = "-" if one["size"] is None else f"{one['size']:.3f}"
        line = f"{one['task']:20} {one['kind']:15} {one['rows']:>5} {one['scores']:>6} {value:>14} {taken:>6}"
        print(line + "".join(f" {one['shifted'][name]['coverage']:>24.3f}" for name in shift_names))
    print("\ncalibration on test rows (expected calibration error, 15 bins of equal mass)")
    print(
        f"{'task':20} {'test':>5} {'events':>7} {'before':>7} {'after':>7} {'debiased':>9} {'after':>7} {'chance':>7} "
        f"{'p':>6} {'pooled':>7} {'debiased':>9} {'loss':>7} {'after':>7} {'slope':>6} {'offset':>6}"
    )
    for one in results:
        got = one.get("calibration")
        if not got:
            continue
        numbers = {
            "ece_before": 7.3, "ece_after": 7.3, "debiased_before": 9.3, "debiased_after": 7.3, "chance_after": 7.3,
            "as_much_by_chance": 6.3, "pooled": 7.3, "pooled_debiased": 9.3, "loss_before": 7.4, "loss_after": 7.4,
        }  # fmt: skip
        told = " ".join(f"{got[name]:>{width}f}" for name, width in numbers.items())
        fit = f"{got.get('slope', 1):>6.2f} {got.get('offset', 0):>6.2f}"
        print(f"{one['task']:20} {got['rows']:>5} {got['events']:>7} {told} {fit}")


def plain(value: Any) -> Any:
    """For JSON, which has no NaN."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bundle", default="mini-multitask", help="a folder, a released bundle's name, or org/name"
    )
    parser.add_argument(
        "--sources", nargs="*", help="names of sources; left out: those named as the bundle's tasks"
    )
    parser.add_argument("--config-dir", type=Path, help="where sources are that do not ship with the package")
    parser.add_argument("--level", type=float, default=0.9)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--most", type=int, default=300, help="at most so many rows of each split of a task")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    predictor = Predictor.load(given.bundle, "cpu")
    results = []
    for name in given.sources or list(predictor.tasks):
        pool = ask(predictor, name, given.most, given.seed, given.config_dir)
        if pool is not None:
            results.append(measure(pool, given.level, given.repeats, given.seed))
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(" ".join(sys.argv))
    show(results, given.level)
    print(
        json.dumps(
            {"bundle": given.bundle, "level": given.level, "repeats": given.repeats, "tasks": plain(results)}
        )
    )


if __name__ == "__main__":
    main()
