"""Saving and loading bundles. Loading trusts nothing: every byte is checked, every kind comes from a closed
table."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

import protscribe
from protscribe.architecture import build_model, describe_model
from protscribe.checkpoint import manifest as manifests
from protscribe.checkpoint.card import render_card
from protscribe.checkpoint.folder import Content, write_file, write_folder
from protscribe.checkpoint.hub import find_bundle
from protscribe.checkpoint.manifest import (
    CARD,
    CONFIG,
    KNOWN,
    MANIFEST,
    NEIGHBOURS,
    TASKS,
    VOCABULARY,
    WEIGHTS,
    to_plain,
)
from protscribe.checkpoint.neighbours import read_neighbours, write_neighbours
from protscribe.checkpoint.weights import (
    DTYPES,
    NAMES,
    Form,
    check_weights,
    compare,
    count_weights,
    forms,
    load_weights,
    stored,
    weight_names,
    write_weights,
)
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon
from protscribe.devices import find_device
from protscribe.documents import read_yaml
from protscribe.encoders import Windowed, merge
from protscribe.errors import CheckpointError, ConfigError, ProtscribeError, Where, nearest
from protscribe.nn.model import Scribe
from protscribe.task import Task
from protscribe.trust import Trust
from protscribe.trust.neighbours import Neighbours
from protscribe.vocabulary import Vocabulary

CONFIG_HEAD = "# The configuration of the run that made this bundle, resolved, for people to read. Nothing reads it back.\n"
VERSIONS = ("torch", "transformers", "safetensors", "lightning", "numpy")
MOST_LAYERS = 1_000
"""More layers than any network has: a description that asks for them is refused before they are made."""
FORBIDDEN = frozenset(
    {
        "attn_implementation", "auto_map", "backbone", "experts_implementation", "quantization_config",
        "trust_remote_code", "use_kernels", "use_pretrained_backbone", "use_timm_backbone",
    }
)  # fmt: skip
"""Settings by which a description of a network could have code or weights fetched from elsewhere; also all
that begin with ``_``."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle folder holds, loaded. ``tasks``, ``readouts``, ``trust`` (of tasks of which something is known) and
    ``neighbours`` (of tasks that have any) are by task name; ``manifest`` is the whole manifest."""

    model: Scribe
    lexicon: Lexicon
    tasks: Mapping[str, Task]
    readouts: Mapping[str, Readout]
    manifest: Mapping[str, Any]
    trust: Mapping[str, Trust] = dataclasses.field(default_factory=dict)
    neighbours: Mapping[str, Neighbours] = dataclasses.field(default_factory=dict)


def save_bundle(
    folder: str | Path,
    *,
    model: Scribe,
    lexicon: Lexicon,
    tasks: Mapping[str, Task],
    readouts: Mapping[str, Readout] | None = None,
    trust: Mapping[str, Trust] | None = None,
    neighbours: Mapping[str, Neighbours] | None = None,
    config: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> Path:
    """Writes a bundle, whole or not at all, and returns its absolute path. A bundle that is there is
    replaced; on failure it stays.

    Parameters
    ----------
    model: low-rank additions are merged, windows left out. Only what can be loaded is saved. dtype: what weights are
        stored as, ``"float32"``, ``"bfloat16"`` or ``"float16"``; they are loaded as float32.
    readouts: by task name; a task without one gets the default. trust, neighbours: by task name, of any of them.
    config: the run's resolved configuration, for people. No secrets: whoever has the bundle reads it.
    provenance: of the run, as plain data. The model card
        shows ``license`` (the Hub's identifier), ``licences``
        (text by encoder or data set), ``encoder`` (its configuration), ``sources`` or ``datasets``,
        ``evaluation`` (value by task and metric), ``seed``, ``steps``, ``epochs`` and ``command``. Versions
        of libraries are added. ``SOURCE_DATE_EPOCH`` fixes the date, so that the same run gives the same
        bytes.

    Raises
    ------
    :class:`~protscribe.errors.ConfigError` ``config.value`` for another ``dtype``.
    :class:`~protscribe.errors.OutputError`: ``output.write`` (nothing changed), ``output.exists`` (another
    thing stands there). :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_finite``;
    ``checkpoint.vocabulary`` or ``checkpoint.tensors`` for a model that does not fit its own tasks, lexicon or
    description; ``checkpoint.too_large``.
    """
    plain = Scribe(_unwrapped(model.encoder), model.decoder, _unwrapped(model.molecule_encoder))
    told = {name: (readouts or {}).get(name, Readout()) for name in tasks}
    _check_symbols(tasks, lexicon.vocabulary, Where(file=str(folder)))
    architecture = to_plain(describe_model(plain))
    if dtype not in DTYPES:
        raise ConfigError("config.value", f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    tensors = stored(plain, DTYPES[dtype])
    found = {name: Form(NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    unlike = list(compare(found, expected_forms(architecture, lexicon, dtype)))
    if unlike:
        raise CheckpointError(
            "checkpoint.tensors", f"the model does not fit its own description; {'; '.join(unlike)}"
        )
    known = {name: (trust or {}).get(name, Trust()) for name in tasks}
    content = _content(plain, architecture, lexicon, told, known, provenance or {}, dtype)
    near = dict(neighbours or {})
    if near:
        content["neighbours"] = to_plain({name: one.to_plain() for name, one in near.items()})
    card = render_card(Path(folder).name, tasks, lexicon.vocabulary, told, content)

    def write_manifest(path: Path) -> None:
        files = manifests.describe_files(path.parent)
        write_file(path, manifests.render_manifest({**content, "files": files}))

    texts: dict[str, Content] = {
        VOCABULARY: _lines(lexicon.vocabulary.to_json()),
        TASKS: _lines([task.to_plain() for task in tasks.values()]),
        CONFIG: (CONFIG_HEAD + yaml.safe_dump(to_plain(config or {}), sort_keys=False)).encode(),
        CARD: card.encode(),
    }
    weights: dict[str, Content] = {WEIGHTS: lambda path: write_weights(path, tensors)}
    if near:
        weights[NEIGHBOURS] = lambda path: write_neighbours(path, near)
    return write_folder(Path(folder), {**texts, **weights, MANIFEST: write_manifest}, known=KNOWN)


def load_bundle(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    local_files_only: bool = False,
) -> Bundle:
    """A bundle from a folder, a released one by its name, or one of the Hub by ``org/name``, in eval mode on ``device``.
    Runs nothing that is named in it.

    Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found``, ``.offline``, ``.foreign``,
    ``.pickle``, ``.corrupt``, ``.too_large``, ``.version`` (written by a newer library), ``.vocabulary``,
    ``.task``, ``.architecture``, ``.tensors``, ``.not_finite``, and ``config.forbidden`` for a setting that
    could have code fetched; :class:`~protscribe.errors.DeviceError` ``device.missing``. Never gives random
    weights.
    """
    place = find_device(str(device))
    folder = find_bundle(name, revision=revision, local_files_only=local_files_only)
    manifest = manifests.read_manifest(folder)
    lexicon = _read_lexicon(folder, manifest)
    tasks = _read_tasks(folder, lexicon.vocabulary)
    with _understood("checkpoint.task", folder / MANIFEST):
        readouts = {task: _readout(task, manifest["readouts"][task]) for task in tasks}
        trust = _trust(manifest.get("trust", {}), tasks)
    model = _read_model(folder, manifest, lexicon)
    with _understood("checkpoint.tensors", folder / NEIGHBOURS):
        near = read_neighbours(folder, manifest.get("neighbours", {}), tasks, model.encoder)
    return Bundle(model.to(place).eval(), lexicon, tasks, readouts, manifest, trust, near)


OF_A_MACHINE = ("folder", "paths", "state_cache")
"""Keys of a run's configuration that name folders."""


def rewrite_bundle(
    name: str | Path,
    folder: str | Path,
    *,
    dtype: str = "float32",
    told: Mapping[str, Any] | None = None,
    readouts: Mapping[str, Readout] | None = None,
    trust: Mapping[str, Trust] | None = None,
    neighbours: Mapping[str, Neighbours] | None = None,
) -> Path:
    """Writes the bundle ``name`` again to ``folder``, with weights as ``dtype`` and ``told`` added to its provenance;
    ``readouts``, ``trust`` and ``neighbours``, where given, in place of its own.

    Of its configuration, folders of the machine that it was trained on are left out.
    Raises as :func:`load_bundle` and :func:`save_bundle` do.
    """
    place = find_bundle(name)
    bundle = load_bundle(place)
    return save_bundle(
        folder,
        model=bundle.model,
        lexicon=bundle.lexicon,
        tasks=bundle.tasks,
        readouts=bundle.readouts if readouts is None else readouts,
        trust=bundle.trust if trust is None else trust,
        neighbours=bundle.neighbours if neighbours is None else neighbours,
        config={key: value for key, value in read_yaml(place / CONFIG).items() if key not in OF_A_MACHINE},
        provenance={**bundle.manifest["provenance"], **(told or {})},
        dtype=dtype,
    )


def expected_forms(
    architecture: Mapping[str, Any], lexicon: Lexicon, dtype: str = "float32"
) -> dict[str, Form]:
    """Type and shape of every tensor of an architecture, found without making any."""
    with torch.device("meta"):
        model = build_model(architecture, lexicon)
        return forms(model.state_dict(), weight_names(model), DTYPES[dtype])


def _unwrapped(encoder: Any) -> Any:
    return None if encoder is None else merge(encoder.encoder if isinstance(encoder, Windowed) else encoder)


def _lines(rows: list[Any]) -> bytes:
    return ("[\n" + ",\n".join(json.dumps(to_plain(row)) for row in rows) + "\n]\n").encode()


def _content(
    model: Scribe,
    architecture: Mapping[str, Any],
    lexicon: Lexicon,
    readouts: Mapping[str, Readout],
    trust: Mapping[str, Trust],
    provenance: Mapping[str, Any],
    dtype: str,
) -> dict[str, Any]:
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))
    known = {name: one.to_plain() for name, one in trust.items() if one}
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONS}
    return {
        "format": manifests.FORMAT,
        "needs_library": manifests.NEEDS,
        "library": protscribe.__version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        "vocabulary": {"symbols": len(lexicon.vocabulary), "fingerprint": lexicon.vocabulary.fingerprint},
        "positions": lexicon.positions,
        **({"stages": list(lexicon.stages)} if lexicon.stages else {}),
        **({"weights": dtype} if dtype != "float32" else {}),
        "readouts": {name: dataclasses.asdict(readout) for name, readout in readouts.items()},
        **({"trust": to_plain(known)} if known else {}),
        "architecture": architecture,
        "parameters": {
            "encoder": count_weights(model.encoder),
            "decoder": count_weights(model.decoder),
            "molecule_encoder": count_weights(model.molecule_encoder),
        },
        "provenance": {"versions": versions, **to_plain(provenance)},
    }


def _read_lexicon(folder: Path, manifest: Mapping[str, Any]) -> Lexicon:
    path = folder / VOCABULARY
    with _understood("checkpoint.vocabulary", path):
        rows = manifests.read_plain(path)
        if not all(isinstance(row, list) and [type(text) for text in row] == [str, str] for row in rows):
            raise ValueError("every entry must be a pair of block and text")
        vocabulary = Vocabulary.from_json(rows)
        said = manifest["vocabulary"]["fingerprint"]
        if vocabulary.fingerprint != said:
            raise CheckpointError(
                "checkpoint.vocabulary",
                f"has the fingerprint {vocabulary.fingerprint[:12]}, the weights belong to {str(said)[:12]}: an id would mean "
                "another symbol",
                Where(file=str(path)),
            )
        return Lexicon(vocabulary, manifest["positions"], tuple(manifest.get("stages", ())))


def _read_tasks(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    path = folder / TASKS
    where = Where(file=str(path))
    tasks: dict[str, Task] = {}
    with _understood("checkpoint.task", path):
        for plain in manifests.read_plain(path):
            _check_forbidden(plain, where)
            task = Task.from_plain(plain, "a task of this bundle")
            if task.name in tasks:
                raise CheckpointError("checkpoint.task", f"the task {task.name!r} stands twice", where)
            tasks[task.name] = task
        _check_symbols(tasks, vocabulary, where)
    return tasks


def _readout(task: str, plain: Mapping[str, Any]) -> Readout:
    known = {field.name for field in dataclasses.fields(Readout)}
    for key in plain:
        if key not in known:
            raise ValueError(f"the readout of {task!r} has no {key!r}; {nearest(key, known)}")
    readout = Readout(**plain)
    fits = 0 <= readout.threshold <= 1 and 0 < readout.level < 1
    if not fits or readout.statistic not in ("mean", "median") or readout.way not in ("risk", "greedy"):
        raise ValueError(f"the readout of {task!r} is out of range: {readout}")
    return readout


def _trust(plain: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, Trust]:
    """What a manifest says of the trust in its tasks; bundles from before there was any say nothing."""
    for name in plain:
        if name not in tasks:
            raise ValueError(f"trust names a task that the bundle has not, {name!r}; {nearest(name, tasks)}")
    return {name: Trust.from_plain(told) for name, told in plain.items()}


def _read_model(folder: Path, manifest: Mapping[str, Any], lexicon: Lexicon) -> Scribe:
    # Every weight that is made here is overwritten or refused: the caller's random numbers are none of its business.
    with _understood("checkpoint.architecture", folder / MANIFEST), torch.random.fork_rng(devices=[]):
        architecture = manifest["architecture"]
        _check_forbidden(architecture, Where(file=str(folder / MANIFEST)))
        expected = expected_forms(architecture, lexicon, manifest.get("weights", "float32"))
        check_weights(folder / WEIGHTS, expected)
        model = build_model(architecture, lexicon)
    load_weights(folder / WEIGHTS, model, expected)
    return model


def _check_symbols(tasks: Mapping[str, Task], vocabulary: Vocabulary, where: Where) -> None:
    for name, task in tasks.items():
        lacking = [
            symbol for block in task.blocks() for symbol in block.symbols() if symbol not in vocabulary
        ]
        if lacking:
            shown = ", ".join(f"{symbol.block}:{symbol.text}" for symbol in lacking[:5])
            raise CheckpointError(
                "checkpoint.vocabulary",
                f"the vocabulary lacks {len(lacking)} symbols of task {name!r}: {shown}",
                where,
            )


def _check_forbidden(plain: Any, where: Where) -> None:
    """Refuses settings that could make a library fetch or run something, and sizes no network has."""
    rest = [plain]
    while rest:
        node = rest.pop()
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key.startswith("_") or key in FORBIDDEN:
                    raise CheckpointError(
                        "config.forbidden", f"the setting {key!r} is not allowed in a bundle", where
                    )
                if key.endswith("layers") and isinstance(value, int) and value > MOST_LAYERS:
                    raise CheckpointError(
                        "checkpoint.too_large", f"{key} is {value}, at most {MOST_LAYERS} are made", where
                    )
            rest += node.values()
        elif isinstance(node, list):
            rest += node


@contextmanager
def _understood(code: str, path: Path) -> Iterator[None]:
    """Whatever goes wrong with what a file says becomes our error: it was written by who knows whom."""
    try:
        yield
    except CheckpointError:
        raise
    except ProtscribeError as error:
        raise CheckpointError(code, error.message, Where(file=str(path))) from error
    except Exception as error:
        said = f"cannot be understood ({type(error).__name__}: {error})"
        raise CheckpointError(code, said, Where(file=str(path))) from error
