"""What inspect and tasks print."""

import io
import json

import pytest
import torch

from protscribe.catalogue import task_names
from protscribe.checkpoint import save_bundle
from protscribe.codecs.protocol import Readout
from protscribe.errors import CheckpointError
from protscribe.inspection import choices_of, describe_bundle, describe_tasks, show
from tests.small import TASKS, make_bundle


def shown(described):
    file = io.StringIO()
    show(described, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    bundle = make_bundle(
        readouts={"melting": Readout(statistic="median"), "sites": Readout(threshold=0.3, way="risk")}
    )
    provenance = {"seed": 7, "sources": {"place": "data/place.csv"}, "encoder": {"name": "[bold]odd[/bold]"}}
    place = tmp_path_factory.mktemp("inspected") / "bundle"
    save_bundle(
        place,
        model=bundle.model,
        lexicon=bundle.lexicon,
        tasks=bundle.tasks,
        readouts=bundle.readouts,
        provenance=provenance,
    )
    return place


def test_a_bundle_is_told_without_building_its_model(folder, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a network was made")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    text = shown(describe_bundle(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    for expected in (
        *TASKS,
        "median, 90% interval",
        "probability >= 0.3",
        manifest["vocabulary"]["fingerprint"][:12],
        f"{manifest['parameters']['encoder']:,}",
        f"{manifest['parameters']['decoder']:,}",
        "kind=mini",
        "[bold]odd[/bold]",
        "sources.place",
        "0 to 90.5 °C by 0.1",
    ):
        assert expected in text, expected


def test_what_is_damaged_or_missing_is_told(folder, tmp_path):
    with pytest.raises(CheckpointError) as missing:
        describe_bundle(tmp_path / "nothing")
    assert missing.value.code == "checkpoint.not_found"
    tasks = (folder / "tasks.json").read_bytes()
    try:
        (folder / "tasks.json").write_bytes(tasks.replace(b"membrane", b"nembrane"))
        with pytest.raises(CheckpointError) as damaged:
            describe_bundle(folder)
        assert damaged.value.code == "checkpoint.corrupt"
    finally:
        (folder / "tasks.json").write_bytes(tasks)


def test_the_catalogue_is_told_whole():
    text = shown(describe_tasks())
    lines = {line.split()[0] for line in text.splitlines() if line.strip()}
    assert set(task_names()) <= lines


def test_every_kind_of_answer_says_what_it_may_be():
    told = {name: choices_of(task) for name, task in TASKS.items()}
    assert told["place"] == "inside, outside, membrane"
    assert told["sites"] == "residues STY"
    assert told["epitope"] == "residues of any type, chain 2"
    assert told["contacts"] == "residues 3 apart or more"
    assert told["interface"] == "residue of chain 1, residue of chain 2"
    assert told["letters"] == "a, b, c, d"
    assert all(told.values())
