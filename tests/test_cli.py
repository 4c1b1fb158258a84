"""The command line, mostly in this process: exit statuses, messages, a user's own task from YAML to
predictions."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import protscribe
from protscribe.cli import BUG, DONE, REJECTED, USAGE, main
from tests.training.made import LETTERS

TINY = [
    "encoder.width=16", "encoder.layers=1", "encoder.attention_layers=1", "encoder.heads=2", "decoder=tiny",
    "decoder.width=16", "decoder.layers=1", "decoder.heads=2", "trainer.max_epochs=1", "logger=csv",
]  # fmt: skip

TASK = """\
# Whether a protein is stickier than others. Used by: protscribe train
name: stickiness
title: Stickiness on glass
codec: {kind: category, labels: [slippery, sticky]}
conditions: [{field: glass}]
metrics: [accuracy]
"""
MIXTURE = """\
# My task. Used by: protscribe train mixture=mine
_target_: protscribe.data.mixture.Mixture
entries:
  stickiness: {source: sticky.csv, weight: 1.0}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's own task, mixture and table, as the current one."""
    monkeypatch.chdir(tmp_path)
    for group, name, text in (("task", "stickiness", TASK), ("mixture", "mine", MIXTURE)):
        (tmp_path / "my_configs" / group).mkdir(parents=True)
        (tmp_path / "my_configs" / group / f"{name}.yaml").write_text(text)
    draw = random.Random(0)
    rows = [["id", "sequence", "label", "glass", "split"]]
    for place in range(60):
        sequence = "".join(draw.choice(LETTERS) for _ in range(draw.randint(8, 30)))
        split = "train" if place < 40 else ("val" if place < 50 else "test")
        rows.append(
            [
                f"p{place}",
                sequence,
                draw.choice(["sticky", "slippery"]),
                draw.choice(["crown", "flint"]),
                split,
            ]
        )
    with Path("sticky.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def train(*overrides: str) -> int:
    return main(["train", "--config-dir", "my_configs", "mixture=mine", "name=mine", *TINY, *overrides])


def test_a_new_task_needs_one_yaml_one_line_and_a_csv(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == DONE
    assert "bundle: runs/mine/bundle" in capsys.readouterr().out
    assert sorted(path.name for path in Path("runs/mine").iterdir()) == [
        "bundle",
        "checkpoints",
        "hydra",
        "logs",
    ]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["my_configs", "runs", "sticky.csv"]

    Path("in.fasta").write_text(">a first\nMKTAYIAK\n>b\nMK*T\n>c\nACDEFGH\n")
    out = ["out.csv", "out.jsonl"]
    status = main(
        [
            "predict",
            "bundle=runs/mine/bundle",
            "input=in.fasta",
            f"output=[{','.join(out)}]",
            "tasks=stickiness",
        ]
    )
    assert status == REJECTED
    said = capsys.readouterr()
    assert "2 answers" in said.out
    assert "1 records were rejected" in said.err
    predicted = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [row["id"] for row in predicted] == ["a", "c"]
    assert {row["prediction"] for row in predicted} <= {"sticky", "slippery"}

    evaluate = ["evaluate", "--config-dir", "my_configs", "mixture=mine", "bundle=runs/mine/bundle"]
    assert main([*evaluate, "output=report", "resamples=20"]) == DONE
    assert "stickiness" in capsys.readouterr().out
    assert Path("report/evaluation.csv").exists()

    assert main(["inspect", "bundle=runs/mine/bundle"]) == DONE
    assert "stickiness" in capsys.readouterr().out
    assert main(["tasks", "--config-dir", "my_configs"]) == DONE
    assert "stickiness" in capsys.readouterr().out


def test_a_multirun_has_a_folder_a_job(home: Path) -> None:
    assert train("-m", "seed=1,2") == DONE
    assert Path("runs/mine/0/bundle/manifest.json").exists()
    assert Path("runs/mine/1/bundle/manifest.json").exists()
    assert not Path("multirun").exists()
    assert not Path("outputs").exists()


def test_a_multirun_stops_at_its_first_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "seed=-1,2") == USAGE
    assert "seed must be" in capsys.readouterr().err
    assert not Path("runs/mine/1/bundle").exists()


def test_a_mixture_line_can_be_typed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = "'+mixture.entries.more={task: stickiness, source: sticky.csv, weight: 0.5}'".strip("'")
    assert train(extra, "debug=fast") == DONE
    assert Path("runs/mine/bundle").exists()


def test_rejected_training_rows_give_exit_status_3(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Path("sticky.csv")
    table.write_text(table.read_text() + "bad,MKT,stcky,crown,train\n")
    assert train() == USAGE
    assert "did you mean 'sticky'" in capsys.readouterr().err
    assert train("data.on_error=collect") == REJECTED
    assert "1 records were rejected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["trian"], "usage.command", "did you mean 'train'"),
        (["train", "nmae=x"], "config.unknown_key", "did you mean 'name'"),
        (["train", "encoder.widht=3"], "config.unknown_key", "did you mean 'width'"),
        (["train", "mixtrue=demo"], "config.unknown_key", "did you mean 'mixture'"),
        (["train", "+optimizer.lrr=3"], "config.unknown_key", "did you mean 'lr'"),
        (["train", "+optimiser.lr=3"], "config.unknown_key", "did you mean 'optimizer'"),
        (["train", "encoder=esm2_8"], "config.unknown_key", "did you mean 'esm2_8m'"),
        (["train", "experiment=dem"], "config.unknown_key", "did you mean 'demo'"),
        (["train", "+foo/bar=x"], "config.unknown_key", "foo"),
        (["train", "optimizer.lr=fast"], "config.type", "optimizer.lr"),
        (["train", "data.budget.tokens=many"], "config.type", "data.budget.tokens"),
        (["train", "seed=1.5"], "config.type", "seed"),
        (["train", "seed=-1"], "config.value", "0..4294967295"),
        (["train", "seed=4294967296"], "config.value", "0..4294967295"),
        (["train", "objective.hide_all=2"], "config.value", "hide_all"),
        (["train", "mixture.entries.capsid.weight=-1"], "config.value", "capsid"),
        (["train", "encoder=esm_local"], "config.missing", "encoder.name"),
        (["predict"], "config.missing", "bundle"),
        (["evaluate", "bundle=x"], "config.missing", "source=NAME"),
        (["train", "name=${nope}"], "config.interpolation", "nope"),
        (["train", "name=${folder}", "folder=${name}"], "config.interpolation", "ecursive"),
        (["train", "seed=${oc.decode:}"], "config.interpolation", "decode"),
        (["train", "a=["], "config.override", "a=["),
        (["train", "experiment=demo", "state_cache=null"], "config.override", "~state_cache"),
        (["train", "optimizer._target_=os.system"], "config.forbidden", "os.system"),
        (["train", "+callbacks.x={_target_: subprocess.run}"], "config.forbidden", "callbacks.x"),
        (["train", "+decoder.vocabulary=3"], "config.fixed", "decoder.vocabulary"),
        (["train", "--config-dir", "nowhere"], "config.not_found", "nowhere"),
        (["evaluate", "bundle=x", "source=solubilty"], "config.unknown_source", "solubility"),
        (["inspect", "bundle=nowhere"], "checkpoint.not_found", "nowhere"),
        (["predict", "bundle=nowhere", "input=x.fasta", "output=x.csv"], "checkpoint.not_found", "nowhere"),
        (["predict", "bundle=b", "input=x.fasta", "output=x.csv", "device=gpu"], "device.unknown", "gpu"),
        (["predict", "bundle=b", "input=x", "output=x.docx"], "output.format", ".csv"),
        (["predict", "bundle=b", "input=x", "output=x.csv", "long=cut"], "config.type", "long"),
    ],
)  # fmt: skip
def test_usage_and_configuration_errors(
    arguments: list[str],
    code: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == USAGE
    err = capsys.readouterr().err
    assert f"[{code}]" in err
    assert said in err
    assert err.startswith("protscribe: ")
    assert "Traceback" not in err
    assert "Error executing job" not in err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("entries: {a: {source: s}}\nentries: {b: {source: s}}\n", "config.duplicate_key"),
        ("_target_: !!python/object/apply:os.system [true]\n", "config.forbidden"),
        ("a: " + "[" * 200 + "]" * 200 + "\n", "config.too_large"),
        ("a: [1\n", "config.syntax"),
    ],
)
def test_bad_yaml_of_a_user(
    text: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "mixture").mkdir(parents=True)
    (tmp_path / "mine" / "mixture" / "mine.yaml").write_text(text)
    assert main(["train", "--config-dir=mine", "mixture=mine"]) == USAGE
    err = capsys.readouterr().err
    assert f"[{code}]" in err
    assert "mine.yaml" in err


def test_an_interrupted_run_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(
        main.__globals__["COMMANDS"], "tasks", main.__globals__["Command"]("", interrupted, composed=False)
    )
    assert main(["tasks"]) == 75


def test_a_bug_is_shown_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    commands = main.__globals__["COMMANDS"]
    monkeypatch.setitem(commands, "inspect", main.__globals__["Command"]("", broken))
    assert main(["inspect", "bundle=x"]) == BUG
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: oops" in err
    assert "this is a bug" in err


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == DONE
    said = capsys.readouterr().out
    for name in ("train", "predict", "evaluate", "tasks", "inspect"):
        assert f"  {name} " in said
        assert main([name, "--help"]) == DONE
        assert f"usage: protscribe {name}" in capsys.readouterr().out
    assert main([]) == USAGE
    assert main(["--version"]) == DONE
    assert protscribe.__version__ in capsys.readouterr().out.splitlines()[-1]


def test_help_lists_a_users_own_groups(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "--config-dir", "my_configs"]) == DONE
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "mixture=" in line)
    assert "mine" in line.split("mixture=")[1].split()[0].split("|")


def test_composing_can_be_looked_at_without_running(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config-dir", "my_configs", "mixture=mine", "--cfg", "job"]) == DONE
    assert "stickiness" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_the_commands_that_need_no_torch_load_none() -> None:
    code = (
        "import sys; from protscribe.cli import main; assert main(['--help']) == 0 and main(['tasks']) == 0;"
        "main(['train', '--help']); main(['inspect', 'bundle=x']);"
        "print([m for m in ('torch', 'lightning', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_console_script(home: Path) -> None:
    script = Path(sys.executable).with_name("protscribe")
    done = subprocess.run([script, "train", "nmae=x"], capture_output=True, text=True)
    assert done.returncode == USAGE
    assert done.stderr.startswith("protscribe: there is no key 'nmae'")


def test_two_processes_train_one_model(home: Path) -> None:
    """What one process writes, two write: a bundle, checkpoints, one line of each kind on the terminal."""
    script = Path(sys.executable).with_name("protscribe")
    command = [
        script,
        "train",
        "--config-dir",
        "my_configs",
        "mixture=mine",
        "name=two",
        *TINY,
        "trainer=ddp_cpu",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == DONE, done.stderr
    assert done.stdout.count("bundle: ") == 1
    assert Path("runs/two/bundle/manifest.json").exists()


def test_what_the_library_logs_is_heard_and_no_logger_is_left_silent(capsys):
    """Hydra can be told to silence every logger that exists; then warnings about leakage would be lost."""
    import logging

    main(["inspect", "bundle=nowhere"])
    for name in ("protscribe.progress", "protscribe.evaluation.run", "protscribe.data.source"):
        assert not logging.getLogger(name).disabled
    assert "there is no such bundle" in capsys.readouterr().err


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of random weights with tasks of every kind, saved once."""
    from protscribe.checkpoint import save_bundle
    from tests.small import make_bundle

    bundle, folder = make_bundle(), tmp_path_factory.mktemp("small") / "bundle"
    save_bundle(folder, model=bundle.model, lexicon=bundle.lexicon, tasks=bundle.tasks)
    return str(folder)


def ask(bundle: str, *overrides: str) -> int:
    return main(["predict", f"bundle={bundle}", "input=in.fasta", "device=cpu", "progress=false", *overrides])


@pytest.mark.parametrize(
    ("overrides", "column", "expected"),
    [
        (["tasks=enzyme", "n_best=3"], "rank", ["1", "2", "3"] * 2),
        (["tasks=fold", "n_best=2", "search=diverse", "search.width=6", "search.groups=3"], "readout", ["diverse beam"] * 4),
        (["tasks=fold", "n_best=2", "search=sample", "search.temperature=3"], "readout", ["sample"] * 4),
        (["tasks=enzyme", "prefix=2.1"], "prediction", ["2.1.1"] * 2),
        (["tasks=enzyme", "candidates=[2.1.1]"], "prediction", ["2.1.1"] * 2),
        (["tasks=place", "candidates=inside"], "score", ["1"] * 2),
        (["tasks=sites", "prefix=[3]", "readout=greedy"], "readout", ["greedy"] * 2),
        (["tasks=fold", "probabilities=true", "readout=greedy"], "readout", ["greedy"] * 2),
    ],
)  # fmt: skip
def test_alternatives_candidates_and_prefixes(
    small_bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], column: str, expected: list[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_text(">a\nMKSTAYIAKS\n>b\nSASST\n")
    assert ask(small_bundle, *overrides, "output=out.csv") == DONE
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [row[column] for row in rows] == expected


@pytest.mark.parametrize(
    ("overrides", "status", "code", "said"),
    [
        (["n_best=0"], USAGE, "config.value", "1 or more"),
        (["n_best=two"], USAGE, "config.type", "n_best"),
        (["search=bream", "n_best=2"], USAGE, "config.unknown_key", "did you mean 'beam'"),
        (["search.widht=3", "n_best=2"], USAGE, "config.unknown_key", "width"),
        (["search=sample", "search.temperature=0", "n_best=2"], USAGE, "config.value", "above 0"),
        (["search=diverse", "search.width=7", "n_best=2"], USAGE, "config.value", "multiple"),
        (["search=sample"], USAGE, "config.value", "n_best"),
        (["prefix=H"], USAGE, "config.value", "one task"),
        (["tasks=enzyme", "prefix=3.10"], USAGE, "config.value", "'3'"),
        (["tasks=enzyme", "prefix=2.10"], USAGE, "config.value", "'2.10'"),
        (["tasks=place", "candidates=[insid]"], USAGE, "config.value", "did you mean 'inside'"),
        (["tasks=place", "candidates=[]"], USAGE, "config.value", "at least one"),
        (["tasks=place", "candidates=[inside]", "n_best=2"], USAGE, "config.value", "neither"),
        (["tasks=fold", "prefix=H", "readout=risk"], USAGE, "config.value", "leave one out"),
        (["tasks=sites", "prefix=[9]"], REJECTED, None, "out.csv.rejected.csv"),
    ],
)
def test_wrong_wishes_are_told(
    small_bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    overrides: list[str], status: int, code: str | None, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_text(">a\nMKSTAYIASKS\n>b\nSASST\n")
    assert ask(small_bundle, *overrides, "output=out.csv") == status
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    if code is not None:
        assert f"[{code}]" in told
        assert not Path("out.csv").exists()


HEAT = """\
# Whether a protein is from a heat-loving organism. Used by: protscribe train
name: heat
title: Heat-loving
codec: {kind: residue_labels, labels: [c, h]}
"""


def test_a_bundle_grows_by_a_task_and_answers_the_old_one_byte_for_byte(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == DONE
    (home / "my_configs" / "task" / "heat.yaml").write_text(HEAT)
    rows = [line.split(",") for line in Path("sticky.csv").read_text().splitlines()[1:]]
    with Path("heat.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["id", "sequence", "label", "split"])
        csv.writer(file).writerows(
            [one[0], one[1], "ch" * (len(one[1]) // 2) + "c" * (len(one[1]) % 2), one[4]] for one in rows
        )
    common = [
        "train",
        "--config-dir",
        "my_configs",
        "bundle=runs/mine/bundle",
        "trainer.max_epochs=1",
        "logger=csv",
    ]
    grow = [*common, "name=grown", "+task=heat", "+source=heat.csv", "measured_rows=4"]
    capsys.readouterr()
    assert main([*grow, "grow=symbols"]) == DONE
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if " test " in line] == ["stickiness", "heat"]
    assert "+0.000 [+0.00, +0.00]" in said
    assert json.loads(Path("runs/grown/growth.json").read_text())["tasks"]["stickiness"]["changed"] == 0

    Path("in.fasta").write_text(">a\nMKTAYIAK\n>c\nACDEFGH\n")
    for run in ("mine", "grown"):
        predict = [
            "predict",
            f"bundle=runs/{run}/bundle",
            "input=in.fasta",
            f"output=[{run}.csv,{run}.jsonl]",
        ]
        assert main([*predict, "tasks=stickiness", "probabilities=true"]) == DONE
    assert Path("mine.csv").read_bytes() == Path("grown.csv").read_bytes()
    assert Path("mine.jsonl").read_bytes() == Path("grown.jsonl").read_bytes()
    assert (
        main(["predict", "bundle=runs/grown/bundle", "input=in.fasta", "output=h.csv", "task=heat"]) == DONE
    )
    assert {len(row["prediction"]) for row in csv.DictReader(Path("h.csv").read_text().splitlines())} == {
        7,
        8,
    }

    # As the second stage of a training: everything, on a mixture, the old task replayed.
    capsys.readouterr()
    second = [*common, "name=second", "+task=heat", "+source=heat.csv", "replay=0.25", "measured_rows=null"]
    assert main(second) == DONE
    assert main([*second, "encoder=mini"]) == USAGE
    assert "encoder.width is 256, the bundle's is 16" in capsys.readouterr().err
    assert main([*common, "+task=haet"]) == USAGE
    assert "say where the rows of task 'haet' lie" in capsys.readouterr().err
    assert main([*common, "+task=haet", "+source=heat.csv"]) == USAGE
    assert "there is no task 'haet'; did you mean 'heat'" in capsys.readouterr().err


LETTERS_SOURCE = """\
# Where residues are in my proteins, which have no labels. Used by: protscribe train
name: letters
path: mine.faa
task: where_is_residue
make: {kind: find, fields: [residue]}
"""
LETTERS_ENTRY = "+mixture.entries.where_is_residue={source: letters, weight: 1.0}"


def write_proteins(home: Path) -> None:
    rows = [line.split(",") for line in Path("sticky.csv").read_text().splitlines()[1:]]
    Path("mine.faa").write_text("".join(f">{one[0]}\n{one[1]}\n" for one in rows))
    (home / "my_configs" / "source").mkdir()
    (home / "my_configs" / "source" / "letters.yaml").write_text(LETTERS_SOURCE)


def test_proteins_without_labels_are_asked_about_themselves(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_proteins(home)
    assert train(LETTERS_ENTRY) == DONE
    card = Path("runs/mine/bundle/README.md").read_text()
    assert "| where_is_residue | " in card.split("## Samples")[1]
    Path("ask.csv").write_text("id,sequence,residue\na,MKTAYK,K\nb,MKTAYK,T\nc,MKTAYK,\n")
    bundle = "bundle=runs/mine/bundle"
    assert main(["predict", bundle, "input=ask.csv", "tasks=where_is_residue", "output=told.csv"]) == REJECTED
    told = {row["id"]: row for row in csv.DictReader(Path("told.csv").read_text().splitlines())}
    assert set(told) == {"a", "b"}
    assert all(set(filter(None, row["prediction"].split(";"))) <= set("123456") for row in told.values())
    capsys.readouterr()
    judged = ["source=letters", "split=train", "baselines=[]", "limit=5", "resamples=5", "output=."]
    assert main(["evaluate", "--config-dir", "my_configs", bundle, *judged]) == DONE
    found = json.loads(Path("evaluation.json").read_text())["tasks"]["where_is_residue"]
    assert (found["count"], found["main_metric"]) == (5, "site_f1")


def test_who_helps_whom_is_tabulated(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_proteins(home)
    command = [
        *("influence", "--config-dir", "my_configs", "mixture=mine", LETTERS_ENTRY, "name=who", *TINY),
        *("influence.split=train", "influence.limit=6", "influence.resamples=10", "influence.alone=true"),
        *("callbacks=none", "choose_readouts=false", "data.holdout=0"),
    ]
    assert main(command) == DONE
    assert "| left out | stickiness (accuracy) | where_is_residue (F1 of sites) |" in capsys.readouterr().out
    rows = list(csv.DictReader(Path("runs/who/influence.csv").read_text().splitlines()))
    assert [(row["left_out"], row["task"]) for row in rows] == [
        ("nothing", "stickiness"), ("nothing", "where_is_residue"),
        ("stickiness", "where_is_residue"), ("where_is_residue", "stickiness"),
        ("all others", "stickiness"), ("all others", "where_is_residue"),
    ]  # fmt: skip
    runs = {path.name for path in Path("runs/who").iterdir() if path.is_dir()}
    assert runs == {
        *("hydra", "all_0", "without_stickiness_0", "without_where_is_residue_0"),
        *("alone_stickiness_0", "alone_where_is_residue_0"),
    }
    for name in runs - {"hydra"}:
        # Logs of a training lie in its own folder, and its bundle says what it was trained on.
        assert (Path("runs/who") / name / "logs" / "metrics.csv").is_file()
        manifest = json.loads((Path("runs/who") / name / "bundle" / "manifest.json").read_text())
        sampled = manifest["provenance"]["sampled"]
        assert set(sampled) <= {"stickiness", "where_is_residue"}
        assert all(one["samples"] == one["of"] for one in sampled.values())
    assert not Path("runs/who/logs").exists()
    assert main([*command, "influence.seeds=[-1]"]) == USAGE
    assert "[config.value]" in capsys.readouterr().err
