"""A cascade of two models: who answers what, in which order, and what is refused."""

import pytest

from protscribe.cascade import Cascade
from protscribe.errors import ConfigError
from protscribe.predictor import Predictor
from tests.small import TASKS, make_bundle

CHAINS = ["MKTAYISSYTAK", "MSTACDEFGHIKLMNPQ", "GGSTYYSTPLKE", "PLKMNACDW", "STYSTYSTYACD"]
ASKED = {name: TASKS[name] for name in ("place", "fold", "melting")}


def same(value):
    """A number depends on its batch in its last digits."""
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


@pytest.fixture(scope="module")
def models():
    return Predictor(make_bundle(ASKED), "cpu"), Predictor(make_bundle(ASKED, seed=1, width=48), "cpu")


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, {"place": 1.0, "melting": 0.3}])
def test_the_unsure_ones_are_answered_by_the_larger_model(models, threshold):
    small, large = models
    cascade = Cascade(small, large, threshold)
    first, second = (model.predict_many(CHAINS) for model in models)
    found = cascade.predict_many(CHAINS)
    assert [(one.id, one.task) for one in found] == [(one.id, one.task) for one in first]
    for got, ours, theirs in zip(found, first, second, strict=True):
        given = threshold.get(got.task, 0.0) if isinstance(threshold, dict) else threshold
        escalated = ours.score < given
        expected = theirs if escalated else ours
        assert (same(got.value), got.score) == (expected.value, pytest.approx(expected.score, abs=1e-4))
        assert got.status == ("escalated" if escalated else "ok")
        alone = cascade.predict(CHAINS[int(got.id) - 1], got.task)
        assert (alone.value, alone.status) == (same(got.value), got.status)


def test_what_cannot_be_read_is_a_failure_once(models):
    found = Cascade(*models, 1.0).predict_many(["MKT", "", "M1"], "place")
    assert [one.id for one in found] == ["1"]
    assert len(found.failures) == 2
    assert found.counts["failures"] == 2


def test_only_tasks_of_both_are_answered(models):
    small, large = models
    other = Predictor(make_bundle({"place": TASKS["place"], "sites": TASKS["sites"]}), "cpu")
    cascade = Cascade(other, large, 0.5)
    assert set(cascade.tasks) == {"place"}
    assert cascade.predict(CHAINS[0], "place").task == "place"
    for call in (
        lambda: cascade.predict(CHAINS[0], "sites"),
        lambda: cascade.predict_many(CHAINS, "sites"),
        lambda: cascade.predict_many(CHAINS),
        lambda: Cascade(small, large, 1.5),
        lambda: Cascade(small, large, {"sites": 0.5}),
        lambda: Cascade(small, Predictor(make_bundle({"sites": TASKS["sites"]}), "cpu"), 0.5),
    ):
        with pytest.raises(ConfigError):
            call()


def test_the_keywords_of_a_predictor_are_passed_on(models):
    found = Cascade(*models, 0.0).predict_many(CHAINS, "place", abstain_below=1.0)
    assert all(one.abstained for one in found)
