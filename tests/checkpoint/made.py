"""A tiny real bundle, and the means to change one and make its digests fit again, as somebody else's program
might."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from protscribe.architecture import build_model
from protscribe.checkpoint import save_bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon
from protscribe.nn.model import Scribe
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary


def made_task(name: str, **codec: Any) -> Task:
    host = [{"field": "host", "values": ["human", "yeast"]}] if name == "where" else []
    return Task.from_plain({"name": name, "title": f"A {name}", "codec": codec, "conditions": host})


TASKS = {
    task.name: task
    for task in (
        made_task("where", kind="category", labels=["inside", "outside"]),
        made_task("how_much", kind="number", low=0, high=10, step=0.1),
        made_task("sites", kind="residue_set", candidates="STY"),
        made_task("fold", kind="residue_labels", labels=list("HEC")),
    )
}
READOUTS = {"sites": Readout(threshold=0.25), "how_much": Readout(statistic="median", way="greedy")}
ARCHITECTURE = {
    "encoder": {"kind": "mini", "width": 16, "layers": 1, "attention_layers": 1, "heads": 2},
    "decoder": {"width": 16, "layers": 1, "heads": 2},
    "molecule_encoder": None,
}
RECORDS = [
    ProteinRecord("one", ("MKTAYISSYTAK",), fields={"host": "human"}),
    ProteinRecord("two", ("MSTACDEFGHIKLMNPQ",)),
]


def made_lexicon(tasks: dict[str, Task] = TASKS) -> Lexicon:
    return Lexicon(Vocabulary.compose([block for task in tasks.values() for block in task.blocks()]))


def made_model(lexicon: Lexicon, seed: int = 0, architecture: dict[str, Any] = ARCHITECTURE) -> Scribe:
    torch.manual_seed(seed)
    return build_model(architecture, lexicon).eval()


def save(folder: Path, seed: int = 0, **options: Any) -> Scribe:
    """Saves the tiny bundle and returns its model."""
    lexicon = made_lexicon()
    model = made_model(lexicon, seed)
    settings = {"lexicon": lexicon, "tasks": TASKS, "readouts": READOUTS, **options}
    save_bundle(folder, model=model, **settings)
    return model


@torch.inference_mode()
def logits(model: Scribe, lexicon: Lexicon, tasks: dict[str, Task]) -> torch.Tensor:
    """Of every task asked of every record."""
    questions = [Question(record, task) for record in RECORDS for task in tasks.values()]
    return model(Collator(lexicon)(questions))


def seal(content: dict[str, Any]) -> bytes:
    """A manifest's bytes, by the rule in the format's description: the seal is the SHA-256 of all bytes
    before it."""
    body = json.dumps(content).removesuffix("}").encode() + b',\n "seal": "'
    return body + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def change(folder: Path, edit: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Edits the manifest, and makes sizes, digests and seal fit whatever lies in the folder."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["seal"]
    for name in content["files"]:
        if (folder / name).is_file():
            held = (folder / name).read_bytes()
            content["files"][name] = {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()}
    edit(content)
    path.write_bytes(seal(content))


def change_json(folder: Path, name: str, edit: Callable[[Any], object]) -> None:
    """Edits a listed JSON file in place and makes the manifest fit."""
    plain = json.loads((folder / name).read_text())
    edit(plain)
    (folder / name).write_text(json.dumps(plain))
    change(folder)
