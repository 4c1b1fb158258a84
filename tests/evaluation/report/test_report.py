"""A whole report from what an evaluation wrote: every kind of answer, every section where its data are, and nothing made up."""

import json
from dataclasses import replace

import pytest

from protscribe.errors import InputError
from protscribe.evaluation.report import PAGE, TEXT, write_report
from protscribe.evaluation.report.content import describe
from protscribe.evaluation.report.document import Drawing, Fold, Heading, Paragraph, Side, Table
from protscribe.evaluation.report.findings import read_findings
from protscribe.evaluation.report.summary import best_baseline, standing, verdict, warnings
from protscribe.evaluation.report.tasks import task_section
from protscribe.trust import Conformal, Trust
from tests.evaluation.report.folders import MODEL, made_result, write_folder
from tests.evaluation.report.test_page import check_page
from tests.evaluation.toys import TASKS


@pytest.fixture(scope="module")
def results():
    return {name: made_result(name, missing=2 if name == "k_sites" else 0) for name in TASKS}


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("report"), list(results.values()))


@pytest.fixture(scope="module")
def findings(folder):
    return read_findings(folder)


def of(findings, name):
    return next(found for found in findings.tasks if found.name == name)


def flat(blocks):
    for block in blocks:
        yield block
        yield from flat(block.blocks) if isinstance(block, Fold) else ()
        yield from block.drawings if isinstance(block, Side) else ()


def section(findings, name):
    return list(flat(task_section(of(findings, name), findings)))


def captions(blocks):
    return " | ".join(block.caption for block in blocks if isinstance(block, (Table, Drawing)))


def test_a_report_of_every_kind_is_a_good_page(folder):
    page, text = write_report(folder)
    assert (page.name, text.name) == (PAGE, TEXT)
    reader = check_page(page.read_text())
    shown = "".join(data for tag, data in reader.texts if tag not in ("script", "style"))
    for name, task in TASKS.items():
        assert f"{task.title} ({name})" in shown
    for word in ("Data", "Optimisation", "Model", "Evaluation", "Limits"):
        assert any(tag == "h2" and data == word for tag, data in reader.texts)
    assert "1,801 (encoder 1,234, decoder 567)" in shown
    assert "How good is toy?" in text.read_text()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_what_was_read_is_what_was_found(findings, results):
    for name, result in results.items():
        found = of(findings, name)
        assert found.task == result.task
        assert found.count == len(found.cases) == result.count
        assert found.methods == ["protscribe", "majority"]
        assert found.value("protscribe")[:3] == pytest.approx(
            result.methods["protscribe"].main[:3], nan_ok=True
        )
        assert found.title_of(found.metric) == result.title_of(found.metric)


@pytest.mark.parametrize("name", TASKS)
def test_sections_are_those_of_the_kind_of_answer(findings, name):
    kind = TASKS[name].codec.kind
    blocks = section(findings, name)
    said = captions(blocks)
    assert ("Confusion" in said) == (kind in ("category", "residue_labels", "segments"))
    assert ("Measured and predicted" in said) == (kind == "number")
    assert ("An example of median quality" in said) == (kind in ("residue_set", "residue_labels", "segments"))
    assert ("What abstaining buys" in said) == (
        kind in ("category", "category_set", "category_path", "sequence")
    )
    reliable = kind in ("category", "category_set", "category_path", "residue_labels", "residue_set")
    assert ("Reliability of the model's own probabilities" in said) == reliable
    assert any(
        isinstance(block, Heading) and block.text == "Where it is better and worse" for block in blocks
    )
    assert "a remark about bands" in " ".join(block.text for block in blocks if isinstance(block, Paragraph))


def test_missing_answers_are_told(findings):
    said = captions(section(findings, "k_sites"))
    assert "Proteins without an answer, which count as wrong: 2 of 2" in said
    assert any("2 of 30 proteins got no answer" in warning for warning in warnings(findings))
    blocks = section(findings, "k_sites")
    assert "2 got no answer and count as wrong" in next(b.text for b in blocks if isinstance(b, Paragraph))


def test_guarantees_appear_with_their_thresholds(results, tmp_path):
    held = Conformal(50, (0.8, 0.9), (0.0, 1.0))
    trust = {name: Trust(conformal=held).to_plain() for name in ("rich_in_k", "charged")}
    names = ["rich_in_k", "charged", "letters"]
    folder = write_folder(tmp_path, [results[name] for name in names], model={**MODEL, "trust": trust})
    findings = read_findings(folder)
    for name in names:
        tables = [
            b for b in section(findings, name) if isinstance(b, Table) and "Guaranteed answers" in b.caption
        ]
        assert len(tables) == (name in trust)
    (table,) = [
        b for b in section(findings, "rich_in_k") if isinstance(b, Table) and "Guaranteed" in b.caption
    ]
    # A threshold of 1 takes every class in: nothing is missed.
    assert [cell.text for cell in table.rows[1]] == ["90%", "100.0%", "30", "2"]
    assert [row[0].text for row in table.rows] == ["80%", "90%"]


def test_neighbours_that_vote_are_told_of(results, tmp_path):
    near = {"known": 1920, "share": 0.9, "sharpness": 14.0, "held_out": 240}
    names = ["rich_in_k", "letters"]

    def told(folder, model):
        written = write_folder(folder, [results[name] for name in names], model=model)
        blocks = flat(describe(read_findings(written)).blocks)
        return [block for block in blocks if isinstance(block, Table) and "vote beside" in block.caption]

    assert told(tmp_path / "without", MODEL) == []
    (table,) = told(tmp_path / "with", {**MODEL, "neighbours": {"letters": near}})
    ((_, *row),) = [[cell.text for cell in row] for row in table.rows]
    assert row == ["1,920", "90%", "14", "240 held-out"]


def test_bands_and_leakage_appear_where_they_are(results, tmp_path):
    plain = write_folder(tmp_path / "plain", [replace(results["rich_in_k"], bands={}, remarks=())])
    said = captions(section(read_findings(plain), "rich_in_k"))
    assert "in bands" not in said
    path = plain / "evaluation.json"
    numbers = json.loads(path.read_text())
    searched = {
        "training": 7,
        "sensitivity": 5.7,
        "coverage": 0.5,
        "short": 3,
        "histogram": {"<20%": 24, "identical": 6},
    }
    numbers["tasks"]["rich_in_k"]["leakage"] = searched
    path.write_text(json.dumps(numbers))
    blocks = list(flat(describe(read_findings(plain)).blocks))
    (drawn,) = [
        block
        for block in blocks
        if isinstance(block, Drawing) and "nearest of 7 training sequences" in block.caption
    ]
    assert drawn.alt == "<20%: 24 (80%), identical: 6 (20%)"
    assert "3 have fewer than 30 residues" in drawn.caption


def test_what_was_not_recorded_is_said(results, tmp_path):
    folder = write_folder(tmp_path, [results["rich_in_k"]], model={})
    page, _ = write_report(folder)
    text = page.read_text()
    check_page(text)
    assert text.count("not recorded") > 3
    assert "The run&#39;s configuration was not kept" in text


def test_an_older_evaluation_is_refused(folder, tmp_path):
    with pytest.raises(InputError) as none:
        write_report(tmp_path)
    assert none.value.code == "input.not_found"
    plain = json.loads((folder / "evaluation.json").read_text())
    for spoilt in (
        {"tasks": {}},
        {**plain, "tasks": {"rich_in_k": {"title": "no definition"}}},
        [],
        {"tasks": [], "provenance": {}},
        {**plain, "tasks": {"k_sites": {**plain["tasks"]["k_sites"], "methods": {}}}},
        {**plain, "provenance": {"model": {"trust": {"k_sites": {"magic": 1}}}}},
        {**plain, "provenance": []},
    ):
        (tmp_path / "evaluation.json").write_text(json.dumps(spoilt))
        with pytest.raises(InputError) as other:
            write_report(tmp_path)
        assert other.value.code == "input.format"
    (tmp_path / "evaluation.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="evaluate with output") as lost:
        write_report(tmp_path)
    assert lost.value.code == "input.not_found"


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_rows_that_are_not_held_out_are_warned_of(findings, split):
    told = replace(findings, provenance={**findings.provenance, "split": split})
    warned = [warning for warning in warnings(told) if "rows judged here" in warning]
    assert len(warned) == (split != "test")
    assert {"test": "held-out test rows", "validation": "validation rows", "train": "own training rows"}[
        split
    ] in verdict(told)


def gained(found, **gains):
    """The same findings with other baselines, by the bounds of the gain over each."""
    interval = {"level": 0.95}
    methods = {"protscribe": found.plain["methods"]["protscribe"]}
    methods |= {name: {**found.plain["methods"]["majority"]} for name in gains}
    told = {
        name: {"value": (low + high) / 2, "lower": low, "upper": high, **interval}
        for name, (low, high) in gains.items()
    }
    return replace(found, plain={**found.plain, "methods": methods, "gains": told})


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({}, ("", [])),
        ({"majority": (0.1, 0.2)}, ("good", [])),
        ({"majority": (0.1, 0.2), "head": (-0.1, 0.2)}, ("even", ["head"])),
        ({"majority": (0.0, 0.2)}, ("even", ["majority"])),
        ({"majority": (float("nan"), float("nan"))}, ("even", ["majority"])),
        ({"majority": (0.1, 0.2), "head": (-0.3, -0.1), "mlp": (-0.1, 0.1)}, ("bad", ["head"])),
    ],
)
def test_standing_among_baselines(findings, gains, expected):
    found = gained(of(findings, "rich_in_k"), **gains)
    assert standing(found) == expected
    whole = verdict(replace(findings, tasks=(found,)))
    words = {
        "good": "ahead of every baseline on 1 of 1",
        "even": "undecided",
        "bad": "behind",
        "": "No baseline",
    }
    assert words[expected[0]] in whole


def test_the_best_baseline_is_best_in_the_metrics_own_direction(findings):
    for name, lower_is_better in (("rich_in_k", False), ("by_host", True)):
        found = gained(of(findings, name), majority=(0, 1), head=(0, 1))
        values = {"majority": 0.4, "head": 0.6}
        methods = {
            method: {**plain, "main": {"value": values.get(method, 0.5), "lower": None, "upper": None}}
            for method, plain in found.plain["methods"].items()
        }
        found = replace(found, plain={**found.plain, "methods": methods})
        assert best_baseline(found) == ("majority" if lower_is_better else "head")
