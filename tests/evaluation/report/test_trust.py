"""What a report says of trust and of failures, against the slow way and against what is known beforehand."""

import numpy as np
import pytest

from protscribe.codecs.protocol import First, Inclusion, Marginals, Readout
from protscribe.data.examples import Example
from protscribe.evaluation.cases import Case
from protscribe.evaluation.confidence.calibration import events_of
from protscribe.evaluation.report.failures import is_right, worst_answers
from protscribe.evaluation.report.findings import TaskFindings
from protscribe.evaluation.report.trust import abstaining, events, reliabilities
from protscribe.evaluation.rivals.majority import included
from protscribe.records import Failure, Prediction, ProteinRecord
from tests.evaluation.toys import TASKS, examples


def drawn(name, rows, seed=0):
    """Random evidence of the kind that a task asks for."""
    codec, chance = TASKS[name].codec, np.random.default_rng(seed)
    found = []
    for row in rows:
        domain = codec.grammar(row.record).domain.tokens()
        if codec.asks == "first":
            found.append(First(chance.dirichlet(np.ones(len(domain)))))
        elif codec.asks == "marginals":
            found.append(Marginals(chance.dirichlet(np.ones(len(domain)), size=len(row.record.sequence))))
        elif codec.kind == "residue_set":
            found.append(included(chance.random(len(codec.indices(row.record)))))
        else:
            # A node is never likelier than the one above it.
            chances = {token: chance.random() for token in domain}
            above = {token.text: chances[token] for token in domain if hasattr(token, "text")}
            factors = [above.get(getattr(token, "text", "").rpartition(".")[0], 1.0) for token in domain]
            found.append(included(np.array([chances[token] for token in domain]) * factors))
    return found


def cases_of(name, rows, evidence):
    task = TASKS[name]
    return tuple(
        Case(row.record, row.answer, task.prediction(row.record, task.codec.read(one, row.record, Readout())))
        for row, one in zip(rows, evidence, strict=True)
    )


@pytest.mark.parametrize(
    "name", ["rich_in_k", "letters", "tree", "charged", "k_sites", "k_marks", "tyrosines", "spans"]
)
def test_events_are_those_of_the_evidence(name):
    rows = examples(name, 25)
    evidence = drawn(name, rows)
    expected = events_of(TASKS[name], rows, evidence)
    said, so = events(TaskFindings(TASKS[name], {}, cases_of(name, rows, evidence)))
    found = sorted(zip(said, so, strict=True))
    known = sorted(zip(expected.confidence.tolist(), (expected.happened == 1).tolist(), strict=True))
    assert len(found) == len(known) > 20
    assert [one for one, _ in found] == pytest.approx([one for one, _ in known])
    assert [one for _, one in found] == [one for _, one in known]


def test_an_answer_that_is_missing_is_no_event_and_always_wrong():
    rows = examples("rich_in_k", 24)
    cases = cases_of("rich_in_k", rows, drawn("rich_in_k", rows))
    lost = Case(rows[0].record, rows[0].answer, Failure(0, "x", "seq.too_long", "too long"))
    found = TaskFindings(TASKS["rich_in_k"], {}, (lost, *cases))
    assert len(events(found)[0]) == 24
    assert not is_right(found.task, lost)
    (curve,) = abstaining(found)
    # Of 25 proteins 24 have an answer: the curve ends before all are answered.
    assert "96% answered" in curve.alt


def test_too_few_answers_draw_nothing():
    rows = examples("rich_in_k", 19)
    found = TaskFindings(TASKS["rich_in_k"], {}, cases_of("rich_in_k", rows, drawn("rich_in_k", rows)))
    assert list(reliabilities(found)) == []


def test_abstaining_keeps_equal_scores_together():
    record = ProteinRecord("p", ("MK",))

    def case(score, right):
        return Case(
            record,
            "yes",
            Prediction("p", "rich_in_k", "category", "yes" if right else "no", score, "m", record),
        )

    cases = [case(0.9, True)] * 10 + [case(0.8, False)] * 5 + [case(0.8, True)] * 5
    (curve,) = abstaining(TaskFindings(TASKS["rich_in_k"], {}, tuple(cases)))
    assert curve.alt == "50% answered: 0.0% of them wrong, 100% answered: 25.0% of them wrong"
    assert "of all answers 25.0% are wrong, of the surer half 0.0%" in curve.caption


def said(name, truth, value, score=0.5, sequence="MKTSYAYSTK", **keys):
    record = ProteinRecord(f"{name}-{value}", (sequence,))
    return Case(
        record,
        truth,
        Prediction(record.id, name, TASKS[name].codec.kind, value, score, "how sure", record, **keys),
    )


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_the_surest_wrong_classes_come_first():
    cases = [
        said("rich_in_k", "yes", "no", 0.6),
        said("rich_in_k", "no", "yes", 0.9),
        said("rich_in_k", "no", "no", 1.0),
    ]
    table = worst_answers(TASKS["rich_in_k"], cases)
    assert texts(table) == [
        ["rich_in_k-yes", "10", "no", "yes", "0.900"],
        ["rich_in_k-no", "10", "yes", "no", "0.600"],
    ]
    assert "2 of 2" in table.caption
    assert "how sure" in table.caption


def test_numbers_that_are_farthest_off_come_first():
    cases = [
        said("share_of_k", 0.5, 0.6, lower=0.4, upper=0.7),
        said("share_of_k", 0.5, 0.1, lower=0.0, upper=0.2),
    ]
    assert texts(worst_answers(TASKS["share_of_k"], cases)) == [
        ["share_of_k-0.1", "10", "0.5", "0.1", "-0.4", "0 to 0.2", "no"],
        ["share_of_k-0.6", "10", "0.5", "0.6", "+0.1", "0.4 to 0.7", "yes"],
    ]


def test_false_sites_are_told_residue_by_residue():
    chances = [0.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9]
    cases = [
        said("k_sites", (2,), (2, 10), probabilities=chances),
        said("k_sites", (), (3,), probabilities=[0.2] * 10),
    ]
    assert texts(worst_answers(TASKS["k_sites"], cases)) == [
        ["k_sites-(2, 10)", "K10", "8 residues away", "0.900"],
        ["k_sites-(3,)", "T3", "no site in it", "0.200"],
    ]


def test_proteins_with_most_wrong_labels_come_first():
    chances = tuple({"c": 0.8, "n": 0.2} for _ in range(10))
    cases = [
        said("charged", "c" * 10, "c" * 5 + "n" * 5, probabilities=chances),
        said("charged", "n" * 10, "c" * 10, probabilities=chances),
    ]
    assert texts(worst_answers(TASKS["charged"], cases)) == [
        ["charged-cccccccccc", "10", "0.0%", "0.800"],
        ["charged-cccccnnnnn", "10", "50.0%", "0.500"],
    ]


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_are_no_failures(name):
    rows = examples(name, 4)
    cases = [
        Case(
            row.record,
            row.answer,
            Prediction("x", name, TASKS[name].codec.kind, row.answer, 1.0, "m", row.record, chain=1),
        )
        for row in rows
    ]
    assert all(is_right(TASKS[name], case) for case in cases)
    table = worst_answers(TASKS[name], cases)
    # Numbers are never just right or wrong: the farthest are listed, and these are 0 away.
    assert (
        table is None
        if TASKS[name].codec.kind != "number"
        else all(row[4].text == "+0" for row in table.rows)
    )


def test_a_label_that_training_has_not_shown_is_wrong_and_no_error():
    rows = [Example(row.record, "maybe") for row in examples("rich_in_k", 20)]
    cases = cases_of("rich_in_k", rows, drawn("rich_in_k", rows))
    assert not any(is_right(TASKS["rich_in_k"], case) for case in cases)
    assert not any(events(TaskFindings(TASKS["rich_in_k"], {}, cases))[1])
    assert isinstance(drawn("k_sites", examples("k_sites", 1))[0], Inclusion)
