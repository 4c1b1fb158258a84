"""The outermost layer: one log line and one observation a request, and headers that every response has."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from typing import Any

from protscribe.serving.limits import App, Receive, Scope, Send
from protscribe.serving.metrics import Metrics

log = logging.getLogger("protscribe.serving")

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"cache-control", b"no-store"),
)


class Watched:
    """Logs method, path, status and milliseconds, with what the path itself has to say; never a sequence or an id.

    ``paths`` are those that metrics tell apart: what clients make up must not fill the memory.
    """

    def __init__(self, app: App, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        told: dict[str, str] = {}
        scope.setdefault("state", {})["told"] = told

        async def tell(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            seconds, path = time.monotonic() - began, scope["path"]
            # 499 is what proxies write for a client that left before its response.
            status = status or 499
            known = path if path in self._paths else "other"
            self._metrics.request(known, scope["method"], status, seconds)
            more = "".join(f", {text}" for text in told.values())
            shown = path if known != "other" else ascii(path[:100])
            log.info("%s %s %d in %.1f ms%s", scope["method"][:20], shown, status, 1000 * seconds, more)
