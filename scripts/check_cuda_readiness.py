"""Is the code made for CUDA? Checked without a GPU, in an environment whose torch was built for CUDA.

    python scripts/check_cuda_readiness.py            # everything, some minutes
    python scripts/check_cuda_readiness.py --quick    # two encoders

Every encoder with every codec, in float32, bfloat16 autocast and bfloat16 weights: the training step (loss, backward, clipping,
optimizer step, validation) and the way from records to evidence, on a device that only keeps the books (see
``scripts/fake_device.py``). It fails where devices are mixed and where the host waits for the device at a point that
``protscribe.transfer.POINTS`` does not name. Prints a table and those points; the last line is JSON. Exit status: 0 all well, 1
something failed, 2 this torch was not built for CUDA.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

MISSING = (
    "this check needs a torch that was built for CUDA (no GPU is needed); this one, {version}, was not. Make an environment of "
    "its own: python -m venv CUDA && CUDA/bin/pip install torch && CUDA/bin/pip install --editable ."
)
WIDTH = 32
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
ESM = {"kind": "esm2", "weights": "untrained", "layers": 2, "width": WIDTH, "heads": 4}
BERT = {
    "vocab_size": 40, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 128,
}  # fmt: skip
T5 = {"vocab_size": 40, "d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
TABLE = {"table": list(range(5, 30)), "first": 2, "last": 3}


@dataclass(frozen=True)
class Case:
    """An encoder, and what belongs to it: of molecules, of long proteins, of adaptation, of the decoder."""

    encoder: dict[str, Any]
    molecules: str = ""
    window: int = 0
    adaptation: str = "full"
    cross_attention: dict[str, Any] | None = None


CASES = {
    "mini": Case({"kind": "mini", "width": WIDTH, "layers": 3, "attention_layers": 1, "heads": 4}),
    "esm2": Case(ESM, cross_attention={"kv_heads": 1, "shared": True}),
    "esm2, absolute places": Case({**ESM, "positions": "absolute", "places": 16, "norm_before": True}),
    "esm2, lora": Case(ESM, adaptation="lora"),
    "esm2, frozen": Case(ESM, adaptation="frozen"),
    "esm2, windows": Case(ESM, window=8),
    "fair_esm": Case({"kind": "fair_esm", "weights": "untrained", "layers": 2, "width": WIDTH, "heads": 4}),
    "huggingface, bert": Case(
        {"kind": "huggingface", "weights": "untrained", "family": "bert", "config": BERT, **TABLE}
    ),
    "huggingface, t5": Case(
        {"kind": "huggingface", "weights": "untrained", "family": "t5", "config": T5, **TABLE}
    ),
    "mini + character": Case({"kind": "mini", "width": WIDTH, "layers": 1}, molecules="character"),
    "mini + molecule": Case({"kind": "mini", "width": WIDTH, "layers": 1}, molecules="molecule"),
}
QUICK = ("mini", "esm2")

CODECS: dict[str, tuple[dict[str, Any], Callable[[str], Any]]] = {
    "category": ({"labels": ["a", "b", "c"]}, lambda chain: "abc"[len(chain) % 3]),
    "category_set": ({"labels": list("pqrs")}, lambda chain: ["p", "r"]),
    "category_path": ({"paths": ["1.1.1", "1.1.2", "2.1.1"], "most": 2}, lambda chain: ["1.1.2"]),
    "number": ({"low": 0, "high": 90.5, "step": 0.1, "depth": 2}, lambda chain: 3.5),
    "residue_labels": ({"labels": list("HEC")}, lambda chain: "H" * len(chain)),
    "residue_set": ({}, lambda chain: [1, 3]),
    "segments": (
        {"labels": ["s", "m"], "most": 4},
        lambda chain: [("s", 1, 2), ("m", 3, len(chain))],
    ),
    "residue_pairs": ({"separation": 3, "most_per_residue": 0.5}, lambda chain: [(1, 5)]),
    "sequence": ({"alphabet": list("xyz"), "length": "free", "most": 9}, lambda chain: "xyzx"),
}
PRECISIONS: dict[str, tuple[torch.dtype | None, torch.dtype | None]] = {
    "float32": (None, None),
    "bf16 autocast": (None, torch.bfloat16),
    "bf16 weights": (torch.bfloat16, None),
}
"""By name: the type of the weights, and of autocast."""


PHASES = ("train", "evidence", "greedy", "beam", "sample", "judge")


class Line(NamedTuple):
    """One row of the table."""

    encoder: str
    codec: str
    precision: str
    phase: str
    failure: str
    points: dict[str, int]
    uploads: int


def tasks_and_records(case: Case) -> tuple[dict[str, Any], list[Any]]:
    """A task of every codec, and three records of unequal length."""
    from protscribe.records import ProteinRecord
    from protscribe.task import Task

    tasks = {
        kind: Task.from_plain(
            {
                "name": kind,
                "title": kind,
                "molecule": bool(case.molecules),
                "conditions": [{"field": "host", "values": ["m", "h"]}],
                "codec": {"kind": kind, **codec},
            }
        )
        for kind, (codec, _) in CODECS.items()
    }
    chains = [LETTERS[:7], LETTERS[4:14], LETTERS[3:8]]
    molecules = ["CCO", "c1ccccc1O", "CC(=O)N"] if case.molecules else [None] * 3
    return tasks, [
        ProteinRecord(f"r{place}", (chain,), molecule, {"host": "h"})
        for place, (chain, molecule) in enumerate(zip(chains, molecules, strict=True))
    ]


def make_model(case: Case, lexicon: Any) -> Any:
    """A real, small model, on the host."""
    from protscribe.encoders import adapt, load_encoder, load_molecule_encoder
    from protscribe.nn.decoder import Decoder
    from protscribe.nn.model import Scribe

    encoder = load_encoder(case.encoder)
    if case.adaptation != "full":
        encoder = adapt(encoder, case.adaptation, rank=2)  # type: ignore[arg-type]
    molecules = load_molecule_encoder(molecule_plain(case.molecules)) if case.molecules else None
    width: Any = 0 if molecules is None else molecules.width
    decoder = Decoder(
        len(lexicon.vocabulary), WIDTH, width, WIDTH, layers=2, heads=4, cross_attention=case.cross_attention
    )
    return Scribe(encoder, decoder, molecules)


def molecule_plain(kind: str) -> dict[str, Any]:
    if kind == "character":
        return {"kind": "character", "width": 16, "layers": 1}
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = {letter: place for place, letter in enumerate("?CcNOno1()=", start=1)}
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, **letters}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    plain = {
        "kind": "molecule",
        "weights": "untrained",
        "family": "roberta",
        "config": {**BERT, "pad_token_id": 0},
    }
    return {**plain, "tokenizer": tokenizer.to_str()}  # fmt: skip


def training_step(case: Case, lexicon: Any, questions: Any, weights: Any, cast: Any) -> tuple[Any, Any]:
    """Loss, backward, clipping and optimizer step as Lightning does them, then a step of validation."""
    from fake_device import CUDA, autocast, backward, fake_device, on_device, outside

    from protscribe.data.collate import Collator
    from protscribe.training.module import ScribeTraining

    model = make_model(case, lexicon)
    tokenize = None if model.molecule_encoder is None else model.molecule_encoder.tokenize
    schedule: Any = lambda optimizer, total_steps: torch.optim.lr_scheduler.ConstantLR(optimizer)  # noqa: E731
    module = ScribeTraining(model, lexicon, [], torch.optim.AdamW, schedule)
    with fake_device() as (mode, traffic, points):
        on_device(module.train(), mode, weights)
        # What the module asks of Lightning's trainer, which would want a GPU.
        plugin = SimpleNamespace(scaler=None)
        strategy = SimpleNamespace(reduce=lambda tensor, **_: tensor)
        module._trainer = SimpleNamespace(  # type: ignore[assignment]
            precision_plugin=plugin, strategy=strategy, estimated_stepping_batches=10, global_step=0,
            log_every_n_steps=1, current_epoch=0, optimizers=[], global_rank=0, checkpoint_callbacks=[],
        )  # fmt: skip
        module.log = lambda *given, **named: None  # type: ignore[method-assign]
        optimizer = module.configure_optimizers()["optimizer"]
        batch = outside(mode, Collator(lexicon, tokenize))(questions).to(CUDA)
        with autocast(cast):
            loss = module.training_step(batch, 0)
        backward(loss)
        module.on_before_optimizer_step(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        module.eval()
        with torch.no_grad(), autocast(cast):
            module.validation_step(batch, 0)
    return traffic, points


def predicting(
    case: Case, lexicon: Any, records: Any, task: Any, way: str, weights: Any, cast: Any
) -> tuple[Any, Any]:
    """From records to evidence, as ``protscribe.predictor`` asks."""
    from fake_device import CUDA, autocast, fake_device, on_device, outside

    from protscribe.data.collate import Collator
    from protscribe.encoders import Windowed
    from protscribe.generation.answering import Asking
    from protscribe.inquiry import Inquiry, Settings
    from protscribe.nn.model import Scribe

    model = make_model(case, lexicon).eval()
    tokenize = None if model.molecule_encoder is None else model.molecule_encoder.tokenize
    if case.window:
        windowed = Windowed(model.encoder, case.window, 4)
        model = Scribe(windowed, model.decoder, model.molecule_encoder).eval()
    with fake_device() as (mode, traffic, points):
        on_device(model, mode, weights)
        collate: Any = outside(mode, Collator(lexicon, tokenize, 8))
        chosen: Any = way if way == "greedy" else "risk"
        inquiry = Inquiry(
            model, lexicon, collate, CUDA, {}, None, Asking(draws=4), Settings("full", chosen, 2048), {}
        )
        with autocast(cast):
            inquiry.evidence(records, task)
    return traffic, points


def ranking(
    case: Case, lexicon: Any, records: Any, task: Any, way: str, weights: Any, cast: Any
) -> tuple[Any, Any]:
    """Alternative answers by beam or by drawing, and given answers judged, as ``protscribe.shortlist`` asks for them."""
    from fake_device import CUDA, autocast, fake_device, on_device, outside

    from protscribe.data.collate import Collator, Question
    from protscribe.generation.ranking import judge_answers, search_answers
    from protscribe.generation.settings import Beam, Sample

    model = make_model(case, lexicon).eval()
    truth = CODECS[task.name][1]
    given = [[tuple(task.codec.encode(truth(one.sequence), one).tokens)] for one in records]
    with fake_device() as (mode, traffic, points):
        on_device(model, mode, weights)
        asked = outside(mode, Collator(lexicon, None, 8))([Question(one, task) for one in records]).to(CUDA)
        with autocast(cast):
            if way == "judge":
                judge_answers(model, lexicon, asked, given)
            else:
                search: Any = Beam(width=4, groups=2) if way == "beam" else Sample(temperature=0.8, top_k=3)
                search_answers(model, lexicon, asked, search, 3, [()] * len(records))
    return traffic, points


def check(name: str, case: Case) -> list[Line]:
    """All lines of one encoder."""
    from fake_device import told

    from protscribe.data.collate import Question
    from protscribe.data.lexicon import Lexicon
    from protscribe.vocabulary import Vocabulary

    tasks, records = tasks_and_records(case)
    lexicon = Lexicon(Vocabulary.compose(block for task in tasks.values() for block in task.blocks()))
    lines = []

    def line(
        codec: str, precision: str, phase: str, run: Callable[..., tuple[Any, Any]], *given: Any
    ) -> None:
        try:
            traffic, points = run(case, lexicon, *given, *PRECISIONS[precision])
        except Exception as error:
            lines.append(Line(name, codec, precision, phase, told(error), {}, 0))
        else:
            lines.append(Line(name, codec, precision, phase, "", dict(points.counts), traffic.uploads))

    mixed = [Question(r, task, CODECS[kind][1](r.sequence)) for kind, task in tasks.items() for r in records]
    for precision in PRECISIONS:
        line("all in a batch", precision, "train", training_step, mixed)
        for codec, task in tasks.items():
            for way in ("evidence", "greedy"):
                line(codec, precision, way, predicting, records, task, way)
            # Alternatives are found from memories, whatever encoder they are from.
            for way in ("beam", "sample", "judge") if name in QUICK else ():
                line(codec, precision, way, ranking, records, task, way)
    return lines


def show(lines: Sequence[Line]) -> None:
    """The table's rows of one encoder."""
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for line in lines:
        row = cells.setdefault((line.encoder, line.codec, line.precision), {})
        row[line.phase] = "FAILED" if line.failure else "ok"
    for (encoder, codec, precision), row in cells.items():
        said = "".join(f"{row.get(phase, ''):10}" for phase in PHASES)
        print(f"{encoder:24}{codec:16}{precision:15}{said}".rstrip(), flush=True)


def report(lines: Sequence[Line], seconds: float) -> dict[str, Any]:
    """What failed, and the points; gives the line for machines."""
    from protscribe.transfer import POINTS

    failures = Counter((line.phase, line.failure) for line in lines if line.failure)
    for (phase, failure), count in failures.most_common():
        print(f"\n{count} x {phase}: {failure}")
    most: Counter[str] = Counter()
    for line in lines:
        most |= Counter(line.points)
    print("\nWhere the host may wait, and how often it did in one batch, at most")
    for point, said in POINTS.items():
        print(f"{point:12}{most[point]:4}  {said}")
    print(f"\nUploads that wait for nothing: at most {max(line.uploads for line in lines)} a batch")
    failed = sum(bool(line.failure) for line in lines)
    return {
        "check": "cuda_readiness", "torch": torch.__version__, "checks": len(lines), "failed": failed,
        "points": {point: most[point] for point in POINTS}, "seconds": round(seconds, 1),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    given = parser.parse_args(arguments)
    if torch.version.cuda is None:
        print(MISSING.format(version=torch.__version__), file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    began = time.monotonic()
    print(f"{'encoder':24}{'codec':16}{'precision':15}" + "".join(f"{phase:10}" for phase in PHASES).rstrip())
    lines: list[Line] = []
    for name, case in CASES.items():
        if not given.quick or name in QUICK:
            found = check(name, case)
            show(found)
            lines += found
    result = report(lines, time.monotonic() - began)
    print(json.dumps(result))
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
