"""Votes of residues, and of states of two encoders: from a batch's states to probabilities, and what must stay as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from protscribe.checkpoint import load_bundle, save_bundle
from protscribe.checkpoint.manifest import NEIGHBOURS
from protscribe.checkpoint.neighbours import read_neighbours, write_neighbours
from protscribe.data.examples import Example
from protscribe.encoders import load_encoder
from protscribe.encoders.mini import MiniEncoder
from protscribe.encoders.stacked import StackedEncoder
from protscribe.encoders.windows import Windowed
from protscribe.evaluation.confidence.neighbours import fit_neighbours, within
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.trust.neighbours import Neighbours, Whitening
from tests.small import MINI, TASKS, make_bundle, task

MARKED = task("marked", kind="residue_set", candidates="STY", written="marks")
HOSTED = task(
    "hosted",
    kind="residue_set",
    candidates="STY",
    conditions=[{"field": "host", "values": ["human", "yeast"]}],
)
SITES = {"sites": TASKS["sites"], "marked": MARKED, "place": TASKS["place"], "hosted": HOSTED}
CHAINS = ["MKTAYISSYTAK", "MSTACDEFGHIKLMNPQ", "GGSTYYSTPLKE", "PLKMNACDWWVV"]


def stacked() -> StackedEncoder:
    torch.manual_seed(3)
    return StackedEncoder(load_encoder(MINI), width=16, layers=2).eval()


@pytest.fixture(scope="module", params=["own", "stacked"])
def bundle(request):
    return make_bundle(SITES, encoder=stacked() if request.param == "stacked" else None)


def near_of(features: int, prompts=((),), seed: int = 0, share: float = 0.4) -> Neighbours:
    """Residues, half of which are sites."""
    draw = np.random.default_rng(seed)
    states = draw.normal(size=(40, features)).astype(np.float32)
    scale = Whitening.of(states, 0.01)
    counts = np.tile([1, 0], 20)
    asked = draw.integers(0, len(prompts), 40).astype(np.int32)
    return Neighbours(
        scale, scale(states).astype(np.float16), asked, np.cumsum([0, *counts]), np.zeros(20, np.int32), prompts, 1,
        share, 8.0,
    )  # fmt: skip


def with_near(bundle, name="sites", **options):
    width = getattr(bundle.model.encoder, "compared_width", bundle.model.encoder.width)
    return replace(bundle, neighbours={name: near_of(width, **options)})


def slow_states(bundle, chain: str) -> torch.Tensor:
    """``[L, F]``, one protein alone: of the base, where there is one, beside those on top."""
    from protscribe.alphabet import residue_ids

    residues = torch.from_numpy(np.array(residue_ids(chain), dtype=np.int64))[None]
    mask, encoder = torch.ones_like(residues, dtype=torch.bool), bundle.model.encoder
    with torch.inference_mode():
        below = [encoder.base(residues, mask)] if isinstance(encoder, StackedEncoder) else []
        return torch.cat([*below, encoder(residues, mask)], dim=-1)[0]


@pytest.mark.parametrize("name", ["sites", "marked"])
def test_each_candidate_hears_the_residues_that_are_like_it(bundle, name):
    voting = with_near(bundle, name)
    near = voting.neighbours[name]
    asked = [*CHAINS, "ACDEFG"]
    plain, heard = (list(Predictor(one, "cpu").predict_many(asked, name)) for one in (bundle, voting))
    for chain, before, after in zip(asked, plain, heard, strict=True):
        wanted = np.zeros(len(chain))
        states = slow_states(bundle, chain).numpy()
        for index, letter in enumerate(chain):
            if letter in "STY":
                key = near.scale(states[index : index + 1])[0]
                weights = np.exp(near.sharpness * (near.keys.astype(np.float64) @ key))
                wanted[index] = 0.6 * before.probabilities[index] + 0.4 * weights[::2].sum() / weights.sum()
        np.testing.assert_allclose(after.probabilities, wanted, atol=1e-4)
    assert heard[-1].value == ()


def test_whoever_votes_others_are_answered_as_before(bundle):
    plain, voting = Predictor(bundle, "cpu"), Predictor(with_near(bundle), "cpu")
    before, after = (list(one.predict_many(CHAINS, ["place", "marked", "sites"])) for one in (plain, voting))
    for one, other in zip(before, after, strict=True):
        same = np.array_equal(list(_values(one)), list(_values(other)))
        assert same == (one.task != "sites" or not any(letter in "STY" for letter in one.record.chains[0]))


def _values(prediction):
    chances = prediction.probabilities
    return chances.values() if isinstance(chances, dict) else chances


def test_residues_of_other_conditions_say_nothing(bundle):
    def ask(one, host):
        record = ProteinRecord("a", (CHAINS[0],), fields={"host": host})
        return next(iter(Predictor(one, "cpu").stream([record], ["hosted"]))).probabilities

    voting = with_near(bundle, "hosted", prompts=(("human",),))
    assert np.abs(ask(bundle, "human") - ask(voting, "human")).max() > 0.01
    np.testing.assert_array_equal(ask(bundle, "yeast"), ask(voting, "yeast"))


def test_hidden_residues_do_not_change_who_is_asked(bundle):
    """An explanation hides residues, candidates among them, and still asks about the whole protein."""
    voting = Predictor(with_near(bundle, "marked"), "cpu")
    found = voting.explain(CHAINS[0], "marked", about=5, window=3)
    alone = voting.predict(CHAINS[0], "marked", readout="risk").probabilities
    assert found.probability == pytest.approx(alone[4], abs=1e-5)
    assert found.hidden >= 4
    assert np.isfinite(found.occlusion[0]).all()
    assert np.abs(found.occlusion[0]).max() > 0


# States of two encoders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 16])
def test_states_to_compare_hold_those_that_the_decoder_gets(window):
    encoder = stacked()
    read = encoder if window is None else Windowed(encoder, window, 4)
    torch.manual_seed(0)
    residues, mask = torch.randint(0, 20, (3, 40)), torch.ones(3, 40, dtype=torch.bool)
    mask[1, 25:] = False
    with torch.inference_mode():
        both, own = read.with_base(residues, mask), read(residues, mask)
        below = encoder.base(residues[:, :16], mask[:, :16])
    assert both.shape[-1] == read.compared_width == 32 + 16
    torch.testing.assert_close(both[..., 32:], own, rtol=0, atol=0)
    if window:
        # The first residues of a protein come from its first window.
        torch.testing.assert_close(both[:, :4, :32], below[:, :4])


def test_an_encoder_without_a_base_is_compared_by_its_own_states():
    encoder = load_encoder(MINI).eval()
    assert isinstance(encoder, MiniEncoder)
    windowed = Windowed(encoder, 16, 4)
    residues, mask = torch.randint(0, 20, (1, 30)), torch.ones(1, 30, dtype=torch.bool)
    with torch.inference_mode():
        torch.testing.assert_close(windowed.with_base(residues, mask), windowed(residues, mask))
    assert windowed.compared_width == encoder.width


def test_keys_from_before_the_base_counted_still_vote(tmp_path):
    """Keys as wide as the encoder's own states are compared by these alone."""
    bundle = make_bundle(SITES, encoder=stacked())
    write_neighbours(tmp_path / NEIGHBOURS, {"sites": near_of(16)})
    told = {"sites": near_of(16).to_plain()}
    near = read_neighbours(tmp_path, told, SITES, bundle.model.encoder)["sites"]
    states = Predictor(bundle, "cpu").compared([ProteinRecord("a", (CHAINS[0],))], "sites")
    assert states.shape == (6, 48)
    wide, narrow = (list(near.votes(one, [()] * 6)) for one in (states, states[:, 32:]))
    np.testing.assert_array_equal(wide, narrow)
    write_neighbours(tmp_path / NEIGHBOURS, {"sites": near_of(17)})
    with pytest.raises(ValueError, match="17 numbers, the encoder's have 48 or 16"):
        read_neighbours(tmp_path, told, SITES, bundle.model.encoder)


def test_a_bundle_of_residues_that_vote_comes_back(tmp_path, bundle):
    voting = with_near(bundle)
    kept = {name: getattr(voting, name) for name in ("model", "lexicon", "tasks", "readouts", "neighbours")}
    loaded = load_bundle(save_bundle(tmp_path / "bundle", **kept))
    one, other = (Predictor(part, "cpu").predict(CHAINS[0], "sites") for part in (voting, loaded))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


# Whose residues vote ------------------------------------------------------------------------------------------------------


def family_examples(count: int, seed: int, name: Task = MARKED) -> list[Example]:
    """A serine of an oily protein is a site, one of a charged protein is none."""
    draw = np.random.default_rng(seed)
    found = []
    for place in range(count):
        letters = ("AVILS", "DEKRS")[place % 2]
        chain = "".join(draw.choice(list(letters), draw.integers(15, 30)))
        answer = (
            tuple(index + 1 for index, letter in enumerate(chain) if letter == "S") if place % 2 == 0 else ()
        )
        found.append(Example(ProteinRecord(str(place), (chain,), ordinal=place), answer))
    return found


def test_sites_that_a_decoder_has_not_learnt_are_told_by_their_neighbours(bundle):
    predictor = Predictor(bundle, "cpu")
    fit = fit_neighbours(predictor, MARKED, family_examples(60, 1), family_examples(30, 2))
    assert fit.neighbours is not None
    assert fit.after < 0.7 * fit.before
    assert (
        fit.known
        == fit.neighbours.known
        == sum(e.record.chains[0].count("S") for e in family_examples(60, 1))
    )
    voting = Predictor(replace(bundle, neighbours={"marked": fit.neighbours}), "cpu")
    held = family_examples(30, 3)
    hits = misses = 0.0
    for example in held:
        chances = voting.predict(example.record.chains[0], "marked").probabilities
        true = np.isin(np.arange(1, len(chances) + 1), example.answer)
        candidate = np.array([letter == "S" for letter in example.record.chains[0]])
        hits += chances[true].sum()
        misses += chances[candidate & ~true].sum()
    sites = sum(len(e.answer) for e in held)
    others = sum(e.record.chains[0].count("S") for e in held) - sites
    assert hits / sites > misses / others + 0.3


def test_whole_proteins_are_kept_until_there_are_residues_enough():
    examples = family_examples(20, 1)
    kept = within(MARKED, examples, 30, seed=0)
    counts = [example.record.chains[0].count("S") for example in kept]
    assert 0 < sum(counts) <= 30 < sum(counts) + max(e.record.chains[0].count("S") for e in examples)
    assert kept == within(MARKED, examples, 30, seed=0) != within(MARKED, examples, 30, seed=1)
    assert len(within(MARKED, examples, 1, seed=0)) == 1
    assert within(TASKS["place"], examples, 1, seed=0) == examples
