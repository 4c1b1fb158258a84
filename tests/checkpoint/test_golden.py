"""Every released bundle format has a golden bundle that still loads and still answers the same.

A new format gets a new folder, and the old ones stay as they are. ``python -m tests.checkpoint.test_golden``
writes the one of the format that this library writes; do that only before the format is released.
"""

import json
import os
import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from protscribe.checkpoint import load_bundle, save_bundle
from protscribe.checkpoint.manifest import FORMAT
from protscribe.codecs import KINDS
from protscribe.codecs.protocol import Readout
from protscribe.data.collate import Collator, Question
from protscribe.generation.answering import answer
from tests.checkpoint.made import RECORDS, logits, made_lexicon, made_model, made_task

GOLDEN = Path(__file__).parent.parent / "golden"
SCORES, ANSWERS = "logits.safetensors", "answers.json"
TASKS = {
    task.name: task
    for task in (
        made_task("where", kind="category", labels=["inside", "outside"]),
        made_task("several", kind="category_set", labels=list("pqrs")),
        made_task("path", kind="category_path", paths=["1.1", "1.2", "2.1"]),
        made_task("how_much", kind="number", low=0, high=10, step=0.1, unit="nM"),
        made_task("fold", kind="residue_labels", labels=list("HEC")),
        made_task("sites", kind="residue_set", candidates="STY"),
        made_task("parts", kind="segments", labels=["in", "out"]),
        made_task("contacts", kind="residue_pairs", separation=3, most_per_residue=0.2),
        made_task("string", kind="sequence", alphabet=list("xyz"), length="free", most=4),
    )
}
READOUTS = {
    "sites": Readout(threshold=0.125),
    "how_much": Readout(statistic="median", way="greedy", level=0.8),
}


@torch.inference_mode()
def greedy(bundle):
    """The greedy answer to every task about every record, as text."""
    questions = [Question(record, task) for task in bundle.tasks.values() for record in RECORDS]
    batch = Collator(bundle.lexicon)(questions)
    found = answer(bundle.model, bundle.lexicon, batch, ways=["greedy"] * len(questions))
    values = [
        question.task.codec.decode(one.evidence.tokens, question.record)
        for question, one in zip(questions, found, strict=True)
    ]
    return {
        f"{question.task.name} of {question.record.id}": str(value)
        for question, value in zip(questions, values, strict=True)
    }


def write_golden(folder: Path) -> None:
    lexicon = made_lexicon(TASKS)
    model = made_model(lexicon, seed=1)
    for weight in model.decoder.score.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    save_bundle(
        folder / "bundle",
        model=model,
        lexicon=lexicon,
        tasks=TASKS,
        readouts=READOUTS,
        provenance={"seed": 1},
    )
    save_file({"logits": logits(model, lexicon, TASKS).contiguous()}, folder / SCORES)
    (folder / SCORES).chmod(0o644)
    (folder / ANSWERS).write_text(json.dumps(greedy(load_bundle(folder / "bundle")), indent=1) + "\n")


def test_every_format_has_one():
    assert sorted(path.name for path in GOLDEN.iterdir()) == [f"v{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_it_still_loads_and_answers_the_same(number):
    folder = GOLDEN / f"v{number}"
    bundle = load_bundle(folder / "bundle")
    expected = load_file(folder / SCORES)["logits"]
    found = logits(bundle.model, bundle.lexicon, dict(bundle.tasks))
    # How far a memory is padded is no part of an answer.
    columns = min(found.shape[-1], expected.shape[-1])
    for beyond in (found[..., columns:], expected[..., columns:]):
        assert beyond.isinf().all()
    found, expected = found[..., :columns], expected[..., :columns]
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    assert greedy(bundle) == json.loads((folder / ANSWERS).read_text())


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_it_is_small_and_holds_every_kind_of_answer(number):
    folder = GOLDEN / f"v{number}"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 100_000
    bundle = load_bundle(folder / "bundle")
    assert {task.codec.kind for task in bundle.tasks.values()} == set(KINDS)
    assert bundle.tasks == TASKS
    assert bundle.readouts == {name: READOUTS.get(name, Readout()) for name in TASKS}


def test_a_golden_bundle_would_be_written_alike_today(tmp_path, monkeypatch):
    """Whoever changes what is written must change the number of the format, and keep the old golden
    bundle."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    write_golden(tmp_path)
    today, golden = (
        json.loads((folder / "bundle" / "manifest.json").read_text())
        for folder in (tmp_path, GOLDEN / f"v{FORMAT}")
    )
    assert today.keys() == golden.keys()
    for key in ("architecture", "readouts", "vocabulary", "positions", "parameters", "files"):
        assert today[key].keys() == golden[key].keys() if key == "files" else today[key] == golden[key]
    for name in ("vocabulary.json", "tasks.json"):
        assert (tmp_path / "bundle" / name).read_bytes() == (
            GOLDEN / f"v{FORMAT}" / "bundle" / name
        ).read_bytes()


if __name__ == "__main__":
    target = GOLDEN / f"v{FORMAT}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    os.environ["SOURCE_DATE_EPOCH"] = "1767225600"
    write_golden(target)
    print(f"{target} written with Python {platform.python_version()}, torch {torch.__version__}")
