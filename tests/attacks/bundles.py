"""Bundles made to do harm. Each entry changes a good bundle in place; all digests fit afterwards unless that
is the point.

Every payload, were it run, imported, unpickled or resolved, leaves a file at the path in the environment
variable ``CANARY``, or asks the network. ``EXPECTED`` says what loading must answer: an error's code, or
``None`` where the payload lies in a file that nothing reads and the bundle loads as if it were not there.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.checkpoint.made import change, change_json

Attack = Callable[[Path], None]
ATTACKS: dict[str, Attack] = {}
EXPECTED: dict[str, str | None] = {}
CALL = "protscribe_canary.touch"
TOUCH = 'import os; open(os.environ["CANARY"], "w").close()'


class Payload:
    """Unpickled, it leaves the file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (TOUCH,)


def write_canary_module(folder: Path) -> None:
    """A module that leaves the file when it is imported: ``folder`` stands in the import path."""
    (folder / "protscribe_canary.py").write_text(
        f"{TOUCH}\ndef touch(*arguments, **keywords):\n    {TOUCH}\n"
    )


def attack(expected: str | None) -> Callable[[Attack], Attack]:
    def register(make: Attack) -> Attack:
        name = make.__name__
        assert name not in ATTACKS
        ATTACKS[name], EXPECTED[name] = make, expected
        return make

    return register


def in_encoder(**settings: Any) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["architecture"]["encoder"].update(settings)


def as_huggingface(family: str = "bert", **config: Any) -> Callable[[dict[str, Any]], object]:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = {
        "kind": "huggingface", "family": family, "config": {**sizes, "vocab_size": 40, **config},
        "table": list(range(5, 30)), "first": 1, "last": 2,
    }  # fmt: skip
    return lambda manifest: manifest["architecture"].update(encoder=encoder)


def write_config(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)
    change(folder)


def write_header(folder: Path, header: bytes, size: int | None = None) -> None:
    length = len(header) if size is None else size
    (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(64))
    change(folder)


@attack("checkpoint.pickle")
def torch_archive_named_safetensors(folder):
    torch.save({"weight": Payload()}, folder / "model.safetensors")
    change(folder)


@attack("checkpoint.pickle")
def raw_pickle_named_safetensors(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(), protocol=4))
    change(folder)


@attack("checkpoint.corrupt")
def text_pickle_named_safetensors(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(), protocol=0))
    change(folder)


@attack("checkpoint.pickle")
def pickle_beside_the_weights(folder):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))


@attack("checkpoint.pickle")
def training_checkpoint_beside_the_weights(folder):
    torch.save({"state_dict": Payload()}, folder / "last.ckpt")


@attack("checkpoint.pickle")
def hidden_pickle(folder):
    (folder / ".cache.pkl").write_bytes(pickle.dumps(Payload()))


@attack("checkpoint.corrupt")
def pickle_named_manifest(folder):
    (folder / "manifest.json").write_bytes(pickle.dumps(Payload()))


@attack("checkpoint.pickle")
def pickle_named_tasks(folder):
    (folder / "tasks.json").write_bytes(pickle.dumps(Payload()))
    change(folder)


@attack(None)
def target_in_the_configuration(folder):
    write_config(folder, f"encoder:\n  _target_: {CALL}\n  _recursive_: true\n")


@attack(None)
def python_object_in_the_configuration(folder):
    write_config(folder, f"a: !!python/object/apply:{CALL} []\nb: !!python/name:{CALL}\n")


@attack(None)
def resolvers_in_the_configuration(folder):
    write_config(folder, f"home: ${{oc.env:HOME}}\nx: ${{hydra:runtime.cwd}}\ny: ${{oc.create:{CALL}}}\n")


@attack(None)
def aliases_that_blow_up_in_the_configuration(folder):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    write_config(folder, "\n".join(lines))


@attack(None)
def code_in_the_card(folder):
    (folder / "README.md").write_text(
        f"---\nlibrary_name: !!python/object/apply:{CALL} []\n---\n```python\n{TOUCH}\n```\n"
    )
    change(folder)


@attack("config.forbidden")
def target_in_a_task(folder):
    change_json(folder, "tasks.json", lambda tasks: tasks[0].update(_target_=CALL))


@attack("config.forbidden")
def target_in_a_codec(folder):
    change_json(folder, "tasks.json", lambda tasks: tasks[0]["codec"].update(_target_=CALL))


@attack("checkpoint.task")
def codec_kind_that_is_a_function(folder):
    change_json(folder, "tasks.json", lambda tasks: tasks[0]["codec"].update(kind=CALL))


@attack("config.forbidden")
def target_in_the_architecture(folder):
    change(folder, in_encoder(_target_=CALL))


@attack("checkpoint.architecture")
def encoder_kind_that_is_a_function(folder):
    change(folder, in_encoder(kind=CALL))


@attack("checkpoint.architecture")
def transformers_family_that_is_a_function(folder):
    change(folder, as_huggingface(CALL))


@attack("config.forbidden")
def attention_kernel_from_the_hub(folder):
    change(folder, as_huggingface(attn_implementation="attacker/kernel"))


@attack("config.forbidden")
def private_attention_kernel_from_the_hub(folder):
    change(folder, as_huggingface(_attn_implementation_internal="attacker/kernel"))


@attack("config.forbidden")
def remote_code(folder):
    change(
        folder,
        as_huggingface(auto_map={"AutoModel": "attacker/model--modeling.Evil"}, trust_remote_code=True),
    )


@attack("config.forbidden")
def remote_backbone(folder):
    change(folder, as_huggingface(backbone="attacker/model", use_pretrained_backbone=True))


@attack("checkpoint.architecture")
def pretrained_weights_by_name(folder):
    change(folder, in_encoder(name="attacker/model"))


@attack("checkpoint.foreign")
def module_beside_the_weights(folder):
    (folder / "modeling_protscribe.py").write_text(TOUCH)


@attack("checkpoint.foreign")
def configuration_of_transformers(folder):
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Evil"}}))


@attack("checkpoint.corrupt")
def paths_out_of_the_folder(folder):
    change(
        folder, lambda manifest: manifest["files"].update({"../../../etc/passwd": {"bytes": 1, "sha256": ""}})
    )


@attack("checkpoint.not_found")
def pipe_in_place_of_the_weights(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


@attack("checkpoint.not_found")
def endless_device_in_place_of_the_manifest(folder):
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/dev/zero")


@attack("checkpoint.too_large")
def vocabulary_of_a_hundred_megabytes(folder):
    with (folder / "vocabulary.json").open("ab") as file:
        file.truncate(100_000_000)


@attack("checkpoint.too_large")
def header_of_a_million_tensors(folder):
    entry = b'":{"dtype":"F32","shape":[],"data_offsets":[0,0]}'
    write_header(folder, b"{" + b",".join(b'"%x%s' % (place, entry) for place in range(1_000_000)) + b"}")


@attack("checkpoint.corrupt")
def header_longer_than_the_world(folder):
    write_header(folder, b"{}", size=2**63)


@attack("checkpoint.corrupt")
def header_nested_without_end(folder):
    write_header(folder, b"[" * 1_000_000)


@attack("checkpoint.corrupt")
def tensors_beyond_the_file(folder):
    write_header(folder, b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}')


@attack("checkpoint.too_large")
def tasks_nested_without_end(folder):
    (folder / "tasks.json").write_text("[" * 1_000_000)
    change(folder)


@attack("checkpoint.too_large")
def a_billion_layers(folder):
    change(folder, lambda manifest: manifest["architecture"]["decoder"].update(layers=10**9))


@attack("checkpoint.tensors")
def layers_as_wide_as_memory(folder):
    change(folder, lambda manifest: manifest["architecture"]["decoder"].update(width=2**20))


@attack("checkpoint.architecture")
def layers_wider_than_numbers(folder):
    change(folder, lambda manifest: manifest["architecture"]["decoder"].update(width=2**40))


@attack("checkpoint.vocabulary")
def another_vocabulary_under_the_same_weights(folder):
    def swap(rows):
        rows[-1], rows[-2] = rows[-2], rows[-1]

    change_json(folder, "vocabulary.json", swap)
