"""What a source may say; how it is read is in test_examples.py."""

import pytest

from protscribe.data.source import Source
from protscribe.errors import ConfigError, ProtscribeError

SPLITS = {"train": ["train"], "validation": ["valid"], "test": ["test"]}


def source(path="a.csv", **others):
    return Source.from_plain({"name": "s", "path": path, "task": "t", **others})


def code(call):
    with pytest.raises(ProtscribeError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"pth": "a"}, "config.unknown_key"),
        ({"splits": {"dev": ["x"]}}, "config.value"),
        ({"splits": {"train": ["a"], "test": ["a"]}}, "config.value"),
        ({"base": 2}, "config.value"),
        ({"base": True}, "config.value"),
        ({"limit": 0}, "config.value"),
        ({"limit": "5"}, "config.type"),
        ({"columns": ["a"]}, "config.type"),
        ({"missing": "drop"}, "config.value"),
        ({"path": None}, "config.type"),
        ({"make": ["find"]}, "config.type"),
        ({"make": {"kind": "lose"}}, "config.value"),
    ],
)
def test_definitions_are_checked(plain, expected):
    assert code(lambda: source(**plain)) == expected


def test_definitions_survive_as_plain_data():
    given = source(columns={"label": "y"}, splits=SPLITS, where={"ok": [True, 1]}, limit=5, base=0)
    assert Source.from_plain(given.to_plain()) == given
    made = source(make={"kind": "hide", "known": "KC", "share": 0.5}, splits=SPLITS)
    assert Source.from_plain(made.to_plain()) == made
    assert made != source(make={"kind": "hide"}, splits=SPLITS)
    with pytest.raises(ConfigError, match="'path' is missing"):
        Source.from_plain({"name": "s", "task": "t"})
