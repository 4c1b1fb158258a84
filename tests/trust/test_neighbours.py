"""Known proteins that vote beside the decoder: their arithmetic against the slow way, predictors and bundles that have them."""

from dataclasses import replace

import numpy as np
import pytest

from protscribe.checkpoint import load_bundle, save_bundle
from protscribe.checkpoint.manifest import NEIGHBOURS
from protscribe.codecs.protocol import First, Greedy, Inclusion
from protscribe.errors import CheckpointError, ConfigError
from protscribe.inspection import describe_bundle, show
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.trust import Calibration, Trust
from protscribe.trust.neighbours import Neighbours, Whitening, can_vote, prompt_of
from tests.checkpoint.made import change
from tests.small import TASKS, make_bundle

CHAINS = ["MKTAYISSYTAK", "MSTACDEFGHIKLMNPQ", "GGSTYYSTPLKE", "PLKMNACDWWVV"]
VOTED = ("place", "grows", "enzyme", "activities", "allele")
SIZES = {"place": 3, "grows": 2, "enzyme": 7, "activities": 4, "allele": 2, "sites": 1}
FEATURES = 32


def made(name="place", share=0.4, seed=0, known=20, prompts=((),), size=None):
    draw = np.random.default_rng(seed)
    states = draw.normal(size=(known, FEATURES)).astype(np.float32)
    scale = Whitening.of(states, 0.01)
    size = size or SIZES[name]
    counts = (
        np.ones(known, dtype=np.int64)
        if TASKS[name].codec.kind == "category"
        else draw.integers(0, min(size + 1, 3), known)
    )
    members = [np.sort(draw.choice(size, count, replace=False)) for count in counts]
    return Neighbours(
        scale,
        scale(states).astype(np.float16),
        draw.integers(0, len(prompts), known).astype(np.int32),
        np.cumsum([0, *counts]),
        np.concatenate(members).astype(np.int32),
        prompts,
        size,
        share,
        8.0,
        held_out=17,
    )


def of_task(name, **options):
    hosts = ((UNKNOWN,), ("human",), ("yeast",)) if TASKS[name].conditions else ((),)
    return made(name, prompts=hosts, **options)


UNKNOWN = "<unknown>"


@pytest.fixture(scope="module")
def bundle():
    return make_bundle()


@pytest.fixture(scope="module")
def voting(bundle):
    return replace(bundle, neighbours={name: of_task(name) for name in (*VOTED, "sites")})


# Arithmetic ---------------------------------------------------------------------------------------------------------------


def slow_votes(near, state, prompt):
    """One protein at a time, one neighbour at a time."""
    key = (state - near.scale.mean) @ near.scale.whitening
    key = key / np.linalg.norm(key)
    weights, told = [], []
    for row, known in enumerate(near.keys.astype(np.float64)):
        if near.prompts[near.asked[row]] == prompt:
            weights.append(np.exp(near.sharpness * float(known @ key)))
            told.append(near.members[near.starts[row] : near.starts[row + 1]])
    found = np.zeros(near.size)
    for weight, members in zip(weights, told, strict=True):
        found[members] += weight / sum(weights)
    return found


@pytest.mark.parametrize("name", ["place", "enzyme", "activities"])
def test_votes_are_those_of_the_slow_way(name):
    near = made(name, prompts=(("a",), ("b",)))
    states = np.random.default_rng(1).normal(size=(5, FEATURES)).astype(np.float32)
    prompts = [("a",), ("b",), ("a",), ("b",), ("b",)]
    for found, state, prompt in zip(near.votes(states, prompts), states, prompts, strict=True):
        np.testing.assert_allclose(found, slow_votes(near, state, prompt), rtol=1e-4, atol=1e-6)


def test_nobody_votes_who_was_asked_something_else():
    near = made(prompts=(("a",), ("b",)))
    states = np.zeros((2, FEATURES), dtype=np.float32)
    assert [votes is None for votes in near.votes(states, [("a",), ("c",)])] == [False, True]
    first = First(np.array([0.2, 0.3, 0.5]))
    assert near.mixed(first, None) is first


def test_those_are_named_whose_votes_weigh_most():
    near = made(prompts=(("a",), ("b",)))
    states = np.random.default_rng(2).normal(size=(3, FEATURES)).astype(np.float32)
    for found, votes, state in zip(
        near.nearest(states, [("a",)] * 3, 100), near.votes(states, [("a",)] * 3), states, strict=True
    ):
        asked = [row for row in range(near.known) if near.prompts[near.asked[row]] == ("a",)]
        key = (state - near.scale.mean) @ near.scale.whitening
        cosines = near.keys.astype(np.float64) @ (key / np.linalg.norm(key))
        assert [one.number for one in found] == sorted(asked, key=lambda row: -cosines[row])
        np.testing.assert_allclose(
            [one.cosine for one in found], cosines[[one.number for one in found]], atol=1e-5
        )
        # All of them together are the votes.
        told = np.zeros(near.size)
        for one in found:
            told[near.members_of(one.number)] += one.weight
        np.testing.assert_allclose(told, votes, rtol=1e-9)
    assert [len(found) for found in near.nearest(states, [("b",), ("c",), ("a",)], 2)] == [2, 0, 2]


def test_whitened_states_vary_alike_in_all_directions():
    draw = np.random.default_rng(0)
    states = (draw.normal(size=(4000, 6)) * [100, 10, 1, 0.1, 0.01, 5] + 7).astype(np.float32)
    scale = Whitening.of(states, 1e-12)
    white = (states - scale.mean) @ scale.whitening
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=0.02)
    # With a ridge what varies little stays small.
    shrunk = (states - scale.mean) @ Whitening.of(states, 0.01).whitening
    assert sorted(shrunk.std(axis=0).round(1))[:2] == [0.0, 0.0]
    np.testing.assert_allclose(np.linalg.norm(scale(states), axis=1), 1, rtol=1e-5)


def test_one_known_protein_and_equal_states_are_no_problem():
    states = np.ones((3, 4), dtype=np.float32)
    keys = Whitening.of(states, 0.01)(states)
    assert np.isfinite(keys).all()
    assert np.isfinite(Whitening.of(states[:1], 0.01)(states)).all()


def test_a_mixture_stays_a_distribution_and_a_closed_set():
    near = made("enzyme", share=0.3)
    votes = np.linspace(0, 1, 7)
    sure = Inclusion(np.linspace(1, 0, 7), np.full(7, 0.1), 16, Greedy((), 0.0))
    mixed = near.mixed(sure, votes)
    np.testing.assert_allclose(mixed.probabilities, 0.7 * sure.probabilities + 0.3 * votes)
    np.testing.assert_allclose(mixed.standard_error, 0.07)
    assert mixed.draws == 16
    first = made(share=0.3).mixed(First(np.array([0.2, 0.3, 0.5])), np.array([1.0, 0, 0]))
    assert first.probabilities.sum() == pytest.approx(1)
    greedy = Greedy((), -1.0)
    assert near.mixed(greedy, votes) is greedy


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 0.0},
        {"share": 1.5},
        {"share": True},
        {"sharpness": float("nan")},
        {"size": 1},
        {"prompts": ()},
        {"starts": np.arange(21)[::-1].copy()},
        {"keys": np.full((20, FEATURES), np.nan, dtype=np.float16)},
        {"keys": np.zeros((20, 3), dtype=np.float16)},
        {"asked": np.zeros(19, dtype=np.int32)},
        {"members": np.full(20, -1, dtype=np.int32)},
        {"names": ("one",)},
        {"names": ("two\nlines",) * 20},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        replace(made(), **wrong)


def test_which_tasks_have_voters():
    assert {name for name, task in TASKS.items() if can_vote(task)} == {*VOTED, "sites"}


# Predictors -----------------------------------------------------------------------------------------------------------------


def asked(predictor, name, **options):
    hosts = ("human", "yeast", "human", "yeast") if TASKS[name].conditions else ("",) * 4
    records = [
        {"id": str(place), "sequence": chain, "host": host}
        for place, (chain, host) in enumerate(zip(CHAINS, hosts, strict=True))
    ]
    import pandas

    return list(predictor.predict_many(pandas.DataFrame(records), name, **options))


@pytest.mark.parametrize("name", VOTED)
def test_predictions_are_mixed_by_their_shares(bundle, voting, name):
    plain, mixed = asked(Predictor(bundle, "cpu"), name), asked(Predictor(voting, "cpu"), name)
    near, task = voting.neighbours[name], TASKS[name]
    states = Predictor(bundle, "cpu").compared([one.record for one in plain], name)
    for before, after, state in zip(plain, mixed, states, strict=True):
        votes = slow_votes(near, state, prompt_of(task, before.record))
        wanted = 0.6 * np.array([*before.probabilities.values()]) + 0.4 * votes
        if name == "enzyme":
            # Reading makes chances of nodes no higher than those above.
            assert next(iter(after.probabilities.values())) == pytest.approx(wanted[0], abs=1e-4)
        else:
            np.testing.assert_allclose([*after.probabilities.values()], wanted, atol=1e-4)


def test_what_others_ask_changes_nothing(voting):
    predictor = Predictor(voting, "cpu")
    together = predictor.predict_many(CHAINS, ["place", "sites", "activities"])
    for found in together:
        alone = predictor.predict(found.record.sequence, found.task)
        if found.task == "sites":
            assert alone.value == found.value
            np.testing.assert_allclose(alone.probabilities, found.probabilities, atol=1e-5)
        else:
            np.testing.assert_allclose(
                [*alone.probabilities.values()], [*found.probabilities.values()], atol=1e-5
            )


def test_a_greedy_string_hears_nobody(bundle, voting):
    plain, mixed = Predictor(bundle, "cpu"), Predictor(voting, "cpu")
    before, after = (one.predict(CHAINS[0], "place", readout="greedy") for one in (plain, mixed))
    assert (before.value, before.score) == (after.value, pytest.approx(after.score))
    beside = mixed.predict(CHAINS[0], "place", readout="greedy", probabilities=True)
    assert beside.probabilities == pytest.approx(mixed.predict(CHAINS[0], "place").probabilities)


def test_calibrations_come_after_votes(voting):
    calm = Trust(Calibration(slope=0.5, rows=9))
    predictor = Predictor(replace(voting, trust={"place": calm}), "cpu")
    raw = predictor.predict(CHAINS[0], "place", calibrated=False)
    found = predictor.predict(CHAINS[0], "place")
    weights = np.sqrt([*raw.probabilities.values()])
    np.testing.assert_allclose([*found.probabilities.values()], weights / weights.sum(), rtol=1e-5)


# Which known proteins stand behind an answer ------------------------------------------------------------------------------


def named(near):
    return replace(near, names=tuple(f"known {row}" for row in range(near.known)))


@pytest.fixture(scope="module")
def naming(voting):
    return replace(voting, neighbours={name: named(near) for name, near in voting.neighbours.items()})


@pytest.mark.parametrize("name", VOTED)
def test_a_predictor_says_who_is_near_and_what_is_true_of_them(naming, name):
    predictor, near = Predictor(naming, "cpu"), naming.neighbours[name]
    conditions = {"host": "human"} if TASKS[name].conditions else {}
    found = predictor.nearest(CHAINS[0], name, 3, **conditions)
    assert len(found) == 3
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)
    kind = str if TASKS[name].codec.kind == "category" else tuple
    symbols = [token.text for token in TASKS[name].codec.grammar(ProteinRecord("", ("M",))).domain.tokens()]
    for one in found:
        row = int(one.name.removeprefix("known "))
        assert isinstance(one.answer, kind)
        true = [symbols[rank] for rank in near.members_of(row)]
        if name == "enzyme":
            assert set(one.answer) <= set(true)
        else:
            assert ([one.answer] if kind is str else list(one.answer)) == true
        assert one.position is None


def test_residues_are_near_residues(naming):
    predictor = Predictor(naming, "cpu")
    candidates = [place + 1 for place, letter in enumerate(CHAINS[0]) if letter in "STY"]
    found = predictor.nearest(CHAINS[0], "sites", 2)
    assert [one.position for one in found] == [position for position in candidates for _ in range(2)]
    members = naming.neighbours["sites"].members_of
    assert [one.answer for one in found] == [bool(members(int(one.name.split()[1]))) for one in found]
    alone = predictor.nearest(CHAINS[0], "sites", 2, about=candidates[1])
    assert [one.name for one in alone] == [one.name for one in found[2:4]]
    assert [one.weight for one in alone] == pytest.approx([one.weight for one in found[2:4]], rel=1e-4)
    with pytest.raises(ConfigError, match="residue 1 is no candidate"):
        predictor.nearest(CHAINS[0], "sites", about=1)


def test_nobody_is_near_where_nobody_votes(bundle, voting):
    assert Predictor(bundle, "cpu").nearest(CHAINS[0], "place") == ()
    assert {one.name for one in Predictor(voting, "cpu").nearest(CHAINS[0], "place")} == {""}
    with pytest.raises(ConfigError, match="at least 1"):
        Predictor(voting, "cpu").nearest(CHAINS[0], "place", 0)


def test_a_bundle_keeps_names(naming, tmp_path):
    odd = replace(named(naming.neighbours["place"]), names=("", "a b", "Größe \udce9", *["x"] * 17))
    kept = {name: getattr(naming, name) for name in ("model", "lexicon", "tasks", "readouts")}
    near = {"place": odd, "grows": naming.neighbours["grows"], "enzyme": made("enzyme")}
    folder = save_bundle(tmp_path / "bundle", **kept, neighbours=near)
    loaded = load_bundle(folder).neighbours
    assert [loaded[name].names for name in near] == [one.names for one in near.values()]
    assert "ids" in (folder / "README.md").read_text()


# Bundles --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(voting, tmp_path):
    kept = {name: getattr(voting, name) for name in ("model", "lexicon", "tasks", "readouts", "neighbours")}
    return save_bundle(tmp_path / "bundle", **kept)


def test_a_bundle_gives_them_back(voting, saved, capsys):
    loaded = load_bundle(saved)
    for name, near in voting.neighbours.items():
        again = loaded.neighbours[name]
        assert again.to_plain() == near.to_plain()
        for array, value in near.arrays().items():
            np.testing.assert_array_equal(again.arrays()[array], value)
    first, second = Predictor(voting, "cpu"), Predictor(loaded, "cpu")
    assert (
        first.predict(CHAINS[0], "enzyme").probabilities == second.predict(CHAINS[0], "enzyme").probabilities
    )
    show(describe_bundle(saved))
    assert "neighbours that vote" in capsys.readouterr().out
    assert "their sequences are not" in (saved / "README.md").read_text()


def test_bundles_without_any_have_no_such_file(bundle, tmp_path):
    kept = {name: getattr(bundle, name) for name in ("model", "lexicon", "tasks", "readouts")}
    folder = save_bundle(tmp_path / "bundle", **kept)
    assert not (folder / NEIGHBOURS).exists()
    assert "neighbours" not in load_bundle(folder).manifest
    (folder / NEIGHBOURS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="no part of this bundle"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda told: told["place"].update(share=2), "share"),
        (lambda told: told["place"].update(size=7), "do not fit its answers"),
        (lambda told: told["place"].update(known=3), "not 3"),
        (lambda told: told["place"].update(size=3.0), "whole numbers"),
        (lambda told: told["place"].update(held_out=None), "whole numbers"),
        (lambda told: told["place"].update(more=1), "have no 'more'"),
        (lambda told: told["place"].pop("share"), "to have known, share"),
        (lambda told: told.update(nothing=told.pop("place")), "missing or unknown"),
        (lambda told: told.pop("place"), "missing or unknown"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(saved, edit, said):
    change(saved, lambda manifest: edit(manifest["neighbours"]))
    with pytest.raises(CheckpointError, match=said):
        load_bundle(saved)


def test_a_damaged_file_is_refused(saved):
    path = saved / NEIGHBOURS
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_bundle(saved)
    path.write_bytes(b"\xff" * len(kept))
    change(saved)
    with pytest.raises(CheckpointError, match="safetensors"):
        load_bundle(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_bundle(saved)
