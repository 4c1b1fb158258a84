"""Reading ahead, and answers given once to what occurs several times."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protscribe.bulk import reading as module
from protscribe.bulk.reading import Repeats, Source, Waited, ahead, alike, known_again, with_repeats
from protscribe.bulk.survey import cut, take_survey
from protscribe.errors import InputError
from protscribe.records import ProteinRecord
from tests.bulk.stub import TASKS, Stub, answer, predict, write_fasta


def test_items_come_in_order_and_so_does_what_goes_wrong() -> None:
    def items() -> Iterator[int]:
        yield from range(3000)
        raise InputError("input.changed", "half way")

    seen = []
    with ahead(items(), time.monotonic, Waited()) as given, pytest.raises(InputError, match="half way"):
        list(map(seen.append, given))
    assert seen == list(range(3000))


def test_no_more_is_read_than_a_bound_and_leaving_early_ends_the_thread() -> None:
    counted = itertools.count()
    taken = []

    def items() -> Iterator[int]:
        for number in counted:
            taken.append(number)
            yield number

    with ahead(items(), time.monotonic, Waited()) as given:
        assert next(given) == 0
        time.sleep(0.3)
    assert len(taken) <= module.LOT * (module.LOTS + 3)


@pytest.mark.parametrize("remembered", [2048, 3, 0])
def test_equal_records_are_asked_once_and_order_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", remembered)
    source = Source(str(write_fasta(tmp_path / "in.fasta", 400, repeats=0.5)))
    records = list(source.outcomes())
    (whole,) = cut(source.path, take_survey(iter(records)), 1, source.options)
    stub, repeats = Stub(), Repeats(known_again(source, whole))
    plain = list(Stub().stream(records, TASKS))
    found = list(with_repeats(iter(records), lambda some: stub.stream(some, TASKS), repeats))
    assert found == plain
    assert (
        stub.asked + repeats.spared * len(TASKS) == sum(isinstance(one, ProteinRecord) for one in records) * 2
    )
    assert (repeats.spared > 100) if remembered == 2048 else (repeats.spared <= (remembered and 400))


def test_what_is_rejected_is_rejected_each_time_in_its_own_name() -> None:
    records = [ProteinRecord(f"p{place}", ("WWK",), ordinal=place) for place in range(40)]
    found = list(
        with_repeats(iter(records), lambda some: Stub().stream(some, TASKS), Repeats({alike(records[0])}))
    )
    failed = [one.detail for one in found if not hasattr(one, "record")]
    assert failed == [f"p{place} is refused" for place in range(40)]


def test_conditions_and_molecules_tell_questions_apart() -> None:
    one = ProteinRecord("a", ("MK",), fields={"host": "human"})
    others = [
        ProteinRecord("a", ("MK",), fields={"host": "yeast"}),
        ProteinRecord("a", ("MK",)),
        ProteinRecord("a", ("MK",), molecule="C", fields={"host": "human"}),
        ProteinRecord("a", ("M", "K"), fields={"host": "human"}),
    ]
    assert alike(one) == alike(ProteinRecord("b", ("MK",), fields={"host": "human"}, ordinal=7))
    assert len({alike(record) for record in (one, *others)}) == 5


def test_an_id_that_no_table_can_hold_is_rejected_alone(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    ids = [b"p0", b"caf\xe9", b"p2"]
    table = pyarrow.table({"id": pyarrow.array(ids, pyarrow.binary()), "sequence": ["MKV", "MKW", "MKY"]})
    parquet.write_table(table, tmp_path / "in.parquet")
    result = predict(tmp_path / "in.parquet", tmp_path / "out", shards=1)
    assert (result.records, result.answers, result.rejected) == (3, 4, 1)
    assert b"id.encoding" in (tmp_path / "out/shards/00001.rejected.csv").read_bytes()
    assert answer(ProteinRecord("a", ("MKV",)), "solubility")
