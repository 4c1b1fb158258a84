"""The manifest: sealed, versioned, and checked against the folder before anything is understood."""

import json
import shutil

import numpy as np
import pytest

from protscribe.checkpoint import manifest as manifests
from protscribe.checkpoint.manifest import (
    FILES,
    LISTED,
    looks_pickled,
    read_manifest,
    render_manifest,
    to_plain,
)
from protscribe.errors import CheckpointError
from tests.checkpoint.made import change, seal


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        read_manifest(folder)
    return caught.value


def test_the_seal_is_the_digest_of_all_that_stands_before_it(bundle):
    """Against an independent writer of the same rule."""
    content = read_manifest(bundle)
    was = content["seal"]
    del content["seal"]
    change(bundle)
    assert read_manifest(bundle) == {**content, "seal": read_manifest(bundle)["seal"]}
    assert len(was) == 64
    assert json.loads(render_manifest(content)) == {**content, "seal": was}


def test_it_lists_every_other_file(bundle):
    assert set(read_manifest(bundle)["files"]) == set(LISTED) == set(FILES) - {"manifest.json"}


@pytest.mark.parametrize("name", LISTED)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    error = refused(bundle)
    assert error.code == "checkpoint.not_found"
    assert name in error.where.file


@pytest.mark.parametrize("name", LISTED)
def test_a_folder_in_place_of_a_file(bundle, name):
    (bundle / name).unlink()
    (bundle / name).mkdir()
    assert refused(bundle).code == "checkpoint.not_found"


@pytest.mark.parametrize("name", ["modeling.py", "config.json", "notes.txt", "sub"])
def test_a_foreign_file_is_named(bundle, name):
    (bundle / name).mkdir() if name == "sub" else (bundle / name).write_text("{}")
    error = refused(bundle)
    assert error.code == "checkpoint.foreign"
    assert name in error.where.file


@pytest.mark.parametrize("number", [2, 99])
def test_a_newer_format_names_the_library_it_needs(bundle, number):
    change(bundle, lambda manifest: manifest.update(format=number, needs_library="7.1", files={}))
    error = refused(bundle)
    assert error.code == "checkpoint.version"
    assert f"format {number}" in error.message
    assert "library >= 7.1" in error.message


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "1", None, []])
def test_a_format_that_is_no_number(bundle, number):
    change(bundle, lambda manifest: manifest.update(format=number))
    assert refused(bundle).code == "checkpoint.corrupt"


@pytest.mark.parametrize(
    "files", [None, [], {}, {"../../etc/passwd": {}}, dict.fromkeys(LISTED), dict.fromkeys(LISTED, 3)]
)
def test_a_file_list_that_is_not_the_one_of_this_format(bundle, files):
    change(bundle, lambda manifest: manifest.update(files=files))
    assert refused(bundle).code == "checkpoint.corrupt"


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"format": 1}', seal({})[:-1], seal({}) + b"\n", b"\xff" * 200],
    ids=range(8),
)
def test_a_manifest_that_is_not_sealed(bundle, content):
    (bundle / "manifest.json").write_bytes(content)
    assert refused(bundle).code == "checkpoint.corrupt"


def test_a_sealed_manifest_with_repeated_keys_or_nan_is_no_json(bundle):
    text = (bundle / "manifest.json").read_text()
    for wrong in (
        text.replace('"format": 1', '"format": 1, "format": 1'),
        text.replace('"format": 1', '"format": NaN'),
    ):
        body = wrong[: wrong.rindex('"seal"')].encode().removesuffix(b",\n ") + b',\n "seal": "'
        digest = manifests.hashlib.sha256(body).hexdigest().encode()
        (bundle / "manifest.json").write_bytes(body + digest + b'"\n}\n')
        error = refused(bundle)
        assert error.code == "checkpoint.corrupt"
        assert "seal" not in error.message


@pytest.mark.parametrize("name", [name for name in FILES if name != "model.safetensors"])
def test_a_text_that_is_too_long_is_not_opened(bundle, name):
    with (bundle / name).open("ab") as file:
        file.truncate(32_000_001)
    error = refused(bundle)
    assert error.code == "checkpoint.too_large"
    assert name in error.where.file


@pytest.mark.parametrize(
    ("start", "pickled"),
    [
        (b"PK\x03\x04rest of a zip", True),
        (b"\x80\x02}q\x00.", True),
        (b"\x80\x05\x95", True),
        (b"\x80", True),
        (b"", False),
        (b'\x80\x02\x00\x00\x00\x00\x00\x00{"a', False),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a', False),
    ],
)
def test_a_pickle_is_known_by_its_first_bytes(tmp_path, start, pickled):
    (tmp_path / "file").write_bytes(start)
    assert looks_pickled(tmp_path / "file") is pickled


def test_no_folder_at_all(tmp_path):
    error = refused(tmp_path / "nowhere")
    assert error.code == "checkpoint.not_found"
    assert str(tmp_path / "nowhere") in str(error)


def test_an_empty_folder(tmp_path):
    assert refused(tmp_path).code == "checkpoint.not_found"


def test_a_model_of_transformers_is_told_apart(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    error = refused(tmp_path)
    assert error.code == "checkpoint.foreign"
    assert "transformers" in error.message


@pytest.mark.parametrize("name", ["last.ckpt", "pytorch_model.bin", "esm2_t6_8M_UR50D.pt"])
def test_pickles_without_a_bundle_are_told_apart(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert refused(tmp_path).code == "checkpoint.pickle"
    assert refused(tmp_path / name).code == "checkpoint.pickle"


def test_a_file_in_place_of_a_folder(bundle):
    assert refused(bundle / "model.safetensors").code == "checkpoint.foreign"


def test_a_bundle_in_a_folder_with_odd_names(bundle, tmp_path):
    moved = shutil.move(bundle, tmp_path / "a b; rm -rf é")
    assert read_manifest(moved)["format"] == 1


def test_anything_becomes_plain_data():
    assert to_plain({"a": (1, np.float32(0.5), np.int64(3)), 2: float("inf")}) == {
        "a": [1, 0.5, 3],
        "2": "inf",
    }
    assert to_plain([True, None, "x", b"y", {1}]) == [True, None, "x", "b'y'", "{1}"]
