"""The application: answers are those of the predictor, whatever else is asked at the time; errors are JSON of ours."""

from __future__ import annotations

import asyncio
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs protscribe[serve]")
pytest.importorskip("httpx", reason="the test client needs httpx")

from protscribe.errors import DeviceError, TrainingError
from protscribe.outputs.tables import json_texts
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.serving import schemas
from protscribe.serving.app import create_app
from protscribe.serving.limits import Limits
from tests.small import TASKS

CHAIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
ALONE = [name for name, task in TASKS.items() if task.chains == 1 and not task.molecule]


def close_to(got: Any, wanted: Any) -> bool:
    """Equal, numbers up to what sums in another order may differ by."""
    if isinstance(got, float) and isinstance(wanted, float):
        return abs(got - wanted) < 1e-4
    if isinstance(got, dict) and isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(close_to(got[key], wanted[key]) for key in got)
    if isinstance(got, list) and isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(close_to, got, wanted))
    return bool(got == wanted)


def question(name: str, generator: random.Random) -> dict[str, Any]:
    task = TASKS[name]
    chains = [
        "".join(generator.choices("ACDEFGHIKLMNPQRSTVWY", k=generator.randint(5, 60)))
        for _ in range(task.chains)
    ]
    protein: dict[str, Any] = {
        "id": f"{name}-{generator.random()}",
        "sequence": chains if task.chains == 2 else chains[0],
    }
    if task.molecule:
        protein["smiles"] = "CCO"
    if task.conditions:
        protein["fields"] = {"host": generator.choice(["human", "yeast"])}
    return {"proteins": [protein], "tasks": [name]}


def alone(predictor: Predictor, body: dict[str, Any]) -> Any:
    """What the predictor says, as the line that is written to a file."""
    protein = body["proteins"][0]
    chains = protein["sequence"]
    value = tuple(chains) if isinstance(chains, list) else {protein["id"]: chains}
    found = predictor.predict(
        value, body["tasks"][0], smiles=protein.get("smiles"), **protein.get("fields", {})
    )
    return {**json.loads(next(json_texts(found))), "id": protein["id"]}


def test_answers_equal_those_of_predict_whatever_else_is_asked(client: Any, predictor: Predictor) -> None:
    generator = random.Random(0)
    bodies = [question(name, generator) for name in (*TASKS, *TASKS)]
    generator.shuffle(bodies)
    wanted = [alone(predictor, body) for body in bodies]
    with ThreadPoolExecutor(12) as threads:
        responses = list(threads.map(lambda body: client.post("/predict", json=body), bodies))
    for response, body, one in zip(responses, bodies, wanted, strict=True):
        assert response.status_code == 200, response.text
        told = response.json()
        schemas.PredictResponse.model_validate(told)
        assert told["failures"] == []
        assert len(told["predictions"]) == 1
        assert close_to(told["predictions"][0], one), body


def test_records_of_one_call_have_tasks_of_their_own(predictor: Predictor) -> None:
    records = [ProteinRecord(str(row), (CHAIN[row:],), ordinal=row) for row in range(3)]
    wanted = [("fold", "place"), None, ("place",)]
    union = ("place", "fold", "sites")
    found = predictor.stream(records, union, tasks_of=lambda record: wanted[record.ordinal])
    assert [(one.id, one.task) for one in found] == [
        ("0", "fold"), ("0", "place"), ("1", "place"), ("1", "fold"), ("1", "sites"), ("2", "place"),
    ]  # fmt: skip


def test_all_that_fit_are_asked_of_fasta_and_failures_stand_beside_answers(client: Any) -> None:
    text = f">one first\n{CHAIN}\n{CHAIN.lower()}*\n>two\nMK1T\n>three\nMKV\n"
    told = client.post("/predict", json={"proteins": text, "fields": {"host": "yeast"}}).json()
    assert [(one["id"], one["sequences"]) for one in told["proteins"]] == [
        ("one", [2 * CHAIN]),
        ("three", ["MKV"]),
    ]
    assert [one["task"] for one in told["predictions"]] == [*ALONE, *ALONE]
    assert [one["id"] for one in told["predictions"]] == ["one"] * len(ALONE) + ["three"] * len(ALONE)
    (failure,) = told["failures"]
    assert (failure["row"], failure["id"], failure["code"]) == (2, "two", "seq.char")


def test_options_reach_the_predictor(client: Any) -> None:
    body = {"proteins": f">a\n{CHAIN}", "tasks": ["place", "fold"]}
    usual = client.post("/predict", json=body).json()["predictions"]
    greedy = client.post("/predict", json={**body, "readout": "greedy"}).json()["predictions"]
    assert [one["readout"] for one in usual + greedy] == ["risk", "risk", "greedy", "greedy"]
    assert greedy[0]["probabilities"] is None
    beside = client.post("/predict", json={**body, "readout": "greedy", "probabilities": True}).json()
    assert beside["predictions"][0]["probabilities"] is not None
    abstained = client.post("/predict", json={**body, "abstain_below": 1.0}).json()["predictions"]
    assert {one["status"] for one in abstained} == {"abstained"}


ONE = {"sequence": CHAIN}
WRONG: list[tuple[Any, int, str]] = [
    ({}, 422, "request.invalid"),
    ({"proteins": []}, 422, "request.invalid"),
    ({"proteins": 5}, 422, "request.invalid"),
    ({"proteins": [{"sequence": 5}]}, 422, "request.invalid"),
    ({"proteins": [{"sequence": ["MK"]}]}, 422, "request.invalid"),
    ({"proteins": [ONE], "task": ["place"]}, 422, "request.invalid"),
    ({"proteins": [{**ONE, "name": "x"}]}, 422, "request.invalid"),
    ({"proteins": [ONE], "coverage": 2}, 422, "request.invalid"),
    ({"proteins": [ONE], "long": "cut"}, 422, "request.invalid"),
    ({"proteins": [ONE], "probabilities": "yes"}, 422, "request.invalid"),
    ({"proteins": [ONE], "coverage": 0.9}, 422, "guarantee.none"),
    ({"proteins": [ONE], "tasks": ["plaice"]}, 404, "task.unknown"),
    ({"proteins": [{**ONE, "fields": {"hots": "yeast"}}]}, 422, "config.unknown_key"),
    ({"proteins": [ONE], "tasks": ["bind"]}, 422, "task.chains"),
    ({"proteins": [ONE], "tasks": ["ligand"]}, 422, "task.molecule"),
    ({"proteins": [ONE], "tasks": ["allele"]}, 422, "record.condition"),
    ({"proteins": [{"sequence": "M-K"}]}, 422, "seq.gap"),
    ({"proteins": [{"sequence": "<eos>"}]}, 422, "seq.char"),
    ({"proteins": [{"sequence": " "}]}, 422, "seq.empty"),
    ({"proteins": [{"sequence": CHAIN * 3}]}, 422, "seq.too_long"),
    ({"proteins": [{"sequence": "ACGT" * 20}], "tasks": ["place"]}, 422, "seq.looks_nucleotide"),
    ({"proteins": [{**ONE, "id": "a"}, {**ONE, "id": "a"}]}, 422, "id.duplicate"),
    ({"proteins": [ONE] * 7}, 422, "request.too_many"),
    ({"proteins": "MKT"}, 422, "fasta.no_header"),
    ({"proteins": ">a\n"}, 422, "seq.empty"),
    ({"proteins": "@read\nACGT\n+\nIIII\n"}, 422, "fasta.is_fastq"),
]


@pytest.mark.parametrize(("body", "status", "code"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_said_as_json(client: Any, body: Any, status: int, code: str) -> None:
    response = client.post("/predict", json=body)
    told = response.json()
    schemas.Problem.model_validate(told)
    assert (response.status_code, told["code"]) == (status, code), told
    assert len(told["detail"]) < 1000
    assert "Traceback" not in response.text


RAW: list[tuple[bytes, int, str]] = [
    (b"", 422, "request.invalid"),
    (b"{", 422, "request.body"),
    (b"null", 422, "request.invalid"),
    (b"\xff\xfe", 422, "request.body"),
    (b"[" * 3900, 422, "request.body"),
    (b'{"proteins": ' + b"9" * 3900 + b"}", 422, "request.invalid"),
    (b'{"proteins": [{"sequence": "MK\\ud800"}]}', 422, "request.invalid"),
    (b'{"proteins": ">a\\nMK", "\\ud800": 1}', 422, "request.invalid"),
    (b'{"proteins": ">a\\nMK", "coverage": NaN}', 422, "request.invalid"),
    (b'{"proteins": ">a\\u0000b\\nMK"}', 422, "id.char"),
]


@pytest.mark.parametrize(("body", "status", "code"), RAW, ids=lambda value: str(value)[:40])
def test_bodies_that_are_no_requests(client: Any, body: bytes, status: int, code: str) -> None:
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    told = response.json()
    assert (response.status_code, told["code"]) == (status, code), told


def test_an_unknown_key_is_told_its_neighbour(client: Any) -> None:
    told = client.post("/predict", json={"proteins": [ONE], "task": ["place"]}).json()
    assert "did you mean 'tasks'" in told["detail"]
    assert told["where"] == {"field": "task"}
    told = client.post("/predict", json={"proteins": [{"sequence": 5}]}).json()
    assert told["where"] == {"field": "proteins.0.sequence"}


def test_a_body_is_too_large_as_soon_as_it_says_so(client: Any) -> None:
    response = client.post("/predict", content=b" " * 4001, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (413, "request.too_large")
    allowed = json.dumps({"proteins": [ONE], "tasks": ["place"]}).encode().ljust(4000)
    assert (
        client.post("/predict", content=allowed, headers={"content-type": "application/json"}).status_code
        == 200
    )


def test_other_paths_and_methods(client: Any) -> None:
    assert client.get("/nothing").json()["code"] == "request.not_found"
    refused = client.put("/predict", json={})
    assert (refused.status_code, refused.json()["code"]) == (405, "request.method")
    assert refused.headers["allow"] == "POST"
    # A page of another site may send text without asking first, and gets no answer for it.
    foreign = client.post(
        "/predict", content=b'{"proteins": ">a\\nMK"}', headers={"content-type": "text/plain"}
    )
    assert foreign.status_code == 422


def test_tasks_are_described(client: Any) -> None:
    told = schemas.Tasks.model_validate(client.get("/tasks").json())
    assert [task.name for task in told.tasks] == list(TASKS)
    found = {task.name: task for task in told.tasks}
    assert (found["melting"].unit, found["melting"].high) == ("°C", 90.5)
    assert found["allele"].fields[0] == schemas.FieldInfo(
        field="host", values=["human", "yeast"], required=True
    )
    assert (found["bind"].chains, found["ligand"].molecule) == (2, True)
    assert (told.max_residues, told.max_proteins) == (90, 6)


def test_health_and_metrics(client: Any) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        assert client.get(path).json() == {
            "live": True,
            "ready": True,
            "bundle": "small <b>bundle</b>",
            "waiting": 0,
        }
    before = client.get("/metrics").text
    client.post("/predict", json={"proteins": [ONE], "tasks": ["place"]})
    client.get("/made/up/by/a/client")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")

    def grown(name: str) -> float:
        def value(text: str) -> float:
            return sum(
                float(found) for found in re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
            )

        return value(response.text) - value(before)

    assert grown('protscribe_requests_total{method="POST",path="/predict",status="200"}') == 1
    assert grown('protscribe_answers_total{task="place"}') == 1
    assert grown("protscribe_batch_proteins_count") == 1
    assert "protscribe_queue_proteins 0.0" in response.text
    assert "made/up" not in response.text


def test_the_page_asks_nothing_of_anybody_else(client: Any) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("page.html", "page.css", "page.js"):
        text = resources.files("protscribe.serving").joinpath(name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b|\bstyle=|\son\w+=", text)
    assert client.get("/page.css").headers["content-type"].startswith("text/css")
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")


# Alone with the application ------------------------------------------------------------------------------------------------


class Broken:
    """A predictor that fails, or takes its time, at answering."""

    def __init__(self, whole: Predictor, error: Exception | None = None, seconds: float = 0.0) -> None:
        self.bundle, self.tasks, self.limit = whole.bundle, {"place": whole.tasks["place"]}, whole.limit
        self._error, self._seconds = error, seconds

    def stream(self, records: Any, tasks: Any = None, **how: Any) -> Any:
        import time

        time.sleep(self._seconds if records[0].id != "warm-up" else 0)
        if self._error is not None:
            raise self._error
        yield from ()


FAULTS = [
    (RuntimeError("secret"), 500, "server.bug"),
    (TrainingError("predict.not_finite", "the scores are not finite"), 500, "predict.not_finite"),
    (DeviceError("device.oom", "too little memory"), 503, "device.oom"),
]


@pytest.mark.parametrize(("error", "status", "code"), FAULTS, ids=lambda value: str(value))
def test_faults_of_the_server(predictor: Predictor, error: Exception, status: int, code: str) -> None:
    from fastapi.testclient import TestClient

    broken: Any = Broken(predictor, error)
    with TestClient(create_app(broken), raise_server_exceptions=False) as client:
        response = client.post("/predict", json={"proteins": [ONE]})
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert "secret" not in response.text
        assert client.get("/health/ready").status_code == 200
    assert client.get("/health/ready").status_code == 503


def test_a_request_is_given_up_after_its_time(predictor: Predictor) -> None:
    from fastapi.testclient import TestClient

    slow: Any = Broken(predictor, seconds=0.5)
    with TestClient(create_app(slow, limits=Limits(seconds=0.1))) as client:
        response = client.post("/predict", json={"proteins": [ONE]})
        assert (response.status_code, response.json()["code"]) == (503, "server.time_limit")
        assert int(response.headers["retry-after"]) >= 1


def call(app: Any, messages: list[Any]) -> list[Any]:
    """What an application sends for these messages of a client, which then says nothing more."""
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "server": ("test", 80), "client": ("test", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(run())
    return sent


def test_a_body_that_does_not_come_is_not_waited_for(predictor: Predictor) -> None:
    app = create_app(Broken(predictor), limits=Limits(seconds=0.1))  # type: ignore[arg-type]
    start, body = call(app, [{"type": "http.request", "body": b"{", "more_body": True}])
    assert (start["status"], json.loads(body["body"])["code"]) == (408, "request.slow")


def test_a_body_is_read_no_further_than_allowed(predictor: Predictor) -> None:
    app = create_app(Broken(predictor), limits=Limits(max_body_bytes=2500))  # type: ignore[arg-type]
    messages = [{"type": "http.request", "body": b" " * 1000, "more_body": True} for _ in range(100)]
    start, body = call(app, messages)
    assert (start["status"], json.loads(body["body"])["code"]) == (413, "request.too_large")
    assert len(messages) == 97


def test_who_leaves_is_not_waited_for(predictor: Predictor) -> None:
    app = create_app(Broken(predictor, seconds=0.3), limits=Limits(seconds=20))  # type: ignore[arg-type]
    body = json.dumps({"proteins": [ONE]}).encode()
    sent = call(app, [{"type": "http.request", "body": body}, {"type": "http.disconnect"}])
    assert sent[0]["status"] == 499
    app = create_app(Broken(predictor), limits=Limits(seconds=20))  # type: ignore[arg-type]
    left = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
    assert call(app, left) == [], "who leaves within the body gets nothing"


def test_nothing_of_a_protein_is_logged(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="protscribe"):
        client.post("/predict", json={"proteins": [{"sequence": CHAIN, "id": "secret"}], "tasks": ["place"]})
        client.get("/no%0Awhere")
    lines = [one.getMessage() for one in caplog.records]
    assert [re.sub(r"\d+\.\d", "N", line) for line in lines] == [
        "POST /predict 200 in N ms, proteins 1, answers 1, failures 0",
        "GET '/no\\nwhere' 404 in N ms",
    ]


def test_files_of_the_page_are_part_of_the_package() -> None:
    folder = Path(str(resources.files("protscribe.serving")))
    assert {path.name for path in folder.glob("page.*")} == {"page.html", "page.css", "page.js"}
