"""What is typed on the command line, before Hydra sees it."""

import pytest

from protscribe.usage import full_key, left_out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("source=a", "sources=a"),
        ("+source=my/table.csv", "sources=my/table.csv"),
        ("+task=new", "tasks=new"),
        ("task=new", "tasks=new"),
        ("tasks=[a,b]", "tasks=[a,b]"),
        ("+tasks=a", "+tasks=a"),
        ("prefix=3.10", "prefix='3.10'"),
        ("--help", "--help"),
    ],
)
def test_short_keys(typed, meant):
    assert full_key(typed) == meant


@pytest.mark.parametrize(
    ("typed", "out"),
    [
        ([], []),
        (["bundle=null"], []),
        (["encoder=mini"], []),
        (["bundle=b"], ["~encoder", "~decoder"]),
        (["bundle=b", "encoder=mini"], ["~decoder"]),
        (["bundle=b", "decoder.width=4"], ["~encoder"]),
        (["tasks=new"], ["~mixture"]),
        (["sources=t.csv", "mixture=mine"], []),
        (["tasks=new", "mixture.temperature=2"], []),
        (["bundle=b", "tasks=new"], ["~encoder", "~decoder", "~mixture"]),
        (["tasks=null", "bundle="], []),
    ],
)
def test_what_nobody_asked_for_is_left_out(typed, out):
    assert left_out(typed) == out
