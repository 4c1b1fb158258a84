"""What a client gets instead of an answer: our errors as JSON, each with a status. Never a traceback."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from protscribe.errors import DeviceError, ProtscribeError, TrainingError, Where, nearest
from protscribe.records import Failure
from protscribe.serving import schemas
from protscribe.serving.batching import Busy

CODES = {400: "request.body", 404: "request.not_found", 405: "request.method"}
MOST_SAID = 8
"""Mistakes of one body that are named."""


def problem(
    status: int,
    code: str,
    detail: str,
    where: Mapping[str, Any] | None = None,
    *,
    failures: Sequence[Failure] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response for something that is wrong; its body is a :class:`protscribe.serving.schemas.Problem`."""
    body: dict[str, Any] = {"code": code, "detail": detail, "where": dict(where or {})}
    if failures:
        body["failures"] = [failure_plain(failure) for failure in failures]
    return _Ascii(body, status_code=status, headers=dict(headers or {}))


class _Ascii(JSONResponse):
    """JSON in ASCII: what a client sent may be no Unicode, and is told back to it in places."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode("ascii")


def failure_plain(failure: Failure) -> dict[str, Any]:
    """A failure as JSON has it; ``row`` is the 1-based place of the protein in the request."""
    plain = asdict(failure)
    return {"row": plain.pop("ordinal") + 1, **plain}


def of_error(error: ProtscribeError) -> JSONResponse:
    """An error of ours as a response."""
    headers = {"retry-after": str(math.ceil(error.seconds))} if isinstance(error, Busy) else None
    return problem(status_of(error), error.code, error.message, where_plain(error.where), headers=headers)


def status_of(error: ProtscribeError) -> int:
    """404 for an unknown task, 503 for what may go well later, 500 for what is no fault of the client's, else 422."""
    if error.code == "task.unknown":
        return 404
    if isinstance(error, (Busy, DeviceError)):
        return 503
    return 500 if isinstance(error, TrainingError) else 422


def where_plain(where: Where) -> dict[str, Any]:
    """The parts of a place that are known."""
    return {name: value for name, value in asdict(where).items() if value is not None}


def handle_problems(app: FastAPI) -> None:
    """Lets the application answer every error with JSON of this shape."""
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(ProtscribeError)(_ours)
    app.exception_handler(Exception)(_bug)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProtscribeError)
    return of_error(error)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    return bug()


def bug() -> JSONResponse:
    """For an error that is none of ours; the server's log has it in full."""
    return problem(500, "server.bug", "a mistake of the server's; its log says more")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        # What the framework says of a body that it cannot parse at all (numbers of thousands of digits, deep nesting).
        return problem(422, "request.body", "the body cannot be read as JSON")
    code = CODES.get(error.status_code, "request.refused")
    detail = {
        404: "there is nothing here; see /openapi.json",
        405: "this method is not for this path; see /openapi.json",
    }
    told = detail.get(error.status_code, str(error.detail))
    return problem(error.status_code, code, told, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """A body that is no request: each mistake with its place in it, none of it told back but names of keys."""
    assert isinstance(error, RequestValidationError)
    mistakes = error.errors()
    if mistakes[0]["type"] == "json_invalid":
        reason, place = mistakes[0].get("ctx", {}).get("error", ""), int(mistakes[0]["loc"][-1]) + 1
        return problem(422, "request.body", f"the body is no JSON: {reason}", {"position": place})
    said = [(_place(mistake), _said(mistake)) for mistake in mistakes]
    texts = [f"{place}: {message}" if place else message for place, message in dict.fromkeys(said)]
    more = f"; and {len(texts) - MOST_SAID} more" if len(texts) > MOST_SAID else ""
    where = {"field": said[0][0]} if said[0][0] else None
    return problem(422, "request.invalid", "; ".join(texts[:MOST_SAID]) + more, where)


def _place(mistake: Mapping[str, Any]) -> str:
    """Where in the body: ``proteins.2.sequence``, without the branches of alternatives that were tried."""
    parts = (str(part)[:60] for part in mistake["loc"][1:])
    return ".".join(part for part in parts if not part.startswith(("list[", "constrained-str", "str")))


def _said(mistake: Mapping[str, Any]) -> str:
    if mistake["type"] == "extra_forbidden":
        known = (
            schemas.Protein.model_fields if len(mistake["loc"]) > 2 else schemas.PredictRequest.model_fields
        )
        return f"there is no such key; {nearest(str(mistake['loc'][-1])[:60], known)}"
    message = str(mistake["msg"])
    return message[:1].lower() + message[1:]
