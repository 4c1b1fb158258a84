"""Before and after, on the same proteins: what is compared, what is told where nothing can be compared."""

import csv
import json
import random
from pathlib import Path

import pytest

from protscribe.codecs.protocol import Readout
from protscribe.data.source import Source
from protscribe.errors import TaskError
from protscribe.evaluation.change import held_out, measure_changes
from protscribe.predictor import Predictor
from tests.small import make_bundle, task

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
TASKS = {
    one.name: one
    for one in (
        task("place", kind="category", labels=["inside", "outside", "membrane"]),
        task("melting", kind="number", low=0, high=90.5, step=0.1),
        task("sites", kind="residue_set", candidates="STY"),
    )
}
SPLITS = {"train": ("train",), "validation": ("validation",), "test": ("test",)}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, list[Source]]:
    draw = random.Random(0)
    found = {}
    for name in TASKS:
        rows = [["id", "sequence", "label", "split"]]
        for row in range(24):
            chain = "".join(draw.choices(LETTERS, k=12))
            label = {"place": draw.choice(["inside", "outside"]), "melting": f"{draw.uniform(0, 90):.1f}"}
            places = [str(place) for place, letter in enumerate(chain, 1) if letter in "STY"]
            rows.append(
                [
                    f"r{row}",
                    chain,
                    label.get(name, ";".join(places)),
                    ("test", "train", "validation")[row % 3],
                ]
            )
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        found[name] = [Source(name=name, path=f"{name}.csv", task=name, splits=SPLITS)]
    return found


def measured(tmp_path: Path, sources, before=None, after=None, **options):
    old = Predictor(before or make_bundle(TASKS), "cpu")
    new = Predictor(after or make_bundle(TASKS, seed=1), "cpu")
    return measure_changes(old, new, sources, resamples=30, root=tmp_path, **options)


def test_one_model_compared_with_itself_has_not_changed(tmp_path, sources):
    changes = measured(tmp_path, sources, make_bundle(TASKS), make_bundle(TASKS))
    assert [one.task for one in changes.tasks] == list(TASKS)
    for one in changes.tasks:
        assert (one.count, one.split, one.changed) == (8, "test", 0)
        assert one.before == one.after
        assert (one.gain.value, one.gain.lower, one.gain.upper) == (0, 0, 0)


def test_the_figures_are_those_of_an_evaluation(tmp_path, sources):
    from protscribe.evaluation.metrics import evaluate_task

    before, after = make_bundle(TASKS), make_bundle(TASKS, seed=1)
    changes = measured(tmp_path, sources, before, after)
    for name, one in TASKS.items():
        _, examples = held_out(one, sources[name], tmp_path)
        records, truths = [e.record for e in examples], [e.answer for e in examples]
        values = [
            evaluate_task(one, truths, list(Predictor(bundle, "cpu").predict_many(records, name)), records)
            for bundle in (before, after)
        ]
        change = changes[name]
        found = [scores[change.metric] for scores in values]
        assert [change.before.value, change.after.value] == pytest.approx(found)
        assert change.gain.value == pytest.approx(found[1] - found[0])
        assert change.changed


def test_where_lower_is_better_a_lower_value_is_a_gain(tmp_path, sources):
    lower = {**TASKS, "melting": task("melting", kind="number", low=0, high=90.5, step=0.1)}
    object.__setattr__(lower["melting"], "metrics", ("rmse",))
    change = measured(tmp_path, sources, make_bundle(lower), make_bundle(lower, seed=1))["melting"]
    assert change.metric == "rmse"
    assert change.gain.value == pytest.approx(change.before.value - change.after.value)


def test_another_readout_is_a_change_too(tmp_path, sources):
    strict = make_bundle(TASKS, seed=0, readouts={"sites": Readout(threshold=0.99)})
    changes = measured(tmp_path, sources, make_bundle(TASKS, seed=0), strict)
    assert changes["sites"].changed
    assert not changes["place"].changed


def test_a_new_task_has_no_before(tmp_path, sources):
    old = make_bundle({name: TASKS[name] for name in ("place", "sites")})
    one = measured(tmp_path, sources, old)["melting"]
    assert one.before is one.gain is one.changed is None


def test_rows_are_test_rows_then_validation_rows_drawn_with_a_seed(tmp_path, sources):
    without = Source(name="v", path="place.csv", task="place", splits={"validation": ("validation",)})
    assert held_out(TASKS["place"], [without], tmp_path)[0] == "validation"
    alone = Source(name="t", path="place.csv", task="place", splits={"train": ("train",)})
    with pytest.raises(TaskError, match="neither test nor validation rows in t"):
        held_out(TASKS["place"], [alone], tmp_path)
    assert measured(tmp_path, sources, rows=5)["place"].count == 5
    assert measured(tmp_path, sources, rows=0)["place"].count == 8


def test_what_could_not_be_measured_is_told_in_every_form(tmp_path, sources):
    (tmp_path / "melting.csv").unlink()
    told = measured(
        tmp_path, {"melting": sources["melting"], "place": sources["place"]}, lost={"sites": "nobody knows"}
    )
    assert [one.task for one in told.tasks] == ["place"]
    assert "melting.csv" in told.not_measured["melting"]
    assert told.not_measured["sites"] == "nobody knows"
    assert measured(tmp_path, {}).not_measured["place"] == "no source of its rows is known"
    told.write(tmp_path / "run")
    plain = json.loads((tmp_path / "run" / "growth.json").read_text())
    assert plain["not_measured"] == told.not_measured
    assert plain["tasks"]["place"]["proteins"] == 8
    for text in ((tmp_path / "run" / "growth.md").read_text(), told.to_text()):
        assert "place" in text
        assert "nobody knows" in text
        assert "30 resamples" in text
