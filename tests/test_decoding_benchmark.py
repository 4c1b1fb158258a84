"""The decoding benchmark runs at a tiny size on every side; what it measures is not looked at here."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import decoding_report
from benchmarks.engine.__main__ import main
from benchmarks.engine.bench import Bench
from benchmarks.engine.figures import FIGURES, LIMITS, met
from benchmarks.engine.memory import cross_attention_bytes
from benchmarks.engine.tables import TABLES, add, markdown, table, write_tables
from benchmarks.engine.timing import Times, fastest, race
from benchmarks.engine.trained import parallel_against_sequential
from benchmarks.engine.workload import (
    STEPS,
    VOCABULARY,
    make_lengths,
    make_predictor,
    make_proteins,
    short_tasks,
)
from protscribe.nn.attention import CrossAttention

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SIZES = {
    "encoder": {"layers": 1, "width": 16, "heads": 2},
    "decoder": {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16},
}


@pytest.fixture(scope="module")
def predictor():
    return make_predictor(sizes=SIZES)


@pytest.fixture(scope="module")
def bench():
    pytest.importorskip("ctranslate2", reason="the peers come with the extra bench")
    return Bench(repeats=1, proteins=2, batch=3, length=12, short=4, sizes=SIZES)


def test_the_vocabulary_and_the_lengths_are_those_that_were_promised(predictor):
    assert len(predictor.bundle.lexicon.vocabulary) == VOCABULARY
    lengths = sorted(make_lengths(200))
    assert lengths[0] >= 40
    assert lengths[-1] <= 1022
    assert 270 < lengths[100] < 330


def test_a_short_answer_has_the_promised_tokens(predictor):
    record = make_proteins([20])[0]
    for name in short_tasks(dict(predictor.tasks), 10):
        prediction = predictor.predict(record, name, readout="greedy")
        codec = predictor.tasks[name].codec
        assert len(codec.encode(prediction.value, record).tokens) + 1 == STEPS


def test_every_figure_without_trained_weights_has_its_keys(bench):
    for name, (function, keys) in FIGURES.items():
        found = function(bench)
        if name == "greedy":
            assert found == {}
            continue
        assert set(keys) <= set(found)
        assert all(found[key] > 0 for key in keys)
        json.dumps(found)
    assert {key for _, keys in FIGURES.values() for key in keys} == set(LIMITS)


def test_parallel_and_sequential_answers_are_compared(predictor):
    found = parallel_against_sequential(predictor, repeats=1, batches=(1, 2), proteins=2)
    assert set(found) == {"work", "batch_1", "batch_2"}
    for size in (1, 2):
        told = found[f"batch_{size}"]
        assert told["ratio"] > 0
        assert 1 < told["parallel"]["passes"] <= told["sequential"]["passes"]


def test_the_peers_have_about_as_many_weights(bench):
    counts = Bench().parameters()
    assert len(set(counts)) == 4
    for name in ("transformers", "ctranslate2"):
        assert counts[name] == pytest.approx(counts["ours_full"], rel=0.1)


def test_a_copied_memory_is_seen(predictor, monkeypatch):
    record = make_proteins([200])
    name = short_tasks(dict(predictor.tasks), 1)
    once = cross_attention_bytes(predictor, record, name, beams=1)
    keys = record[0].lengths[0] * SIZES["decoder"]["width"] * 4
    assert once == 2 * keys * SIZES["decoder"]["layers"]
    plain = CrossAttention.forward
    monkeypatch.setattr(
        CrossAttention,
        "forward",
        lambda self, *given: plain(self, *given[:4], (given[4][0].clone(), given[4][1])),
    )
    assert cross_attention_bytes(predictor, record, name, beams=1) == once + keys


def test_sides_are_timed_in_turn():
    order = []
    times = race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b", "b", "a"]
    assert len(times["a"].seconds) == 2
    assert Times((3.0, 1.0, 2.0)).median == 2.0
    assert fastest({1: lambda: sum(range(300_000)), 2: lambda: None}) == 2


def test_a_figure_is_met_on_its_side_of_the_limit():
    assert met("grammar_share", 0.04)
    assert not met("grammar_share", 0.06)
    assert met("dense_vs_generate", 4.1)
    assert not met("dense_vs_generate", 3.9)


def test_tables_are_measured_written_and_plotted(bench, tmp_path):
    lines = []
    tables, page = tmp_path / "tables.json", tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    write_tables(bench, tables, ["batch"], True, lines.append)
    told = json.loads(tables.read_text())
    assert told["batch"]["x"] == [1, 8]
    assert set(told["batch"]["series"]) == {"ours_full", "ours_shared", "ctranslate2", "transformers"}
    decoding_report.main(["--tables", str(tables), "--pages", str(page)])
    picture = (tmp_path / "images" / "decoding_batch.svg").read_text()
    assert "proteins side by side" in picture
    assert "seconds a protein, one core" in picture
    value = told["batch"]["series"]["ctranslate2"][1]
    assert f"| {value:.3g} |" in page.read_text()


def test_the_page_has_a_place_for_everything_that_is_measured():
    pages = {PAGE: PAGE.read_text()}
    for name in TABLES:
        decoding_report.fill(pages, f"table {name}", ["a row"])
        assert f"<!-- table {name} -->\na row\n<!-- end -->" in pages[PAGE]
        assert f"images/decoding_{name}.svg" in pages[PAGE]
    with pytest.raises(KeyError):
        decoding_report.fill(pages, "nothing", ["a row"])


def test_the_command_prints_json_and_its_report_goes_into_the_page(bench, tmp_path, capsys):
    log, page = tmp_path / "decoding.log", tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    threads = torch.get_num_threads()
    try:
        result = main(["--only", "memory", "grammar_share", "dense", "short", "--log", str(log)], bench)
    finally:
        torch.set_num_threads(threads)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(json.dumps(result))
    decoding_report.main(["--log", str(log), "--pages", str(page)])
    written = page.read_text()
    assert "| ours, keys and values of every head and layer |" in written
    for key in ("cross_memory_ratio", "grammar_share", "dense_vs_generate", "dense_vs_ctranslate2"):
        assert f"| `{key}` |" in written
    assert f"**{result['dense_vs_ctranslate2']:.3g}**" in written
    shared = result["dense_detail"]["ratios_shared"]["ctranslate2"]
    assert f"| {shared:.3g} |" in written


def test_a_side_that_was_left_out_leaves_an_empty_cell():
    series = {}
    add(series, {"ours_full": 2.0, "ctranslate2": 4.0}, 2)
    add(series, {"ours_full": 3.0}, 1)
    assert series == {"ours_full": [1.0, 3.0], "ctranslate2": [2.0, None]}
    rows = markdown(table([10, 20], series, title="t", x_label="x"))
    assert rows[-2:] == ["| 10 | 1 | 2 |", "| 20 | 3 |  |"]


@pytest.mark.gpu
def test_every_figure_on_a_gpu(bench):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_gpu = Bench(device="cuda", repeats=1, proteins=2, batch=3, length=12, short=4, sizes=SIZES)
    for _, (function, keys) in FIGURES.items():
        found = function(on_gpu)
        assert not found or set(keys) <= set(found)
