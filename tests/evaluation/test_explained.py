"""Explanations as pictures and as files: tracks where they belong, positions from 1, a caption that promises nothing."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from protscribe.errors import ConfigError, InputError, TaskError
from protscribe.evaluation.explained import plot_explanation
from protscribe.evaluation.explaining import COLUMNS, KNOWN, KNOWN_COLUMNS, explain_file
from protscribe.evaluation.tracks import plot_track
from protscribe.explanation import Explanation
from protscribe.predictions import NONE
from protscribe.predictor import Predictor
from protscribe.records import Prediction, ProteinRecord
from tests.small import make_bundle
from tests.trust.test_neighbours import made as voters

SEQUENCE = "MKTSYAYSTKDEAL" * 6


def made(kind="residue_set", value=(4, 70), chains=(SEQUENCE,)):
    """Attention to one residue of each chain, and a loss where another one is hidden."""
    record = ProteinRecord("P12345", chains)
    attention = [np.full(len(chain), 0.1 / len(chain) / len(chains)) for chain in chains]
    changes = [np.zeros(len(chain)) for chain in chains]
    for number in range(len(chains)):
        attention[number][9] += 0.9 / len(chains)
        changes[number][69] = -0.5
    return Explanation(
        prediction=Prediction("P12345", "a_task", kind, value, 0.9, "m", record, chain=1 if kind == "residue_set" else None),
        subject="P(2 called residues)", change="change of the mean", probability=0.75, attention=tuple(attention),
        attention_elsewhere=0.0, attention_by_layer=np.array([np.concatenate(attention)] * 2), heads=4, decisions=3,
        occlusion=tuple(changes), window=5, step=2, hidden=42,
    )  # fmt: skip


def steps(figure):
    return [[patch for patch in axes.patches if isinstance(patch, StepPatch)] for axes in figure.axes]


def test_both_tracks_stand_at_their_residues():
    figure = plot_explanation(made(), truth=(4, 9), width=60)
    assert len(figure.axes) == 2
    (above, below), (_, further) = steps(figure)
    assert above.get_data().edges[0] == 0.5
    assert int(np.argmax(above.get_data().values)) + 1 == 10
    assert np.allclose(below.get_data().values, 0)
    # Residue 70 is the tenth of the second row.
    assert further.get_data().edges[0] == 60.5
    assert int(np.argmin(further.get_data().values)) + 61 == 70
    assert further.get_data().values.min() == -1
    marks = [
        tuple(line.get_xdata())
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() in ("^", "v")
    ]
    assert marks == [(4,), (4, 9), (70,), ()]


def test_ticks_say_how_large_the_tracks_are():
    figure = plot_explanation(made(), width=84)
    (axes,) = figure.axes
    said = [tick.get_text() for tick in axes.get_yticklabels()]
    # The largest share, 0.9 and an even part of 0.1, is so many times an even share of 84 residues.
    assert said == ["-0.5", "0", "0", f"{84 * (0.9 + 0.1 / 84):.2g}x"]


def test_the_caption_is_honest():
    text = " ".join(plot_explanation(made()).get_supxlabel().split())
    for words in (
        "Attention is not an explanation",
        "mean over 2 layers, 4 heads and the 3 decisions",
        "it is not biology",
        "5 residues",
    ):
        assert words in text
    assert not plot_explanation(made(), captioned=False).get_supxlabel()


def test_a_class_marks_no_residue_and_a_second_chain_has_its_own_track():
    explained = made("category", "yes", (SEQUENCE, SEQUENCE[:70]))
    figure = plot_explanation(explained, chain=2, width=84)
    assert "chain 2" in figure.get_suptitle()
    assert not [line for axes in figure.axes for line in axes.lines if line.get_marker() in ("^", "v")]
    assert len(steps(figure)[0][0].get_data().values) == 70


def test_a_name_is_no_formula(tmp_path):
    explained = made()
    named = replace(explained, prediction=replace(explained.prediction, id="$x_{$"))
    plot_explanation(named).savefig(tmp_path / "explained.png")
    plot_track(named.prediction).savefig(tmp_path / "track.png")
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())


def test_nothing_at_all_can_be_drawn():
    explained = made()
    still = replace(explained, occlusion=(np.zeros(len(SEQUENCE)),))
    assert len(plot_explanation(still).axes) == 2


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu")


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "in.fasta"
    path.write_text(">one\nMSTYKK\n>two\nMK4\n>three\nMDEFGHISTLAA\n")
    return path


def test_a_file_is_looked_into(predictor, fasta, tmp_path):
    result = explain_file(
        predictor, str(fasta), str(tmp_path / "out"), ["sites", "place"], window=3, progress=False
    )
    assert (result.explained, result.records) == (4, 3)
    assert [failure.id for failure in result.failures] == ["two"]
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["id"], row["task"], row["position"]) for row in rows[5:7]] == [
        ("one", "sites", "6"),
        ("one", "place", "1"),
    ]
    assert len(rows) == 2 * (6 + 12)
    sites = predictor.explain("MSTYKK", "sites", window=3)
    for row, (chain, position, residue, attention, occlusion) in zip(rows[:6], sites.rows(), strict=True):
        assert (row["chain"], row["position"], row["residue"]) == (str(chain), str(position), residue)
        assert float(row["attention"]) == pytest.approx(attention, rel=1e-3, abs=1e-6)
        assert float(row["occlusion"]) == pytest.approx(occlusion, rel=1e-2, abs=1e-5)
        assert row["called"] == str(int(position in sites.prediction.value))
    assert {row["called"] for row in rows if row["task"] == "place"} == {""}
    assert [path.name for path in result.pictures] == [
        "00001.sites.png", "00001.place.png", "00003.sites.png", "00003.place.png",
    ]  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in result.pictures)


def test_pictures_can_be_left_out(predictor, fasta, tmp_path):
    result = explain_file(
        predictor, str(fasta), str(tmp_path / "out"), "place", pictures=False, progress=False
    )
    assert result.pictures == ()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["explanations.csv"]


def test_known_proteins_stand_beside_what_they_vote_on(predictor, fasta, tmp_path):
    tasks = ["sites", "place", "activities"]
    near = {name: replace(voters(name), names=tuple(f"P{row}" for row in range(20))) for name in tasks}
    voting = Predictor(replace(predictor.bundle, neighbours=near), "cpu")
    result = explain_file(
        voting,
        str(fasta),
        str(tmp_path / "out"),
        tasks,
        window=3,
        pictures=False,
        progress=False,
    )
    assert result.known == tmp_path / "out" / KNOWN
    with result.known.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == KNOWN_COLUMNS
    whole = [row for row in rows if (row["id"], row["task"]) == ("one", "place")]
    assert [(row["position"], row["rank"]) for row in whole] == [("", str(rank)) for rank in range(1, 6)]
    found = voting.nearest("MSTYKK", "place")
    assert [(row["known"], row["known_answer"]) for row in whole] == [(one.name, one.answer) for one in found]
    assert [float(row["cosine"]) for row in whole] == pytest.approx([one.cosine for one in found], abs=1e-4)
    # Of sites, on each residue that was followed.
    sites = voting.explain("MSTYKK", "sites", window=3)
    followed = list(sites.prediction.value) or [int(np.argmax(sites.prediction.probabilities)) + 1]
    residues = [row for row in rows if (row["id"], row["task"]) == ("one", "sites")]
    assert [row["position"] for row in residues] == [str(place) for place in followed for _ in range(5)]
    assert {row["known_answer"] for row in residues} <= {"site", "no site"}
    # Empty sets are written as predictions are.
    sets = [row["known_answer"] for row in rows if (row["id"], row["task"]) == ("one", "activities")]
    assert sets == [";".join(one.answer) or NONE for one in voting.nearest("MSTYKK", "activities")]
    # On a residue that may not be answered with, none votes.
    assert voting.explain("MSTYKK", "sites", about=1, window=3).known == ()


def test_refusals_come_before_any_file(predictor, fasta, tmp_path):
    folder = str(tmp_path / "out")
    with pytest.raises(TaskError, match="classes and sites"):
        explain_file(predictor, str(fasta), folder, ["place", "melting"], progress=False)
    with pytest.raises(ConfigError, match="window"):
        explain_file(predictor, str(fasta), folder, "place", window=0, progress=False)
    with pytest.raises(TaskError) as unknown:
        explain_file(predictor, str(fasta), folder, "plaice", progress=False)
    assert unknown.value.code == "task.unknown"
    with pytest.raises(InputError, match="no such file"):
        explain_file(predictor, str(tmp_path / "no.fasta"), folder, "place", progress=False)
    assert not (tmp_path / "out").exists()
