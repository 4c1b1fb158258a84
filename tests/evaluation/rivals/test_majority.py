"""Baselines on toy data: what majority says for every kind, and that a head finds what is linear in the states."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.encoders.mini import MiniEncoder
from protscribe.errors import TaskError
from protscribe.evaluation.metrics import decision_metric, evaluate_task
from protscribe.evaluation.rivals.head import has_head, head_baseline
from protscribe.evaluation.rivals.majority import majority
from protscribe.evaluation.rivals.states import States, pooled_features
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.records import ProteinRecord
from tests.evaluation.toys import TASKS, answer, examples, letter_predictor, task


def labelled(*pairs):
    return [
        Example(ProteinRecord(f"p{place}", (chain,)), value) for place, (chain, value) in enumerate(pairs)
    ]


ASKED = [ProteinRecord("asked", ("GYKSAL",))]


@pytest.mark.parametrize(
    ("entry", "train", "value", "probabilities"),
    [
        (
            task("t", kind="category", labels=["a", "b", "c"]),
            labelled(("M", "b"), ("M", "b"), ("M", "c")),
            "b",
            {"a": 0, "b": 2 / 3, "c": 1 / 3},
        ),
        (
            task("t", kind="category_set", labels=["a", "b"]),
            labelled(("M", ("a", "b")), ("M", ("a", "b")), ("M", ("b",))),
            ("a", "b"),
            {"a": 2 / 3, "b": 1},
        ),
        (
            task("t", kind="category_path", paths=["1.1", "1.2", "2.1"]),
            labelled(("M", ("1.2",)), ("M", ("2.1",)), ("M", ("1.2",)), ("M", ("1.1",))),
            ("1.2",),
            {"1": 3 / 4, "1.1": 1 / 4, "1.2": 1 / 2, "2": 1 / 4, "2.1": 1 / 4},
        ),
        (
            task("t", kind="number", low=0, high=9, step=1),
            labelled(("M", 1.0), ("M", 2.0), ("M", 6.0)),
            3.0,
            None,
        ),
        (
            task("t", kind="number", low=0, high=9, step=1, metrics=["mae"]),
            labelled(("M", 1.0), ("M", 2.0), ("M", 6.0)),
            2.0,
            None,
        ),
        # Of what is scored, E is the commoner one.
        (
            task("t", kind="residue_labels", labels=["H", "E"]),
            labelled(("MMMMMM", "H--EE-")),
            "EEEEEE",
            ({"H": 1 / 3, "E": 2 / 3},) * 6,
        ),
        # All candidates have F1 2 * 2 / (2 + 4 + 0) on training data; none has 0.
        (
            task("t", kind="residue_set", candidates="STY"),
            labelled(("STAYS", (1, 5))),
            (2, 4),
            np.array([0, 0, 0, 1, 0, 0]),
        ),
        (
            task("t", kind="segments", labels=["s", "m"]),
            labelled(("MMMM", (Segment("s", 1, 1), Segment("m", 2, 4)))),
            (Segment("m", 1, 6),),
            None,
        ),
        (
            task("t", kind="residue_pairs"),
            labelled(("MMMMM", ((1, 4), (2, 5), (1, 3)))),
            ((1, 4), (2, 5), (3, 6)),
            None,
        ),
        (
            task("t", kind="sequence", alphabet=["x", "y"], length="free", most=4),
            labelled(("M", "xy"), ("M", "x"), ("M", "xy")),
            "xy",
            None,
        ),
        (
            task("t", kind="sequence", alphabet=["x", "y"]),
            labelled(("MM", "yx"), ("MM", "yy")),
            "yyyyyy",
            np.full(6, 0.75),
        ),
    ],
    ids=lambda value: value.codec.kind if hasattr(value, "codec") else "",
)
def test_majority_by_hand(entry, train, value, probabilities):
    asked = ASKED if entry.codec.kind != "residue_set" else [ProteinRecord("asked", ("GYKSAL",))]
    (found,) = majority(entry, train, asked)
    assert (found.id, found.task, found.kind, found.readout) == ("asked", "t", entry.codec.kind, "majority")
    assert found.value == value
    if isinstance(probabilities, np.ndarray):
        assert found.probabilities == pytest.approx(probabilities)
    elif isinstance(probabilities, tuple):
        assert [pytest.approx(row) for row in found.probabilities] == list(probabilities)
    else:
        assert found.probabilities == (probabilities and pytest.approx(probabilities))


def test_majority_says_none_where_none_is_better():
    entry = task("t", kind="residue_set", metrics=["site_mcc"])
    train = labelled(("MMMMMMMMMM", ()), ("MMMMMMMMMM", ()), ("M" * 10, ()))
    (found,) = majority(entry, train, ASKED)
    assert found.value == ()


@pytest.mark.parametrize("name", TASKS)
def test_majority_answers_are_valid(name):
    entry = TASKS[name]
    test = examples(name, 12, seed=1)
    for found, example in zip(
        majority(entry, examples(name, 30), [e.record for e in test]), test, strict=True
    ):
        assert entry.codec.decode(entry.codec.encode(found.value, example.record).tokens, example.record) == (
            entry.codec.canonical(found.value, example.record)
        )


def test_no_training_data():
    for baseline in (
        lambda: majority(TASKS["rich_in_k"], [], ASKED),
        lambda: head_baseline(letter_predictor(), TASKS["rich_in_k"], [], [], []),
    ):
        with pytest.raises(TaskError) as caught:
            baseline()
        assert caught.value.code == "task.no_data"


HEADS = {
    "rich_in_k": 0.85,
    "letters": 0.8,
    "tree": 0.7,
    "share_of_k": 0.95,
    "charged": 0.99,
    "k_sites": 0.99,
    "tyrosines": 0.99,
    "copy": 0.99,
    "equal": 0.5,
}


@pytest.mark.parametrize("name", HEADS)
def test_head_finds_what_is_linear_in_the_states(name):
    entry = TASKS[name]
    train, validation, test = (examples(name, count, seed) for seed, count in enumerate((120, 40, 60)))
    records, truths = [e.record for e in test], [e.answer for e in test]
    predictions = head_baseline(letter_predictor(), entry, train, validation, test)
    assert [p.id for p in predictions] == [r.id for r in records]
    assert all(
        p.record.chains in (r.chains, r.chains[::-1]) for p, r in zip(predictions, records, strict=True)
    )
    head = evaluate_task(entry, truths, predictions, records)
    simple = evaluate_task(entry, truths, majority(entry, train, records), records)
    metric = decision_metric(entry)
    assert head[metric] >= HEADS[name]
    assert head[metric] > simple[metric] + 0.05


def test_head_reads_conditions():
    """Only the host decides: a ridge on residues alone could not be right."""
    train, test = examples("by_host", 60), examples("by_host", 20, seed=1)
    predictions = head_baseline(letter_predictor(), TASKS["by_host"], train, [], test)
    found = evaluate_task(TASKS["by_host"], [e.answer for e in test], predictions, [e.record for e in test])
    assert found["mae"] < 0.5


def test_head_segments_are_joined():
    train, test = examples("halves", 60), examples("halves", 10, seed=1)
    for found, example in zip(
        head_baseline(letter_predictor(), TASKS["halves"], train, [], test), test, strict=True
    ):
        assert TASKS["halves"].codec.encode(found.value, example.record)


def test_head_of_one_class():
    train = [Example(e.record, "yes") for e in examples("rich_in_k", 10)]
    predictions = head_baseline(letter_predictor(), TASKS["rich_in_k"], train, [], examples("rich_in_k", 3))
    assert [p.value for p in predictions] == ["yes"] * 3


def test_head_of_a_protein_without_candidates():
    lone = Example(ProteinRecord("lone", ("AAAA",)), ())
    predictions = head_baseline(letter_predictor(), TASKS["tyrosines"], examples("tyrosines", 20), [], [lone])
    assert predictions[0].value == ()


def test_limit_is_kept_and_drawn_with_a_seed():
    train, test = examples("share_of_k", 80), examples("share_of_k", 5, seed=1)

    def run(**keys):
        found = head_baseline(letter_predictor(), TASKS["share_of_k"], train, train[:5], test, **keys)
        return [prediction.value for prediction in found]

    assert run(limit=20, seed=1) == run(limit=20, seed=1) != run(limit=20, seed=2)


@pytest.mark.parametrize(
    ("name", "there_is"), [("near", False), ("verdict", False), ("copy", True), ("halves", True)]
)
def test_which_answers_have_a_head(name, there_is):
    assert has_head(TASKS[name]) is there_is
    if not there_is:
        with pytest.raises(TaskError) as caught:
            head_baseline(letter_predictor(), TASKS[name], examples(name, 5), [], [])
        assert caught.value.code == "task.head"


def test_symmetric_pairs_have_one_order():
    pair = examples("equal", 1)[0].record
    entry, states = TASKS["equal"], States(letter_predictor().bundle.model)
    swapped = ProteinRecord("swapped", pair.chains[::-1])
    first, second = (entry.arrange(record) for record in (pair, swapped))
    assert np.array_equal(*pooled_features(entry, states, [first, second]))
    assert answer("equal", pair, 0) == answer("equal", swapped, 0)


def test_head_answers_swapped_pairs_alike():
    train, test = examples("equal", 40), examples("equal", 10, seed=1)
    swapped = [Example(replace(e.record, chains=e.record.chains[::-1]), e.answer) for e in test]
    first, second = (
        head_baseline(letter_predictor(), TASKS["equal"], train, [], asked) for asked in (test, swapped)
    )
    assert [p.probabilities for p in first] == [p.probabilities for p in second]


@pytest.mark.parametrize("limit", [None, 12])
def test_states_do_not_depend_on_their_batch(monkeypatch, limit):
    """An encoder that sees neighbours would see padding, were it not masked; with a limit it reads windows."""
    torch.manual_seed(1)
    encoder = MiniEncoder(width=8, layers=2, attention_layers=1, heads=2).eval()
    encoder.limit = limit
    decoder = Decoder(8, memory_width=8, width=8, layers=1, heads=2)
    chains = [e.record.sequence for e in examples("rich_in_k", 20)]
    states = States(Scribe(encoder, decoder).eval())
    together = states.of_chains(chains, lambda found: found)
    monkeypatch.setattr("protscribe.evaluation.rivals.states.BATCH_RESIDUES", 1)
    alone = states.of_chains(chains, lambda found: found)
    assert together.keys() == alone.keys() == set(chains)
    for chain in chains:
        assert together[chain].shape == (len(chain), 8)
        assert np.allclose(together[chain], alone[chain], atol=1e-5)
