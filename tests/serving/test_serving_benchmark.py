"""The benchmark of serving, for seconds: it runs, and it would see a lost or a wrong answer."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="needs protscribe[serve]")
pytest.importorskip("uvicorn", reason="needs protscribe[serve]")

from benchmarks import serving

BODY = b'{"proteins": [{"id": "a", "sequence": "MKT"}], "tasks": ["t"]}'
ANSWER = {"id": "a", "task": "t", "prediction": "yes", "score": 0.5, "probabilities": [0.25, 0.75]}
TOLD = {"proteins": [{"id": "a", "sequences": ["MKT"]}], "predictions": [ANSWER], "failures": []}
QUESTION = serving.Question(BODY, "a", ANSWER)


def test_a_sound_answer_passes_and_a_wrong_one_is_seen() -> None:
    assert serving.judge(200, json.dumps(TOLD).encode(), QUESTION) == ""
    for change in (
        {"prediction": "no"},
        {"score": 0.6},
        {"probabilities": [0.25, 0.7]},
        {"probabilities": [0.25]},
    ):
        wrong = {**TOLD, "predictions": [{**ANSWER, **change}]}
        assert serving.judge(200, json.dumps(wrong).encode(), QUESTION)
    assert serving.judge(503, b"{}", QUESTION)
    assert serving.judge(200, json.dumps({**TOLD, "predictions": []}).encode(), QUESTION)
    mixed = {**TOLD, "proteins": [{"id": "b", "sequences": ["MKT"]}]}
    assert serving.judge(200, json.dumps(mixed).encode(), QUESTION)


def test_a_few_clients_for_a_moment() -> None:
    proteins = serving.read_proteins(4, 30)
    assert all(len(sequence) <= 30 for _, sequence in proteins)
    questions = serving.make_questions("mini-multitask", proteins, ["solubility", "mhc_affinity"])
    found = serving.measure("mini-multitask", questions, clients=6, seconds=1.5)
    assert found.wrong == []
    assert len(found.latencies) >= 6
    assert found.per_batch > 1
