"""The OpenAPI schema says what the server does: schemathesis makes requests from it, right ones and wrong ones, and looks
whether status, type and body of every response stand in it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("fastapi", reason="needs protscribe[serve]")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


SEMANTIC = "positive_data_acceptance"
"""The check that every request of the right shape is accepted: which letters are residues, which tasks there are and what each
reads is not a matter of shape, and is refused with 422 or 404."""
SOUND = {"proteins": [{"id": "a", "sequence": "MKTAYIAKQR"}], "tasks": ["place"]}


@pytest.fixture(scope="module")
def schema(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}openapi.json")


def checks(status: int) -> list[Any]:
    """All checks but that one. A body that is too long is refused with 413, which schemathesis does not count as refused."""
    known = schemathesis.checks.CHECKS
    left_out = {SEMANTIC, *(["negative_data_rejection"] if status == 413 else [])}
    names = known.get_all_names()
    assert left_out <= set(names)
    return [known.get_one(name) for name in names if name not in left_out]


def test_it_names_every_path_and_every_error(client: Any) -> None:
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == {
        "/predict",
        "/tasks",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    responses = told["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "404", "408", "413", "422", "500", "503"}
    for status in ("404", "408", "413", "422", "500", "503"):
        shape = responses[status]["content"]["application/json"]["schema"]
        assert shape == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize(
    "path", ["/predict", "/tasks", "/health", "/health/live", "/health/ready", "/metrics"]
)
def test_what_the_schema_allows_and_what_it_forbids(schema: Any, path: str) -> None:
    operation = schema[path]["POST" if path == "/predict" else "GET"]
    strategy = operation.as_strategy(
        generation_mode=schemathesis.GenerationMode.POSITIVE
    ) | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    statuses = set()

    @settings(
        max_examples=60 if path == "/predict" else 3,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def ask(case: Any) -> None:
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=checks(response.status_code))

    ask()
    assert 500 not in statuses


def test_a_sound_request_matches_it(schema: Any) -> None:
    operation = schema["/predict"]["POST"]
    case = operation.Case(body=SOUND, media_type="application/json")
    response = case.call()
    assert response.status_code == 200
    case.validate_response(response, checks=checks(response.status_code))
