"""Choosing whose neighbours vote: they are kept where held-out rows are answered better with them, and only there."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protscribe.checkpoint import load_bundle, save_bundle
from protscribe.codecs.protocol import First, Readout
from protscribe.data.examples import Example
from protscribe.data.source import Source
from protscribe.errors import ConfigError, TaskError
from protscribe.evaluation.confidence.neighbours import (
    SHARES,
    _candidates,
    _loss,
    add_neighbours,
    fit_neighbours,
)
from protscribe.generation.answering import Answered
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from tests.small import TASKS, make_bundle

FAMILIES = {"inside": "AVILMG", "outside": "DEKRNQ", "membrane": "FWYCHP"}
PATHS = {"inside": "1.1.1", "outside": "1.1.2", "membrane": "2.1.1"}


def proteins(count, seed):
    draw = np.random.default_rng(seed)
    for place in range(count):
        family = list(FAMILIES)[place % 3]
        chain = "".join(draw.choice(list(FAMILIES[family]), draw.integers(20, 40)))
        yield ProteinRecord(str(place), (chain,), ordinal=place), family


def examples(count, seed, name="place"):
    told = {"place": lambda family: family, "enzyme": lambda family: (PATHS[family],)}[name]
    return [Example(record, told(family)) for record, family in proteins(count, seed)]


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu")


@pytest.mark.parametrize("name", ["place", "enzyme"])
def test_families_that_a_decoder_has_not_learnt_are_told_by_their_neighbours(predictor, name):
    task = TASKS[name]
    fit = fit_neighbours(predictor, task, examples(45, 1, name), examples(30, 2, name))
    assert fit.neighbours is not None
    assert fit.neighbours.share == SHARES[-1]
    assert fit.after < fit.before / 2
    assert (fit.known, fit.held_out, fit.neighbours.held_out) == (45, 30, 30)
    voting = Predictor(replace(predictor.bundle, neighbours={name: fit.neighbours}), "cpu")
    asked = examples(30, 3, name)
    found = [voting.predict(example.record.sequence, name).value for example in asked]
    assert np.mean([one == example.answer for one, example in zip(found, asked, strict=True)]) > 0.9


def test_the_loss_is_that_of_the_predictor_that_votes(predictor):
    task, held = TASKS["place"], examples(12, 2)
    fit = fit_neighbours(predictor, task, examples(15, 1), held)
    voting = Predictor(replace(predictor.bundle, neighbours={"place": fit.neighbours}), "cpu")
    chances = [voting.predict(one.record.sequence, "place").probabilities[one.answer] for one in held]
    assert fit.after == pytest.approx(-np.log(chances).mean(), rel=1e-3)


def test_members_that_are_not_there_count_too():
    chances, truth = np.array([[0.9, 0.5]]), np.array([[1.0, 0.0]])
    assert _loss(chances, truth, one_class=True) == pytest.approx(-np.log(0.9))
    assert _loss(chances, truth, one_class=False) == pytest.approx(-np.log(0.9) - np.log(0.5))


class Knowing(Predictor):
    """Is always right."""

    def evidence(self, records, task, way="risk", **how):
        told = {record.id: family for record, family in proteins(len(records), 2)}
        labels = TASKS[task].codec.labels
        return [
            Answered(First(np.array([float(label == told[record.id]) for label in labels])), 0.0)
            for record in records
        ]


def test_a_decoder_that_knows_better_hears_nobody(predictor):
    fit = fit_neighbours(Knowing(predictor.bundle, "cpu"), TASKS["place"], examples(15, 1), examples(12, 2))
    assert fit.neighbours is None
    assert fit.before == fit.after == 0


# Bundles ----------------------------------------------------------------------------------------------------------------------


def table(path: Path, name: str, parts: dict[str, int]) -> Source:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sequence", "label", "split"])
        for seed, (split, count) in enumerate(parts.items(), start=1):
            for record, family in proteins(count, seed):
                label = family if name == "place" else PATHS[family]
                rows.writerow([record.sequence, label, split])
    return Source.from_plain(
        {
            "name": name,
            "path": str(path),
            "task": name,
            "splits": {"train": "train", "validation": "validation"},
        }
    )


@pytest.fixture
def bundle(tmp_path, predictor):
    kept = {name: getattr(predictor.bundle, name) for name in ("model", "lexicon", "tasks", "readouts")}
    return save_bundle(tmp_path / "old", **kept)


def test_a_new_bundle_votes_and_is_calibrated_on_votes(tmp_path, bundle):
    sources = [
        table(tmp_path / f"{name}.csv", name, {"train": 30, "validation": 24}) for name in ("place", "enzyme")
    ]
    result = add_neighbours(str(bundle), sources, tmp_path / "new", device="cpu")
    loaded, old = load_bundle(tmp_path / "new"), load_bundle(bundle)
    assert set(loaded.neighbours) == {"place", "enzyme"}
    assert loaded.trust["place"].calibration is not None
    assert loaded.readouts["melting"] == old.readouts["melting"] == Readout(threshold=0.4)
    assert loaded.manifest["provenance"]["neighbours_of"] == {"place": ["place"], "enzyme": ["enzyme"]}
    assert "24 held-out" in result.to_text()
    # Once more: from a bundle that has some, for one of its tasks, of fewer proteins.
    again = add_neighbours(
        str(tmp_path / "new"), sources[:1], tmp_path / "newer", device="cpu", most_known=10, most=12
    )
    newer = load_bundle(tmp_path / "newer")
    assert newer.neighbours["place"].known == 10
    assert newer.neighbours["enzyme"].known == 30
    assert again.fitted["place"].before == pytest.approx(result.fitted["place"].before, rel=0.5)
    # Rows of a table without ids are called by their number, and a protein is nearest to itself.
    names, chains = loaded.neighbours["place"].names, [record.sequence for record, _ in proteins(30, 1)]
    assert len(set(names)) == 30
    near = Predictor(loaded, "cpu").nearest(chains[7], "place", 1)
    assert (near[0].name, near[0].answer) == (names[7], list(FAMILIES)[7 % 3])
    assert near[0].cosine == pytest.approx(1, abs=1e-2)


def test_ids_can_be_left_out(tmp_path, bundle):
    source = table(tmp_path / "rows.csv", "place", {"train": 30, "validation": 24})
    add_neighbours(str(bundle), [source], tmp_path / "new", device="cpu", names=False)
    assert load_bundle(tmp_path / "new").neighbours["place"].names == ()


def test_residues_are_called_by_letter_and_position(predictor):
    held = [
        Example(record, tuple(place + 1 for place, letter in enumerate(record.sequence) if letter == "S")[:2])
        for record in (ProteinRecord(f"held\t{n}", ("MSTYKS" * 3,), ordinal=n) for n in range(6))
    ]
    (near, *_) = _candidates(predictor, TASKS["sites"], held[:2])
    assert near.names[:5] == ("held 0 S2", "held 0 T3", "held 0 Y4", "held 0 S6", "held 0 S8")
    assert [near.members_of(number) for number in range(4)] == [[0], [], [], [0]]


def test_what_cannot_vote_is_told(tmp_path, bundle):
    source = table(tmp_path / "rows.csv", "place", {"train": 9, "validation": 9})
    with pytest.raises(TaskError, match="not on number") as caught:
        add_neighbours(str(bundle), [replace(source, task="melting")], device="cpu")
    assert caught.value.code == "task.neighbours"
    with pytest.raises(TaskError, match="pairs or molecules"):
        add_neighbours(str(bundle), [replace(source, task="bind")], device="cpu")
    with pytest.raises(ConfigError, match="vote on itself"):
        add_neighbours(str(bundle), [source], device="cpu", known="validation")
    few = table(tmp_path / "held.csv", "enzyme", {"validation": 9})
    with pytest.raises(TaskError, match="'enzyme' has no usable row in split 'train'"):
        add_neighbours(str(bundle), [source, few], device="cpu")
    with pytest.raises(ConfigError, match="at least 2"):
        add_neighbours(str(bundle), [source], device="cpu", most=1)
    with pytest.raises(TaskError, match="no usable row in split 'validation'"):
        add_neighbours(str(bundle), [table(tmp_path / "few.csv", "place", {"train": 9})], device="cpu")
