"""A model that needs no network: answers that follow from the sequence, in lots, as a predictor gives them. No torch."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from protscribe.bulk import FolderResult, predict_folder
from protscribe.records import Failure, Prediction, ProteinRecord

BUNDLE = "mini-multitask"
TASKS = ("solubility", "rna_binding")
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
LOT = 16


class Stub:
    """Answers ``solubility`` and ``rna_binding`` about every record, but rejects sequences that begin with WW for the latter.

    ``asked`` counts the questions that reached it.
    """

    def __init__(self) -> None:
        self.asked = 0

    def stream(
        self, records: Iterable[ProteinRecord | Failure], tasks: Sequence[str] | None = None, **how: Any
    ) -> Iterator[Prediction | Failure]:
        lot: list[ProteinRecord | Failure] = []
        for record in records:
            lot.append(record)
            if len(lot) == LOT:
                yield from self._answers(lot, tasks or TASKS)
                lot = []
        yield from self._answers(lot, tasks or TASKS)

    def _answers(
        self, lot: list[ProteinRecord | Failure], tasks: Sequence[str]
    ) -> Iterator[Prediction | Failure]:
        for record in lot:
            if isinstance(record, Failure):
                yield record
                continue
            for task in tasks:
                self.asked += 1
                yield answer(record, task)


def answer(record: ProteinRecord, task: str) -> Prediction | Failure:
    chance = zlib.crc32(f"{task}{record.sequence}".encode()) / 2**32
    if task == "solubility":
        value, probabilities = "soluble", {"insoluble": 1 - chance, "soluble": chance}
        return Prediction(record.id, task, "category", value, chance, "p", record, probabilities)
    if record.sequence.startswith("WW"):
        return Failure(record.ordinal, record.id, "test.refused", f"{record.id} is refused", task)
    sites = tuple(place for place, letter in enumerate(record.sequence, start=1) if letter in "KR")
    return Prediction(record.id, task, "residue_set", sites, chance, "p", record, chain=1)


def load(device: str) -> Stub:
    return Stub()


def write_fasta(path: Path, count: int, seed: int = 0, repeats: float = 0.2, damaged: bool = True) -> Path:
    """So many proteins of 3 to 40 residues, some of them alike, some that cannot be read or answered."""
    draw = random.Random(seed)
    seen: list[str] = []
    lines = []
    for place in range(count):
        sequence = "".join(draw.choices(LETTERS, k=draw.randint(3, 40)))
        if seen and draw.random() < repeats:
            sequence = draw.choice(seen)
        seen.append(sequence)
        if damaged and place % 17 == 5:
            sequence = f"{sequence}1"
        if damaged and place % 19 == 7:
            sequence = f"WW{sequence}"
        lines.append(f">p{place} made for a test\n{sequence}\n")
    path.write_text("".join(lines))
    return path


def predict(input: Path, output: Path, **more: Any) -> FolderResult:
    """A prediction with the stub, said briefly."""
    given: dict[str, Any] = {"tasks": TASKS, "shards": 4, "load": load, "device": "cpu", "progress": False}
    return predict_folder(BUNDLE, str(input), f"{output}/", **(given | more))


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
