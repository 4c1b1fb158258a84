"""Each baseline finds what it can know: letters, relatives, partners, what a network sees and a line does not."""

import numpy as np
import pytest

from protscribe.data.examples import Example
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.metrics import decision_metric, evaluate_task
from protscribe.evaluation.result import MEANINGS, METHODS
from protscribe.evaluation.rivals import neighbours as neighbours_module
from protscribe.evaluation.rivals.bias import bias_baseline, has_partners
from protscribe.evaluation.rivals.choice import (
    BASELINES,
    USUAL,
    Fitting,
    Learnable,
    answers_of,
    chosen_baselines,
)
from protscribe.evaluation.rivals.composition import ATOMS, LETTERS, REACH, CompositionFeatures
from protscribe.evaluation.rivals.head import answer_from, head_baseline
from protscribe.evaluation.rivals.linear import Linear, Rows
from protscribe.evaluation.rivals.neighbours import Similarity, neighbour_baseline
from protscribe.evaluation.rivals.network_head import Network
from protscribe.homology import can_search
from protscribe.records import ProteinRecord
from tests.evaluation.toys import TASKS, examples, letter_predictor, task

needs_search = pytest.mark.skipif(not can_search(), reason="the extra homology is not installed")


def value_of(entry, test, predictions):
    found = evaluate_task(entry, [e.answer for e in test], predictions, [e.record for e in test])
    assert found.missing == 0
    return found[decision_metric(entry)]


# By name -----------------------------------------------------------------------------------------------------------------


def test_names():
    assert chosen_baselines("all") == BASELINES
    assert chosen_baselines("mlp") == ("mlp",)
    assert chosen_baselines(["head", "majority"]) == ("majority", "head")
    assert set(USUAL) < set(BASELINES)
    assert set(BASELINES) == set(METHODS) - {"protscribe", "greedy"} == set(MEANINGS)
    with pytest.raises(ConfigError, match="did you mean 'neighbours'"):
        chosen_baselines(["neighbors"])


def test_without_a_package_that_compares(monkeypatch):
    monkeypatch.setattr("protscribe.evaluation.rivals.choice.can_compare", lambda: False)
    for names in ("all", ["neighbours"]):
        with pytest.raises(ConfigError, match=r"pip install 'protscribe\[homology\]'") as caught:
            chosen_baselines(names)
        assert caught.value.code == "config.missing"
    assert chosen_baselines(["head"]) == ("head",)


@pytest.mark.parametrize(
    "name", ["rich_in_k", "letters", "tree", "by_host", "charged", "tyrosines", "halves", "near", "verdict"]
)
def test_every_baseline_answers_what_it_can(name):
    """Each answer is one of the task's, and reads as from its baseline."""
    entry = TASKS[name]
    train, validation, test = (examples(name, count, seed) for seed, count in enumerate((30, 10, 6)))
    given = Learnable(letter_predictor(), entry, train, validation, test)
    for baseline in BASELINES:
        found = answers_of(baseline, given, Fitting(mlp_layers=1, mlp_width=8))
        if name in ("near", "verdict") or baseline == "bias":
            assert (found is None) is (baseline != "majority")
            continue
        assert [(p.id, p.readout) for p in found] == [(e.record.id, baseline) for e in test]
        for prediction, example in zip(found, test, strict=True):
            canonical = entry.codec.canonical(prediction.value, example.record)
            assert (
                entry.codec.decode(entry.codec.encode(canonical, example.record).tokens, example.record)
                is not None
            )


def test_no_training_rows_no_baseline(caplog):
    given = Learnable(letter_predictor(), TASKS["letters"], [], [], examples("letters", 2))
    assert answers_of("head", given, Fitting()) is None
    assert "no training rows" in caplog.text


def test_fitting_refuses_nothing_at_all():
    for keys in ({"fitting_limit": 0}, {"mlp_layers": 0}, {"mlp_width": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            Fitting(**keys)


# Letters -----------------------------------------------------------------------------------------------------------------


def test_composition_by_hand():
    entry = task(
        "t", kind="number", low=0, high=1, step=0.1, conditions=[{"field": "host", "values": ["m", "h"]}]
    )
    features = CompositionFeatures(entry)
    found = features.pooled([ProteinRecord("p", ("AAKX",), fields={"host": "h"})])[0]
    expected = {"A": 0.5, "K": 0.25}
    assert found[:20] == pytest.approx([expected.get(letter, 0) for letter in LETTERS])
    assert found[20:] == pytest.approx([np.log(4), 0, 1])


def test_composition_tells_molecules():
    entry = task("t", kind="category", labels=["a", "b"])
    entry = type(entry).from_plain({**entry.to_plain(), "molecule": True})
    found = CompositionFeatures(entry).pooled([ProteinRecord("p", ("A",), molecule="CCO")])[0]
    assert found[21 + ATOMS.index("C")] == pytest.approx(2 / 3)
    assert len(found) == 21 + len(ATOMS) + 1


def test_windows_by_hand():
    ((record, found),) = CompositionFeatures(TASKS["charged"]).residues([ProteinRecord("p", ("ACD",))], 0)
    assert record.id == "p"
    assert found.shape == (3, 20 * (2 * REACH + 1))
    window = found.reshape(3, 20, 2 * REACH + 1)
    for row in range(3):
        for place, letter in enumerate("ACD"):
            column = place - row + REACH
            assert window[row, :, column].argmax() == LETTERS.index(letter)
            assert window[row, :, column].sum() == 1
        assert window[row].sum() == 3


@pytest.mark.parametrize("name", ["rich_in_k", "share_of_k", "charged", "k_sites", "letters"])
def test_composition_finds_what_letters_tell(name):
    entry = TASKS[name]
    train, validation, test = (examples(name, count, seed) for seed, count in enumerate((100, 40, 40)))
    found = answers_of(
        "composition", Learnable(letter_predictor(), entry, train, validation, test), Fitting()
    )
    assert value_of(entry, test, found) > 0.8


# Neighbours ------------------------------------------------------------------------------------------------------------


def families(count, generator, length=60):
    """Proteins in families: members differ from their founder in few places."""
    founders = ["".join(generator.choice(list(LETTERS), length)) for _ in range(count)]

    def member(founder):
        letters = list(founder)
        for place in generator.choice(length, max(1, length // 20), replace=False):
            letters[place] = str(generator.choice(list(LETTERS)))
        return "".join(letters)

    return founders, member


@pytest.fixture(params=["edits", pytest.param("search", marks=needs_search)])
def comparing(request, monkeypatch):
    if request.param == "edits":
        pytest.importorskip("rapidfuzz")
        monkeypatch.setattr(neighbours_module, "can_search", lambda: False)
    return request.param


@pytest.mark.parametrize(
    "kind", ["category", "category_set", "number", "residue_labels", "residue_set", "segments"]
)
def test_neighbours_know_the_family(kind, comparing):
    generator = np.random.default_rng(3)
    founders, member = families(4, generator)
    codecs = {
        "category": {"labels": list("abcd")},
        "category_set": {"labels": list("abcd")},
        "number": {"low": 0, "high": 9, "step": 0.5},
        "residue_labels": {"labels": "HE"},
        "residue_set": {},
        "segments": {"labels": ["H", "E"]},
    }
    entry = task("t", kind=kind, **codecs[kind])
    cuts = [int(generator.integers(10, 50)) for _ in founders]

    def answer(family):
        cut = cuts[family]
        match kind:
            case "category":
                return "abcd"[family]
            case "category_set":
                return ("a", "d") if family % 2 else ("b",)
            case "number":
                return float(2 * family)
            case "residue_labels":
                return "H" * cut + "E" * (60 - cut)
            case "residue_set":
                return (cut, cut + 3)
            case _:
                return entry.codec.parse(f"H:1-{cut};E:{cut + 1}-60", ProteinRecord("p", ("M" * 60,)))

    def rows(count, what):
        families_of = [place % 4 for place in range(count)]
        return [
            Example(ProteinRecord(f"{what}{place}", (member(founders[family]),)), answer(family))
            for place, family in enumerate(families_of)
        ]

    train, validation, test = rows(16, "train"), rows(8, "validation"), rows(12, "test")
    predictions = neighbour_baseline(entry, train, validation, test)
    assert {p.readout for p in predictions} == {"neighbours"}
    assert value_of(entry, test, predictions) > 0.95


def test_nobody_is_near():
    """A protein without any relative gets what training says on the whole."""
    entry = task("t", kind="category", labels=["a", "b"])
    train = [Example(ProteinRecord(f"p{i}", ("AAAA",)), "b" if i else "a") for i in range(4)]
    pytest.importorskip("rapidfuzz")
    (found,) = neighbour_baseline(entry, train, train, [Example(ProteinRecord("far", ("WWWWWWWW",)), "a")])
    assert found.value == "b"
    assert found.probabilities == pytest.approx({"a": 1 / 4, "b": 3 / 4})


def test_similarities_of_both_partners_are_added():
    pytest.importorskip("rapidfuzz")
    entry = task("t", chains=2, kind="category", labels=["a", "b"])
    known = [
        ProteinRecord("x", ("AAAA", "CCCC")),
        ProteinRecord("y", ("AAAA", "DDDD")),
        ProteinRecord("z", ("WWWW", "YYYY")),
    ]
    (near,) = Similarity(entry, known).nearest([ProteinRecord("q", ("AAAC", "DDDC"))], 3)
    assert near.rows.tolist() == [1, 0]
    assert near.weights == pytest.approx([3 / 4 + 3 / 4, 3 / 4 + 1 / 4])


def test_a_symmetric_pair_is_compared_both_ways():
    pytest.importorskip("rapidfuzz")
    entry = task("t", chains=2, symmetric=True, kind="category", labels=["a", "b"])
    known = [ProteinRecord("x", ("AAAA", "CCCC"))]
    asked = [ProteinRecord("q", chains) for chains in (("AAAA", "CCCC"), ("CCCC", "AAAA"))]
    assert [near.weights.tolist() for near in Similarity(entry, known).nearest(asked, 1)] == [[2.0], [2.0]]


def test_the_same_question_comes_first():
    """A nearer protein that was asked about another host stands behind a farther one of this host."""
    pytest.importorskip("rapidfuzz")
    entry = TASKS["by_host"]
    known = [
        ProteinRecord("x", ("AAAA",), fields={"host": "m"}),
        ProteinRecord("y", ("AACC",), fields={"host": "h"}),
    ]
    (near,) = Similarity(entry, known).nearest([ProteinRecord("q", ("AAAA",), fields={"host": "h"})], 2)
    assert near.rows.tolist() == [1, 0]


def test_nobody_is_its_own_neighbour():
    """Without validation rows, training rows are asked about; each would know its own answer."""
    pytest.importorskip("rapidfuzz")
    entry = task("t", kind="category", labels=["a", "b"])
    known = [ProteinRecord("x", ("AAAA",)), ProteinRecord("y", ("AAAC",))]
    first, second, third = Similarity(entry, known).nearest([known[1], known[0], known[0]], 2, without=[1, 0])
    assert [near.rows.tolist() for near in (first, second, third)] == [[0], [1], [0, 1]]
    train = [Example(record, label) for record, label in zip(known, "ab", strict=True)]
    found = neighbour_baseline(entry, train, [], train)
    assert [prediction.value for prediction in found] == ["a", "b"]


def test_chains_that_nothing_can_compare(monkeypatch):
    pytest.importorskip("rapidfuzz")
    monkeypatch.setattr(neighbours_module, "can_search", lambda: False)
    monkeypatch.setattr(neighbours_module, "MOST_LETTERS", 10)
    train = examples("rich_in_k", 4)
    with pytest.raises(ConfigError, match="too many for edit distances") as caught:
        neighbour_baseline(TASKS["rich_in_k"], train, train, train)
    assert caught.value.code == "config.missing"
    with pytest.raises(TaskError, match="neighbours give no answers"):
        neighbour_baseline(TASKS["near"], examples("near", 4), [], [])


# Partners ------------------------------------------------------------------------------------------------------------------


def pairs(labels, entry):
    """One example a pair of letters: the chains are named by them."""
    return [
        Example(ProteinRecord(f"{a}{b}{place}", (a * 5, b * 5)), label)
        for place, (a, b, label) in enumerate(labels)
    ]


def test_bias_adds_what_partners_say():
    """Numbers are a sum of what each partner gives: every pair that was not seen is known."""
    entry = task("t", chains=2, kind="number", low=-10, high=10, step=0.1, metrics=["mae"])
    gives = dict(zip("ACDEFG", (-3.0, 0.0, 3.0, -1.0, 0.0, 1.0), strict=True))
    all_pairs = [(a, b, gives[a] + gives[b]) for a in "ACD" for b in "EFG"]
    train = pairs(all_pairs * 20, entry)
    test = pairs(all_pairs, entry)
    predictions = bias_baseline(entry, train, train, test)
    assert value_of(entry, test, predictions) < 0.3
    (unknown,) = bias_baseline(entry, train, train, pairs([("W", "Y", 0.0)], entry))
    assert unknown.value == pytest.approx(0.0, abs=1e-9)


def test_bias_knows_who_binds_much_and_not_who_binds_whom():
    entry = task("t", chains=2, kind="category", labels=["no", "yes"])
    busy = pairs([(a, b, "yes" if a == "A" else "no") for a in "AC" for b in "EFG"] * 10, entry)
    assert value_of(entry, busy, bias_baseline(entry, busy, busy, busy)) == 1.0
    whom = pairs(
        [(a, b, "yes" if (a == "A") == (b == "E") else "no") for a in "AC" for b in "EF"] * 10, entry
    )
    chances = [p.probabilities["yes"] for p in bias_baseline(entry, whom, whom, whom)]
    assert chances == pytest.approx([0.5] * len(whom))


def test_who_has_partners():
    assert has_partners(TASKS["equal"])
    assert not has_partners(TASKS["rich_in_k"])
    with pytest.raises(TaskError, match="asks about no pair") as caught:
        bias_baseline(TASKS["rich_in_k"], examples("rich_in_k", 4), [], [])
    assert caught.value.code == "task.bias"


# A network -----------------------------------------------------------------------------------------------------------------


def test_a_network_sees_what_no_line_does():
    """Class 1 where two features have one sign."""
    generator = np.random.default_rng(0)

    def rows(count):
        features = generator.normal(size=(count, 2)).astype(np.float32)
        return Rows(features, (features.prod(axis=1) > 0).astype(np.int64))

    train, validation, test = rows(600), rows(200), rows(200)
    shares = {}
    for name, models in (("line", Linear()), ("network", Network(width=32))):
        (*_, fit) = models.classifiers(2, False)
        shares[name] = (fit(train, validation)(test.features).argmax(axis=1) == test.targets).mean()
    assert shares["line"] < 0.65
    assert shares["network"] > 0.9


def test_a_network_of_numbers_and_labels():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 3)).astype(np.float32)
    numbers = Rows(features, 5 + np.abs(features[:, 0]))
    (fit,) = Network(width=32).regressors()
    assert np.abs(fit(numbers, numbers)(features) - numbers.targets).mean() < 0.2
    labels = Rows(features, (features > 0).astype(np.int64))
    (fit,) = Network(width=32).labellers()
    assert ((fit(labels, labels)(features) > 0.5) == labels.targets).mean() > 0.95


def test_a_network_repeats_by_its_seed():
    entry = TASKS["rich_in_k"]
    train, validation, test = (examples("rich_in_k", count, seed) for seed, count in enumerate((40, 20, 5)))

    def run(seed):
        network = Network(width=8, seed=seed)
        found = head_baseline(letter_predictor(), entry, train, validation, test, models=network, name="mlp")
        return [p.probabilities["yes"] for p in found]

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_network_as_large_as_a_decoder(layers):
    decoder = letter_predictor().bundle.model.decoder
    size = sum(p.numel() for p in decoder.parameters())
    network = Network.like(decoder, layers, 25)
    built = network._network(25, 2)
    assert sum(p.numel() for p in built.parameters()) == pytest.approx(size, rel=0.15)


def test_a_head_of_other_features_is_called_otherwise():
    entry = TASKS["rich_in_k"]
    found = answer_from(
        CompositionFeatures(entry),
        Linear(),
        entry,
        examples("rich_in_k", 20),
        [],
        examples("rich_in_k", 3),
        name="mine",
    )
    assert {p.readout for p in found} == {"mine"}
