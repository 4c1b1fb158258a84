"""Bad bundles: what each case gets, one test id a row of the table of cases, in the style of
``test_bad_inputs``."""

import os
import shutil
import socket
from collections.abc import Callable

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from protscribe.checkpoint import load_bundle, save_bundle
from protscribe.data.collate import Question, encode_question
from protscribe.errors import ProtscribeError
from tests.attacks.bundles import ATTACKS, EXPECTED
from tests.checkpoint.made import RECORDS, TASKS, change, change_json, made_lexicon, made_model, save

Check = Callable[..., None]
ROWS: dict[int, Check] = {}
COVERED = {75, 79, 101, 102, 103, 104, *range(107, 119), 122}
"""Rows about bundles and their device. Of 101 to 104 what comes with a bundle, of 122 the saving of one."""


def row(number: int) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        assert number not in ROWS, f"row {number} stands twice"
        ROWS[number] = check
        return check

    return register


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "good"
    save(folder)
    return folder


@pytest.mark.parametrize("number", sorted(ROWS.keys() | COVERED), ids=lambda number: f"row-{number:03}")
def test_row(number, good, tmp_path, monkeypatch):
    check = ROWS[number]
    known = {
        "bundle": shutil.copytree(good, tmp_path / "bundle"),
        "folder": tmp_path,
        "monkeypatch": monkeypatch,
    }
    check(**{name: known[name] for name in check.__code__.co_varnames[: check.__code__.co_argcount]})


def test_the_rows_here_are_the_rows_covered():
    assert set(ROWS) == COVERED


def refused(bundle, code, *said, **options):
    """Loading gives the error ``code``, whose text holds all of ``said``, and the exit status of bad
    input."""
    with pytest.raises(ProtscribeError) as caught:
        load_bundle(bundle, **options)
    assert caught.value.code == code
    assert caught.value.exit_status == 2
    for text in said:
        assert text in str(caught.value)


def attacked(bundle, *names):
    for name in names:
        copy = shutil.copytree(bundle, bundle.parent / name)
        ATTACKS[name](copy)
        if EXPECTED[name] is None:
            assert load_bundle(copy).tasks == TASKS
        else:
            refused(copy, EXPECTED[name])


def change_weights(bundle, edit):
    tensors = load_file(bundle / "model.safetensors")
    edit(tensors)
    save_file(tensors, bundle / "model.safetensors")
    change(bundle)


@row(75)
def task_named_twice(bundle):
    change_json(bundle, "tasks.json", lambda tasks: tasks.append(tasks[0]))
    refused(bundle, "checkpoint.task", "'where'", "twice")


@row(79)
def order_of_tasks_and_classes(bundle):
    before = load_bundle(bundle)

    def turn(tasks):
        tasks.reverse()
        tasks[-1]["codec"]["labels"].reverse()

    change_json(bundle, "tasks.json", turn)
    after = load_bundle(bundle)
    assert list(after.tasks) == list(TASKS)[::-1]
    assert after.tasks["where"].codec.labels == ("outside", "inside")
    for label in ("inside", "outside"):
        numbers = [
            encode_question(Question(RECORDS[0], loaded.tasks["where"], label), loaded.lexicon).numbers
            for loaded in (before, after)
        ]
        assert numbers[0] == numbers[1]


@row(101)
def targets_and_python_objects(bundle):
    attacked(
        bundle, "target_in_a_task", "target_in_a_codec", "target_in_the_architecture",
        "target_in_the_configuration", "python_object_in_the_configuration",
    )  # fmt: skip


@row(102)
def resolvers(bundle):
    attacked(bundle, "resolvers_in_the_configuration")


@row(103)
def documents_that_blow_up(bundle):
    attacked(
        bundle, "aliases_that_blow_up_in_the_configuration", "tasks_nested_without_end",
        "vocabulary_of_a_hundred_megabytes",
    )  # fmt: skip


@row(104)
def repeated_key(bundle):
    path = bundle / "tasks.json"
    path.write_text(path.read_text().replace('"name": "where"', '"name": "where", "name": "here"'))
    change(bundle)
    refused(bundle, "checkpoint.corrupt", "'name' stands twice", "tasks.json")


@row(107)
def no_such_path(folder):
    refused(folder / "nowhere", "checkpoint.not_found", "nowhere")
    refused(str(folder / "nowhere"), "checkpoint.not_found", "nowhere")
    (folder / "empty").mkdir()
    refused(folder / "empty", "checkpoint.not_found", "manifest.json")


@row(108)
def damaged(bundle):
    for name in (
        "model.safetensors",
        "tasks.json",
        "vocabulary.json",
        "README.md",
        "config.yaml",
        "manifest.json",
    ):
        held = (bundle / name).read_bytes()
        middle = len(held) // 2
        flipped = held[:middle] + bytes([held[middle] ^ 4]) + held[middle + 1 :]
        for wrong in (b"", held[:middle], held[:-1], flipped):
            (bundle / name).write_bytes(wrong)
            refused(bundle, "checkpoint.corrupt", name)
        (bundle / name).write_bytes(held)
    load_bundle(bundle)


@row(109)
def pickles(bundle):
    attacked(
        bundle, "torch_archive_named_safetensors", "raw_pickle_named_safetensors", "pickle_beside_the_weights",
        "training_checkpoint_beside_the_weights", "hidden_pickle", "pickle_named_tasks",
    )  # fmt: skip
    path = bundle.parent / "last.ckpt"
    torch.save({"weight": torch.ones(1)}, path)
    refused(path, "checkpoint.pickle", "last.ckpt", "weights_only=True")
    path.rename(bundle.parent / "renamed.safetensors")
    refused(bundle.parent / "renamed.safetensors", "checkpoint.pickle")


@row(110)
def tensors_that_do_not_fit(bundle):
    def edit(tensors):
        del tensors["decoder.norm.weight"]
        tensors["decoder.nrom.weight"] = torch.ones(16)
        tensors["decoder.norm.bias"] = torch.ones(17)
        tensors["decoder.score.weight"] = tensors["decoder.score.weight"].half()

    change_weights(bundle, edit)
    refused(
        bundle, "checkpoint.tensors", "missing: decoder.norm.weight", "unexpected: decoder.nrom.weight",
        "decoder.norm.bias is F32 [17], must be F32 [16]", "decoder.score.weight is F16",
    )  # fmt: skip
    change_weights(bundle, lambda tensors: tensors.clear() or tensors.update(a=torch.ones(1)))
    refused(bundle, "checkpoint.tensors", "more", "unexpected: a")


@row(111)
def weights_that_are_not_finite(bundle):
    for value in (float("nan"), float("inf")):
        change_weights(
            bundle, lambda tensors, value=value: tensors["decoder.score.weight"][3, 1].fill_(value)
        )
        refused(bundle, "checkpoint.not_finite", "decoder.score.weight", "model.safetensors")


@row(112)
def another_vocabulary(bundle):
    attacked(bundle, "another_vocabulary_under_the_same_weights")
    change_json(bundle, "tasks.json", lambda tasks: tasks[0]["codec"]["labels"].append("elsewhere"))
    refused(bundle, "checkpoint.vocabulary", "where:elsewhere", "tasks.json")


@row(113)
def another_encoder(bundle):
    change(bundle, lambda manifest: manifest["architecture"]["encoder"].update(width=32))
    refused(bundle, "checkpoint.tensors", "decoder.memory_in.0.bias is F32 [16], must be F32 [32]")
    other = {"kind": "esm2", "layers": 1, "width": 16, "heads": 2}
    change(bundle, lambda manifest: manifest["architecture"].update(encoder=other))
    refused(bundle, "checkpoint.tensors", "missing: encoder.model", "unexpected: encoder.")


@row(114)
def newer_format(bundle):
    change(bundle, lambda manifest: manifest.update(format=2, needs_library="0.9", something="new"))
    refused(bundle, "checkpoint.version", "needs library >= 0.9")


@row(115)
def interrupted_save(bundle):
    """Killed before the new one was complete, and between the two renames."""
    partial = shutil.copytree(bundle, bundle.parent / ".bundle.saving-1234")
    (partial / "manifest.json").unlink()
    assert load_bundle(bundle).tasks == TASKS
    refused(partial, "checkpoint.not_found", "no complete bundle")
    os.rename(bundle, bundle.parent / ".bundle.previous")
    assert load_bundle(bundle).tasks == TASKS


@row(116)
def headers_without_measure(bundle):
    attacked(
        bundle, "header_of_a_million_tensors", "header_longer_than_the_world", "header_nested_without_end",
        "vocabulary_of_a_hundred_megabytes", "a_billion_layers", "layers_as_wide_as_memory",
    )  # fmt: skip


@row(117)
def hub_out_of_reach(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(socket, "getaddrinfo", None)
    refused("lab/bundle", "checkpoint.offline", "'lab/bundle'")
    refused("lab/bundle", "checkpoint.offline", "only local files were allowed", local_files_only=True)


@row(118)
def missing_device(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    refused(bundle, "device.missing", "'cuda:7'", "4 of that kind", device="cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused(bundle, "device.missing", "'cuda'", "none of that kind", device="cuda")


@row(122)
def place_that_cannot_be_written(folder):
    (folder / "file").write_text("in the way")
    lexicon = made_lexicon()
    for place in (folder / "file" / "bundle", folder / ("n" * 300)):
        with pytest.raises(ProtscribeError) as caught:
            save_bundle(place, model=made_model(lexicon), lexicon=lexicon, tasks=TASKS)
        assert caught.value.code == "output.write"
        assert caught.value.exit_status == 2
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "file"]
