"""Learning trust from held-out rows: what is asked, on which rows what rests, and how a bundle gets it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import protscribe as ps
from protscribe.checkpoint import load_bundle
from protscribe.codecs.protocol import First, Greedy, Inclusion, Readout
from protscribe.codecs.sets import choose
from protscribe.data.examples import Example
from protscribe.data.source import Source
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.confidence.trust import (
    MOST_ROWS,
    calibrate_bundle,
    carried,
    fit_conformal,
    fit_trust,
    halves,
    keeps_order,
)
from protscribe.records import ProteinRecord
from protscribe.trust import Calibration, Trust
from protscribe.trust.calibration import logit, sigmoid
from protscribe.trust.conformal import family_of, guarantee
from tests.checkpoint.made import READOUTS, TASKS, save
from tests.evaluation.toys import TASKS as TOYS
from tests.evaluation.toys import answer, examples, task
from tests.laws.evidence import evidence_of

SITES = task("sites", kind="residue_set")
GREEDY = Greedy((), -1.0)
KIND = task("kind", kind="category", labels=["no", "yes"])


THREE = task("three", kind="category", labels=list("abc"))


class Asked:
    """A predictor that answers from its records' fields, and keeps what it was asked.

    Its sites are more frequent than it says, its three classes less certain, its two classes as they should be.
    """

    def __init__(self, seed=0, count=60):
        self.tasks = {"sites": SITES, "kind": KIND, "three": THREE}
        self.questions = []
        generator = np.random.default_rng(seed)
        self.known, self.rows = {}, {"sites": [], "kind": [], "three": []}
        for place in range(count):
            record = ProteinRecord(f"p{place}", ("A" * 20,))
            true = generator.uniform(0.02, 0.6, 20)
            members = tuple(int(index) + 1 for index in np.flatnonzero(generator.random(20) < true))
            self._add(
                "sites", record, members, Inclusion(sigmoid((logit(true) - 1) / 0.5), None, None, GREEDY)
            )
            yes = generator.random()
            truth = "yes" if generator.random() < yes else "no"
            self._add("kind", record, truth, First(np.array([1 - yes, yes])))
            shares = generator.dirichlet([1, 1, 1])
            sharp = shares**4 / (shares**4).sum()
            self._add("three", record, str(generator.choice(list("abc"), p=shares)), First(sharp))

    def _add(self, name, record, truth, evidence):
        self.rows[name].append(Example(record, truth))
        self.known[name, record.id] = evidence

    def evidence(self, records, task, way="risk", *, calibrated=True):
        assert not calibrated, "what is fitted must not be calibrated already"
        self.questions += [(task, record.id) for record in records]
        return [SimpleNamespace(evidence=self.known[task, record.id]) for record in records]


def test_every_row_is_asked_once_and_readouts_are_chosen_on_what_is_calibrated():
    asked = Asked()
    trust, readouts = fit_trust(asked, asked.rows)
    assert len(asked.questions) == len(set(asked.questions)) == 180
    assert trust["sites"].calibration.offset == pytest.approx(1.0, abs=0.3)
    # Chances of 0.02 to 0.6 are said to be 0 to 0.5: the best threshold is of the calibrated ones.
    assert 0.15 <= readouts["sites"].threshold <= 0.45
    # What is right needs no map, and a map that turns no order round needs no rows of its own.
    assert trust["kind"] == Trust(None, trust["kind"].conformal)
    assert (
        trust["sites"].calibration.rows == trust["sites"].conformal.rows == trust["kind"].conformal.rows == 60
    )
    assert (trust["three"].calibration.rows, trust["three"].conformal.rows) == (30, 30)
    assert trust["three"].calibration.slope < 0.6


def test_calibration_and_scores_rest_on_different_halves_where_it_matters():
    first, second = halves(61, seed=3)
    assert sorted([*first, *second]) == list(range(61))
    assert (len(first), len(second)) == (30, 31)
    asked = Asked()
    before, _ = fit_trust(asked, asked.rows, seed=3)
    first, second = halves(60, seed=3)
    fitted_on = {asked.rows["three"][place].record.id for place in first}
    # Whatever the other half says has no influence on the map.
    changed = Asked()
    for row in changed.rows["three"]:
        if row.record.id not in fitted_on:
            changed.known["three", row.record.id] = First(np.full(3, 1 / 3))
    after, _ = fit_trust(changed, changed.rows, seed=3)
    assert after["three"].calibration == before["three"].calibration
    assert after["three"].conformal != before["three"].conformal


KEPT = ["rich_in_k", "charged", "letters", "tree", "k_sites", "halves"]


def test_which_kinds_keep_their_order():
    assert [name for name, task in TOYS.items() if family_of(task) and keeps_order(task)] == [
        "rich_in_k", "letters", "tree", "charged", "k_sites", "tyrosines", "halves", "k_marks", "near", "equal",
    ]  # fmt: skip
    assert not keeps_order(THREE)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("slope", [0.3, 2.5])
def test_there_guarantees_are_the_same_with_any_calibration(name, slope):
    """So that the same rows may serve both."""
    entry, generator = TOYS[name], np.random.default_rng(9)
    known = Calibration(slope, 0.0 if entry.codec.kind in ("category", "residue_labels") else -0.8)
    rows, raw = examples(name, 40), []
    for row in rows:
        others = [answer(name, row.record, place) for place in range(2)]
        tokens = [entry.codec.encode(one, row.record).tokens for one in (row.answer, *others)]
        counts = dict.fromkeys(tokens, 0)
        for one in tokens:
            counts[one] += int(generator.integers(1, 4))
        raw.append(evidence_of(entry.codec, row.record, counts))

    def promised(trust):
        told = [trust.calibrated(one) for one in raw]
        sure = fit_conformal(entry, rows, told)
        readings = [entry.codec.read(one, row.record, Readout()) for one, row in zip(told, rows, strict=True)]
        pairs = list(zip(rows, readings, strict=True))
        return [
            guarantee(entry, row.record, found, sure, at).value for at in (0.6, 0.9) for row, found in pairs
        ]

    assert promised(Trust(known)) == promised(Trust())


def test_more_rows_than_are_asked_are_drawn():
    asked = Asked()
    trust, readouts = fit_trust(asked, {"kind": asked.rows["kind"]}, most=24)
    assert len(asked.questions) == 24
    assert trust["kind"].conformal.rows == 24
    assert fit_trust(asked, {"kind": asked.rows["kind"]}, most=24) == (trust, readouts)
    assert MOST_ROWS == 1000


def test_without_a_calibration_all_rows_vouch():
    asked = Asked()
    trust, readouts = fit_trust(asked, {"three": asked.rows["three"]}, calibration=False, choose=False)
    assert trust["three"].calibration is None
    assert trust["three"].conformal.rows == 60
    assert readouts == {}


def test_proteins_without_sites_do_not_count():
    asked = Asked()
    rows = [replace(row, answer=()) if place % 2 else row for place, row in enumerate(asked.rows["sites"])]
    trust, _ = fit_trust(asked, {"sites": rows}, calibration=False)
    assert trust["sites"].conformal.rows == sum(bool(row.answer) for row in rows)


def test_tasks_without_rows_or_with_too_few_have_nothing():
    asked = Asked()
    assert fit_trust(asked, {"kind": []}) == ({}, {})
    trust, readouts = fit_trust(asked, {"kind": asked.rows["kind"][:1]})
    assert trust["kind"].calibration is None
    # One row is below its own score half of the time.
    assert trust["kind"].conformal.levels == (0.5,)
    assert readouts["kind"] == Readout()


def test_a_threshold_that_is_carried_over_lets_the_same_members_in():
    generator = np.random.default_rng(1)
    old, new = Trust(Calibration(1.7, 0.4)), Trust(Calibration(0.6, -1.1))
    raw = generator.random(500)
    for before, after in ((Trust(), new), (old, new), (old, Trust()), (Trust(), Trust())):
        sees = [raw if one.calibration is None else one.calibration.of_member(raw) for one in (before, after)]
        for threshold in (0.05, 0.3, 0.8):
            moved = carried(Readout(threshold=threshold), before, after)
            chosen = [
                choose(chances, at, 0, 0)
                for chances, at in zip(sees, (threshold, moved.threshold), strict=True)
            ]
            assert (chosen[0] == chosen[1]).all()


# A bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle with random weights, and a table of held-out rows for three of its four tasks: classes and labels are what it
    says itself, so that it is surer than it knows."""
    place = tmp_path_factory.mktemp("calibrated")
    save(place / "old")
    predictor = ps.load(str(place / "old"), "cpu")
    generator = np.random.default_rng(0)
    chains = ["".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), 12)) for _ in range(50)]
    tables = dict.fromkeys(("where", "fold", "how_much"), "sequence,host,label,split\n")
    for name in tables:
        for chain, said in zip(chains, predictor.predict_many(chains, name, on_error="raise"), strict=True):
            label = f"{generator.uniform(0, 10):.1f}" if name == "how_much" else said.value
            tables[name] += f"{chain},,{label},validation\n"
    for name, text in tables.items():
        (place / f"{name}.csv").write_text(text)
    return place


def sources(folder, *names):
    splits = {"validation": ["validation"], "test": ["test"]}
    return [
        Source(name=f"{name}_rows", path=str(folder / f"{name}.csv"), task=name, splits=splits)
        for name in names
    ]


def test_a_trained_bundle_gets_calibrations_and_guarantees(folder):
    result = calibrate_bundle(
        str(folder / "old"), sources(folder, "where", "fold", "how_much"), folder / "new", device="cpu"
    )
    old, new = load_bundle(folder / "old"), load_bundle(folder / "new")
    assert old.trust == {}
    assert set(new.trust) == {"where", "fold", "how_much"}
    assert new.trust == {name: trust for name, trust in result.trust.items() if trust}
    assert new.readouts["sites"] == READOUTS["sites"]
    assert new.manifest["provenance"]["calibrated_on"]["where"] == ["where_rows"]
    for name, weights in old.model.state_dict().items():
        assert (weights == new.model.state_dict()[name]).all()
    assert set(result.before) == set(result.after) == {"where", "fold"}
    assert all(result.after[name].ece < result.before[name].ece for name in result.before)
    assert new.trust["fold"].calibration.slope > 1
    assert "fold" in result.to_text()
    assert result.rows == {"where": 50, "fold": 50, "how_much": 50}
    predictor = ps.load(str(folder / "new"), "cpu")
    found = predictor.predict("MKTAYISSYTAK", "where", coverage=0.9)
    assert found.calibrated
    assert set(found.guarantee.value) <= {"inside", "outside"}
    assert found.guarantee.rows == 50
    with pytest.raises(ConfigError, match="too few"):
        predictor.predict("MKTAYISSYTAK", "sites", coverage=0.9)


def test_kept_readouts_keep_answers(folder):
    kept = calibrate_bundle(
        str(folder / "old"), sources(folder, "how_much"), choose_readouts=False, device="cpu"
    )
    assert kept.folder is None
    assert kept.readouts["how_much"].statistic == "median"


def test_what_other_rows_said_before_stays(folder):
    calibrate_bundle(str(folder / "old"), sources(folder, "where"), folder / "one", device="cpu")
    both = calibrate_bundle(str(folder / "one"), sources(folder, "fold"), folder / "two", device="cpu")
    assert load_bundle(folder / "two").trust["where"] == load_bundle(folder / "one").trust["where"]
    assert both.trust["fold"]


def test_what_cannot_be_fitted_is_told(folder):
    with pytest.raises(TaskError, match="no usable row in split 'test'"):
        calibrate_bundle(str(folder / "old"), sources(folder, "where"), split="test", device="cpu")
    with pytest.raises(ConfigError, match="most must be"):
        calibrate_bundle(str(folder / "old"), sources(folder, "where"), most=0, device="cpu")
    with pytest.raises(ConfigError, match="name the old one"):
        calibrate_bundle(ps.load(str(folder / "old"), "cpu"), sources(folder, "where"), folder / "x")
    assert set(TASKS) == {"where", "how_much", "sites", "fold"}
