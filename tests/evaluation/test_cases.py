"""Judged proteins come back from their table as they went in, whatever kind of answer they have."""

import pytest

from protscribe.errors import InputError
from protscribe.evaluation.cases import COLUMNS, Case, cases_of, read_cases, write_cases
from protscribe.evaluation.result import TaskResult
from protscribe.evaluation.rivals.majority import majority
from protscribe.records import Failure, Prediction, ProteinRecord
from tests.evaluation.toys import TASKS, examples


def result_of(name, rows, answers):
    return TaskResult(TASKS[name], (name,), (), {}, {}, len(rows), 0, (), 0, tuple(rows), tuple(answers))


def answered(name, count=5):
    rows = examples(name, count)
    return rows, majority(TASKS[name], rows, [row.record for row in rows])


@pytest.mark.parametrize("name", TASKS)
def test_every_kind_comes_back(name, tmp_path):
    rows, answers = answered(name)
    write_cases(tmp_path / "a.parquet", [result_of(name, rows, answers)])
    (back,) = read_cases(tmp_path / "a.parquet", {name: TASKS[name]}).values()
    assert len(back) == len(rows)
    for case, row, answer in zip(back, rows, answers, strict=True):
        assert isinstance(case.answer, Prediction)
        assert (case.record.id, case.record.chains) == (row.record.id, row.record.chains)
        assert case.record.fields == row.record.fields
        assert case.truth == row.answer
        assert type(case.truth) is type(row.answer)
        assert case.answer.value == answer.value
        assert (case.answer.kind, case.answer.unit) == (answer.kind, answer.unit)
        assert (case.answer.score, case.answer.score_meaning) == (answer.score, answer.score_meaning)
        assert same(case.answer.probabilities, answer.probabilities)


def same(found, expected):
    """Probabilities are kept in 32 bits; what is no table of them is not kept."""
    if expected is None or isinstance(expected, dict):
        return found == pytest.approx(expected) if expected else found is None
    return all(one == pytest.approx(other, abs=1e-6) for one, other in zip(found, expected, strict=True))


def test_several_tasks_and_missing_answers_share_a_table(tmp_path):
    first, said = answered("rich_in_k")
    second, marked = answered("tyrosines")
    lost = [Failure(0, second[0].record.id, "seq.too_long", "too long", "tyrosines"), *marked[1:]]
    results = [result_of("rich_in_k", first, said), result_of("tyrosines", second, lost)]
    write_cases(tmp_path / "a.parquet", results)
    back = read_cases(tmp_path / "a.parquet", {name: TASKS[name] for name in ("tyrosines", "rich_in_k")})
    assert [len(back[name]) for name in ("rich_in_k", "tyrosines")] == [5, 5]
    failure = back["tyrosines"][0].answer
    assert isinstance(failure, Failure)
    assert (failure.code, failure.detail, failure.task) == ("seq.too_long", "too long", "tyrosines")
    assert back["tyrosines"][0].truth == second[0].answer


def test_a_truncated_protein_comes_back_truncated(tmp_path):
    rows, _ = answered("k_sites", 1)
    cut = ProteinRecord(
        rows[0].record.id, (rows[0].record.sequence[:6],), original_lengths=rows[0].record.lengths
    )
    (answer,) = majority(TASKS["k_sites"], rows, [cut])
    write_cases(tmp_path / "a.parquet", [result_of("k_sites", rows, [answer])])
    (case,) = read_cases(tmp_path / "a.parquet", {"k_sites": TASKS["k_sites"]})["k_sites"]
    assert case.record.sequence == rows[0].record.sequence
    assert case.answer.record.sequence == cut.sequence


def test_an_id_that_is_no_text_is_told(tmp_path):
    rows, answers = answered("rich_in_k", 1)
    record = ProteinRecord("caf\udce9", rows[0].record.chains)
    rows = [type(rows[0])(record, rows[0].answer)]
    write_cases(tmp_path / "a.parquet", [result_of("rich_in_k", rows, answers)])
    (case,) = read_cases(tmp_path / "a.parquet", {"rich_in_k": TASKS["rich_in_k"]})["rich_in_k"]
    assert case.record.id == "caf\\xe9"


def test_cases_are_the_rows_of_a_result():
    rows, answers = answered("rich_in_k", 3)
    found = cases_of(result_of("rich_in_k", rows, answers))
    assert found == [Case(row.record, row.answer, answer) for row, answer in zip(rows, answers, strict=True)]


def test_refusals(tmp_path):
    with pytest.raises(InputError) as none:
        read_cases(tmp_path / "a.parquet", {})
    assert none.value.code == "input.not_found"
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError) as broken:
        read_cases(tmp_path / "a.parquet", {})
    assert broken.value.code == "input.format"
    rows, answers = answered("rich_in_k", 1)
    write_cases(tmp_path / "b.parquet", [result_of("rich_in_k", rows, answers)])
    with pytest.raises(InputError, match="rich_in_k") as other:
        read_cases(tmp_path / "b.parquet", {"tyrosines": TASKS["tyrosines"]})
    assert other.value.code == "input.format"
    assert len(set(COLUMNS)) == len(COLUMNS)
