"""The queue and its thread, with a predictor that is no model: who gets which answer, what waits, what is sent away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.errors import ConfigError
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.serving.batching import Asked, Batcher, Batching, Busy, Round

SECONDS = 20


def record(id: str, chain: str = "MKT", ordinal: int = 0) -> ProteinRecord:
    return ProteinRecord(id, (chain,), ordinal=ordinal)


class Echo:
    """Answers each record with its own id. Chains that begin with F fail, W is a bug, and ``gate`` holds it up."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def stream(
        self, records: list[ProteinRecord], tasks: Any = None, tasks_of: Any = None, **how: Any
    ) -> Iterator[Any]:
        self.calls.append((len(records), tasks))
        self.begun.set()
        assert self.gate.wait(SECONDS)
        if tasks == ("refused",):
            raise ConfigError("config.value", "not so")
        for one in records:
            if one.sequence.startswith("W"):
                raise RuntimeError("a bug")
        for one in records:
            if one.sequence.startswith("F"):
                yield Failure(one.ordinal, one.id, "seq.bad", "no", None)
                continue
            assert tasks is None or set(tasks_of(one)) <= set(tasks)
            for task in tasks_of(one) or ("a", "b"):
                yield Prediction(one.id, task, "category", one.sequence, 1.0, "", record=one)


def told(outcomes: list[list[Any]]) -> list[list[tuple[str, ...]]]:
    return [
        [(one.id, one.code) if isinstance(one, Failure) else (one.id, one.task, one.value) for one in record]
        for record in outcomes
    ]


def expected(records: list[ProteinRecord], asked: Asked) -> list[list[tuple[str, ...]]]:
    return [
        [(one.id, "seq.bad")]
        if one.sequence.startswith("F")
        else [(one.id, task, one.sequence) for task in asked.tasks or ("a", "b")]
        for one in records
    ]


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["M", "MK", "FK", "MKTAYI"]), min_size=0, max_size=5),
        st.sampled_from([None, ("a",), ("b", "c")]),
        st.booleans(),
        st.sampled_from([None, 0.9]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.integers(1, 9), st.integers(1, 20), st.sampled_from([0.0, 2.0]))
def test_every_request_gets_its_own_answers(requests: Any, most: int, residues: int, wait: float) -> None:
    echo, rounds = Echo(), list[Round]()
    batcher = Batcher(echo, Batching(wait, most, residues, 100), rounds.append)
    batcher.start()
    asked = [
        (
            [record(f"{row}.{place}", chain, place) for place, chain in enumerate(chains)],
            Asked(tasks, calibrated=way, coverage=level),
        )
        for row, (chains, tasks, way, level) in enumerate(requests)
    ]
    futures = [batcher.submit(*one) for one in asked]
    for future, (records, how) in zip(futures, asked, strict=True):
        outcomes = future.result(SECONDS)
        assert told(outcomes) == expected(records, how)
        for one, answers in zip(records, outcomes, strict=True):
            places = [a.ordinal if isinstance(a, Failure) else a.record.ordinal for a in answers]
            assert set(places) == {one.ordinal}
    batcher.close(SECONDS)
    assert not batcher.alive
    assert all(round.records <= most for round in rounds)
    assert sum(round.records for round in rounds) == sum(len(records) for records, _ in asked)


def started(echo: Echo, **keys: Any) -> Batcher:
    batcher = Batcher(echo, Batching(**{"max_wait_ms": 0.0, **keys}))
    batcher.start()
    return batcher


def test_what_waits_is_answered_together() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = started(echo)
    first = batcher.submit([record("first")], Asked(("a",)))
    assert echo.begun.wait(SECONDS)
    rest = [batcher.submit([record(str(row))], Asked(("a",))) for row in range(7)]
    echo.gate.set()
    for future in (first, *rest):
        future.result(SECONDS)
    batcher.close(SECONDS)
    assert [count for count, _ in echo.calls] == [1, 7]


def test_other_tasks_share_a_call_and_other_options_do_not() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = started(echo)
    futures = [batcher.submit([record("first")], Asked(("a",)))]
    assert echo.begun.wait(SECONDS)
    futures += [batcher.submit([record("x")], Asked(tasks)) for tasks in (("a",), ("c", "b"), ("b",))]
    futures += [batcher.submit([record("y")], Asked(("a",), coverage=0.9))]
    futures += [batcher.submit([record("z")], Asked(("b",), coverage=0.9))]
    echo.gate.set()
    for future in futures:
        future.result(SECONDS)
    batcher.close(SECONDS)
    assert echo.calls == [(1, ("a",)), (3, ("a", "c", "b")), (1, ("a",)), (1, ("b",))]


def test_the_first_of_a_batch_waits_no_longer_than_asked() -> None:
    batcher = started(Echo(), max_wait_ms=100.0)
    began = time.monotonic()
    batcher.submit([record("alone")], Asked()).result(SECONDS)
    assert 0.09 <= time.monotonic() - began < 5
    batcher.close(SECONDS)
    patient = started(Echo(), max_wait_ms=10_000.0)
    began = time.monotonic()
    patient.submit([record(str(row)) for row in range(64)], Asked()).result(SECONDS)
    assert time.monotonic() - began < 5, "a full batch does not wait"
    patient.close(SECONDS)


def test_no_room_is_said_and_comes_back() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = started(echo, max_queue=3)
    running = batcher.submit([record("running")], Asked())
    assert echo.begun.wait(SECONDS)
    waiting = batcher.submit([record("one"), record("two")], Asked())
    with pytest.raises(Busy) as busy:
        batcher.submit([record("three"), record("four")], Asked())
    assert busy.value.code == "server.busy"
    assert busy.value.seconds >= 1
    assert batcher.waiting == 2, "a request is taken whole or not at all"
    echo.gate.set()
    running.result(SECONDS)
    waiting.result(SECONDS)
    batcher.submit([record("three"), record("four")], Asked()).result(SECONDS)
    batcher.close(SECONDS)


def test_who_has_left_is_not_answered() -> None:
    echo, rounds = Echo(), list[Round]()
    echo.gate.clear()
    batcher = Batcher(echo, Batching(0.0), rounds.append)
    batcher.start()
    running = batcher.submit([record("running")], Asked())
    assert echo.begun.wait(SECONDS)
    left = batcher.submit([record("left"), record("left too")], Asked())
    stays = batcher.submit([record("stays")], Asked())
    assert left.cancel()
    echo.gate.set()
    running.result(SECONDS)
    assert told(stays.result(SECONDS)) == expected([record("stays")], Asked())
    batcher.close(SECONDS)
    assert [count for count, _ in echo.calls] == [1, 1]
    assert sum(round.dropped for round in rounds) == 2


def test_a_bug_met_by_one_is_nobody_elses() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = started(echo)
    running = batcher.submit([record("running")], Asked())
    assert echo.begun.wait(SECONDS)
    futures: dict[str, Future[Any]] = {
        chain: batcher.submit([record(chain, chain)], Asked()) for chain in ("MK", "WK", "FK")
    }
    echo.gate.set()
    running.result(SECONDS)
    with pytest.raises(RuntimeError, match="a bug"):
        futures["WK"].result(SECONDS)
    for chain in ("MK", "FK"):
        assert told(futures[chain].result(SECONDS)) == expected([record(chain, chain)], Asked())
    assert batcher.ready, "the thread lives on"
    batcher.close(SECONDS)


def test_a_refused_question_is_refused_once() -> None:
    echo = Echo()
    batcher = started(echo)
    with pytest.raises(ConfigError, match="not so"):
        batcher.submit([record("a"), record("b")], Asked(("refused",))).result(SECONDS)
    assert len(echo.calls) == 1
    batcher.close(SECONDS)


def test_what_waits_at_the_end_is_answered_and_nothing_more_is_taken() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = started(echo, max_wait_ms=10_000.0, max_batch=1)
    futures = [batcher.submit([record(str(row))], Asked()) for row in range(4)]
    assert echo.begun.wait(SECONDS)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.ready:
        time.sleep(0.001)
    with pytest.raises(Busy) as busy:
        batcher.submit([record("late")], Asked())
    assert busy.value.code == "server.ending"
    echo.gate.set()
    closing.join(SECONDS)
    assert not batcher.alive
    assert [told(future.result(0)) for future in futures] == [
        expected([record(str(row))], Asked()) for row in range(4)
    ]


@pytest.mark.parametrize("key", ["max_batch", "batch_residues", "max_queue", "max_wait_ms"])
def test_settings_are_checked(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        replace(Batching(), **{key: -1})
