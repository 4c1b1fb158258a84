"""Tasks that a letter decides, a model that knows letters only, and a predictor that answers from a table."""

from types import SimpleNamespace

import numpy as np
import torch

from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.records import ProteinRecord
from protscribe.task import Task
from tests.generation.tiny import LetterEncoder

LETTERS = "ADEGKLSTY"


def task(name, chains=1, **keys):
    codec = {key: value for key, value in keys.items() if key not in ("metrics", "conditions", "symmetric")}
    rest = {key: value for key, value in keys.items() if key in ("metrics", "conditions", "symmetric")}
    return Task.from_plain(
        {"name": name, "title": f"{name} of a toy", "chains": chains, "codec": codec, **rest}
    )


TASKS = {
    entry.name: entry
    for entry in (
        task("rich_in_k", kind="category", labels=["no", "yes"]),
        task("letters", kind="category_set", labels=["k", "s", "l"]),
        task("tree", kind="category_path", paths=["1.1", "1.2", "2.1"], least=1),
        task("share_of_k", kind="number", low=0, high=1, step=0.01, unit="share"),
        task("charged", kind="residue_labels", labels=["c", "n"]),
        task("k_sites", kind="residue_set"),
        task("tyrosines", kind="residue_set", candidates="STY"),
        task("halves", kind="segments", labels=["k", "other"]),
        task("k_marks", kind="residue_set", written="marks"),
        task("spans", kind="segments", labels=["k", "other", "none"], written="labels"),
        task("copy", kind="sequence", alphabet=list(LETTERS)),
        task("verdict", kind="sequence", alphabet=["x", "y"], length="free", most=3),
        task("near", kind="residue_pairs", separation=2, most_per_residue=1),
        task("equal", chains=2, symmetric=True, kind="category", labels=["no", "yes"]),
        task(
            "by_host",
            kind="number",
            low=0,
            high=10,
            step=0.1,
            metrics=["mae"],
            conditions=[{"field": "host", "values": ["m", "h"]}],
        ),
    )
}


def answer(name, record, place):
    sequence = record.sequence
    share = sequence.count("K") / len(sequence)
    rich = share > 1 / 4
    match name:
        case "rich_in_k":
            return "yes" if rich else "no"
        case "letters":
            return tuple(letter for letter in "ksl" if sequence.count(letter.upper()) > len(sequence) / 8)
        case "tree":
            if not rich:
                return ("2.1",)
            return ("1.1",) if sequence.count("S") > len(sequence) / 9 else ("1.2",)
        case "share_of_k":
            return round(share, 2)
        case "charged":
            return "".join("c" if letter in "DEK" else "n" for letter in sequence)
        case "k_sites" | "k_marks":
            return tuple(place for place, letter in enumerate(sequence, start=1) if letter == "K")
        case "tyrosines":
            return tuple(place for place, letter in enumerate(sequence, start=1) if letter == "Y")
        case "halves" | "spans":
            cut = 1 + len(sequence) // 4
            return (Segment("other", 1, cut), Segment("k", cut + 1, len(sequence)))
        case "copy":
            return sequence
        case "verdict":
            return "xy" if place % 3 else "y"
        case "near":
            return tuple(
                (first, first + 2) for first in range(1, len(sequence) - 2) if sequence[first - 1] == "K"
            )
        case "equal":
            return "yes" if rich == (record.chains[1].count("K") / len(record.chains[1]) > 1 / 4) else "no"
        case "by_host":
            return 2.0 if record.fields["host"] == "m" else 8.0
    raise AssertionError(name)


def examples(name, count, seed=0):
    """Proteins of 8 to 30 residues, half of them rich in K, with the task's true answers."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(count):
        chains = tuple(
            "".join(
                generator.choice(list(LETTERS), generator.integers(8, 31), p=_odds(generator.random() < 0.5))
            )
            for _ in range(2)
        )
        chains = chains[: TASKS[name].chains]
        record = ProteinRecord(f"{name}{place}", chains, fields={"host": "mh"[place % 2]}, ordinal=place)
        found.append(Example(record, answer(name, record, place)))
    return found


def _odds(rich):
    odds = np.where(np.array(list(LETTERS)) == "K", 5.0 if rich else 0.7, 1.0)
    return odds / odds.sum()


def letter_predictor():
    """What a head needs of a predictor: an encoder, here one vector a residue type."""
    torch.manual_seed(0)
    decoder = Decoder(8, memory_width=LetterEncoder.width, width=16, layers=1, heads=2)
    return SimpleNamespace(bundle=SimpleNamespace(model=Scribe(LetterEncoder(), decoder).eval()))
