"""A model saved and loaded is the same model; a bundle that is not the one saved is refused."""

import dataclasses
import json
import os
import random
import shutil
import sys

import pytest
import torch
import yaml

from protscribe.checkpoint import Bundle, load_bundle, save_bundle
from protscribe.checkpoint import bundle as bundles
from protscribe.checkpoint import manifest as manifests
from protscribe.checkpoint.manifest import FILES
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon, position_block
from protscribe.encoders import Windowed, adapt
from protscribe.errors import CheckpointError, DeviceError, OutputError
from protscribe.vocabulary import Vocabulary
from tests.checkpoint.made import (
    ARCHITECTURE,
    READOUTS,
    TASKS,
    change,
    logits,
    made_lexicon,
    made_model,
    save,
)


def same_weights(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_model_answers_bit_by_bit_the_same(tmp_path):
    model = save(tmp_path / "tiny")
    loaded = load_bundle(tmp_path / "tiny")
    assert isinstance(loaded, Bundle)
    assert same_weights(model, loaded.model)
    assert torch.equal(
        logits(model, made_lexicon(), TASKS), logits(loaded.model, loaded.lexicon, loaded.tasks)
    )
    assert not loaded.model.training


def test_tasks_vocabulary_and_readouts_come_back(bundle):
    loaded = load_bundle(bundle)
    assert loaded.tasks == TASKS
    assert list(loaded.tasks) == list(TASKS)
    assert loaded.lexicon == made_lexicon()
    assert loaded.readouts == {name: READOUTS.get(name, Readout()) for name in TASKS}


def test_a_bundle_holds_its_own_files_and_nothing_else(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == sorted(FILES)
    assert sum(path.stat().st_size for path in bundle.iterdir()) < 100_000


def test_whoever_may_read_one_file_may_read_all(tmp_path):
    before = os.umask(0o022)
    try:
        save(tmp_path / "tiny")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tiny").iterdir()} == {0o644}


def test_position_tokens_come_back(tmp_path):
    blocks = [block for task in TASKS.values() for block in task.blocks()]
    lexicon = Lexicon(Vocabulary.compose([*blocks, position_block(30)]), "tokens")
    model = made_model(lexicon)
    save_bundle(tmp_path / "tokens", model=model, lexicon=lexicon, tasks=TASKS)
    loaded = load_bundle(tmp_path / "tokens")
    assert loaded.lexicon == lexicon
    assert loaded.model.decoder.pointer_query is None
    assert torch.equal(logits(model, lexicon, TASKS), logits(loaded.model, loaded.lexicon, TASKS))


@pytest.mark.parametrize("how", ["frozen", "last_k", "full", "lora"])
def test_an_adapted_encoder_is_saved_plain(tmp_path, how):
    lexicon = made_lexicon()
    model = made_model(lexicon)
    model.encoder = Windowed(adapt(model.encoder, how, last=1, rank=2), window=300)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.eval()
    save_bundle(tmp_path / "tiny", model=model, lexicon=lexicon, tasks=TASKS)
    assert isinstance(model.encoder, Windowed)
    loaded = load_bundle(tmp_path / "tiny")
    assert not any("lora" in name for name in loaded.model.state_dict())
    assert torch.allclose(
        logits(model, lexicon, TASKS), logits(loaded.model, lexicon, TASKS), atol=1e-5, rtol=1e-5
    )


def test_a_molecule_encoder_is_saved_with_the_rest(tmp_path):
    lexicon = made_lexicon()
    molecule = {"kind": "character", "width": 8, "layers": 1, "heads": 2}
    model = made_model(lexicon, architecture={**ARCHITECTURE, "molecule_encoder": molecule})
    save_bundle(tmp_path / "tiny", model=model, lexicon=lexicon, tasks=TASKS)
    loaded = load_bundle(tmp_path / "tiny")
    assert same_weights(model, loaded.model)
    assert torch.equal(
        loaded.model.molecule_encoder.tokenize(["CCO"])[0], model.molecule_encoder.tokenize(["CCO"])[0]
    )


def test_half_precision_is_stored_as_float32(tmp_path):
    lexicon = made_lexicon()
    model = made_model(lexicon).bfloat16()
    save_bundle(tmp_path / "tiny", model=model, lexicon=lexicon, tasks=TASKS)
    loaded = load_bundle(tmp_path / "tiny")
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    assert same_weights(model.float(), loaded.model)


def test_one_tensor_under_two_names(tmp_path):
    lexicon = made_lexicon()
    model = made_model(lexicon)
    model.decoder.score.weight = model.decoder.table.weight
    save_bundle(tmp_path / "tiny", model=model, lexicon=lexicon, tasks=TASKS)
    assert same_weights(model, load_bundle(tmp_path / "tiny").model)


def test_loading_leaves_the_callers_random_numbers_alone(bundle):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_bundle(bundle)
    assert torch.equal(torch.rand(4), expected)


def test_the_same_run_saves_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    settings = {"config": {"seed": 1, "data": {"a": [1, 2]}}, "provenance": {"seed": 1}}
    save(tmp_path / "1" / "tiny", **settings)
    save(tmp_path / "2" / "tiny", **settings)
    for name in FILES:
        assert (tmp_path / "1" / "tiny" / name).read_bytes() == (tmp_path / "2" / "tiny" / name).read_bytes()
    manifest = load_bundle(tmp_path / "1" / "tiny").manifest
    assert manifest["created"] == "2023-11-14T22:13:20Z"


def test_provenance_of_any_kind_becomes_plain_data(tmp_path):
    told = {
        "best_score": float("nan"),
        "folder": tmp_path,
        "sizes": (1, 2),
        "loss": torch.tensor(0.5),
        3: None,
    }
    save(tmp_path / "tiny", provenance=told)
    provenance = load_bundle(tmp_path / "tiny").manifest["provenance"]
    assert provenance["best_score"] == "nan"
    assert provenance["folder"] == str(tmp_path)
    assert provenance["sizes"] == [1, 2]
    assert provenance["loss"] == 0.5
    assert provenance["3"] is None
    assert provenance["versions"]["torch"] == torch.__version__


def test_the_configuration_is_for_people(tmp_path):
    save(tmp_path / "tiny", config={"optimizer": {"lr": 1e-3}, "path": tmp_path})
    text = (tmp_path / "tiny" / "config.yaml").read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text) == {"optimizer": {"lr": 1e-3}, "path": str(tmp_path)}


def test_saving_again_replaces(tmp_path):
    save(tmp_path / "tiny", seed=0)
    second = save(tmp_path / "tiny", seed=1)
    assert same_weights(load_bundle(tmp_path / "tiny").model, second)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_nothing_is_saved_that_could_not_be_loaded(tmp_path):
    lexicon = made_lexicon()
    poisoned = made_model(lexicon)
    poisoned.decoder.score.weight.data[2, 3] = float("inf")
    larger = Lexicon(lexicon.vocabulary.extend([position_block(3)]))
    other = {**TASKS, "more": dataclasses.replace(TASKS["where"], name="more")}
    for code, settings in (
        ("checkpoint.not_finite", {"model": poisoned, "lexicon": lexicon, "tasks": TASKS}),
        ("checkpoint.tensors", {"model": made_model(lexicon), "lexicon": larger, "tasks": TASKS}),
        ("checkpoint.vocabulary", {"model": made_model(lexicon), "lexicon": lexicon, "tasks": other}),
    ):
        with pytest.raises(CheckpointError) as caught:
            save_bundle(tmp_path / "tiny", **settings)
        assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_text_too_long_to_be_read_again_is_not_saved(tmp_path, monkeypatch):
    save(tmp_path / "tiny", seed=0)
    before = (tmp_path / "tiny" / "manifest.json").read_bytes()
    monkeypatch.setattr(manifests, "MAX_BYTES", 30_000)
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path / "tiny", config={"long": "x" * 30_000})
    assert caught.value.code == "checkpoint.too_large"
    assert (tmp_path / "tiny" / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_disk_that_is_full_in_the_middle_of_the_weights(tmp_path):
    """A limit on file size makes the kernel itself refuse the write, inside safetensors' own code."""
    import resource

    model = save(tmp_path / "tiny", seed=0)
    size = (tmp_path / "tiny" / "model.safetensors").stat().st_size
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
            save(tmp_path / "tiny", seed=1)
        except OutputError as error:
            status = 42 if error.code == "output.write" else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert same_weights(load_bundle(tmp_path / "tiny").model, model)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def flip(path, draw):
    held = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(held))
    held[bit // 8] ^= 1 << bit % 8
    path.write_bytes(held)


def truncate(path, draw):
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def lengthen(path, draw):
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randint(1, 9)))


def check_damage(bundle, damage, times, seed):
    draw = random.Random(seed)
    for _ in range(times):
        path = bundle / draw.choice(FILES)
        held = path.read_bytes()
        damage(path, draw)
        with pytest.raises(CheckpointError) as caught:
            load_bundle(bundle)
        assert caught.value.code in ("checkpoint.corrupt", "checkpoint.pickle")
        assert path.name in caught.value.where.file
        path.write_bytes(held)
    load_bundle(bundle)


@pytest.mark.parametrize("damage", [flip, truncate, lengthen])
def test_damage_anywhere_is_refused(bundle, damage):
    check_damage(bundle, damage, 300, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("damage", [flip, truncate])
def test_much_damage_anywhere_is_refused(bundle, damage):
    check_damage(bundle, damage, 10_000, seed=2)


def test_a_damaged_file_in_place_of_another_is_refused(bundle):
    shutil.copy(bundle / "tasks.json", bundle / "vocabulary.json")
    with pytest.raises(CheckpointError) as caught:
        load_bundle(bundle)
    assert caught.value.code == "checkpoint.corrupt"


def test_hidden_files_of_other_programs_do_no_harm(bundle):
    (bundle / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (bundle / ".DS_Store").write_bytes(b"\x80\x04x")
    (bundle / ".cache").mkdir()
    load_bundle(bundle)


def test_a_device_that_is_not_there_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(DeviceError) as caught:
        load_bundle(tmp_path / "nowhere", device="cuda:99")
    assert caught.value.code == "device.missing"


@pytest.mark.parametrize("positions", ["nowhere", None, 3])
def test_an_unknown_way_to_write_positions(bundle, positions):
    change(bundle, lambda manifest: manifest.update(positions=positions))
    with pytest.raises(CheckpointError) as caught:
        load_bundle(bundle)
    assert caught.value.code == "checkpoint.vocabulary"


@pytest.mark.parametrize(
    "readout",
    [
        {"threshold": 2.0},
        {"threshold": "0.5"},
        {"statistic": "mode"},
        {"way": "eval"},
        {"level": 1.0},
        {"x": 1},
        [],
        None,
    ],
)
def test_a_readout_out_of_range(bundle, readout):
    change(bundle, lambda manifest: manifest["readouts"].update(sites=readout))
    with pytest.raises(CheckpointError) as caught:
        load_bundle(bundle)
    assert caught.value.code == "checkpoint.task"


def manifest_paths(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from manifest_paths(value, (*path, key))


def put(node, path, value):
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


VALUES = (None, True, -1, 0, 7, 10**30, 0.5, "", "x", [], [[]], {}, {"a": 1})


def check_nonsense(bundle, name, times, seed):
    """Puts wrong values at random places of a JSON file, with fitting digests: our error or a model, nothing
    else."""
    draw = random.Random(seed)
    held = {path: path.read_bytes() for path in bundle.iterdir()}
    plain = json.loads((bundle / name).read_text())
    places = [
        path for path in manifest_paths(plain) if path and path[0] not in ("files", "seal", "provenance")
    ]
    refused = 0
    for _ in range(times):
        wrong = json.loads((bundle / name).read_text())
        put(wrong, draw.choice(places), draw.choice(VALUES))
        if name == "manifest.json":
            change(bundle, lambda manifest, wrong=wrong: manifest.update(wrong) or manifest.pop("seal", None))
        else:
            (bundle / name).write_text(json.dumps(wrong))
            change(bundle)
        error = None
        try:
            load_bundle(bundle)
        except CheckpointError as refusal:
            error = refusal
        if error is not None:
            refused += 1
            assert error.where.file is not None
        for path, content in held.items():
            path.write_bytes(content)
    return refused


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", ["manifest.json", "tasks.json", "vocabulary.json"])
def test_nonsense_with_fitting_digests_gives_our_errors_only(bundle, name):
    assert check_nonsense(bundle, name, 100, seed=4) > 30


@pytest.mark.long
@pytest.mark.parametrize("name", ["manifest.json", "tasks.json", "vocabulary.json"])
def test_much_nonsense_with_fitting_digests(bundle, name):
    assert check_nonsense(bundle, name, 5_000, seed=5) > 1_000


def test_configuration_is_never_opened_by_loading(bundle, monkeypatch):
    """Neither it nor the card is understood by anything: only their bytes are digested."""
    monkeypatch.setattr(yaml, "load", None)
    monkeypatch.setattr(yaml, "safe_load", None)
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    (bundle / "config.yaml").write_text(
        "_target_: os.system\n_args_: [exit 1]\nhome: ${oc.env:HOME}\nx: !!python/object:os.x {}\n"
    )
    change(bundle)
    load_bundle(bundle)


def test_every_forbidden_setting_is_refused(bundle):
    for setting in (*bundles.FORBIDDEN, "_target_", "_attn_implementation"):
        copy = shutil.copytree(bundle, bundle.parent / setting)
        change(
            copy,
            lambda manifest, setting=setting: manifest["architecture"]["encoder"].update({setting: "a/b"}),
        )
        with pytest.raises(CheckpointError) as caught:
            load_bundle(copy)
        assert caught.value.code == "config.forbidden"
        assert setting in caught.value.message
