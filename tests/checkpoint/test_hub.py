"""Bundles by name on the Hub, without a network: the Hub's client is replaced or told to be offline."""

import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from protscribe.checkpoint import find_bundle, load_bundle, push_to_hub
from protscribe.checkpoint.manifest import KNOWN
from protscribe.errors import CheckpointError, ConfigError, OutputError


@pytest.fixture
def hub(monkeypatch):
    """The Hub's download, replaced by a function that notes what it is asked and gives ``answer`` or raises
    it."""
    asked = SimpleNamespace(calls=[], answer=None)

    def snapshot_download(name, **options):
        asked.calls.append((name, options))
        if isinstance(asked.answer, Exception):
            raise asked.answer
        return str(asked.answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


class TransportError(Exception):
    """Stands for whatever the Hub's client uses to reach the network: its errors need not be ``OSError``."""


def http_error(kind):
    return kind("no", response=SimpleNamespace(headers={}, request=None, status_code=404))


def test_a_name_is_downloaded_and_only_our_files(hub, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.answer = bundle
    assert load_bundle("lab/tiny", revision="v2").tasks
    assert hub.calls == [
        ("lab/tiny", {"revision": "v2", "local_files_only": False, "allow_patterns": list(KNOWN)})
    ]


def test_the_hubs_cache_of_links_is_read(hub, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snapshot").mkdir()
    for path in bundle.iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    hub.answer = tmp_path / "snapshot"
    assert load_bundle("lab/tiny").tasks


@pytest.mark.parametrize(
    "name",
    ["tiny", "./lab/tiny", "a/b/c", "/lab/tiny", "../tiny", "lab/", "lab/ti ny", "~/tiny", Path("lab/tiny")],
)
def test_a_path_never_asks_the_hub(hub, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_bundle(name)
    assert caught.value.code == "checkpoint.not_found"
    assert hub.calls == []


def test_a_mistyped_path_below_a_folder_never_asks_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError) as caught:
        load_bundle("runs/dmeo")
    assert caught.value.code == "checkpoint.not_found"
    assert hub.calls == []


def test_a_local_folder_comes_first(hub, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, tmp_path / "lab" / "tiny")
    assert load_bundle("lab/tiny").tasks
    assert hub.calls == []


def test_a_revision_of_a_path_is_a_mistake(bundle):
    with pytest.raises(ConfigError) as caught:
        find_bundle(bundle, revision="v2")
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (LocalEntryNotFoundError("not cached"), "checkpoint.offline"),
        (http_error(RepositoryNotFoundError), "checkpoint.not_found"),
        (http_error(RevisionNotFoundError), "checkpoint.not_found"),
        (http_error(GatedRepoError), "checkpoint.not_found"),
        (http_error(HfHubHTTPError), "checkpoint.offline"),
        (TransportError("no route"), "checkpoint.offline"),
        (OSError("no route"), "checkpoint.offline"),
    ],
)
def test_what_the_hub_refuses_is_said_with_its_name(hub, tmp_path, monkeypatch, answer, code):
    monkeypatch.chdir(tmp_path)
    hub.answer = answer
    with pytest.raises(CheckpointError) as caught:
        load_bundle("lab/tiny", revision="v2")
    assert caught.value.code == code
    assert "'lab/tiny'" in caught.value.message
    assert "v2" in caught.value.message
    assert len(hub.calls) == 1


def test_an_incomplete_snapshot_names_the_missing_file(hub, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (bundle / "tasks.json").unlink()
    hub.answer = bundle
    with pytest.raises(CheckpointError) as caught:
        load_bundle("lab/tiny")
    assert caught.value.code == "checkpoint.not_found"
    assert "tasks.json" in caught.value.where.file


def test_the_real_client_offline_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What the environment variable HF_HUB_OFFLINE sets when the client is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", None)
    begin = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        find_bundle("lab/tiny")
    assert caught.value.code == "checkpoint.offline"
    assert time.monotonic() - begin < 2


@pytest.fixture
def api(monkeypatch):
    """The Hub's upload, replaced: notes what it is told."""
    told = SimpleNamespace(calls=[], private=True, error=None)

    class HfApi:
        def create_repo(self, name, **options):
            told.calls.append(("create", name, options))
            return f"https://hub.example/{name}"

        def repo_info(self, name):
            return SimpleNamespace(private=told.private)

        def upload_folder(self, **options):
            if told.error:
                raise told.error
            told.calls.append(("upload", options["repo_id"], options))

    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    return told


def test_upload_is_private_and_only_our_files(api, bundle):
    assert push_to_hub(bundle, "lab/tiny") == "https://hub.example/lab/tiny"
    (_, name, created), (_, same, uploaded) = api.calls
    assert name == same == "lab/tiny"
    assert created == {"private": True, "exist_ok": True}
    assert uploaded["folder_path"] == bundle
    assert uploaded["allow_patterns"] == list(KNOWN)


def test_a_damaged_bundle_is_not_uploaded(api, bundle):
    (bundle / "tasks.json").write_text("[]")
    with pytest.raises(CheckpointError):
        push_to_hub(bundle, "lab/tiny")
    assert api.calls == []


def test_nothing_private_goes_to_a_public_place(api, bundle):
    api.private = False
    with pytest.raises(OutputError) as caught:
        push_to_hub(bundle, "lab/tiny")
    assert caught.value.code == "output.hub"
    assert "public" in caught.value.message
    assert [kind for kind, *_ in api.calls] == ["create"]
    push_to_hub(bundle, "lab/tiny", private=False)
    assert api.calls[-1][0] == "upload"


@pytest.mark.parametrize("error", [http_error(HfHubHTTPError), TransportError("no route"), OSError("no")])
def test_a_hub_that_does_not_take_it(api, bundle, error):
    api.error = error
    with pytest.raises(OutputError) as caught:
        push_to_hub(bundle, "lab/tiny")
    assert caught.value.code == "output.hub"
