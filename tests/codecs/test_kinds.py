"""The closed table of kinds, reading codecs from plain data, and that they need no torch."""

import subprocess
import sys

import pytest
import yaml

from protscribe.codecs import KINDS, codec_from_plain
from protscribe.errors import TaskError


def test_the_kinds_are_those_of_the_house():
    assert set(KINDS) == {
        *("category", "category_set", "category_path", "number", "sequence"),
        *("residue_labels", "residue_set", "segments", "residue_pairs"),
    }


def test_a_codec_is_read_from_yaml():
    codec = codec_from_plain(
        yaml.safe_load("{kind: segments, labels: [signal, mature], most: 2, block: target}")
    )
    assert codec == KINDS["segments"](("signal", "mature"), most=2, block="target")


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("{kind: residue_sets}", "task.codec", "residue_set"),
        ("{}", "task.codec", "known"),
        ("{kind: residue_set, candidate: STY}", "task.key", "candidates"),
        ("{kind: number, low: 0}", "task.key", "high"),
        ("{kind: category, labels: [no, yes]}", "task.classes", "quotes"),
        ("{kind: category, labels: [a, <eos>]}", "task.reserved", "<eos>"),
    ],
)
def test_bad_definitions(text, code, hint):
    with pytest.raises(TaskError) as raised:
        codec_from_plain(yaml.safe_load(text))
    assert raised.value.code == code
    assert hint in raised.value.message


def test_codecs_load_no_torch():
    program = "import sys, protscribe.codecs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
