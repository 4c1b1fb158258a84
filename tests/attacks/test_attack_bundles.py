"""No bundle runs anything: not by its code, not by its pickles, not by its settings. Watched in a process of
its own."""

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

from tests.attacks.bundles import ATTACKS, EXPECTED, Payload, write_canary_module
from tests.checkpoint.made import save

WATCHED = """
import json, os, resource, sys
from protscribe.checkpoint import load_bundle
from protscribe.errors import ProtscribeError

base = sys.argv[1]
load_bundle(os.path.join(base, "good"))  # all that loading imports is imported now
import transformers.models.bert.modeling_bert
before, events, answers = set(sys.modules), [], {}
FORBIDDEN = ("pickle.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.", "ctypes.dlopen",
             "marshal.")

def watch(event, arguments):
    if event.startswith(FORBIDDEN) or (event == "compile" and arguments[1] in (None, "<string>")):
        events.append([event, repr(arguments)[:200]])

sys.addaudithook(watch)
for name in sorted(os.listdir(base)):
    if name == "good":
        continue
    start = len(events)
    try:
        load_bundle(os.path.join(base, name))
        answers[name] = [None]
    except ProtscribeError as error:
        answers[name] = [error.code]
    except BaseException as error:
        answers[name] = [repr(error)]
    answers[name].append(events[start:])
new = sorted(name for name in set(sys.modules) - before if not name.startswith(("transformers.", "torch.")))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"answers": answers, "new": new, "peak": peak}))
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What a watched process answers for every attack."""
    base = tmp_path_factory.mktemp("attacks")
    modules = tmp_path_factory.mktemp("modules")
    write_canary_module(modules)
    save(base / "good")
    for name, make in ATTACKS.items():
        make(shutil.copytree(base / "good", base / name))
    canary = modules / "canary"
    path = os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "CANARY": str(canary), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "-c", WATCHED, str(base)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert said.returncode == 0, said.stderr
    return {**json.loads(said.stdout.splitlines()[-1]), "canary": canary, "modules": modules}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(watched, name):
    code, events = watched["answers"][name]
    assert code == EXPECTED[name]
    assert events == []


def test_nothing_ran_and_nothing_was_imported(watched):
    assert not watched["canary"].exists()
    assert watched["new"] == []


def test_memory_stayed_small(watched):
    assert watched["peak"] < 1500


def test_the_canary_sings(tmp_path, monkeypatch):
    """Each payload does leave its file where it is run: else the tests above would see nothing."""
    canary = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(canary))
    monkeypatch.syspath_prepend(tmp_path)
    write_canary_module(tmp_path)
    for run in (
        lambda: importlib.import_module("protscribe_canary"),
        lambda: pickle.loads(pickle.dumps(Payload())),
    ):
        run()
        assert canary.exists()
        canary.unlink()
    monkeypatch.delitem(sys.modules, "protscribe_canary")


def test_there_are_enough(watched):
    assert len(ATTACKS) == len(watched["answers"]) >= 20
