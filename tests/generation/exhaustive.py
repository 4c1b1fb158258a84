"""Questions with few answers, of every kind, and all their answers by the slow, obvious way."""

import math

import pytest

from protscribe.data.lexicon import Lexicon, position_block
from protscribe.records import ProteinRecord
from protscribe.vocabulary import EOS, Vocabulary
from tests.generation.test_answering import next_distribution
from tests.generation.tiny import RECORDS, TASKS, task

FOUR = ProteinRecord("four residues", ("MSTY",))
TINY = [
    (TASKS["one_of"], RECORDS[1], 3),
    (task("few", kind="category_set", labels=list("pqr")), RECORDS[1], 8),
    (TASKS["path"], RECORDS[1], 25),
    (TASKS["coarse"], RECORDS[1], 31),
    (TASKS["labels"], ProteinRecord("a", ("MST",)), 27),
    (TASKS["any_site"], RECORDS[1], 8),
    (task("halves", kind="segments", labels=["s", "t"], most=2), FOUR, 8),
    (task("touch", kind="residue_pairs", separation=2, most_per_residue=0.5), FOUR, 7),
    (task("word", kind="sequence", alphabet=list("xyz"), length="free", most=3), RECORDS[1], 40),
    (TASKS["interface"], ProteinRecord("a", ("MS", "TY")), 5),
]
"""A task, a record, and how many answers there are."""


two_models = pytest.mark.parametrize(
    ("positions", "cross_attention"),
    [("pointers", {}), ("tokens", {"kv_heads": 1, "shared": True})],
    indirect=True,
    ids=["pointers, multi-head", "tokens, shared multi-query"],
)
"""Both ways of writing positions and both forms of cross-attention, without all their combinations."""


def lexicon_of(positions):
    tasks = {**TASKS, **{entry.name: entry for entry, _, _ in TINY}}
    blocks = [block for entry in tasks.values() for block in entry.blocks()]
    return Lexicon(Vocabulary.compose([*blocks, position_block(40)]), positions)


def every_answer(model, lexicon, collate, question):
    """Token strings and natural log probabilities of all answers, the most probable one first."""
    found = []

    def visit(history, log):
        chances, _ = next_distribution(model, lexicon, collate, question, list(history))
        for token, chance in chances.items():
            more = log + math.log(chance)
            if token == EOS:
                found.append((history, more))
            else:
                visit((*history, token), more)

    visit((), 0.0)
    return sorted(found, key=lambda one: -one[1])
