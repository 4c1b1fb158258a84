"""Encoding in lots, and training's forward pass without copies: the same as all at once and with them."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.data.collate import Collator, Question
from protscribe.nn import model
from protscribe.nn.decoder import Decoder, Memory
from protscribe.nn.model import lots, stand_in_groups
from protscribe.records import ProteinRecord
from tests.small import TASKS, make_bundle


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 900))
def test_lots_hold_every_chain_once_within_the_budget(lengths, most):
    found = list(lots(lengths, most))
    assert [first for first, _, _ in found] == [0, *(stop for _, stop, _ in found[:-1])]
    assert found[-1][1] == len(lengths)
    for first, stop, columns in found:
        assert columns == -(-max(lengths[first:stop]) // 8) * 8
        assert stop - first == 1 or (stop - first) * columns <= most


@pytest.mark.parametrize("multiple", [1, 4, 8, 16])
@torch.inference_mode()
def test_states_do_not_depend_on_lots(monkeypatch, multiple):
    bundle = make_bundle()
    records = [ProteinRecord(str(n), ("MKTAYIAKQRQISFVK"[n:] * (n % 4 + 1),)) for n in range(9)]
    task = next(task for task in TASKS.values() if task.chains == 1 and not task.molecule)
    batch = Collator(bundle.lexicon, multiple=multiple)([Question(record, task) for record in records])
    made = bundle.model.eval()
    together = made.encode(batch)
    monkeypatch.setattr(model, "TOGETHER", 40)
    sizes = []
    forward = made.encoder.forward
    monkeypatch.setattr(
        made.encoder,
        "forward",
        lambda residues, mask: sizes.append(residues.shape) or forward(residues, mask),
    )
    apart = made.encode(batch)
    assert len(sizes) > 3
    assert together.shape == apart.shape
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    made.encoder.forward = forward


ASKED = {"place": "inside", "sites": [], "melting": 3.5}
"""Tasks of one chain that fit any protein, and an answer of each."""


def answered(bundle, asked, **collator):
    """A batch of questions, each a task and the number of a protein."""
    proteins = [ProteinRecord(str(n), ("MKTAYIAKQRQISFVK"[n:] * 2,)) for n in range(5)]
    questions = [Question(proteins[protein], TASKS[task], ASKED[task]) for task, protein in asked]
    return Collator(bundle.lexicon, bundle.model.molecule_encoder.tokenize, **collator)(questions)


def slowly(batch):
    """The batch without what spares copies."""
    return dataclasses.replace(batch, memory_of=(), unjoined=False)


@pytest.mark.parametrize(
    ("asked", "shared"),
    [
        ([("place", 0), ("melting", 1), ("sites", 4)], True),
        ([("place", 0), ("melting", 0), ("sites", 3), ("place", 3)], True),
        ([("place", 0), ("melting", 1), ("sites", 0), ("place", 1)], False),
        ([("place", 0), ("melting", 0), ("sites", 1)], False),
    ],
    ids=["a memory a row", "equal groups", "groups apart", "unequal groups"],
)
def test_memories_are_copied_only_where_rows_do_not_stand_in_groups(monkeypatch, asked, shared):
    bundle = make_bundle()
    batch, made = answered(bundle, asked), bundle.model.eval()
    assert stand_in_groups(batch.memory_of, len(batch.source_KM)) == shared
    assert batch.unjoined
    copied = []
    pick = Memory.pick
    monkeypatch.setattr(Memory, "pick", lambda memory, rows: copied.append(rows) or pick(memory, rows))
    fast = made(batch)
    assert bool(copied) != shared
    torch.testing.assert_close(fast, made(slowly(batch)), atol=1e-5, rtol=1e-5)
    fast.logsumexp(-1).sum().backward()
    gradients = {name: one.grad.clone() for name, one in made.named_parameters() if one.grad is not None}
    made.zero_grad()
    made(slowly(batch)).logsumexp(-1).sum().backward()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, made.get_parameter(name).grad, atol=1e-4, rtol=1e-4)


def test_short_answers_are_learnt_without_keys_and_values(monkeypatch):
    """The same logits and gradients as with them; dense answers have them."""
    bundle = make_bundle(width=32)
    made = bundle.model.eval()
    record = ProteinRecord("long", ("MKTAYIAKQRQISFVK" * 6,))
    ask = Collator(bundle.lexicon, made.molecule_encoder.tokenize)
    short = ask([Question(record, TASKS["place"], "inside"), Question(record, TASKS["place"], "outside")])
    dense = ask([Question(record, TASKS["fold"], "HEC" * 32)])
    project, projected = Decoder.project, []

    def watched(decoder, memory, tokens=None):
        found = project(decoder, memory, tokens)
        projected.append(bool(found.projected))
        return found

    def gradients():
        made.zero_grad()
        logits = made(short)
        logits.logsumexp(-1).sum().backward()
        named = {name: one.grad.clone() for name, one in made.named_parameters() if one.grad is not None}
        return logits.detach(), named

    monkeypatch.setattr(Decoder, "project", watched)
    found, learnt = gradients()
    made(dense)
    assert projected == [False, True]
    monkeypatch.setattr(Decoder, "project", lambda decoder, memory, tokens=None: project(decoder, memory))
    expected, slowly_learnt = gradients()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert learnt.keys() == slowly_learnt.keys()
    for name, gradient in learnt.items():
        torch.testing.assert_close(gradient, slowly_learnt[name], atol=1e-4, rtol=1e-4)


def test_a_row_of_its_own_memory_has_the_same_bits_with_and_without_copies():
    bundle = make_bundle()
    batch, made = answered(bundle, [("place", 0), ("melting", 1), ("sites", 4)]), bundle.model.eval()
    with torch.no_grad():
        assert torch.equal(made(batch), made(slowly(batch)))


def test_memories_of_pairs_and_of_molecules_are_joined():
    bundle = make_bundle()
    pair = ProteinRecord("p", ("MKTAYIAKQR", "QISFVK"))
    with_molecule = ProteinRecord("m", ("MKTAYIAKQR",), "CCO")
    collate = Collator(bundle.lexicon, bundle.model.molecule_encoder.tokenize)
    assert not collate([Question(pair, TASKS["bind"], "no")]).unjoined
    assert not collate([Question(with_molecule, TASKS["ligand"], "no")]).unjoined
    assert answered(bundle, [("place", 0)], stand_in="C").unjoined


@torch.inference_mode()
def test_what_enters_a_column_starts_with_parts_of_one_size():
    """A symbol, the residue that the column is about, and a pointed residue: none drowns the others (decision 0015)."""
    torch.manual_seed(0)
    decoder = Decoder(vocabulary=40, memory_width=48, width=64).eval()
    states = torch.randn(2, 30, 48)
    nowhere = torch.zeros(2, 30, dtype=torch.long)
    memory = decoder.remember(states, None, torch.ones(2, 30, dtype=torch.bool), nowhere, nowhere)
    places = torch.arange(30).expand(2, 30)
    unaligned = torch.full((2, 30), -1)
    summary = memory.summary_KD[:, None]
    symbols = decoder.embed(places, unaligned, memory) - summary
    pointed = decoder.embed(40 + places, unaligned, memory) - summary
    aligned = decoder.embed(places, places, memory) - decoder.embed(places, unaligned, memory)
    sizes = [float(part.std()) for part in (symbols, pointed, aligned)]
    assert max(sizes) / min(sizes) < 1.3
