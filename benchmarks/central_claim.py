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
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.claim.cells import Cells, replace_table, short_table, table, votes_table, ways_table
from benchmarks.claim.free import free_strings
from benchmarks.claim.head import HeadTraining
from benchmarks.claim.question import BASES, RUNS, SETTINGS, Answers, Question, score, write_yaml
from benchmarks.claim.questions import QUESTIONS
from benchmarks.claim.votes import Voiced, said_by, with_votes
from benchmarks.claim.ways import FREE, HOW, JOINT, NEAR, TOGETHER, VOTES, WAYS, Way
from protscribe.cli import main as protscribe
from protscribe.documents import read_yaml
from protscribe.encoders import adapt, load_encoder
from protscribe.encoders.state_cache import StateStore
from protscribe.evaluation.confidence.neighbours import add_neighbours
from protscribe.evaluation.rivals.choice import Baseline, Fitting, Learnable, answers_of
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.predictor import Predictor
from protscribe.trust.neighbours import can_vote

AS_SHIPPED = Way("as shipped")
JOINT_EPOCHS = 8
ONCE: tuple[Baseline, ...] = ("majority", "head", "mlp", "neighbours")
RATE = SETTINGS["optimizer"]["lr"]
STAGE_TASKS = {
    "where_is_residue": "where_is_residue",
    "where_is_motif": "where_is_motif",
    "hidden_residues": "restore_residues",
}


def ask_decoder(
    question: Question, seed: int, greedy: bool, method: str = "protscribe", way: Way = AS_SHIPPED
) -> dict[str, Answers]:
    """Trains as a user would, unless that was done, and answers the test rows."""
    asked = question.asked
    folder = question.folder(seed) + ("" if way is AS_SHIPPED else f"_{method}")
    bundle = RUNS / folder / "bundle"
    with way.patch():
        if not bundle.is_dir():
            from_stage = (
                [f"bundle={first_stage(question, seed)}", "measured_rows=null"] if way.first_stage else []
            )
            train(
                "experiment=central_claim", f"task={question.task.name}", f"source={asked.name}", *from_stage,
                f"name={RUNS.name}/{folder}", f"seed={seed}", f"trainer.max_epochs={asked.passes}",
                *encoder_of(question), *way.overrides,
            )  # fmt: skip
        beside = "greedy" if way is AS_SHIPPED else f"{method}/greedy"
        return ask_bundle(question, bundle, method, beside if greedy else None)


def ask_bundle(
    question: Question, bundle: Path, method: str, greedy: str | None = None
) -> dict[str, Answers]:
    """Answers of the test rows; also those of the greedy string, under the name ``greedy``."""
    predictor = Predictor.load(str(bundle), device="cpu")
    name = question.task.name
    held, records = question.rows("validation", []), [example.record for example in question.test]
    question.validated[method] = score(
        question, held, list(predictor.stream([example.record for example in held], [name]))
    )
    answers: dict[str, Answers] = {method: list(predictor.stream(records, [name]))}
    if greedy:
        same = question.task.codec.asks in ("first", "greedy")
        answers[greedy] = (
            answers[method] if same else list(predictor.stream(records, [name], readout="greedy"))
        )
    return answers


def joint_bundle(method: str, seed: int) -> Path:
    """One model of several questions: each row is seen as often as where its question is trained alone."""
    bundle = RUNS / f"{method}_{seed}" / "bundle"
    if not bundle.is_dir():
        questions = [Question(QUESTIONS[name]) for name in TOGETHER]
        samples = {
            question.asked.name: question.asked.passes * len(question.rows("train", []))
            for question in questions
        }
        entries = {
            question.asked.name: {
                "task": question.task.name,
                "source": question.asked.name,
                "weight": float(samples[question.asked.name]),
            }
            for question in questions
        }
        write_mixture("joint", entries, sum(samples.values()) // JOINT_EPOCHS)
        train(
            "experiment=central_claim", "mixture=joint", f"name={RUNS.name}/{method}_{seed}", f"seed={seed}",
            f"trainer.max_epochs={JOINT_EPOCHS}", *JOINT[method].overrides,
        )  # fmt: skip
    return bundle


def encoder_of(question: Question) -> list[str]:
    return [f"encoder.base.{key}={value}" for key, value in question.base.items()]


def train(*overrides: str) -> None:
    status = protscribe(["train", "--config-dir", str(RUNS / "configs"), "data.on_error=collect", *overrides])
    if status not in (0, 3):
        sys.exit(status)


def first_stage(question: Question, seed: int) -> Path:
    """A bundle that has learnt questions without labels about the question's training proteins."""
    name = f"{question.folder(seed)}_stage"
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
        write_mixture("own_stage", entries, 2000)
        train(
            "experiment=central_claim", "mixture=own_stage", f"name={RUNS.name}/{name}", f"seed={seed}",
            "trainer.max_epochs=2", "choose_readouts=false", *encoder_of(question),
        )  # fmt: skip
    return bundle


def write_mixture(name: str, entries: dict[str, Any], size: int) -> None:
    """Explicit shares, ``size`` samples an epoch."""
    path = RUNS / "configs" / "mixture" / f"{name}.yaml"
    target = "protscribe.data.mixture.Mixture"
    write_yaml(path, {"_target_": target, "entries": entries, "explicit": True, "epoch_size": size})


def ask_head(question: Question, seed: int) -> dict[str, Answers]:
    data = question.data(seed)
    torch.manual_seed(seed)
    described = read_yaml(Path("configs/encoder/mini_stacked.yaml")) | SETTINGS["encoder"]
    described["base"] = question.base
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
    answers: dict[str, Answers] = {"dedicated": training.answers(question.test, readout)}
    if can_vote(question.task):
        heard = f"dedicated/{VOTES}"
        answers[heard] = with_votes(
            question, heard, Voiced(question.task, training.said, encoder.encoder.with_base)
        )
    return answers


def learnable(question: Question) -> Learnable:
    """What the baselines of ``protscribe evaluate`` are fitted on: all training rows, and the frozen states."""
    train, validation = question.rows("train"), question.rows("validation")
    torch.manual_seed(0)
    base: Any = load_encoder(question.base).eval()
    model = Scribe(base, Decoder(8, base.width, width=8, layers=1, heads=1))
    loaded = SimpleNamespace(bundle=SimpleNamespace(model=model))
    return Learnable(loaded, question.task, train, validation, question.test)


def measure(
    cells: Cells, names: Sequence[str], seeds: Sequence[int], methods: Sequence[str], base: str
) -> None:
    """Seed by seed, so that a run that is cut short has all questions."""
    for seed in seeds:
        for name in names:
            ways: dict[str, Callable[[Question], dict[str, Answers]]] = {
                "protscribe": lambda question: ask_decoder(question, seed, greedy=seed == seeds[0]),  # noqa: B023
                "dedicated": lambda question: ask_head(question, seed),  # noqa: B023
            }
            question = None
            for way, ask in ways.items():
                if way not in methods:
                    continue
                question = question or Question(QUESTIONS[name], base)
                wanted = [way]
                if way == "dedicated" and can_vote(question.task):
                    wanted.append(f"{way}/{VOTES}")
                missing = [method for method in wanted if cells.find(name, method, seed) is None]
                if not missing:
                    continue
                began = time.process_time()
                for method, answers in ask(question).items():
                    if cells.find(name, method, seed) is None:
                        cells.add(question, method, seed, answers, time.process_time() - began)
            if "baselines" in methods:
                measure_baselines(cells, name, base)
                measure_voted_baselines(cells, name, base)


def measure_baselines(cells: Cells, name: str, base: str) -> None:
    """Once for all seeds, and kept one by one: the linear probe of thousands of EC numbers takes half an hour."""
    missing = [baseline for baseline in ONCE if cells.find(name, baseline, 0) is None]
    if not missing:
        return
    question = Question(QUESTIONS[name], base)
    given = learnable(question)
    for baseline in missing:
        began = time.process_time()
        answers = answers_of(baseline, given, Fitting(fitting_limit=None))
        if answers is not None:
            cells.add(question, baseline, 0, answers, time.process_time() - began)


def measure_voted_baselines(cells: Cells, name: str, base: str) -> None:
    """Heads that are fitted once, with votes; asked once more about validation rows too."""
    question = Question(QUESTIONS[name], base)
    voted: tuple[Baseline, ...] = ("head", "mlp")
    for baseline in voted:
        method, began = f"{baseline}/{VOTES}", time.process_time()
        if not can_vote(question.task) or cells.find(name, method, 0) is not None:
            continue
        given = learnable(question)
        asked = [*question.rows("validation", []), *question.test]
        answers = answers_of(baseline, dataclasses.replace(given, test=asked), Fitting(fitting_limit=None))
        assert answers is not None, "every answer that can be voted on has a head"
        said = said_by(question.task, [example.record for example in asked], answers)
        encoder: Any = load_encoder(question.base).eval()
        voiced = Voiced(question.task, lambda records: [said[record.ordinal] for record in records], encoder)  # noqa: B023
        cells.add(question, method, 0, with_votes(question, method, voiced), time.process_time() - began)


def measure_ways(cells: Cells, names: Sequence[str], seeds: Sequence[int], ways: Sequence[str]) -> None:
    """The decoder trained in other ways, on each question that a way changes anything of."""
    for seed in seeds:
        for name in names:
            for method in ways:
                if method == FREE:
                    measure_free(cells, name, seed)
                    continue
                if method == NEAR:
                    measure_neighbours(cells, name, seed)
                    continue
                if method in JOINT:
                    measure_joint(cells, name, method, seed)
                    continue
                way, asked = WAYS[method], QUESTIONS[name]
                if cells.find(name, method, seed) is not None:
                    continue
                if way.written:
                    shipped = getattr(Question(asked).task.codec, "written", "")
                    if way.written not in HOW.get(asked.family, ()) or way.written == shipped:
                        continue
                    asked = dataclasses.replace(
                        asked, name=f"{name}_{method}", table=name, written=way.written
                    )
                question, began = Question(asked), time.process_time()
                for told, answers in ask_decoder(question, seed, True, method, way).items():
                    cells.add(question, told, seed, answers, time.process_time() - began)


def measure_free(cells: Cells, name: str, seed: int) -> None:
    """The decoder as shipped, with no grammar to hold its greedy string."""
    if cells.find(name, FREE, seed) is not None:
        return
    question, began = Question(QUESTIONS[name]), time.process_time()
    bundle = RUNS / question.folder(seed) / "bundle"
    if not bundle.is_dir():
        return
    predictor = Predictor.load(str(bundle), device="cpu")
    answers = free_strings(predictor, predictor.tasks[question.task.name], question.test)
    cells.add(question, FREE, seed, answers, time.process_time() - began)


def measure_neighbours(cells: Cells, name: str, seed: int) -> None:
    """The decoder as shipped, with training proteins that vote beside it."""
    question, began = Question(QUESTIONS[name]), time.process_time()
    bundle = RUNS / question.folder(seed) / "bundle"
    if cells.find(name, NEAR, seed) is not None or not bundle.is_dir() or not can_vote(question.task):
        return
    voted = RUNS / f"{question.folder(seed)}_{NEAR}" / "bundle"
    if not voted.is_dir():
        print(add_neighbours(str(bundle), [question.source], voted, device="cpu").to_text(), flush=True)
    answers = ask_bundle(question, voted, NEAR)[NEAR]
    cells.add(question, NEAR, seed, answers, time.process_time() - began)


def measure_joint(cells: Cells, name: str, method: str, seed: int) -> None:
    if name in TOGETHER and cells.find(name, method, seed) is None:
        bundle, began = joint_bundle(method, seed), time.process_time()
        question = Question(QUESTIONS[name])
        answers = ask_bundle(question, bundle, method)[method]
        cells.add(question, method, seed, answers, time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--methods", nargs="+", default=["protscribe", "dedicated", "baselines"])
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=[*WAYS, FREE, NEAR, *JOINT],
        default=[],
        help="only these, see benchmarks/claim/ways.py",
    )
    parser.add_argument("--base", choices=list(BASES), default="mini", help="the frozen encoder")
    parser.add_argument("--cells", type=Path, help="benchmarks/central_claim.parquet, or that of the base")
    parser.add_argument("--readme", type=Path, help="a Markdown file whose short table is replaced")
    parser.add_argument(
        "--out", type=Path, help="a Markdown file; its table, between two markers, is replaced"
    )
    options = parser.parse_args()
    if "PROTSCRIBE_DATA" not in os.environ:
        sys.exit("set PROTSCRIBE_DATA to the folder of the large tables")
    torch.set_num_threads(1)
    suffix = "" if options.base == "mini" else f"_{options.base}"
    cells = Cells(options.cells or Path(f"benchmarks/central_claim{suffix}.parquet"))
    if options.ways and suffix:
        parser.error("--ways are measured on the states of mini")
    if options.ways:
        measure_ways(cells, options.questions, options.seeds, options.ways)
        return
    measure(cells, options.questions, options.seeds, options.methods, options.base)
    lines, verdicts = table(cells)
    print("\n".join(lines))
    if options.out:
        replace_table(options.out, f"table{suffix}", lines)
        if not suffix:
            replace_table(options.out, "votes", votes_table(cells))
            replace_table(options.out, "ways", ways_table(cells))
    if options.readme:
        replace_table(options.readme, "claim", short_table(lines))
        if not suffix:
            replace_table(options.readme, "votes", votes_table(cells))
    print(json.dumps({"benchmark": "central_claim", "not_worse": verdicts, "seeds": options.seeds}))


if __name__ == "__main__":
    main()
