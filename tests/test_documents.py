"""Documents nobody vouches for: YAML 1.2 values, and every trick refused with our error."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.documents import MAX_BYTES, read_json, read_yaml
from protscribe.errors import ConfigError


def refused(source, reader=read_yaml, **keywords):
    with pytest.raises(ConfigError) as caught:
        reader(source, **keywords)
    return caught.value


def test_values_are_those_of_yaml_1_2():
    text = "{a: 1e-4, b: no, c: 2024-01-01, d: 010, e: 1:30, f: .inf, g: -.5E3, h: 0x1F, i: ~, j: true, k: 1_0, l: '7', m: +3}"
    assert read_yaml(text) == {
        "a": 1e-4, "b": "no", "c": "2024-01-01", "d": 10, "e": "1:30", "f": math.inf, "g": -500.0, "h": 31, "i": None,
        "j": True, "k": "1_0", "l": "7", "m": 3,
    }  # fmt: skip
    assert math.isnan(read_yaml(".nan"))
    assert read_yaml("") is None


def test_anchors_and_merges_work():
    assert read_yaml("x: &base {p: 1}\ny: {<<: *base, q: 2}\nz: *base") == {
        "x": {"p": 1},
        "y": {"p": 1, "q": 2},
        "z": {"p": 1},
    }


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: 2\na: 3", 3), ("{a: 1, a: 1}", 1), ("x:\n  1: a\n  1: b", 3)]
)
def test_repeated_keys_are_refused_with_their_line(text, line):
    error = refused(text)
    assert (error.code, error.where.line) == ("config.duplicate_key", line)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['echo']", "a: !!python/name:os.system", "!foo 1", "!!timestamp 2024-01-01",
        "a: !!binary aGk=", "!!set {a, b}",
    ],
)  # fmt: skip
def test_tags_are_forbidden(text):
    assert refused(text).code == "config.forbidden"


def test_nothing_may_grow_beyond_the_limits():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    ]
    for text in (
        "\n".join(lines),
        "a: &a [*a]",
        "[" * 1000 + "]" * 1000,
        "x" * (MAX_BYTES + 1),
        "- a\n" * 120_000,
    ):
        assert refused(text).code == "config.too_large"
    assert refused("a: " + "9" * 5_000).code == "config.too_large"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\n---\nb: 2",
        "a: '\x00'",
        "a: !!int abc",
        "a: !!bool maybe",
        "? [1]\n: 2",
        "*x",
        "a: \ud800",
    ],
)
def test_what_is_no_yaml_is_our_error(text):
    assert refused(text).code == "config.syntax"


def test_files_are_named(tmp_path):
    assert refused(tmp_path / "none.yaml").code == "config.not_found"
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\na: 2\n")
    error = refused(path)
    assert (error.where.file, error.where.line) == (str(path), 2)
    path.write_bytes(b"a: \xff")
    assert refused(path).code == "config.syntax"
    path.write_text("a: 1\r\nb: 2\r\n")
    assert read_yaml(path) == {"a": 1, "b": 2}


def test_json(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a": [1, 2.5, None, "x"]}))
    assert read_json(path) == {"a": [1, 2.5, None, "x"]}
    assert refused(path, read_json, limit=5).code == "config.too_large"
    for text, code in (
        ('{"a": 1, "a": 2}', "config.duplicate_key"), ("{", "config.syntax"), ("NaN", "config.syntax"), ("", "config.syntax"),
        ("[" * 200_000, "config.too_large"),
    ):  # fmt: skip
        path.write_text(text)
        assert refused(path, read_json).code == code
    assert refused(tmp_path / "none.json", read_json).code == "config.not_found"


# JSON writes characters beyond U+FFFF as two escapes, which YAML does not join.
words = st.text(st.characters(max_codepoint=0xD7FF), max_size=8)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(plain)
def test_json_is_read_as_the_yaml_it_is(value):
    assert read_yaml(json.dumps(value)) == value


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="ab:- {}[]&*!\n\"'#|>%1.e~<?,\t", max_size=40) | st.text(max_size=40))
def test_any_text_is_plain_data_or_our_error(text):
    with contextlib.suppress(ConfigError):
        json.dumps(read_yaml(text), default=lambda value: pytest.fail(f"{value!r} is not plain"))
