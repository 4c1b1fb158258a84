"""What is found out before anything is asked: counts, cuts, where records begin; and the parts of an input."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from protscribe.bulk import survey as module
from protscribe.bulk.survey import RECORD_COST, Survey, cut, digest_of, take_survey
from protscribe.data.readers import read_records
from protscribe.data.reading import DEFAULTS, Part, ReadOptions
from protscribe.errors import ConfigError, InputError
from protscribe.records import Failure, ProteinRecord
from tests.bulk.stub import write_fasta


def outcomes(path: Path, part: Part | None = None) -> list[ProteinRecord | Failure]:
    return list(read_records(path, on_error="collect", part=part).outcomes())


def check_parts(path: Path, shards: int) -> None:
    """The parts together are the whole, ordinals and line numbers included."""
    whole = outcomes(path)
    found = take_survey(iter(whole))
    cuts = cut(str(path), found, shards, DEFAULTS)
    assert len(cuts) == shards
    assert [one for each in cuts for one in outcomes(path, each.part)] == whole
    for each in cuts:
        total = sum(digest_of(one) for one in outcomes(path, each.part)) % (1 << 128)
        assert f"{total:032x}" == each.digest


@pytest.mark.parametrize("shards", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("kind", ["fasta", "gz", "windows", "mac", "bom"])
def test_parts_of_fasta(tmp_path: Path, kind: str, shards: int) -> None:
    path = write_fasta(tmp_path / "in.fasta", 40)
    content = b"\n \n" + path.read_bytes().replace(b"A", b"A\n", 50)
    if kind == "windows":
        content = content.replace(b"\n", b"\r\n")
    if kind == "mac":
        content = content.replace(b"\n", b"\r")
    if kind == "bom":
        content = b"\xef\xbb\xbf" + content.lstrip().replace(b">p7", b"\xef\xbb\xbf>p7")
    path.write_bytes(content)
    if kind == "gz":
        path = tmp_path / "in.fasta.gz"
        path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    check_parts(path, shards)


@pytest.mark.parametrize("shards", [1, 3, 9])
@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_parts_of_tables(tmp_path: Path, kind: str, shards: int) -> None:
    draw = random.Random(1)
    rows = [
        (f"p{place}", "".join(draw.choices("ACDE1", weights=[9, 9, 9, 9, 1], k=20))) for place in range(50)
    ]
    table = pyarrow.table({"id": [row[0] for row in rows], "sequence": [row[1] for row in rows]})
    if kind == "csv":
        path = tmp_path / "in.csv"
        lines = [f'{id},"{sequence}"\n' for id, sequence in rows]
        lines[20] = "too,many,cells\n"
        path.write_text("id,sequence\n" + "".join(lines))
    elif kind == "parquet":
        path = tmp_path / "in.parquet"
        parquet.write_table(table, path, row_group_size=7)
    else:
        path = tmp_path / "in"
        path.mkdir()
        parquet.write_table(table.slice(0, 20), path / "a.parquet", row_group_size=6)
        parquet.write_table(table.slice(20), path / "b.parquet")
    check_parts(path, shards)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    shards=st.integers(1, 12),
    chunk=st.integers(1, 40),
    ends=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_places_whatever_the_size_of_a_chunk(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], shards: int, chunk: int, ends: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "places.fasta"
    path.write_bytes(
        b"".join(b">%d%s%s%s" % (place, ends, b"A" * length, ends) for place, length in enumerate(lengths))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        check_parts(path, shards)


@settings(deadline=None)
@given(
    costs=st.lists(st.integers(1, 5000), min_size=1, max_size=300),
    shards=st.integers(1, 20),
    marks=st.integers(2, 40),
)
def test_cuts_cover_all_in_order_and_cost_about_the_same(costs: list[int], shards: int, marks: int) -> None:
    records = [ProteinRecord(str(place), ("A" * cost,), ordinal=place) for place, cost in enumerate(costs)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MARKS", marks)
        found = take_survey(iter(records))
    assert len(found.marks) <= 2 * marks + 1
    bounds = found.cuts(shards)
    assert [first for first, _, _ in bounds] == [0, *(stop for _, stop, _ in bounds[:-1])]
    assert bounds[-1][1] == len(records)
    if found.step == 1:
        fair = sum(costs) + RECORD_COST * len(costs)
        for first, stop, _ in bounds:
            cost = sum(costs[first:stop]) + RECORD_COST * (stop - first)
            assert cost <= fair / shards + 2 * (max(costs) + RECORD_COST)


def test_a_file_that_grew_meanwhile_is_told(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "in.fasta", 10)
    found = take_survey(iter(outcomes(path)))
    write_fasta(path, 12)
    with pytest.raises(InputError, match="10 records became 12") as caught:
        cut(str(path), found, 2, DEFAULTS)
    assert caught.value.code == "input.changed"


def test_standard_input_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write it to a file"):
        module.check_input("-")
    path = tmp_path / "in.fasta"
    path.write_text("")
    options = ReadOptions(allow_empty=True)
    cuts = cut(str(path), Survey(), 3, options)
    assert [(one.part.first, one.part.stop) for one in cuts] == [(0, 0)] * 3
    assert list(read_records(path, options=options, part=cuts[0].part)) == []
