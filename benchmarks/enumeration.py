"""When is it cheaper to follow every answer of a small set than to draw some? What ``FOLLOWED`` in
``generation/enumeration.py`` rests on: milliseconds a protein, of one core, of both ways, for sets of 2 to 8 labels.

    python benchmarks/enumeration.py

Random weights, 16 proteins of 300 residues, 16 draws, decoders of two sizes; the smallest of three runs of each, taken in turn.
"""

from __future__ import annotations

import random
import time

import torch

from protscribe.data.collate import Collator, Question
from protscribe.data.lexicon import Lexicon
from protscribe.encoders import load_encoder
from protscribe.generation.answering import Asking, answer
from protscribe.generation.enumeration import FOLLOWED, rows_to_follow
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.vocabulary import Block, Vocabulary

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
PROTEINS, LENGTH, REPEATS, OTHER_SYMBOLS = 16, 300, 3, 1000


def questions(labels: int) -> list[Question]:
    draw = random.Random(0)
    codec = {"kind": "category_set", "labels": [f"label {place}" for place in range(labels)]}
    task = Task.from_plain({"name": "set", "title": "A set", "codec": codec})
    chains = ["".join(draw.choice(RESIDUES) for _ in range(LENGTH)) for _ in range(PROTEINS)]
    return [Question(ProteinRecord(str(place), (chain,)), task) for place, chain in enumerate(chains)]


def milliseconds(width: int, layers: int, asked: list[Question]) -> dict[str, float]:
    """Of both ways, a protein; encoding left out."""
    torch.manual_seed(0)
    more = Block("other", tuple(map(str, range(OTHER_SYMBOLS))))
    lexicon = Lexicon(Vocabulary.compose([*asked[0].task.blocks(), more]))
    encoder = load_encoder({"kind": "mini", "width": 32, "layers": 1, "attention_layers": 1, "heads": 2})
    decoder = Decoder(len(lexicon.vocabulary), encoder.width, width=width, layers=layers, heads=4)
    model = Scribe(encoder, decoder).eval()
    batch = Collator(lexicon)(asked)
    with torch.inference_mode():
        memory = model.remember(batch)
    best: dict[str, float] = {}
    for _ in range(REPEATS):
        for exact in ("always", "never"):
            began = time.process_time()
            answer(model, lexicon, batch, settings=Asking(exact=exact), memory=memory)
            spent = (time.process_time() - began) * 1000 / len(asked)
            best[exact] = min(spent, best.get(exact, spent))
    return best


def main() -> None:
    torch.set_num_threads(1)
    drawn = Asking().draws + 1
    print(f"rows are followed rather than {drawn} drawn up to {FOLLOWED * drawn:g} of them\n")
    print("width  labels  answers  rows  followed, ms  drawn, ms")
    for width, layers in ((128, 3), (480, 8)):
        for labels in range(2, 9):
            asked = questions(labels)
            rows = rows_to_follow(asked[0].task.codec.grammar(asked[0].record), None)
            spent = milliseconds(width, layers, asked)
            told = f"{width:5}  {labels:6}  {2**labels:7}  {rows:4}"
            print(f"{told}  {spent['always']:12.1f}  {spent['never']:9.1f}", flush=True)


if __name__ == "__main__":
    main()
