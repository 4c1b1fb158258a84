"""Bundles that ship with the package: found by name wherever a bundle is, small, whole, and answering as when released.

``python -m tests.checkpoint.test_released NAME`` keeps the answers of a bundle that is about to be released; never do that
for one that has been.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hatchling.builders.wheel import WheelBuilder

import protscribe as ps
from protscribe.checkpoint import find_bundle, hub, load_bundle, released_names, rewrite_bundle, save_bundle
from protscribe.checkpoint.manifest import FILES, WEIGHTS
from protscribe.cli import DONE, USAGE, main
from protscribe.errors import CheckpointError, ConfigError
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from tests.checkpoint.made import TASKS, made_lexicon, made_model, save

PROJECT = Path(__file__).parents[2]
ANSWERS = PROJECT / "tests" / "released"
MOST_BYTES = 12_000_000
CHAINS = (
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV",
    "GSSGSSGRKKRRQRRRPPQAACDEFGHIKLMNPQRSTVWYSTYLLKDE",
    "MADEEKLPPGWEKRMSRSSGRVYYFNHITNASQWERPSG",
)
TOLERANCE = 0.02
"""Of a score: some rest on drawn answers, and another processor sums in another order."""


def records(predictor: Predictor, task: str) -> list[ProteinRecord]:
    """What a task is asked about: one of the chains each, or two of them, a molecule, and known condition values."""
    asked = predictor.tasks[task]
    fields = {one.field: one.values[0] for one in asked.conditions if one.values}
    chains = [(chain, CHAINS[place - 1])[: asked.chains] for place, chain in enumerate(CHAINS)]
    molecule = "CCO" if asked.molecule else None
    return [ProteinRecord(f"r{place}", pair, molecule, fields, place) for place, pair in enumerate(chains)]


def answers(predictor: Predictor) -> dict[str, list[list[Any]]]:
    """For every task and record, the greedy answer as text and the score of the usual one."""
    found = {}
    for task in predictor.tasks:
        asked = records(predictor, task)
        greedy = predictor.predict_many(asked, task, readout="greedy", on_error="raise")
        usual = predictor.predict_many(asked, task, on_error="raise")
        found[task] = [[str(one.value), round(two.score, 4)] for one, two in zip(greedy, usual, strict=True)]
    return found


# What has been released


def test_the_one_that_the_documentation_names_is_there() -> None:
    assert "mini-multitask" in released_names()


def test_every_released_bundle_has_answers_kept_and_no_answers_are_left_over() -> None:
    assert sorted(path.stem for path in ANSWERS.glob("*.json")) == list(released_names())


@pytest.mark.parametrize("name", released_names())
def test_it_loads_answers_every_task_and_as_when_it_was_released(name: str) -> None:
    found, kept = answers(ps.load(name, "cpu")), json.loads((ANSWERS / f"{name}.json").read_text())
    assert list(found) == list(kept)
    for task, expected in kept.items():
        assert [value for value, _ in found[task]] == [value for value, _ in expected], task
        scores = [[score for _, score in rows] for rows in (found[task], expected)]
        assert scores[0] == pytest.approx(scores[1], abs=TOLERANCE), task


@pytest.mark.parametrize("name", released_names())
def test_it_is_small_and_says_where_it_comes_from(name: str) -> None:
    folder = find_bundle(name)
    assert (folder / WEIGHTS).stat().st_size <= MOST_BYTES
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    provenance = load_bundle(name).manifest["provenance"]
    assert provenance["license"] != "other"
    assert set(provenance["evaluation"]) == set(load_bundle(name).tasks)
    assert str(Path.home()) not in "".join((folder / name).read_text() for name in FILES if name != WEIGHTS)


def test_the_wheel_holds_every_file_of_every_released_bundle() -> None:
    listed = {file.distribution_path for file in WheelBuilder(str(PROJECT)).recurse_included_files()}
    assert "protscribe/configs/train.yaml" in listed
    for name in released_names():
        assert {f"protscribe/released/{name}/{file}" for file in FILES} <= listed


# How one is found


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of released bundles with one in it, ``tiny-example``, while another is the current one."""
    save(tmp_path / "released" / "tiny-example")
    monkeypatch.setattr(hub, "RELEASED", tmp_path / "released")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "released"


def test_a_released_bundle_is_found_by_its_name_everywhere(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert released_names() == ("tiny-example",)
    assert set(ps.load("tiny-example").tasks) == set(TASKS)
    Path("in.fasta").write_text(">a\nMKTAYIAK\n")
    assert main(["inspect", "bundle=tiny-example"]) == DONE
    assert "how_much" in capsys.readouterr().out
    assert main(["predict", "bundle=tiny-example", "input=in.fasta", "output=o.csv", "tasks=fold"]) == DONE
    Path("rows.csv").write_text("sequence,label,split\nMKTAY,HHHEE,test\nACDEF,CCCEE,train\n")
    Path("my/source").mkdir(parents=True)
    Path("my/source/rows.yaml").write_text(
        "name: rows\npath: rows.csv\ntask: fold\nsplits: {test: test, train: train}\n"
    )
    asked = ["--config-dir", "my", "bundle=tiny-example", "source=rows"]
    assert main(["evaluate", *asked, "baselines=[majority]", "resamples=5"]) == DONE
    rows = ["MKTAY,no,train", "ACDEF,yes,train", "KLMNP,no,validation", "RSTVW,yes,test"]
    Path("heat.csv").write_text("\n".join(["sequence,label,split", *rows]))
    Path("my/task").mkdir()
    Path("my/task/heat.yaml").write_text(
        "name: heat\ntitle: Heat\ncodec: {kind: category, labels: ['no', 'yes']}\n"
    )
    grow = [
        "bundle=tiny-example",
        "+task=heat",
        "+source=heat.csv",
        "grow=symbols",
        "trainer.max_epochs=1",
        "logger=none",
    ]
    assert main(["train", "--config-dir", "my", *grow, "name=warm"]) == DONE
    assert set(ps.load("runs/warm/bundle").tasks) == {*TASKS, "heat"}
    assert (released / "tiny-example" / WEIGHTS).exists()


def test_a_near_miss_lists_what_there_is(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "bundle=tiny-exampel"]) == USAGE
    assert "did you mean 'tiny-example'? known: tiny-example" in capsys.readouterr().err
    with pytest.raises(CheckpointError) as caught:
        ps.load("tiny-exampel")
    assert caught.value.code == "checkpoint.not_found"


def test_a_local_folder_of_the_same_name_comes_first(released: Path) -> None:
    save(Path("tiny-example"), seed=5)
    local, shipped = load_bundle("tiny-example"), load_bundle(released / "tiny-example")
    assert local.manifest["seal"] != shipped.manifest["seal"]


def test_a_released_bundle_has_no_revisions(released: Path) -> None:
    with pytest.raises(ConfigError, match="'tiny-example' is none"):
        find_bundle("tiny-example", revision="main")


def test_a_damaged_one_is_refused_as_any_other(released: Path) -> None:
    path = released / "tiny-example" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not as it was saved"):
        ps.load("tiny-example")


# How its weights are stored


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 2**-8), ("float16", 2**-10)])
def test_rounded_weights_take_half_the_room_and_are_loaded_as_float32(
    tmp_path: Path, dtype: str, error: float
) -> None:
    lexicon = made_lexicon()
    model = made_model(lexicon)
    for one in ("float32", dtype):
        save_bundle(tmp_path / one, model=model, lexicon=lexicon, tasks=TASKS, dtype=one)
    sizes = [(tmp_path / one / WEIGHTS).stat().st_size for one in ("float32", dtype)]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_bundle(tmp_path / dtype).model
    for name, weight in model.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == weight.dtype
        assert torch.allclose(found, weight, rtol=error, atol=1e-7)
    again = rewrite_bundle(tmp_path / dtype, tmp_path / "again", dtype=dtype, told={"license": "mit"})
    assert (again / WEIGHTS).read_bytes() == (tmp_path / dtype / WEIGHTS).read_bytes()
    assert "license: mit" in (again / "README.md").read_text()


def test_buffers_are_never_rounded() -> None:
    from protscribe.checkpoint.weights import forms, stored, weight_names

    module = torch.nn.BatchNorm1d(2)
    tensors = stored(module, torch.bfloat16)
    assert tensors["weight"].dtype == torch.bfloat16
    assert tensors["running_mean"].dtype == torch.float32
    assert tensors["num_batches_tracked"].dtype == torch.int64
    found = forms(module.state_dict(), weight_names(module), torch.bfloat16)
    assert {name: one.dtype for name, one in found.items()} == {
        "weight": "BF16", "bias": "BF16", "running_mean": "F32", "running_var": "F32", "num_batches_tracked": "I64",
    }  # fmt: skip


def test_a_weight_that_float16_cannot_hold_is_not_stored(tmp_path: Path) -> None:
    lexicon = made_lexicon()
    model = made_model(lexicon)
    with torch.no_grad():
        model.decoder.norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match=r"NaN or infinity in decoder\.norm\.weight"):
        save_bundle(tmp_path / "b", model=model, lexicon=lexicon, tasks=TASKS, dtype="float16")
    assert save_bundle(tmp_path / "b", model=model, lexicon=lexicon, tasks=TASKS, dtype="bfloat16").is_dir()


def test_another_dtype_says_which_there_are(tmp_path: Path) -> None:
    lexicon = made_lexicon()
    with pytest.raises(ConfigError, match="float32, bfloat16, float16, got 'int8'"):
        save_bundle(tmp_path / "b", model=made_model(lexicon), lexicon=lexicon, tasks=TASKS, dtype="int8")


if __name__ == "__main__":
    for released_name in sys.argv[1:]:
        target = ANSWERS / f"{released_name}.json"
        if target.exists():
            raise SystemExit(f"{target} is there: released answers are never written again")
        ANSWERS.mkdir(exist_ok=True)
        target.write_text(json.dumps(answers(ps.load(released_name, "cpu")), indent=1) + "\n")
        print(f"{target} written with torch {torch.__version__}")
