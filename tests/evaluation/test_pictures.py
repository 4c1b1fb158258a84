"""Tracks and the report: drawn for every kind, not blank, with the things a reader looks for in them."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.patches import Rectangle, StepPatch

from protscribe.codecs.segments import Segment
from protscribe.data.examples import Example
from protscribe.errors import TaskError
from protscribe.evaluation.metrics import collect, evaluate_task, metrics_of, resample
from protscribe.evaluation.report.picture import draw_report, plot_report
from protscribe.evaluation.result import EvaluationResult, MethodResult, TaskResult
from protscribe.evaluation.tracks import plot_track
from protscribe.records import Prediction, ProteinRecord
from tests.evaluation.toys import TASKS, examples, task

SEQUENCE = "MKTSYAYSTKDEAL" * 6


def say(kind, value, sequence=SEQUENCE, **keys):
    record = ProteinRecord("P12345", (sequence,))
    return Prediction("P12345", "a_task", kind, value, 0.9, "certain", record, chain=1, **keys)


def texts_of(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [
        tick.get_text() for axes in figure.axes for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return found


def is_blank(path):
    pixels = matplotlib.image.imread(path)
    return float(pixels[..., :3].std()) < 0.02


def test_track_of_sites_names_them():
    chances = np.full(len(SEQUENCE), 0.1)
    chances[[3, 69]] = 0.8
    figure = plot_track(say("residue_set", (4, 70), probabilities=chances), truth=(4, 8))
    assert {"S4", "L70", "predicted", "true"} <= set(texts_of(figure))
    bars = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars] == [
        pytest.approx(where) for where in ((4, 0.8), (70, 0.8))
    ]
    steps = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, StepPatch)]
    assert np.concatenate([patch.get_data().values for patch in steps]) == pytest.approx(chances)
    # Residue 1 is drawn around 1, the first residue of the second row around 61.
    assert [patch.get_data().edges[0] for patch in steps] == [0.5, 60.5]


def test_track_wraps_and_counts_from_one():
    figure = plot_track(say("residue_set", ()), width=50)
    assert len(figure.axes) == 2
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes]
    assert ticks[0][0] == "1"
    assert ticks[1][0] == "51"
    letters = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "".join(letters) == SEQUENCE


def test_track_of_a_long_protein_has_bounded_size():
    figure = plot_track(say("residue_set", (1,), "M" * 5000))
    assert len(figure.axes) <= 24


@pytest.mark.parametrize(
    ("kind", "value", "probabilities", "truth"),
    [
        ("residue_labels", "HEC" * 28, tuple({"H": 0.5, "E": 0.3, "C": 0.2} for _ in SEQUENCE), "HE-" * 28),
        ("residue_labels", "01" * 42, tuple({"0": 0.5, "1": 0.5} for _ in SEQUENCE), None),
        ("residue_labels", "01" * 42, None, None),
        (
            "segments",
            (Segment("signal", 1, 20), Segment("mature", 21, 84)),
            None,
            (Segment("mature", 1, 84),),
        ),
        ("sequence", "acdv" * 21, np.full(84, 0.5), None),
        ("residue_set", (3,), None, None),
        ("residue_set", (), np.zeros(84), ()),
    ],
    ids=["three labels", "two labels", "no probabilities", "segments", "sequence", "bare sites", "no site"],
)
def test_track_is_drawn(kind, value, probabilities, truth, tmp_path):
    figure = plot_track(say(kind, value, probabilities=probabilities), truth=truth)
    figure.savefig(tmp_path / "track.png", dpi=50)
    assert not is_blank(tmp_path / "track.png")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_no_track_for_an_answer_about_the_whole_protein():
    with pytest.raises(TaskError) as caught:
        plot_track(say("category", "yes"))
    assert caught.value.code == "task.no_track"


def result_of(entry, count, truths=None, right=0.8, **keys):
    """A task's result in which a share of our answers is right, and the baselines are half as good."""
    rows = examples(entry.name, count) if entry.name in TASKS else keys.pop("rows")
    answers = [row.answer for row in rows]
    records = [row.record for row in rows]
    generator = np.random.default_rng(1)

    def predict(share):
        swapped = [answers[place] for place in generator.permutation(count)]
        kept = generator.random(count) < share
        return [
            Prediction(
                record.id, entry.name, entry.codec.kind, own if keep else other, 1.0, "m", record, **keys
            )
            for record, own, other, keep in zip(records, answers, swapped, kept, strict=True)
        ]

    found = {
        "protscribe": predict(right),
        "greedy": predict(right - 0.1),
        "majority": predict(0.2),
        "head": predict(0.5),
    }
    sampled = {
        name: resample(metrics_of(entry)[0], collect(entry, answers, said, records), resamples=40)
        for name, said in found.items()
    }
    return TaskResult(
        task=entry,
        sources=("toy",),
        metrics=metrics_of(entry),
        methods={
            name: MethodResult(evaluate_task(entry, answers, said, records), sampled[name].interval())
            for name, said in found.items()
        },
        gains={
            name: sampled["protscribe"].above(sampled[name]).interval()
            for name in found
            if name != "protscribe"
        },
        count=count,
        training=4 * count,
        rejected=(),
        shared=0,
        examples=tuple(rows),
        predictions=tuple(found["protscribe"]),
    )


@pytest.fixture(scope="module")
def result():
    sites = task("by_letter", kind="residue_set", candidates="STY")
    rows = [
        Example(row.record, answer)
        for row, answer in zip(
            examples("tyrosines", 20), [row.answer for row in examples("tyrosines", 20)], strict=True
        )
    ]
    tasks = (
        result_of(TASKS["rich_in_k"], 40),
        result_of(TASKS["share_of_k"], 40, lower=0.0, upper=0.5, interval_level=0.9, unit="share"),
        # Sites must lie inside each protein: only right answers can be given.
        result_of(sites, 20, right=1.1, rows=rows),
    )
    return EvaluationResult(tasks, {"level": 0.95, "resamples": 40})


def test_report_is_written_and_not_blank(result, tmp_path):
    plot_report(result, tmp_path / "report.png")
    assert not is_blank(tmp_path / "report.png")
    assert [path.name for path in tmp_path.iterdir()] == ["report.png"]


def test_report_shows_every_task_method_and_number(result):
    figure = draw_report(result)
    bands, scatter, _, track = figure.axes
    names = [tick.get_text() for tick in bands.get_yticklabels()]
    assert names[0].startswith("rich_in_k of a toy\n")
    assert "n = 40" in names[0]
    assert len(names) == 3
    legend = [text.get_text() for text in bands.get_legend().get_texts()]
    assert legend == ["Protscribe", "greedy string", "majority", "linear head"]
    intervals = [tuple(line.get_xdata()) for line in bands.lines]
    for task_result in result.tasks:
        shown = [line.get_xdata()[0] for line in bands.lines if len(line.get_xdata()) == 1]
        for method in task_result.methods.values():
            assert method.main.value in shown
            assert (method.main.lower, method.main.upper) in intervals
    assert "(share)" in scatter.get_xlabel()
    assert scatter.collections[0].get_offsets().shape == (40, 2)
    assert "by_letter of a toy" in track.get_title(loc="left")


def test_report_of_errors_in_their_unit():
    entry = TASKS["by_host"]
    figure = draw_report(EvaluationResult((result_of(entry, 30),), {"level": 0.95, "resamples": 40}))
    _, bands = figure.axes
    assert "lower is better" in bands.get_xlabel()


@pytest.mark.parametrize("name", ["rich_in_k", "letters", "verdict"])
def test_report_of_one_task(name, tmp_path):
    plot_report(
        EvaluationResult((result_of(TASKS[name], 12),), {"level": 0.9, "resamples": 40}), tmp_path / "r.png"
    )
    assert not is_blank(tmp_path / "r.png")
