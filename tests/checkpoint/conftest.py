"""One tiny bundle, saved once and copied for each test."""

import shutil

import pytest

from tests.checkpoint.made import save


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    save(folder)
    return folder


@pytest.fixture
def bundle(template, tmp_path):
    return shutil.copytree(template, tmp_path / "tiny")
