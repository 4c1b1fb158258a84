"""One next-token decoder against dedicated heads on the same frozen encoder, on every family of answers.

    python benchmarks/central_claim.py --seeds 0 1 2 --out docs/experiments/central_claim.md

Needs ``PROTSCRIBE_DATA``; hours on one core. For every question of ``benchmarks/claim/questions.py`` and every seed it trains
Protscribe (``experiment=central_claim``) and a dedicated head of as many layers and weights (``benchmarks/claim/head.py``) on
the same rows, batches and passes, and once the baselines of ``protscribe evaluate``: on the frozen states a linear probe and a
small network, and without states the nearest neighbours by alignment. Both keep the pass that validates best; test rows choose
nothing. What was measured is kept in ``--cells``; a run that stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.claim.free import free_strings
from benchmarks.claim.head import HeadTraining
from benchmarks.claim.questions import QUESTIONS, Asked, source_of
from benchmarks.claim.ways import WAYS, Way
from protscribe.cli import main as protscribe
from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.data.examples import Example, fill_task, read_source
from protscribe.data.mixture import Entry, Mixture
from protscribe.data.source import Source
from protscribe.documents import read_yaml
from protscribe.encoders import adapt, load_encoder
from protscribe.encoders.state_cache import StateStore
from protscribe.evaluation.metrics import METRICS, Resampled, collect, evaluate_task, metrics_of, resample
from protscribe.evaluation.rivals.choice import Baseline, Fitting, Learnable, answers_of
from protscribe.evaluation.truths import is_written, parse_truth
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction
from protscribe.task import Task

RUNS = Path("runs/central_claim")
METHODS = {
    "protscribe": "Protscribe", "greedy": "greedy string", "dedicated": "dedicated head", "head": "linear probe", "mlp": "MLP",
    "neighbours": "neighbours", "majority": "majority",
}  # fmt: skip
SEEDED = ("protscribe", "greedy", "dedicated")
HEADS = ("dedicated", "head", "mlp")
"""What answers from the same states."""
AS_SHIPPED = Way("as shipped")
FREE = "free"
"""The way that trains nothing: greedy strings without a grammar, of the models that are there."""
ONCE: tuple[Baseline, ...] = ("majority", "head", "mlp", "neighbours")
SETTINGS: dict[str, Any] = read_yaml(Path("configs/experiment/central_claim.yaml"))
RATE = SETTINGS["optimizer"]["lr"]
STAGE_TASKS = {
    "where_is_residue": "where_is_residue",
    "where_is_motif": "where_is_motif",
    "hidden_residues": "restore_residues",
}


class Question:
    """One question with its table, rows and task, read once."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.source: Source = source_of(asked, RUNS / "tables", Path(os.environ["PROTSCRIBE_DATA"]))
        configs = RUNS / "configs"
        write_yaml(configs / "source" / f"{asked.name}.yaml", self.source.to_plain())
        shipped = (
            Path("configs/task")
            / f"{read_yaml(Path('configs/source') / f'{asked.source}.yaml')['task']}.yaml"
        )
        plain = read_yaml(shipped)
        if asked.signal:
            plain = {
                "name": asked.name, "title": "Signal peptide residues", "codec": {"kind": "residue_set"},
                "description": "Positions of the residues of a signal peptide; most proteins have none.",
                "reference": "Bernhofer and Rost 2022, BMC Bioinformatics (TMbed)",
                "metrics": ["site_f1", "site_average_precision", "site_mcc"],
            }  # fmt: skip
        if asked.marks:
            plain = {**plain, "name": asked.name, "codec": {**plain["codec"], "written": "marks"}}
        self.defined = Task.from_plain(plain)
        if asked.signal or asked.marks:
            write_yaml(configs / "task" / f"{asked.name}.yaml", dict(plain))
        self.task = fill_task(self.defined, [self.source])
        self.failures: list[Failure] = []
        self.test = self.rows("test", self.failures)
        self.validated: dict[str, float] = {}
        """By method, the main metric on validation rows, which alone may choose among ways."""

    def rows(self, split: Any, failures: list[Failure] | None = None) -> list[Example]:
        found: list[Failure] = [] if failures is None else failures
        # A label of a test row that training has not shown is asked for and missed.
        parse = parse_truth(self.task.codec) if split == "test" else None
        return read_source(self.source, self.task, split, on_error="collect", failures=found, parse=parse)

    def data(self, seed: int) -> ScribeData:
        """Rows and batches as ``protscribe train`` makes them."""
        name = self.asked.name
        data = ScribeData(
            Mixture({name: Entry(self.task.name, name)}), {self.task.name: self.defined}, {name: self.source},
            budget=Budget(**SETTINGS["data"]["budget"]), seed=seed, on_error="collect",
        )  # fmt: skip
        data.read()
        return data


def write_yaml(path: Path, plain: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# Written by benchmarks/central_claim.py.\n" + yaml.safe_dump(plain, sort_keys=False))


Answers = Sequence[Prediction | Failure]


def ask_decoder(
    question: Question, seed: int, greedy: bool, method: str = "protscribe", way: Way = AS_SHIPPED
) -> dict[str, Answers]:
    """Trains as a user would, unless that was done, and answers the test rows."""
    asked = question.asked
    folder = f"{asked.table or asked.name}_{seed}" + ("" if way is AS_SHIPPED else f"_{method}")
    bundle = RUNS / folder / "bundle"
    with way.patch():
        if not bundle.is_dir():
            from_stage = (
                [f"bundle={first_stage(question, seed)}", "measured_rows=null"] if way.first_stage else []
            )
            train(
                "experiment=central_claim", f"task={question.task.name}", f"source={asked.name}", *from_stage,
                f"name={RUNS.name}/{folder}", f"seed={seed}", f"trainer.max_epochs={asked.passes}", *way.overrides,
            )  # fmt: skip
        predictor = Predictor.load(str(bundle), device="cpu")
        records = [example.record for example in question.test]
        name = question.task.name
        answers: dict[str, Answers] = {method: list(predictor.stream(records, [name]))}
        held = question.rows("validation", [])
        found = list(predictor.stream([example.record for example in held], [name]))
        question.validated[method] = score(question, held, found)
        if greedy:
            same = question.task.codec.asks in ("first", "greedy")
            beside = "greedy" if way is AS_SHIPPED else f"{method}/greedy"
            answers[beside] = (
                answers[method] if same else list(predictor.stream(records, [name], readout="greedy"))
            )
    return answers


def score(question: Question, examples: Sequence[Example], answers: Answers) -> float:
    truths, records = [example.answer for example in examples], [example.record for example in examples]
    scores = evaluate_task(question.task, truths, answers, records)
    return float(dict(scores)[metrics_of(question.task)[0]])


def train(*overrides: str) -> None:
    status = protscribe(["train", "--config-dir", str(RUNS / "configs"), "data.on_error=collect", *overrides])
    if status not in (0, 3):
        sys.exit(status)


def first_stage(question: Question, seed: int) -> Path:
    """A bundle that has learnt questions without labels about the question's training proteins."""
    name = f"{question.asked.name}_{seed}_stage"
    bundle = RUNS / name / "bundle"
    if not bundle.is_dir():
        made = ("where_is_residue", "where_is_motif", "hidden_residues")
        for kind in made:
            plain = read_yaml(Path("configs/source") / f"{kind}.yaml")
            plain |= {
                "path": question.source.path,
                "splits": {"train": ["train"], "validation": ["validation"]},
            }
            plain |= {"name": f"own_{kind}", "columns": {"sequence": "sequence", "split": "split"}}
            write_yaml(RUNS / "configs" / "source" / f"own_{kind}.yaml", plain)
        entries = {
            f"own_{kind}": {"task": STAGE_TASKS[kind], "source": f"own_{kind}", "weight": 1.0}
            for kind in made
        }
        write_yaml(
            RUNS / "configs" / "mixture" / "own_stage.yaml",
            {
                "_target_": "protscribe.data.mixture.Mixture",
                "entries": entries,
                "explicit": True,
                "epoch_size": 2000,
            },
        )
        train(
            "experiment=central_claim", "mixture=own_stage", f"name={RUNS.name}/{name}", f"seed={seed}",
            "trainer.max_epochs=2", "choose_readouts=false",
        )  # fmt: skip
    return bundle


def ask_head(question: Question, seed: int) -> dict[str, Answers]:
    data = question.data(seed)
    torch.manual_seed(seed)
    described = read_yaml(Path("configs/encoder/mini_stacked.yaml")) | SETTINGS["encoder"]
    encoder: Any = adapt(load_encoder(described), "top")
    sizes = {
        key: value for key, value in read_yaml(Path("configs/decoder/tiny.yaml")).items() if key[0] != "_"
    }
    decoder = Decoder(len(data.lexicon.vocabulary), encoder.width, **sizes)
    store = StateStore("runs/states").open(encoder.below_module)
    chains = data.chains() | {chain for example in question.test for chain in example.record.chains}
    for _ in store.fill(chains, encoder.below, torch.device("cpu")):
        pass
    store.refresh()
    data.read_states = store.read
    training = HeadTraining(data, question.task, encoder, decoder)
    losses = training.fit(question.asked.passes, RATE, seed)
    print(f"  head: validation losses {[round(loss, 3) for loss in losses]}", flush=True)
    readout = training.choose(data.validation[question.task.name][:500])
    held = question.rows("validation", [])
    question.validated["dedicated"] = score(question, held, training.answers(held, readout))
    return {"dedicated": training.answers(question.test, readout)}


def ask_baselines(question: Question) -> dict[str, Answers]:
    train, validation = question.rows("train"), question.rows("validation")
    torch.manual_seed(0)
    base: Any = load_encoder({"kind": "mini", "name": "mini"}).eval()
    model = Scribe(base, Decoder(8, base.width, width=8, layers=1, heads=1))
    loaded = SimpleNamespace(bundle=SimpleNamespace(model=model))
    given = Learnable(loaded, question.task, train, validation, question.test)
    found = {name: answers_of(name, given, Fitting(fitting_limit=None)) for name in ONCE}
    return {name: answers for name, answers in found.items() if answers is not None}


# What was measured


class Cells:
    """Measured cells, by question, method and seed, in one Parquet file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.is_file() else []
        self.rows = [{"validation": None, **row} for row in kept]

    def find(self, question: str, method: str, seed: int) -> dict[str, Any] | None:
        key = (question, method, seed)
        return next((row for row in self.rows if (row["question"], row["method"], row["seed"]) == key), None)

    def add(self, question: Question, method: str, seed: int, answers: Answers, seconds: float) -> None:
        name = question.asked.table or question.asked.name
        truths = [example.answer for example in question.test]
        records = [example.record for example in question.test]
        main = metrics_of(question.task)[0]
        found = resample(main, collect(question.task, truths, answers, records))
        scores = evaluate_task(question.task, truths, answers, records)
        self.rows.append({
            "question": name, "method": method, "seed": seed, "metric": main, "value": found.value,
            "scores": json.dumps(dict(scores)), "validation": question.validated.get(method),
            "count": len(truths), "missing": scores.missing,
            "rejected": len(question.failures), "seconds": round(seconds, 1),
            "unseen": sum(
                not is_written(question.task.codec, truth, record)
                for truth, record in zip(truths, records, strict=True)
            ),
            "resamples": [round(float(value), 4) for value in found.values_R],
        })  # fmt: skip
        self.write()
        print(
            f"{name} {method} seed {seed}: {main} {found.value:.4f} (validation "
            f"{question.validated.get(method, math.nan):.4f}), {seconds:.0f} s",
            flush=True,
        )

    def write(self) -> None:
        schema = pa.Table.from_pylist(self.rows)
        place = schema.schema.get_field_index("resamples")
        smaller = schema.set_column(
            place, "resamples", schema.column("resamples").cast(pa.list_(pa.float32()))
        )
        pq.write_table(smaller, self.path, compression="zstd")


def measure(cells: Cells, names: Sequence[str], seeds: Sequence[int], methods: Sequence[str]) -> None:
    """Seed by seed, so that a run that is cut short has all questions."""
    for seed in seeds:
        for name in names:
            ways: dict[str, Callable[[Question], dict[str, Answers]]] = {
                "protscribe": lambda question: ask_decoder(question, seed, greedy=seed == seeds[0]),  # noqa: B023
                "dedicated": lambda question: ask_head(question, seed),  # noqa: B023
                "baselines": ask_baselines,
            }
            question = None
            for way, ask in ways.items():
                number = seed if way in SEEDED else 0
                key = ONCE[0] if way == "baselines" else way
                if way not in methods or cells.find(name, key, number) is not None:
                    continue
                question = question or Question(QUESTIONS[name])
                began = time.process_time()
                for method, answers in ask(question).items():
                    cells.add(question, method, number, answers, time.process_time() - began)


def measure_ways(cells: Cells, names: Sequence[str], seeds: Sequence[int], ways: Sequence[str]) -> None:
    """The decoder trained in other ways, on each question that a way changes anything of."""
    for seed in seeds:
        for name in names:
            for method in ways:
                if method == FREE:
                    measure_free(cells, name, seed)
                    continue
                way, asked = WAYS[method], QUESTIONS[name]
                if cells.find(name, method, seed) is not None or way.marks == asked.marks:
                    continue
                if way.marks is not None:
                    asked = dataclasses.replace(asked, name=f"{name}_{method}", table=name, marks=way.marks)
                question, began = Question(asked), time.process_time()
                for told, answers in ask_decoder(question, seed, True, method, way).items():
                    cells.add(question, told, seed, answers, time.process_time() - began)


def measure_free(cells: Cells, name: str, seed: int) -> None:
    """The decoder as shipped, with no grammar to hold its greedy string."""
    bundle = RUNS / f"{name}_{seed}" / "bundle"
    if cells.find(name, FREE, seed) is not None or not bundle.is_dir():
        return
    question, began = Question(QUESTIONS[name]), time.process_time()
    predictor = Predictor.load(str(bundle), device="cpu")
    answers = free_strings(predictor, predictor.tasks[question.task.name], question.test)
    cells.add(question, FREE, seed, answers, time.process_time() - began)


# The table


def mean(found: Sequence[dict[str, Any]]) -> Resampled:
    """Over seeds, resample by resample: the proteins drawn are the same."""
    values = np.mean([one["resamples"] for one in found], axis=0)
    return Resampled(statistics.mean(one["value"] for one in found), values)


def told(resampled: Resampled, sign: str = "") -> str:
    lower, upper = resampled.interval()[1:3]
    return f"{resampled.value:{sign}.3f} [{lower:{sign}.3f}, {upper:{sign}.3f}]"


def table(cells: Cells) -> tuple[list[str], dict[str, Any]]:
    lines = [
        "| question | family | metric | n | seeds | Protscribe | dedicated head | linear probe | MLP | neighbours | majority "
        "| above the best head |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    verdicts: dict[str, Any] = {}
    for name, asked in QUESTIONS.items():
        rows = [row for row in cells.rows if row["question"] == name]
        of = {method: [row for row in rows if row["method"] == method] for method in METHODS}
        if not of["protscribe"]:
            continue
        count = min(len(of["protscribe"]), len(of["dedicated"]) or 99)
        metric, ours = of["protscribe"][0]["metric"], mean(of["protscribe"][:count])
        higher = METRICS[metric].higher
        heads = {method: mean(of[method][:count]) for method in HEADS if of[method]}
        cell = ""
        if heads:
            best = (max if higher else min)(heads.values(), key=lambda one: one.value)
            gain = ours.above(best) if higher else best.above(ours)
            cell = told(gain, "+")
            verdicts[name] = bool(gain.interval()[2] >= 0)
        shown = [told(heads[method]) if method in heads else "" for method in HEADS]
        plain = [
            f"{of[method][0]['value']:.3f}" if of[method] else "" for method in ("neighbours", "majority")
        ]
        first = of["protscribe"][0]
        counted = f"{first['count']}" + (f" ({first['unseen']} unseen)" if first["unseen"] else "")
        cells_of = [name, asked.family, metric, counted, str(count), told(ours), *shown, *plain, cell]
        lines.append("| " + " | ".join(cells_of) + " |")
    return lines, verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--methods", nargs="+", default=["protscribe", "dedicated", "baselines"])
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=[*WAYS, FREE],
        default=[],
        help="only these, see benchmarks/claim/ways.py",
    )
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/central_claim.parquet"))
    parser.add_argument(
        "--out", type=Path, help="a Markdown file; its table, between two markers, is replaced"
    )
    options = parser.parse_args()
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    torch.set_num_threads(1)
    cells = Cells(options.cells)
    if options.ways:
        measure_ways(cells, options.questions, options.seeds, options.ways)
        return
    measure(cells, options.questions, options.seeds, options.methods)
    lines, verdicts = table(cells)
    print("\n".join(lines))
    if options.out:
        before, rest = options.out.read_text().split("<!-- table -->")
        after = rest.split("<!-- end -->")[1]
        options.out.write_text(f"{before}<!-- table -->\n" + "\n".join(lines) + f"\n<!-- end -->{after}")
    print(json.dumps({"benchmark": "central_claim", "not_worse": verdicts, "seeds": options.seeds}))


if __name__ == "__main__":
    main()
