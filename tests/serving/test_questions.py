"""From a request to records: FASTA text and lists, fields of all and of one."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="needs protscribe[serve]")

from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.alphabet import RESIDUES
from protscribe.errors import ProtscribeError
from protscribe.serving.limits import Limits
from protscribe.serving.questions import read_request, response_text
from protscribe.serving.schemas import PredictRequest
from tests.small import TASKS

LIMITS = Limits()


def test_a_field_of_all_gives_way_to_one_of_its_own() -> None:
    proteins = [
        {"sequence": "MK"},
        {"sequence": ["MK", "MV"], "id": "pair", "fields": {"host": "human"}, "smiles": "C"},
    ]
    wanted = PredictRequest.model_validate({"proteins": proteins, "fields": {"host": "yeast"}})
    records = read_request(wanted, TASKS, LIMITS).records
    assert [(one.id, one.chains, one.molecule, dict(one.fields)) for one in records] == [
        ("1", ("MK",), None, {"host": "yeast"}),
        ("pair", ("MK", "MV"), "C", {"host": "human"}),
    ]


def test_a_task_that_is_named_twice_is_asked_once() -> None:
    wanted = PredictRequest(proteins=">a\nMK", tasks=["fold", "place", "fold"])
    assert read_request(wanted, TASKS, LIMITS).asked.tasks == ("fold", "place")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(RESIDUES, min_size=1, max_size=30), min_size=1, max_size=6), st.integers(1, 40))
def test_fasta_text_and_a_list_are_the_same_records(chains: list[str], width: int) -> None:
    text = "".join(
        f">p{row} told\n" + "\n".join(chain[place : place + width] for place in range(0, len(chain), width)) + "\n"
        for row, chain in enumerate(chains)
    )  # fmt: skip
    listed = [{"id": f"p{row}", "sequence": chain} for row, chain in enumerate(chains)]
    first = read_request(PredictRequest.model_validate({"proteins": text}), TASKS, LIMITS).records
    second = read_request(PredictRequest.model_validate({"proteins": listed}), TASKS, LIMITS).records
    assert [(one.id, one.chains, one.ordinal) for one in first] == [
        (one.id, one.chains, one.ordinal) for one in second
    ]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60).filter(lambda text: text.isprintable() or "\n" in text))
def test_any_text_is_records_or_an_error_of_ours(text: str) -> None:
    try:
        wanted = PredictRequest.model_validate_json(json.dumps({"proteins": ">" + text}))
        read = read_request(wanted, TASKS, LIMITS)
    except ProtscribeError:
        return
    told = json.loads(response_text(read.records, [], read.failures))
    assert len(told["proteins"]) + len(told["failures"]) == len(read.records) + len(read.failures)
