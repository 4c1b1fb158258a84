"""The manifest of a bundle, and checking a bundle's files against it before any of them is understood. Pure
Python.

``manifest.json`` holds size and SHA-256 of every other file. Its own last entry, the ``seal``, is the SHA-256
of all bytes before it: no bit of a bundle can change unseen, and the seal identifies the bundle as a whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protscribe.documents import read_json
from protscribe.errors import CheckpointError, ConfigError, Where

FORMAT = 1
"""Number of this format. A library reads its own and all older ones."""
NEEDS = "0.1.0"
"""The first version of this library that reads :data:`FORMAT`."""

MANIFEST, WEIGHTS, NEIGHBOURS = "manifest.json", "model.safetensors", "neighbours.safetensors"
VOCABULARY, TASKS = "vocabulary.json", "tasks.json"
CONFIG, CARD = "config.yaml", "README.md"
LISTED = (VOCABULARY, TASKS, CONFIG, CARD, WEIGHTS)
"""Every file that each bundle has, but the manifest."""
FILES = (*LISTED, MANIFEST)
KNOWN = (*FILES, NEIGHBOURS)
"""Every file that a bundle may have."""
LARGE = (WEIGHTS, NEIGHBOURS)

MAX_BYTES = 32_000_000
"""Of each file but the :data:`LARGE` ones."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
NO_PICKLES = (
    "pickles can run code and are never opened. Give the bundle folder that training wrote (its last lines name it); "
    "encoder weights are converted once by protscribe.encoders.pretrained.convert(folder, new_folder), which "
    "reads them with weights_only=True"
)

_SEAL = b',\n "seal": "'
_END = b'"\n}\n'


def render_manifest(content: Mapping[str, Any]) -> bytes:
    """The bytes of ``manifest.json``, with the seal. ``content`` is plain data.

    Raises :class:`~protscribe.errors.CheckpointError` ``checkpoint.too_large`` for a manifest or a listed
    text that could not be read again.
    """
    sizes = {name: entry["bytes"] for name, entry in content["files"].items() if name not in LARGE}
    sealed = seal(content)
    for name, size in {**sizes, MANIFEST: len(sealed)}.items():
        if size > MAX_BYTES:
            raise CheckpointError(
                "checkpoint.too_large", f"{name} would have {size} bytes, at most {MAX_BYTES} are read back"
            )
    return sealed


def seal(content: Mapping[str, Any]) -> bytes:
    """Plain data as the bytes of a JSON file that ends in the SHA-256 of all that stands before it."""
    body = json.dumps(content, indent=1, allow_nan=False).encode().removesuffix(b"\n}") + _SEAL
    return body + hashlib.sha256(body).hexdigest().encode() + _END


def read_sealed(path: Path, version: int) -> dict[str, Any]:
    """The content of a file made by :func:`seal`, whose entry ``format`` is at most ``version``.

    Raises :class:`~protscribe.errors.CheckpointError` ``checkpoint.too_large``, ``checkpoint.corrupt`` or
    ``checkpoint.version``.
    """
    check_size(path)
    body, found, end = _split(path.read_bytes())
    if hashlib.sha256(body).hexdigest().encode() != found or end != _END:
        raise CheckpointError(
            "checkpoint.corrupt", "is not as it was saved: its seal does not fit", _at(path)
        )
    content = read_plain(path)
    number = content.get("format") if isinstance(content, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise CheckpointError(
            "checkpoint.corrupt", f"names no format this library could read: {number!r}", _at(path)
        )
    if number > version:
        raise CheckpointError(
            "checkpoint.version",
            f"has format {number}, this library reads up to {version}: it needs library >= {content.get('needs_library')}",
            _at(path),
        )
    return dict(content)


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of each listed file that lies in ``folder``."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest_file(folder / name)}
        for name in (*LISTED, NEIGHBOURS)
        if (folder / name).is_file()
    }


def digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle folder, once every file has been found to be what it says.

    Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found`` (no folder, or a file
    missing), ``checkpoint.foreign`` (something else), ``checkpoint.pickle``, ``checkpoint.too_large``,
    ``checkpoint.version`` (written by a newer library), ``checkpoint.corrupt`` (not the bytes that were
    saved).
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise _no_bundle(folder)
    manifest = read_sealed(path, FORMAT)
    check_files(folder, manifest)
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises unless exactly the listed files lie in ``folder`` with the sizes and digests that the manifest
    holds.

    Names that begin with a dot are other programs' (``.gitattributes``, ``.DS_Store``) and are left alone.
    """
    listed = manifest.get("files")
    expected = (*LISTED, NEIGHBOURS) if manifest.get("neighbours") else LISTED
    if not isinstance(listed, Mapping) or sorted(listed) != sorted(expected):
        raise CheckpointError(
            "checkpoint.corrupt", f"must list {', '.join(expected)}", _at(folder / MANIFEST)
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLE_SUFFIXES or (path.name in KNOWN and path.is_file() and looks_pickled(path)):
            raise CheckpointError("checkpoint.pickle", f"is a pickle; {NO_PICKLES}", _at(path))
        if path.name not in (*expected, MANIFEST) and not path.name.startswith("."):
            raise CheckpointError(
                "checkpoint.foreign", "is no part of this bundle; move it elsewhere", _at(path)
            )
    for name in expected:
        _check_file(folder / name, listed[name])


def _check_file(path: Path, entry: Any) -> None:
    if not path.is_file():
        raise CheckpointError("checkpoint.not_found", "this file of the bundle is missing", _at(path))
    if path.name not in LARGE:
        check_size(path)
    size = path.stat().st_size
    said = entry if isinstance(entry, Mapping) else {}
    if size != said.get("bytes"):
        raise CheckpointError(
            "checkpoint.corrupt", f"has {size} bytes, was saved with {said.get('bytes')}", _at(path)
        )
    if digest_file(path) != said.get("sha256"):
        raise CheckpointError(
            "checkpoint.corrupt",
            "is not as it was saved: its SHA-256 differs. Copy or download it again; to change a bundle, load and save it",
            _at(path),
        )


def _no_bundle(folder: Path) -> CheckpointError:
    where = Where(file=str(folder))
    if not folder.exists():
        return CheckpointError(
            "checkpoint.not_found", "there is no such bundle; nothing is made up in its place", where
        )
    if folder.is_file():
        if folder.suffix in PICKLE_SUFFIXES or looks_pickled(folder):
            return CheckpointError("checkpoint.pickle", f"is a pickle; {NO_PICKLES}", where)
        return CheckpointError("checkpoint.foreign", "is a file; a bundle is a folder", where)
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        if name.endswith(PICKLE_SUFFIXES):
            return CheckpointError(
                "checkpoint.pickle", f"holds no {MANIFEST} but {name}; {NO_PICKLES}", where
            )
    if "config.json" in names:
        what = "a model of transformers; training takes it as an encoder: encoder.name=FOLDER"
        return CheckpointError("checkpoint.foreign", f"holds no {MANIFEST}: this looks like {what}", where)
    return CheckpointError("checkpoint.not_found", f"holds no {MANIFEST}, so it is no complete bundle", where)


def looks_pickled(path: Path) -> bool:
    """Whether a file begins as torch's archives and Python's pickles do, whatever it is called."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file may begin with the same two bytes as a pickle, its header's length; then the header's brace follows.
    return start.startswith(b"PK\x03\x04") or (
        start[:1] == b"\x80" and start[1:2] <= b"\x05" and start[8:] != b"{"
    )


def check_size(path: Path) -> None:
    """Raises ``checkpoint.too_large`` for a file that is too long to be opened."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CheckpointError(
            "checkpoint.too_large", f"has {size} bytes, at most {MAX_BYTES} are read", _at(path)
        )


def read_plain(path: Path) -> Any:
    """The plain data of a JSON file of a bundle. Raises ``checkpoint.too_large`` or
    ``checkpoint.corrupt``."""
    try:
        return read_json(path, limit=MAX_BYTES)
    except ConfigError as error:
        code = "checkpoint.too_large" if error.code == "config.too_large" else "checkpoint.corrupt"
        raise CheckpointError(code, error.message, error.where) from None


def to_plain(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples become lists, paths and anything else texts, numbers that are not
    finite texts."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [to_plain(item) for item in value]
    if (
        value is None
        or isinstance(value, (bool, int, str))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    if not isinstance(value, float) and getattr(value, "shape", None) == ():
        return to_plain(value.item())
    return str(value)


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    cut = len(content) - len(_END)
    return content[: max(cut - 64, 0)], content[max(cut - 64, 0) : max(cut, 0)], content[max(cut, 0) :]


def _at(path: Path) -> Where:
    return Where(file=str(path))
