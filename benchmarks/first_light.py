"""How many proteins a second one core predicts: a starting figure.

    python benchmarks/first_light.py            # 1,000 proteins, some minutes
    python benchmarks/first_light.py --quick    # 60 proteins

Random proteins with log-normal lengths (median 300, within 40 to 1,022 residues) and untrained networks, which cost what
trained ones do where an answer's length is fixed. Each encoder is asked five short-answer tasks at once (two classes, two
numbers, a set of labels), and, apart from that, one label a residue. Loading and the first batch are not timed. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from protscribe.catalogue import read_task
from protscribe.checkpoint import Bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon
from protscribe.encoders import load_encoder
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Vocabulary

ENCODERS: dict[str, dict[str, Any]] = {
    "mini": {"kind": "mini"},
    "esm2_8m_shape": {"kind": "esm2", "weights": "untrained", "layers": 6, "width": 320, "heads": 20},
}
QUESTIONS = {
    "five_short": ("solubility", "membrane_protein", "melting_temperature", "stability", "localisation"),
    "one_per_residue": ("secondary_structure_3",),
}
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")
MEDIAN, SPREAD, SHORTEST, LONGEST = 300, 0.6, 40, 1022
SEED = 0


def make_proteins(count: int) -> list[ProteinRecord]:
    """Seeded random proteins."""
    generator = np.random.default_rng(SEED)
    lengths = (
        np.exp(np.log(MEDIAN) + SPREAD * generator.standard_normal(count)).astype(int).clip(SHORTEST, LONGEST)
    )
    sequences = ("".join(generator.choice(RESIDUES, length)) for length in lengths)
    return [
        ProteinRecord(f"p{place}", (sequence,), ordinal=place) for place, sequence in enumerate(sequences)
    ]


def make_predictor(encoder: dict[str, Any]) -> Predictor:
    """An untrained model over all the tasks that are asked; the decoder is the default one."""
    torch.manual_seed(SEED)
    tasks = {name: read_task(name) for names in QUESTIONS.values() for name in names}
    lexicon = Lexicon(Vocabulary.compose(block for task in tasks.values() for block in task.blocks()))
    chosen: Any = load_encoder(encoder)
    model = Scribe(chosen, Decoder(len(lexicon.vocabulary), memory_width=chosen.width))
    return Predictor(Bundle(model, lexicon, tasks, {name: Readout() for name in tasks}, {}), "cpu")


def measure(predictor: Predictor, proteins: list[ProteinRecord], tasks: Sequence[str]) -> dict[str, float]:
    """Proteins and answers a second, after one small round to warm up."""
    list(predictor.stream(proteins[:8], tasks))
    began = time.perf_counter()
    answers = sum(1 for _ in predictor.stream(proteins, tasks))
    seconds = time.perf_counter() - began
    assert answers == len(proteins) * len(tasks)
    rates = {
        "proteins_per_second": len(proteins) / seconds,
        "answers_per_second": answers / seconds,
        "seconds": seconds,
    }
    return {name: round(value, 2) for name, value in rates.items()}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="60 proteins")
    parser.add_argument("--proteins", type=int, help="so many proteins (default 1000)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    proteins = make_proteins(options.proteins or (60 if options.quick else 1000))
    residues = sum(len(record.sequence) for record in proteins)
    print(
        f"{len(proteins)} proteins, {residues} residues, {options.threads} thread(s), torch {torch.__version__}"
    )
    rates: dict[str, Any] = {}
    for encoder, plain in ENCODERS.items():
        predictor = make_predictor(plain)
        for questions, tasks in QUESTIONS.items():
            rates[f"{encoder}.{questions}"] = rate = measure(predictor, proteins, tasks)
            print(
                f"{encoder:14} {questions:16} {rate['proteins_per_second']:8.1f} proteins/s {rate['seconds']:8.1f} s"
            )
    result = {
        "benchmark": "first_light",
        "proteins": len(proteins),
        "residues": residues,
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "rates": rates,
    }
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
