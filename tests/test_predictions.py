"""Predictions as people see them."""

import pandas
import pytest

from protscribe.errors import TaskError
from protscribe.predictions import PredictionSet, residues_of, short_text
from protscribe.records import Failure, Prediction, ProteinRecord
from tests.test_outputs import ANSWERS, FAILED, answer


def test_a_prediction_is_one_readable_line():
    by_task = {one.task: repr(one) for one in ANSWERS}
    assert by_task["melting"].endswith("melting: 41.25 °C (30.1 to 50), score 0.75>")
    assert "sites: 2;4, score 0.75" in by_task["sites"]
    assert "activities: <none>" in by_task["activities"]
    long = ProteinRecord("long", ("M" * 5000,))
    assert len(repr(answer("fold", "H" * 5000, long, chain=1))) < 150
    assert "(5000 residues)" in repr(answer("fold", "H" * 5000, long, chain=1))
    many = short_text(answer("sites", tuple(range(1, 5001)), long, chain=1))
    assert many.endswith("... (5000 in all)")
    assert all(part.isdigit() for part in many.partition("...")[0].strip(";").split(";"))
    assert "status='truncated'" in repr(answer("place", "inside", status="truncated"))


def test_html_escapes_what_it_shows():
    shown = answer("place", "<b>inside</b>", ProteinRecord("<script>", ("MKT",)))._repr_html_()
    assert "<script>" not in shown
    assert "&lt;b&gt;inside" in shown
    for one in ANSWERS:
        assert one._repr_html_().startswith("<table>")
    sites = next(one for one in ANSWERS if one.task == "sites")._repr_html_()
    assert "MSTYK" in sites
    assert ".*.*." in sites


def test_a_set_is_a_list_with_tables():
    found = PredictionSet(ANSWERS, FAILED, {"records": 4, "lower_case": 3})
    assert len(found) == len(ANSWERS)
    assert found[0] is ANSWERS[0]
    assert isinstance(found[:2], PredictionSet)
    assert list(found[:2]) == ANSWERS[:2]
    assert found.counts == {"records": 4, "lower_case": 3, "predictions": len(ANSWERS), "failures": 2}
    assert found.tasks[:2] == ("place", "activities")
    bind = found.of("bind")
    assert [one.task for one in bind] == ["bind"]
    assert bind.failures == tuple(FAILED)
    assert "13 predictions of 13 tasks, 2 failures" in repr(found)
    assert "(8 more)" in repr(found)
    assert found._repr_html_().count("<tr>") == len(ANSWERS) + 1


def test_the_frame_is_typed():
    frame = PredictionSet(ANSWERS).to_frame()
    assert list(frame.columns[:6]) == ["id", "task", "prediction", "score", "score_meaning", "status"]
    by_task = frame.set_index("task")
    assert by_task.loc["melting", "prediction"] == 41.25
    assert by_task.loc["sites", "prediction"] == (2, 4)
    assert by_task.loc["melting", ["lower", "upper", "unit"]].tolist() == [30.1, 50.0, "°C"]
    assert by_task.loc["place", "p_outside"] == 0.75
    assert pandas.isna(by_task.loc["fold", "p_outside"])
    assert "lower" not in PredictionSet(ANSWERS[:2]).to_frame().columns
    assert PredictionSet([]).to_frame().empty
    many = answer("place", "c1", probabilities={f"c{place}": 0.01 for place in range(100)})
    assert not [name for name in PredictionSet([many]).to_frame().columns if name.startswith("p_")]


def test_the_residue_frame_is_tidy():
    frame = PredictionSet(ANSWERS).residues_frame()
    assert list(frame.columns) == ["id", "task", "position", "residue", "label", "score"]
    fold = frame[frame.task == "fold"]
    assert "".join(fold.label) == "HHEEC"
    assert fold.score.tolist() == [0.9, 0.7, 0.6, 0.6, 0.5]
    assert fold.position.tolist() == [1, 2, 3, 4, 5]


def test_texts_of_longer_tokens_have_one_a_residue():
    two = answer("letters", "aa bc", ProteinRecord("a", ("MK",)), chain=1)
    assert [row.label for row in residues_of(two)] == ["aa", "bc"]
    one = answer("letters", "aa", ProteinRecord("a", ("M",)), chain=1)
    assert [row.label for row in residues_of(one)] == ["aa"]
    free = Prediction("a", "name", "sequence", "xy", 0.5, "", ProteinRecord("a", ("MK",)))
    assert residues_of(free) == []


def test_only_answers_about_residues_have_a_track():
    with pytest.raises(TaskError) as raised:
        ANSWERS[0].plot()
    assert raised.value.code == "task.no_track"


def test_a_set_writes_itself_with_its_failures(tmp_path):
    PredictionSet(ANSWERS, [Failure(5, "x", "seq.empty", "nothing")]).write(tmp_path / "a.tsv")
    assert len((tmp_path / "a.tsv").read_text().splitlines()) == len(ANSWERS) + 1
    assert "seq.empty" in (tmp_path / "a.tsv.rejected.csv").read_text()
