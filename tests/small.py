"""A random-weight bundle over tasks of every kind, small enough for a test to make in a moment."""

import torch
from torch import nn

from protscribe.checkpoint import Bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon
from protscribe.encoders import load_encoder, load_molecule_encoder
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.task import Task
from protscribe.vocabulary import Vocabulary

MINI = {"kind": "mini", "width": 32, "layers": 2, "attention_layers": 1, "heads": 2}
CHARACTERS = {"kind": "character", "width": 16}


def task(name, chains=1, symmetric=False, molecule=False, conditions=(), **codec):
    plain = {
        "name": name,
        "title": f"the {name} task",
        "chains": chains,
        "codec": codec,
        "symmetric": symmetric,
    }
    return Task.from_plain({**plain, "molecule": molecule, "conditions": list(conditions)})


HOST = {"field": "host", "values": ["human", "yeast"]}
TASKS = {
    one.name: one
    for one in (
        task("place", kind="category", labels=["inside", "outside", "membrane"]),
        task("grows", kind="category", labels=["no", "yes"], conditions=[HOST]),
        task("enzyme", kind="category_path", paths=["1.1.1", "1.1.2", "2.1.1"], most=2),
        task("activities", kind="category_set", labels=list("pqrs")),
        task("melting", kind="number", low=0, high=90.5, step=0.1, unit="°C"),
        task("fold", kind="residue_labels", labels=list("HEC")),
        task("sites", kind="residue_set", candidates="STY"),
        task("parts", kind="segments", labels=["signal", "mature"], most=4),
        task("spans", kind="segments", labels=["i", "M", "o"], written="labels"),
        task("contacts", kind="residue_pairs", separation=3, most_per_residue=0.5),
        task("letters", kind="sequence", alphabet=list("abcd")),
        task("name", kind="sequence", alphabet=list("xyz"), length="free", most=5),
        task("bind", chains=2, symmetric=True, kind="category", labels=["no", "yes"]),
        task("strength", chains=2, symmetric=True, kind="number", low=0, high=9, step=1, depth=1),
        task("epitope", chains=2, kind="residue_set", chain=2),
        task("interface", chains=2, kind="residue_pairs", between=True, most_per_residue=0.3),
        task("ligand", molecule=True, kind="category", labels=["no", "yes"]),
        task("pocket", molecule=True, kind="residue_set"),
        task("allele", kind="category", labels=["no", "yes"], conditions=[{**HOST, "required": True}]),
    )
}


def make_bundle(tasks=TASKS, encoder=None, seed=4, readouts=None, width=32):
    """Random weights, with scores spread enough that answers differ between proteins and sites have members."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lexicon = Lexicon(Vocabulary.compose(block for one in tasks.values() for block in one.blocks()))
        chosen = encoder or load_encoder(MINI)
        molecules = load_molecule_encoder(CHARACTERS) if any(one.molecule for one in tasks.values()) else None
        decoder = Decoder(
            len(lexicon.vocabulary),
            memory_width=chosen.width,
            molecule_width=0 if molecules is None else molecules.width,
            width=width,
            layers=2,
            heads=4,
        )
        for parameter in decoder.score.parameters():
            nn.init.normal_(parameter, std=0.5)
    given = {name: Readout(threshold=0.4) for name in tasks} | (readouts or {})
    return Bundle(Scribe(chosen, decoder, molecules).eval(), lexicon, tasks, given, {})
